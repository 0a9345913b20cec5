"""A small FCOS as a proposal generator, with the interface of AdelaiDet's: towers, a scale a level, locations."""

from types import SimpleNamespace

import torch
from detectron2.layers import batched_nms
from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn
from torch.nn import functional as F

from tests.stand_ins.backbones import Pyramid, normalised

CLASSES, WIDTH = 4, 16


class Scale(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([value]))

    def forward(self, x):
        return x * self.scale


class NormOfEachLevel(nn.ModuleList):
    """Another norm each time it is called."""

    turn = 0

    def forward(self, x):
        self.turn = (self.turn + 1) % len(self)
        return self[self.turn](x)


class Head(nn.Module):
    """Options name what AdelaiDet and its relatives vary."""

    def __init__(self, levels, norm="GN", share=0, scales=True, exp=False, centerness_on="bbox_tower"):
        super().__init__()
        self.levels, self.exp, self.centerness_on = levels, exp, centerness_on
        for name, count in (("cls_tower", 2), ("bbox_tower", 2), ("share_tower", share)):
            self.add_module(name, nn.Sequential(*(part for _ in range(count) for part in self.layer(norm))))
        self.cls_logits = nn.Conv2d(WIDTH, CLASSES, 3, padding=1)
        self.bbox_pred, self.ctrness = nn.Conv2d(WIDTH, 4, 3, padding=1), nn.Conv2d(WIDTH, 1, 3, padding=1)
        self.scales = nn.ModuleList(Scale(1.0 + 0.2 * k) for k in range(levels)) if scales else None

    def layer(self, norm):
        parts = [nn.Conv2d(WIDTH, WIDTH, 3, padding=1)]
        if norm == "GN":
            parts.append(nn.GroupNorm(4, WIDTH))
        if norm == "BN":
            parts.append(NormOfEachLevel(nn.BatchNorm2d(WIDTH) for _ in range(self.levels)))
        return [*parts, nn.ReLU()]

    def forward(self, x, top_module=None, yield_bbox_towers=False):
        logits, boxes, centerness, top = [], [], [], []
        for number, feature in enumerate(x):
            feature = self.share_tower(feature)
            towers = {"cls_tower": self.cls_tower(feature), "bbox_tower": self.bbox_tower(feature)}
            logits.append(self.cls_logits(towers["cls_tower"]))
            centerness.append(self.ctrness(towers[self.centerness_on]))
            raw = self.bbox_pred(towers["bbox_tower"])
            raw = raw if self.scales is None else self.scales[number](raw)
            boxes.append(raw.exp() if self.exp else F.relu(raw))
            if top_module is not None:
                top.append(top_module(towers["bbox_tower"]))
        return logits, boxes, centerness, top, []


class Generator(nn.Module):
    def __init__(self, thresh_with_ctr=False, threshold=0.45, topk=5, pre_topk=None, **options):
        super().__init__()
        self.in_features, self.fpn_strides = ["p2", "p3", "p4"], [4, 8, 16]
        self.fcos_head = Head(3, **options)
        self.thresh_with_ctr, self.threshold, self.topk = thresh_with_ctr, threshold, topk
        self.pre_topk = pre_topk
        if pre_topk is not None:
            self.fcos_outputs = SimpleNamespace(  # where AdelaiDet's has its settings
                pre_nms_thresh_test=threshold,
                pre_nms_topk_test=pre_topk,
                post_nms_topk_test=topk,
                nms_thresh=0.5,
                thresh_with_ctr=thresh_with_ctr,
            )

    def forward(self, images, features, gt_instances=None, top_module=None):
        said = self.fcos_head([features[name] for name in self.in_features], top_module)
        return [self.of_image(number, size, said) for number, size in enumerate(images.image_sizes)], {}

    def of_image(self, number, size, said):
        found = []
        for level, (logits, raw, centerness) in enumerate(zip(*said[:3], strict=True)):
            stride, (height, width) = self.fpn_strides[level], logits.shape[-2:]
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            places = torch.stack([x, y], -1).view(-1, 2) * stride + stride // 2
            scores = logits[number].flatten(1).T.sigmoid()
            centre = centerness[number].flatten()[:, None].sigmoid()
            above = (scores * centre if self.thresh_with_ctr else scores) > self.threshold
            rows, classes = above.nonzero().unbind(1)
            sides = (raw[number].flatten(1).T * stride)[rows]
            one = Instances(size, scores=(scores * centre)[rows, classes].sqrt(), pred_classes=classes)
            one.pred_boxes = Boxes(torch.cat([places[rows] - sides[:, :2], places[rows] + sides[:, 2:]], 1))
            one.locations, one.fpn_levels = places[rows], torch.full_like(classes, level)
            if said[3]:
                one.top_feat = said[3][level][number].flatten(1).T[rows]
            if self.pre_topk is not None:
                one = one[one.scores.topk(min(len(one), self.pre_topk), sorted=False).indices]
            found.append(one)
        found = Instances.cat(found)
        keep = batched_nms(found.pred_boxes.tensor, found.scores, found.pred_classes, 0.5)
        return found[keep[: self.topk]]


class OneStage(nn.Module):
    """As AdelaiDet's one-stage detector."""

    def __init__(self, **options):
        super().__init__()
        self.backbone = Pyramid()
        self.proposal_generator = Generator(**options)

    def forward(self, batched_inputs):
        images = ImageList.from_tensors([normalised(x["image"]) for x in batched_inputs], 16)
        proposals, _ = self.proposal_generator(images, self.backbone(images.tensor), None)
        return [
            {
                "instances": detector_postprocess(
                    one, x.get("height", one.image_size[0]), x.get("width", one.image_size[1])
                )
            }
            for one, x in zip(proposals, batched_inputs, strict=True)
        ]


class Masked(OneStage):
    """As CondInst: masks by filters that the head predicts, and a post-processing of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.controller = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, batched_inputs):
        images = ImageList.from_tensors([normalised(x["image"]) for x in batched_inputs], 16)
        features = self.backbone(images.tensor)
        proposals, _ = self.proposal_generator(images, features, None, self.controller)
        results = []
        for number, (one, x) in enumerate(zip(proposals, batched_inputs, strict=True)):
            one.mask_scores = one.scores * 0.5  # another score beside, as CenterMask's
            one.pred_global_masks = torch.einsum("dc,chw->dhw", one.top_feat, features["p2"][number])
            results.append({"instances": self.postprocess(one, x["height"], x["width"])})
        return results

    def postprocess(self, found, height, width):
        results = Instances((height, width), **found.get_fields())
        results.pred_boxes.scale(width / found.image_size[1], height / found.image_size[0])
        results.pred_boxes.clip(results.image_size)
        results.pred_masks = F.interpolate(results.pred_global_masks[None], (height, width))[0] > 0
        return results


def build(kind=OneStage, **options):
    """One with random weights that says something else everywhere."""
    torch.manual_seed(0)
    model = kind(**options).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == WIDTH:
            nn.init.normal_(module.weight, std=0.12)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, Head):
            # Boxes of a size, so that none is empty; places differ in the first digits, so that no rounding decides.
            nn.init.constant_(module.bbox_pred.bias, 0.9 if module.exp else 2.5)
            nn.init.normal_(module.ctrness.weight, std=0.4)
            nn.init.normal_(module.cls_logits.weight, std=0.4)
    return model
