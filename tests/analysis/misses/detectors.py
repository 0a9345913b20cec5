"""Detectors of three classes that say what they are told to, and annotated objects, for tests of misses.

Images are 96 x 128 pixels. Scores are those of three classes; with a softmax, background's follows them.
"""

from functools import cache
from types import SimpleNamespace

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.structures import Boxes, Instances
from torch import nn

from odam_d2.evaluation import TrueObjects
from odam_d2.meta_arch import OdamDETR
from odam_d2.modeling.query_architecture import find_architecture
from tests.helpers import compact_detector
from tests.stand_ins import fcos, heads, queries
from tests.stand_ins.backbones import Pyramid

SIZE = (96, 128)
BLACK = {"image": torch.zeros(3, *SIZE), "height": SIZE[0], "width": SIZE[1]}


def objects(boxes, classes, size=SIZE):
    """Annotated objects, whose ids are letters."""
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    ids = [chr(ord("a") + k) for k in range(len(boxes))]
    return TrueObjects(size, boxes, torch.tensor(classes, dtype=torch.int64), ids, [None] * len(ids), {})


class Fixed(nn.Module):
    """Says one thing after the other, again and again, whatever it is given."""

    def __init__(self, *says):
        super().__init__()
        self.says, self.turn = says, -1

    def forward(self, *_args, **_kwargs):
        self.turn = (self.turn + 1) % len(self.says)
        return self.says[self.turn]


