"""A torchvision FasterRCNN with the weights of a Detectron2 one, for tools that know torchvision's alone.

The backbone is Detectron2's; proposals, heads, suppression and transform are torchvision's. Two parts are kept as
Detectron2 has them: anchors (torchvision rounds them) and RoIAlign (torchvision's isn't `aligned`). In an image that is
resized already, both find the same boxes and scores up to rounding.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.modeling import GeneralizedRCNN, StandardROIHeads
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNConvFCHead
from detectron2.structures import Boxes
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

# torchvision's name of the level that proposals are made on and boxes are not pooled from.
POOL = "pool"


def twin_of(model: nn.Module, min_size: int, max_size: int) -> FasterRCNN:
    """The torchvision detector with the weights of a Detectron2 detector.

    Args:
        model: a ``GeneralizedRCNN`` with ``RPN``, ``StandardROIHeads`` and a box head of two fully connected layers.
        min_size: what the transform brings the shorter side of an image to, in pixels.
        max_size: what the longer side must not exceed, in pixels.

    Returns:
        The detector in eval mode. It takes (3, h, w) RGB in [0, 1], as all of torchvision's; label k + 1 is
        Detectron2's class k. ``backbone.levels.0`` and so on are the levels that boxes are pooled from, finest first.

    Raises:
        ValueError: if a part has no counterpart in torchvision.
    """
    _require_counterparts(model)
    rpn, heads = model.proposal_generator, model.roi_heads
    pooled = list(heads.box_in_features)
    names = {name: str(k) for k, name in enumerate(pooled)} | {name: POOL for name in rpn.in_features[len(pooled) :]}
    channels = model.backbone.output_shape()[pooled[0]].channels
    bgr = model.input_format == "BGR"
    mean, std = (
        (values.flatten().flip(0) if bgr else values.flatten()) / 255 for values in (model.pixel_mean, model.pixel_std)
    )
    twin = FasterRCNN(
        NamedLevels(model.backbone, names, channels, bgr),
        min_size=min_size,
        max_size=max_size,
        image_mean=mean.tolist(),
        image_std=std.tolist(),
        size_divisible=model.backbone.size_divisibility,
        rpn_anchor_generator=Anchors(rpn.anchor_generator),
        rpn_head=_rpn_head(rpn.rpn_head, channels, rpn.anchor_generator.num_anchors[0]),
        rpn_pre_nms_top_n_test=rpn.pre_nms_topk[False],
        rpn_post_nms_top_n_test=rpn.post_nms_topk[False],
        rpn_nms_thresh=rpn.nms_thresh,
        box_roi_pool=Pooler(heads.box_pooler, [names[name] for name in pooled]),
        box_head=_box_head(heads.box_head),
        box_predictor=_box_predictor(heads.box_predictor),
        box_score_thresh=heads.box_predictor.test_score_thresh,
        box_nms_thresh=heads.box_predictor.test_nms_thresh,
        box_detections_per_img=heads.box_predictor.test_topk_per_image,
        bbox_reg_weights=heads.box_predictor.box2box_transform.weights,
    )
    return twin.to(model.device).eval()


class NamedLevels(nn.Module):
    """A Detectron2 backbone under torchvision's names, each level behind a module of its own, which a hook can hear.

    Args:
        body: Detectron2's backbone.
        names: torchvision's name of each of its levels.
        out_channels: of each level.
        bgr: whether `body` takes BGR.
    """

    def __init__(self, body: nn.Module, names: dict[str, str], out_channels: int, bgr: bool):
        super().__init__()
        self.body, self.names, self.out_channels, self.bgr = body, names, out_channels, bgr
        self.levels = nn.ModuleDict({name: Level() for name in names.values()})

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Levels by torchvision's names."""
        features = self.body(images.flip(1) if self.bgr else images)
        return OrderedDict((name, self.levels[name](features[own])) for own, name in self.names.items())


class Level(nn.Module):
    """Hands a level on as a tensor of its own: what a later level is made of is not behind it."""

    def forward(self, features: Tensor) -> Tensor:
        """The same values."""
        return features.view_as(features)


