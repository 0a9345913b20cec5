"""Small query detectors with the interfaces of detrex, of Detectron2's wrapper of DETR, and of Sparse R-CNN."""

from types import SimpleNamespace

import torch
from detectron2.layers import batched_nms
from detectron2.modeling import detector_postprocess
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from tests.stand_ins.backbones import Pyramid, normalised

WIDTH, CLASSES, QUERIES = 16, 4, 6


def corners(boxes):
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def logit(x):
    return torch.special.logit(x.clamp(1e-4, 1 - 1e-4))


class Base(nn.Module):
    """What they share: images in, ``inference``, post-processing."""

    divisibility = 0

    def preprocess_image(self, batched_inputs):
        return ImageList.from_tensors([normalised(x["image"]) for x in batched_inputs], self.divisibility)

    def finish(self, box_cls, box_pred, images, batched_inputs):
        results = self.inference(box_cls, box_pred, images.image_sizes)
        return [
            {"instances": detector_postprocess(one, x.get("height", size[0]), x.get("width", size[1]))}
            for one, x, size in zip(results, batched_inputs, images.image_sizes, strict=True)
        ]


class Softmax(Base):
    """One detection a query; the last logit is for no object."""

    def inference(self, box_cls, box_pred, image_sizes):
        results = []
        scores, labels = box_cls.softmax(-1)[:, :, :-1].max(-1)
        for score, label, boxes, (height, width) in zip(scores, labels, box_pred, image_sizes, strict=True):
            one = Instances((height, width), scores=score, pred_classes=label, pred_boxes=Boxes(corners(boxes)))
            one.pred_boxes.scale(width, height)
            results.append(one)
        return results


class TopK(Base):
    """The best of all queries and classes."""

    select_box_nums_for_evaluation = 5

    def inference(self, box_cls, box_pred, image_sizes):
        results = []
        scores, chosen = box_cls.sigmoid().flatten(1).topk(self.select_box_nums_for_evaluation)
        for score, index, boxes, (height, width) in zip(scores, chosen, box_pred, image_sizes, strict=True):
            one = Instances((height, width), scores=score, pred_classes=index % box_cls.shape[2])
            one.pred_boxes = Boxes(corners(boxes[index // box_cls.shape[2]]))
            one.pred_boxes.scale(width, height)
            results.append(one)
        return results


class Transformer(nn.Module):
    """An encoder and a decoder over (L, N, C) tokens of one map."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(WIDTH, 2, 32, 0.0, "gelu"), 1, enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, 2, 32, 0.0, "gelu"), 1)

    def forward(self, features, query):
        memory = self.encoder(features.flatten(2).permute(2, 0, 1))
        return self.decoder(query[:, None].expand(-1, len(features), -1), memory).transpose(0, 1)


class Detr(Softmax):
    """As detrex's DETR: ``input_proj``, tokens first."""

    def __init__(self):
        super().__init__()
        self.backbone = Pyramid(("p2", "p3", "p4"))
        self.in_features = ["p4"]
        self.input_proj = nn.Conv2d(16, WIDTH, 1)
        self.transformer = Transformer()
        self.query_embed = nn.Embedding(QUERIES, WIDTH)
        self.class_embed = nn.Linear(WIDTH, CLASSES + 1)
        self.bbox_embed = nn.Linear(WIDTH, 4)
        self.num_classes = CLASSES

    def forward(self, batched_inputs):
        images = self.preprocess_image(batched_inputs)
        features = self.input_proj(self.backbone(images.tensor)[self.in_features[-1]])
        hidden = self.transformer(features, self.query_embed.weight)
        return self.finish(self.class_embed(hidden), self.bbox_embed(hidden).sigmoid(), images, batched_inputs)


class Neck(nn.Module):
    def __init__(self, names):
        super().__init__()
        self.names = names
        self.convs = nn.ModuleList(nn.Conv2d(16, WIDTH, 1) for _ in names)

    def forward(self, features):
        return tuple(conv(features[name]) for conv, name in zip(self.convs, self.names, strict=True))


class Encoder(nn.Module):
    """Over (N, L, C) tokens of several maps, called by name."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, 0.0, "gelu", batch_first=True)

    def forward(self, query, key=None, value=None, **_):
        return self.layer(query)


class TwoStage(nn.Module):
    """Queries and first boxes are those of the encoder's best tokens, cut from the graph as in training."""

    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, 2, 32, 0.0, "gelu", batch_first=True), 1)
        self.class_embed, self.bbox_embed = nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, 4)

    def forward(self, maps):
        tokens = torch.cat([one.flatten(2).transpose(1, 2) for one in maps], 1)
        memory = self.encoder(query=tokens, key=None, value=None, level_start_index=0)
        best = self.class_embed(memory).amax(-1).topk(QUERIES).indices[..., None]
        query = memory.gather(1, best.expand(-1, -1, WIDTH))
        return self.decoder(query.detach(), memory), self.bbox_embed(query).sigmoid().detach()


class Dino(TopK):
    """As detrex's Deformable DETR and DINO: a ``neck`` of several maps, tokens second, two stages, detached boxes."""

    divisibility = 16

    def __init__(self):
        super().__init__()
        self.backbone = Pyramid(("p2", "p3", "p4"))
        self.neck = Neck(("p3", "p4"))
        self.transformer = TwoStage()
        self.class_embed = nn.ModuleList([nn.Linear(WIDTH, CLASSES)])
        self.bbox_embed = nn.ModuleList([nn.Linear(WIDTH, 4)])
        self.num_classes = CLASSES

    def forward(self, batched_inputs):
        images = self.preprocess_image(batched_inputs)
        hidden, reference = self.transformer(self.neck(self.backbone(images.tensor)))
        boxes = (self.bbox_embed[0](hidden) + logit(reference)).sigmoid()
        return self.finish(self.class_embed[0](hidden), boxes, images, batched_inputs)


