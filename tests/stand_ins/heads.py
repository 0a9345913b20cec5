"""RoI heads with the interfaces of other projects, on small detectors of Detectron2's own."""

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNOutputLayers, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from torch import nn
from torch.nn import functional as F

from tests.families import FAMILIES

BY_NAME = {family.name: family for family in FAMILIES}


class ZeroShot(nn.Module):
    """Classes are embeddings, which the caller may replace."""

    def __init__(self, width, classes):
        super().__init__()
        self.linear = nn.Linear(width, 8)
        self.register_buffer(
            "zs_weight", torch.cat([F.normalize(torch.randn(8, classes), dim=0), torch.zeros(8, 1)], 1)
        )

    def forward(self, x, classifier=None):
        embedded = 6 * F.normalize(self.linear(x), dim=1)
        return embedded @ (self.zs_weight if classifier is None else classifier)


class ImageLabels(FastRCNNOutputLayers):
    """As Detic's: sigmoids of all classes, a third output, and a classifier by name."""

    mult_proposal_score = True

    def forward(self, x, classifier_info=(None, None, None)):
        scores = self.cls_score(x, classifier_info[0])
        return scores, self.bbox_pred(x), self.prop_score(x)

    def predict_probs(self, predictions, proposals):
        return predictions[0].sigmoid().split([len(one) for one in proposals])

    def predict_boxes(self, predictions, proposals):
        return super().predict_boxes(predictions[:2], proposals)


class CascadeOfProposals(CascadeROIHeads):
    """As CenterNet2's and Detic's cascade: the root of the stages' mean times the proposal's score."""

    mult_proposal_score = True
    one_class_per_proposal = False

    def _forward_box(self, features, proposals, targets=None, ann_type="box", classifier_info=(None, None, None)):
        of_proposal = [p.scores if p.has("scores") else p.objectness_logits for p in proposals]
        features = [features[name] for name in self.box_in_features]
        sizes = [p.image_size for p in proposals]
        outputs, boxes = [], None
        for k in range(self.num_cascade_stages):
            if k:
                proposals = self._create_proposals_from_boxes(boxes, sizes)
            pooled = self.box_pooler(features, [p.proposal_boxes for p in proposals])
            said = self.box_predictor[k](self.box_head[k](pooled), classifier_info=classifier_info)
            boxes = self.box_predictor[k].predict_boxes(said, proposals)
            outputs.append((self.box_predictor[k], said, proposals))
        stages = [predictor.predict_probs(said, proposals) for predictor, said, proposals in outputs]
        scores = [sum(one) / len(stages) for one in zip(*stages, strict=True)]
        scores = [(one * score[:, None]) ** 0.5 for one, score in zip(scores, of_proposal, strict=True)]
        if self.one_class_per_proposal:
            scores = [one * (one == one[:, :-1].amax(1, keepdim=True)) for one in scores]
        last = self.box_predictor[0]
        return fast_rcnn_inference(
            boxes, scores, sizes, last.test_score_thresh, last.test_nms_thresh, last.test_topk_per_image
        )[0]

    def forward(self, images, features, proposals, targets=None, ann_type="box", classifier_info=(None, None, None)):
        found = self._forward_box(features, proposals, classifier_info=classifier_info)
        return self.forward_with_given_boxes(features, found), {}


class OpenVocabulary(GeneralizedRCNN):
    """As Detic's: inference of its own, which hands a classifier on; proposals have scores in [0, 1]."""

    def inference(self, batched_inputs, detected_instances=None, do_postprocess=True):
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, _ = self.proposal_generator(images, features, None)
        for one in proposals:
            one.scores = one.objectness_logits.sigmoid()
        results, _ = self.roi_heads(images, features, proposals, classifier_info=(None, None, None))
        return GeneralizedRCNN._postprocess(results, batched_inputs, images.image_sizes)


class AttentionPool(nn.Module):
    """As CLIP's: the pooled cells of a RoI attend to their mean."""

    def __init__(self, width, cells, out):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(cells + 1, width) / width**0.5)
        self.k_proj, self.q_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.c_proj = nn.Linear(width, width), nn.Linear(width, out)

    def forward(self, x):
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.positions[:, None]
        found, _ = F.multi_head_attention_forward(
            x[:1], x, x, x.shape[-1], 4, None,
            torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]), None, None, False, 0.0,
            self.c_proj.weight, self.c_proj.bias, use_separate_proj_weight=True, training=False, need_weights=False,
            q_proj_weight=self.q_proj.weight, k_proj_weight=self.k_proj.weight, v_proj_weight=self.v_proj.weight,
        )  # fmt: skip
        return found[0]


class PooledByBackbone(StandardROIHeads):
    """As RegionCLIP's: the last part of the backbone and its attention pool are handed over at each call."""

    def forward(self, images, features, proposals, targets=None, res5=None, attnpool=None):
        pooled = self.box_pooler(
            [features[name] for name in self.box_in_features], [p.proposal_boxes for p in proposals]
        )
        found, _ = self.box_predictor.inference(self.box_predictor(attnpool(res5(pooled))), proposals)
        return found, {}


class Clip(GeneralizedRCNN):
    def inference(self, batched_inputs, detected_instances=None, do_postprocess=True):
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, _ = self.proposal_generator(images, features, None)
        results, _ = self.roi_heads(
            images, features, proposals, res5=self.backbone.layer4, attnpool=self.backbone.attnpool
        )
        return GeneralizedRCNN._postprocess(results, batched_inputs, images.image_sizes)