class Anchors(AnchorGenerator):
    """Detectron2's anchors in torchvision's place for them."""

    def __init__(self, anchors: Any):
        super().__init__(sizes=((1,),) * len(anchors.num_anchors), aspect_ratios=((1.0,),) * len(anchors.num_anchors))
        self.anchors = anchors

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """The anchors of all levels, for each image."""
        every = torch.cat([boxes.tensor for boxes in self.anchors(feature_maps)])
        return [every for _ in image_list.image_sizes]


class Pooler(MultiScaleRoIAlign):
    """Detectron2's pooler in torchvision's place for it."""

    def __init__(self, pooler: Any, names: Sequence[str]):
        super().__init__(list(names), pooler.output_size, sampling_ratio=0)
        self.pooler = pooler

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """(R, C, 7, 7) features of the boxes of all images."""
        del image_shapes
        return self.pooler([x[name] for name in self.featmap_names], [Boxes(one) for one in boxes])


def _rpn_head(head: StandardRPNHead, channels: int, anchors: int) -> RPNHead:
    twin = RPNHead(channels, anchors)
    _copy(head.conv, twin.conv[0][0])
    _copy(head.objectness_logits, twin.cls_logits)
    _copy(head.anchor_deltas, twin.bbox_pred)
    return twin


def _box_head(head: FastRCNNConvFCHead) -> TwoMLPHead:
    first, second = head.fcs
    twin = TwoMLPHead(first.in_features, first.out_features)
    _copy(first, twin.fc6)
    _copy(second, twin.fc7)
    return twin


def _box_predictor(predictor: Any) -> FastRCNNPredictor:
    """Detectron2's background is the last class, torchvision's the first, with sides that nobody asks for."""
    classes = predictor.num_classes
    twin = FastRCNNPredictor(predictor.cls_score.in_features, classes + 1)
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(twin.cls_score, name).copy_(getattr(predictor.cls_score, name).roll(1, 0))
            sides = getattr(twin.bbox_pred, name).zero_()
            sides[4:] = getattr(predictor.bbox_pred, name)
    return twin


def _copy(source: nn.Module, target: nn.Module) -> None:
    target.load_state_dict(source.state_dict())


def _require_counterparts(model: nn.Module) -> None:
    """Raises ValueError where torchvision has no such part; the message names the first."""
    rpn, heads = getattr(model, "proposal_generator", None), getattr(model, "roi_heads", None)
    head, predictor = getattr(heads, "box_head", None), getattr(heads, "box_predictor", None)
    asked = {
        "a GeneralizedRCNN": lambda: isinstance(model, GeneralizedRCNN),
        "an RPN with one 3 x 3 convolution": lambda: (
            isinstance(rpn, RPN) and isinstance(rpn.rpn_head, StandardRPNHead)
            and isinstance(rpn.rpn_head.conv, nn.Conv2d) and rpn.rpn_head.anchor_deltas.out_channels % 4 == 0
        ),
        "StandardROIHeads without cascade": lambda: (
            isinstance(heads, StandardROIHeads) and not isinstance(heads, CascadeROIHeads)
        ),
        "boxes pooled from the levels of the RPN, or from all but the last": lambda: (
            list(heads.box_in_features) == list(rpn.in_features)[: len(heads.box_in_features)]
            and len(rpn.in_features) <= len(heads.box_in_features) + 1
        ),
        "a box head of two fully connected layers": lambda: (
            isinstance(head, FastRCNNConvFCHead) and not head.conv_norm_relus and len(head.fcs) == 2
            and head.fcs[0].out_features == head.fcs[1].out_features
        ),
        "softmax scores and sides for each class": lambda: (
            not predictor.use_sigmoid_ce and type(predictor.box2box_transform) is Box2BoxTransform
            and predictor.bbox_pred.out_features == 4 * predictor.num_classes
        ),
    }  # fmt: skip
    for what, there in asked.items():
        if not there():
            raise ValueError(
                f"`model` must have {what}, which torchvision has too; got {type(model).__name__} without: give a "
                "plain Faster R-CNN, or a torchvision detector of your own"
            )