class Sparse(Base):
    """As Sparse R-CNN: learned boxes in pixels, pooled, moved, detached, and pooled again."""

    divisibility = 16

    def __init__(self, focal=True):
        super().__init__()
        self.backbone = Pyramid(("p2", "p3", "p4"))
        self.in_features = ["p2", "p3", "p4"]
        self.use_focal = focal
        self.pooler = ROIPooler(3, [1 / 4, 1 / 8, 1 / 16], 2, "ROIAlignV2")
        self.boxes, self.features = nn.Embedding(QUERIES, 4), nn.Embedding(QUERIES, WIDTH)
        self.stages = nn.ModuleList(nn.Linear(9 * 16 + WIDTH, WIDTH) for _ in range(2))
        self.classes, self.deltas = nn.Linear(WIDTH, CLASSES + (not focal)), nn.Linear(WIDTH, 4)
        self.num_classes = CLASSES

    def forward(self, batched_inputs):
        images = self.preprocess_image(batched_inputs)
        maps = self.backbone(images.tensor)
        frames = torch.tensor([[w, h, w, h] for h, w in images.image_sizes], dtype=torch.float32)
        boxes = corners(self.boxes.weight.sigmoid())[None] * frames[:, None]
        hidden = self.features.weight.expand(len(images), -1, -1)
        for stage in self.stages:
            pooled = self.pooler([maps[name] for name in self.in_features], [Boxes(one) for one in boxes])
            pooled = pooled.flatten(1).view(len(images), QUERIES, -1)
            hidden = stage(torch.cat([pooled, hidden], -1)).tanh()
            moved = boxes + 4 * self.deltas(hidden)
            boxes = moved.detach()
        return self.finish(self.classes(hidden), moved, images, batched_inputs)

    def inference(self, box_cls, box_pred, image_sizes):
        results = []
        for logits, boxes, size in zip(box_cls, box_pred, image_sizes, strict=True):
            if self.use_focal:
                scores, index = logits.sigmoid().flatten().topk(4, sorted=False)
                queries, labels = index // CLASSES, index % CLASSES
            else:
                (scores, labels), queries = logits.softmax(-1)[:, :-1].max(-1), slice(None)
            results.append(Instances(size, scores=scores, pred_classes=labels, pred_boxes=Boxes(boxes[queries])))
        return results


class Diffusion(Sparse):
    """As DiffusionDet: boxes out of noise, moved in several steps without a graph; the detections of all steps."""

    steps = 2

    def forward(self, batched_inputs):
        images = self.preprocess_image(batched_inputs)
        return self.sample(self.backbone(images.tensor), images, batched_inputs)

    @torch.no_grad()
    def sample(self, maps, images, batched_inputs):
        boxes = corners(torch.randn(1, QUERIES, 4).sigmoid()) * torch.tensor([160.0, 128, 160, 128])
        chosen = []
        for _ in range(self.steps):
            pooled = self.pooler([maps[name] for name in self.in_features], [Boxes(boxes[0])]).flatten(1)
            hidden = self.stages[0](torch.cat([pooled, self.features.weight], -1)).tanh()[None]
            boxes = boxes + 4 * self.deltas(hidden)
            chosen += self.inference(self.classes(hidden), boxes, images.image_sizes)
        every = Instances.cat(chosen)
        keep = batched_nms(every.pred_boxes.tensor, every.scores, every.pred_classes, 0.5)
        return [
            {"instances": detector_postprocess(every[keep], x.get("height", 128), x.get("width", 160))}
            for x in batched_inputs
        ]


class Masked(nn.Module):
    """A backbone whose maps are wrapped together with their masks."""

    def __init__(self):
        super().__init__()
        self.backbone = Pyramid(("p2", "p3", "p4"))

    def forward(self, images):
        return {name: SimpleNamespace(tensors=one) for name, one in self.backbone(images.tensor).items()}


class Inner(nn.Module):
    """The whole network, which knows nothing of Detectron2."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(Masked())
        self.input_proj = nn.Conv2d(16, WIDTH, 1)
        self.transformer = Transformer()
        self.query_embed = nn.Embedding(QUERIES, WIDTH)
        self.class_embed, self.bbox_embed = nn.Linear(WIDTH, CLASSES + 1), nn.Linear(WIDTH, 4)

    def forward(self, images):
        hidden = self.transformer(self.input_proj(self.backbone(images)["p4"].tensors), self.query_embed.weight)
        return {"pred_logits": self.class_embed(hidden), "pred_boxes": self.bbox_embed(hidden).sigmoid()}


class Wrapper(Softmax):
    """As Detectron2's wrapper of DETR, with the masks' argument between boxes and sizes."""

    def __init__(self):
        super().__init__()
        self.detr = Inner()

    def inference(self, box_cls, box_pred, mask_pred, image_sizes):
        return super().inference(box_cls, box_pred, image_sizes)

    def forward(self, batched_inputs):
        images = self.preprocess_image(batched_inputs)
        output = self.detr(images)
        results = self.inference(output["pred_logits"], output["pred_boxes"], None, images.image_sizes)
        return [
            {"instances": detector_postprocess(one, x.get("height", size[0]), x.get("width", size[1]))}
            for one, x, size in zip(results, batched_inputs, images.image_sizes, strict=True)
        ]


def build(kind, **options):
    """One with random weights whose queries differ, with boxes near the middle of the image."""
    torch.manual_seed(0)
    model = kind(**options).eval()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1 if "bbox_embed" in name else 0.4)
    return model