class Decoupled(GeneralizedRCNN):
    """As DeFRCN: scaled maps for proposals and heads, with gradients scaled in training."""

    def inference(self, batched_inputs, detected_instances=None, do_postprocess=True):
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        for_proposals = {name: 0.9 * level + 0.1 for name, level in features.items()}
        proposals, _ = self.proposal_generator(images, for_proposals, None)
        for_heads = {name: 1.1 * level + 0.1 for name, level in features.items()}
        results, _ = self.roi_heads(images, for_heads, proposals, None)
        return GeneralizedRCNN._postprocess(results, batched_inputs, images.image_sizes)


class MaskScoring(StandardROIHeads):
    """As Mask Scoring R-CNN: a head behind the boxes that rescores them."""

    def forward(self, images, features, proposals, targets=None):
        found, _ = super().forward(images, features, proposals, targets)
        pooled = self.box_pooler([features[name] for name in self.box_in_features], [one.pred_boxes for one in found])
        quality = self.maskiou_head(pooled.flatten(1)).sigmoid()[:, 0]
        for one, factor in zip(found, quality.split([len(one) for one in found]), strict=True):
            one.scores = one.scores * factor
        return found, {}


class FewShot(nn.Module):
    """As FsDet's: heads of another library's make, whose classes are cosines."""

    def __init__(self, heads):
        super().__init__()
        self.box_pooler, self.box_head, self.names = heads.box_pooler, heads.box_head, heads.box_in_features
        width = heads.box_predictor.cls_score.in_features
        self.cls_score, self.bbox_pred = nn.Linear(width, 6, bias=False), nn.Linear(width, 4)
        self.transform = heads.box_predictor.box2box_transform

    def forward(self, images, features, proposals, targets=None):
        pooled = self.box_pooler([features[name] for name in self.names], [p.proposal_boxes for p in proposals])
        hidden = self.box_head(pooled)
        weight = F.normalize(self.cls_score.weight, dim=1)
        scores = (5 * F.normalize(hidden, dim=1) @ weight.T).softmax(1)
        boxes = self.transform.apply_deltas(
            self.bbox_pred(hidden), torch.cat([p.proposal_boxes.tensor for p in proposals])
        )
        counts = [len(p) for p in proposals]
        sizes = [p.image_size for p in proposals]
        return fast_rcnn_inference(boxes.split(counts), scores.split(counts), sizes, 0.0, 0.5, 2)[0], {}


class Branches(StandardROIHeads):
    """As unbiased teachers': further arguments, which change what is computed in training."""

    def forward(self, images, features, proposals, targets=None, compute_loss=True, branch="", compute_val_loss=False):
        found = self._forward_box(features, proposals, compute_loss, compute_val_loss, branch)
        return self.forward_with_given_boxes(features, found), {}

    def _forward_box(self, features, proposals, compute_loss=True, compute_val_loss=False, branch=""):
        levels = [features[name] for name in self.box_in_features]
        hidden = self.box_head(self.box_pooler(levels, [p.proposal_boxes for p in proposals]))
        return self.box_predictor.inference(self.box_predictor(hidden), proposals)[0]


class Teacher(GeneralizedRCNN):
    def forward(self, batched_inputs, branch="supervised", given_proposals=None, val_mode=False):
        return self.inference(batched_inputs)


def few_shot():
    """A detector whose heads are not Detectron2's."""
    model = of_classes(GeneralizedRCNN)
    model.roi_heads = FewShot(model.roi_heads)
    return model.eval()


def detic(**options):
    """A cascade with zero-shot classifiers and scores of proposals."""
    torch.manual_seed(0)
    model = BY_NAME["cascade"].pair()[1]
    model.__class__ = OpenVocabulary
    heads = model.roi_heads
    heads.__class__ = CascadeOfProposals
    for name, value in options.items():
        setattr(heads, name, value)
    for predictor in heads.box_predictor:
        width = predictor.cls_score.in_features
        predictor.__class__ = ImageLabels
        predictor.cls_score, predictor.prop_score = ZeroShot(width, heads.num_classes), nn.Linear(width, 6)
    return model.eval()


def clip(mixing=False):
    """A detector whose heads are parts of its backbone."""
    torch.manual_seed(0)
    model = BY_NAME["faster_rcnn_fpn"].pair()[1]
    model.__class__, model.roi_heads.__class__ = Clip, PooledByBackbone
    model.backbone.layer4 = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())
    model.backbone.attnpool = AttentionPool(32, 49, model.roi_heads.box_predictor.cls_score.in_features)
    if mixing:
        model.backbone.attnpool.register_forward_hook(lambda _module, _inputs, output: output - output.mean(0))
    return model.eval()


def of_classes(kind, heads=StandardROIHeads, name="faster_rcnn_fpn"):
    """A detector with the weights of a stock one, of other classes."""
    torch.manual_seed(0)
    model = BY_NAME[name].pair()[1]
    model.__class__, model.roi_heads.__class__ = kind, heads
    if heads is MaskScoring:
        model.roi_heads.maskiou_head = nn.Linear(32 * 49, 1)
        nn.init.normal_(model.roi_heads.maskiou_head.weight, std=0.02)
    return model.eval()
