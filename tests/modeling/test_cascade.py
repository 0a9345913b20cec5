"""The cascade's maps against its three stages called one by one."""

import math

import pytest
import torch
from detectron2.modeling import build_model
from torch.nn.functional import interpolate
from torchvision.ops import roi_align

from odam_d2.explain import build_explainer
from odam_d2.utils.calibration import calibrate_frozen_norms
from tests.families import R18, SMALL
from tests.helpers import given, random_input, relative_error, zoo_config

SIZE = (256, 288)  # multiples of 32: no padding
INPUT = random_input(*SIZE)
BOX, LABEL = [100.0, 90.0, 180.0, 170.0], 3
# Detectron2's weights of the regression deltas, by stage.
WEIGHTS = ((10.0, 10, 5, 5), (20.0, 20, 10, 10), (30.0, 30, 15, 15))


@pytest.fixture(scope="module")
def model():
    """A cascade that doubles each box: a square of 80 px is read from p2, then from p3, and the image from p4."""
    torch.manual_seed(0)
    cfg = zoo_config("Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml", *SMALL, *R18, "MODEL.MASK_ON", False)
    model = build_model(cfg).eval()
    calibrate_frozen_norms(model, [INPUT])
    for predictor, weights in zip(model.roi_heads.box_predictor, WEIGHTS, strict=True):
        predictor.bbox_pred.bias.data[2:] = math.log(2) * weights[2]
    return model


def by_hand(model):
    """Leaves p2 .. p5 by stride; the three stages' boxes, levels' strides, logits (C,); the last box, decoded."""
    with torch.no_grad():
        features = model.backbone(model.preprocess_image([INPUT]).tensor)
    leaves = {2**k: features[f"p{k}"].requires_grad_() for k in (2, 3, 4, 5)}
    box, boxes, strides, logits = torch.tensor(BOX), [], [], []
    for stage, weights in enumerate(WEIGHTS):
        # FPN's rule: a box of 224 px is read from p4, one of half that size from p3.
        level = math.floor(4 + math.log2(math.sqrt(float((box[2] - box[0]) * (box[3] - box[1]))) / 224 + 1e-8))
        stride = 2 ** min(max(level, 2), 5)
        pooled = roi_align(leaves[stride], [box[None]], 7, 1 / stride, 0, aligned=True)
        said, deltas = model.roi_heads.box_predictor[stage](model.roi_heads.box_head[stage](pooled))
        boxes.append(box)
        strides.append(stride)
        logits.append(said[0])
        dx, dy, dw, dh = deltas[0] / torch.tensor(weights)
        width, height = box[2] - box[0], box[3] - box[1]
        x, y = box[0] + width / 2 + dx * width, box[1] + height / 2 + dy * height
        width, height = width * dw.exp(), height * dh.exp()
        decoded = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        # The next stage looks at the clipped box, as a constant.
        box = torch.minimum(decoded.detach().clamp(min=0), torch.tensor([SIZE[1], SIZE[0]] * 2))
    return leaves, boxes, strides, logits, decoded


def image_of(target, leaves, cut_cells=False):
    """Gradient times features on every level, each brought to the image, added, and only then cut at zero.

    With `cut_cells` also before: the paper's rule, which holds where a single level speaks.
    """
    total = torch.zeros(1, *SIZE)
    for leaf in leaves.values():
        (gradient,) = torch.autograd.grad(target, leaf, retain_graph=True, materialize_grads=True)
        signed = (gradient * leaf.detach()).sum(1, keepdim=True)
        signed = signed.clamp(min=0) if cut_cells else signed
        total += interpolate(signed, SIZE, mode="bilinear", align_corners=False)[0]
    return total.clamp(min=0)


@pytest.mark.parametrize("engine", ["roi", "autograd"])
def test_maps_are_those_of_three_stages(model, engine):
    leaves, boxes, strides, logits, decoded = by_hand(model)
    assert strides == [4, 8, 16]
    explainer = build_explainer(model, attributes=("score", "logit", "left", "y2"), engine=engine)
    found = explainer([INPUT], [given(SIZE, [BOX], [LABEL])])[0]["instances"]
    score = torch.stack([said.softmax(0)[LABEL] for said in logits]).mean()
    assert float(found.scores[0]) == pytest.approx(float(score), rel=1e-5)
    targets = {"score": score, "logit": torch.stack(logits)[:, LABEL].mean(), "left": -decoded[0], "y2": decoded[3]}
    for name, target in targets.items():
        expected = image_of(target, leaves, cut_cells=name in ("left", "y2"))
        assert bool(expected.any())
        assert relative_error(found.heatmaps.to_image(name, normalize=False), expected) < 1e-4, name
    # A cut before the sum would be another map.
    assert found.heatmaps.strides[:, 0].tolist() == [4.0, 8.0, 16.0] and bool((found.heatmaps.values < 0).any())


def test_the_sum_is_cut_not_its_parts(model):
    leaves, _, _, logits, _ = by_hand(model)
    score = torch.stack([said.softmax(0)[LABEL] for said in logits]).mean()
    assert relative_error(image_of(score, leaves, cut_cells=True), image_of(score, leaves)) > 1e-2


def test_the_trace_knows_boxes_and_levels_of_all_stages(model):
    _, boxes, _, _, _ = by_hand(model)
    trace = model.trace([INPUT], [given(SIZE, [BOX], [LABEL])])
    assert trace.level_index.tolist() == [[0, 1, 2]]
    assert [trace.sources_of(name) for name in ("score", "logit", "left", "x2")] == [(0, 1, 2), (0, 1, 2), (2,), (2,)]
    for stage, box in zip(trace.head.stages, boxes, strict=True):
        assert torch.allclose(stage.boxes[0], box, atol=1e-3)


def test_predictions_said_again_are_those_of_detection(model):
    inputs = [INPUT, random_input(128, 160, seed=1)]
    trace = model.trace(inputs)
    with torch.no_grad():
        said = trace.head.predict(trace.features, trace)
    assert len(trace) == 4
    assert torch.allclose(said.scores, torch.cat([i.scores for i in trace.instances]), atol=1e-6)
    sizes = torch.tensor(trace.image_sizes)[trace.image_index].flip(1).repeat(1, 2)
    assert torch.allclose(torch.minimum(said.boxes.clamp(min=0), sizes), trace.boxes, atol=1e-2)