class FixedRows(nn.Module):
    """Says the same of the proposals of each image."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def forward(self, pooled):
        return self.rows.repeat(len(pooled) // max(1, len(self.rows)), 1)


class FixedProposals(nn.Module):
    """Proposes the same boxes in each image, with objectness logits 0, -1, -2 ..."""

    def __init__(self, boxes):
        super().__init__()
        self.boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)

    def forward(self, images, _features, _targets=None):
        found = [Instances(tuple(map(int, size))) for size in images.image_sizes]
        for one in found:
            one.proposal_boxes = Boxes(self.boxes.clone())
            one.objectness_logits = -torch.arange(len(self.boxes), dtype=torch.float32)
        return found, {}


@cache
def base(kind):
    """A detector whose parts are replaced; built once, since all that is replaced is replaced each time."""
    if kind == "own_two_stage":
        model = heads.of_classes(GeneralizedRCNN, heads.Branches)
        model.roi_heads.num_classes = 3
        return model
    return compact_detector(kind)


def two_stage(boxes, scores, moves=None, kind="faster_rcnn", threshold=0.05, most=10, nms=0.5):
    """A two-stage detector.

    Args:
        boxes: [proposal] XYXY.
        scores: [proposal] of three classes and background, which add up to 1.
        moves: [stage][proposal] dx, dy in parts of the proposal's size; none where nothing moves.
        kind: ``faster_rcnn`` (each class has its own box, which are all the same), ``cascade_rcnn``, or ``own`` for
            heads of somebody's own.
    """
    model = base("own_two_stage" if kind == "own" else kind)
    model.proposal_generator = FixedProposals(boxes)
    predictors = model.roi_heads.box_predictor
    for number, predictor in enumerate(predictors if isinstance(predictors, nn.ModuleList) else [predictors]):
        predictor.test_score_thresh, predictor.test_nms_thresh = threshold, nms
        predictor.test_topk_per_image = most
        deltas = torch.zeros(len(boxes), 4)
        if moves is not None:
            deltas[:, :2] = torch.tensor(moves[number]) * torch.tensor(predictor.box2box_transform.weights[:2])
        predictor.cls_score = FixedRows(torch.tensor(scores, dtype=torch.float32).view(-1, 4).log())
        predictor.bbox_pred = FixedRows(deltas if kind == "cascade_rcnn" else deltas.repeat(1, 3))
    return model


def one_stage(kind, said, moved=(0.0, 0.0, 0.0, 0.0), threshold=0.05, topk=100, most=10, nms=0.5):
    """A one-stage detector with nothing to say but at some places.

    Args:
        kind: ``retinanet`` (nine anchors a cell), ``fcos``, or ``own`` for a head in AdelaiDet's manner.
        said: [(level, row, column, anchor, class, score, four deltas)].
        moved: the deltas elsewhere.
    """
    if kind == "own":
        model = fcos.build(threshold=threshold, topk=most, pre_topk=topk, scales=False)
        model.proposal_generator.fcos_outputs.nms_thresh = nms
        shapes = [(24, 32), (12, 16), (6, 8)]
    else:
        model = base(kind)
        model.test_score_thresh, model.test_topk_candidates, model.test_nms_thresh = threshold, topk, nms
        model.max_detections_per_image = most
        levels = model.backbone(model.preprocess_image([BLACK]).tensor)
        shapes = [tuple(levels[name].shape[-2:]) for name in model.head_in_features]
    anchors = 9 if kind == "retinanet" else 1
    classes = 4 if kind == "own" else 3
    logits = [torch.full((1, anchors, classes, *shape), -20.0) for shape in shapes]
    deltas = [torch.tensor(moved).view(1, 1, 4, 1, 1).expand(1, anchors, 4, *shape).clone() for shape in shapes]
    centerness = [torch.full((1, 1, *shape), 30.0) for shape in shapes]
    for level, row, column, anchor, label, score, delta in said:
        # Of FCOS the root of the class' and the centerness', which is 1 here.
        score = torch.tensor(score if kind == "retinanet" else score**2)
        logits[level][0, anchor, label, row, column] = score.logit()
        deltas[level][0, anchor, :, row, column] = torch.tensor(delta)
    logits, deltas = ([one.flatten(1, 2) for one in maps] for maps in (logits, deltas))
    if kind == "own":
        head = model.proposal_generator.fcos_head
        head.cls_logits, head.bbox_pred, head.ctrness = Fixed(*logits), Fixed(*deltas), Fixed(*centerness)
        head.cls_logits.out_channels = classes
    else:
        model.head = Fixed((logits, deltas) if kind == "retinanet" else (logits, deltas, centerness))
    return model


def as_fractions(boxes):
    """Centres and sizes as fractions of the image, from [..., 4] corners."""
    corners = torch.tensor(boxes, dtype=torch.float32)
    frame = torch.tensor([SIZE[1], SIZE[0]] * 2, dtype=torch.float32)
    return torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1) / frame


class FixedNetwork(nn.Module):
    """A network of transformers that gives what it is told to."""

    def __init__(self, output):
        super().__init__()
        self.output, self.scale = output, nn.Parameter(torch.ones(()))

    def forward(self, **_kwargs):
        return self.output


class FixedQueries(queries.TopK):
    """A query detector of another project, whose ``inference`` shows no settings."""

    def __init__(self, logits, boxes, most):
        super().__init__()
        self.backbone, self.num_classes = Pyramid(("p2",)), 3
        self.logits, self.boxes = logits, boxes
        self.select_box_nums_for_evaluation = min(most, logits.numel())

    def forward(self, batched_inputs):
        images = self.preprocess_image(batched_inputs)
        nothing = 0 * self.backbone(images.tensor)["p2"].sum()
        return self.finish(self.logits + nothing, self.boxes + nothing, images, batched_inputs)


class FixedSoftmax(FixedQueries, queries.Softmax):
    """The same, one class a query."""

    inference = queries.Softmax.inference


def query(kind, scores, layers, threshold=0.05, most=10, tokens=None):
    """A query detector.

    Args:
        kind: ``RTDetr``, ``Detr`` (a softmax, so that scores hold background's), ``own`` or ``own_softmax``.
        scores: [query] of three classes, with a softmax and background.
        layers: [layer][query] boxes; the first are RT-DETR's encoder's, other kinds have but one layer.
        tokens: what RT-DETR's queries were chosen among: [token] boxes, [token] scores of three classes.
    """
    said = torch.tensor(scores, dtype=torch.float32)
    logits = said.log() if kind in ("Detr", "own_softmax") else said.logit()
    boxes = [as_fractions(one)[None] for one in layers]
    if kind.startswith("own"):
        return (FixedSoftmax if kind == "own_softmax" else FixedQueries)(logits[None], boxes[-1], most).eval()
    output = SimpleNamespace(logits=logits[None], pred_boxes=boxes[-1])
    if kind == "RTDetr":
        places, values = tokens or (layers[0], scores)
        output.init_reference_points = boxes[0].logit()
        output.intermediate_reference_points = torch.stack(boxes[1:], 1)
        output.enc_outputs_coord_logits = as_fractions(places)[None].logit()
        output.enc_outputs_class = torch.tensor(values)[None].logit()
    return OdamDETR(
        network=FixedNetwork(output), architecture=find_architecture(f"{kind}ForObjectDetection"),
        pixel_mean=(0.0,) * 3, pixel_std=(1.0,) * 3, score_threshold=threshold, max_detections=most,
        labels=(0, 1, 2), layer="encoder",
    ).eval()  # fmt: skip
