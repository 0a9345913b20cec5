"""The mask branch as a source of its own: maps of the attribute ``mask`` against the branch called by hand."""

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

SIZE = (128, 160)
INPUT = random_input(*SIZE)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = build_model(zoo_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", *SMALL, *R18)).eval()
    calibrate_frozen_norms(model, [INPUT])
    return model


def mask_logits(model, features, box, label):
    """(28, 28) of one box: 14 x 14 cells pooled from the level that FPN's rule names, through the mask head."""
    side = math.sqrt(float((box[2] - box[0]) * (box[3] - box[1])))
    level = min(max(math.floor(4 + math.log2(side / 224 + 1e-8)), 2), 5)
    pooled = roi_align(features[f"p{level}"], [box[None]], 14, 1 / 2**level, 0, aligned=True)
    return model.roi_heads.mask_head.layers(pooled)[0, label]


def image_of(model, box, label):
    """The map of the mean logit over the cells taken for the object, in the image."""
    with torch.no_grad():
        features = model.backbone(model.preprocess_image([INPUT]).tensor)
    leaves = {name: feature.requires_grad_() for name, feature in features.items()}
    logits = mask_logits(model, leaves, box, label)
    inside = logits[logits.sigmoid() > 0.5]
    target = inside.mean() if len(inside) else logits.mean()
    total = torch.zeros(1, *SIZE)
    for leaf in leaves.values():
        (gradient,) = torch.autograd.grad(target, leaf, retain_graph=True, materialize_grads=True)
        signed = (gradient * leaf.detach()).sum(1, keepdim=True).clamp(min=0)
        total += interpolate(signed, SIZE, mode="bilinear", align_corners=False)[0]
    return total, len(inside) / logits.numel()


@pytest.mark.parametrize("engine", ["roi", "autograd"])
def test_mask_maps_of_detections_are_pooled_at_the_predicted_boxes(model, engine):
    found = build_explainer(model, attributes=("mask", "score"), engine=engine)([INPUT])[0]["instances"]
    maps = found.heatmaps.to_image("mask", normalize=False)
    assert len(found) == 2
    for index, (box, label) in enumerate(zip(found.pred_boxes.tensor, found.pred_classes.tolist(), strict=True)):
        expected, share = image_of(model, box, label)
        assert 0 < share < 1 and bool(expected.any())
        assert relative_error(maps[index : index + 1], expected) < 1e-4


@pytest.mark.parametrize("engine", ["roi", "autograd"])
@pytest.mark.parametrize("shift, share", [(-50.0, 0.0), (50.0, 1.0)])
def test_masks_that_take_nothing_or_everything(model, engine, shift, share):
    bias = model.roi_heads.mask_head.predictor.bias
    boxes = given(SIZE, [[20, 10, 60, 50], [0, 0, 160, 128]], [4, 1])
    with torch.no_grad():
        bias += shift
    try:
        found = build_explainer(model, attributes=("mask",), engine=engine)([INPUT], [boxes])[0]["instances"]
        maps = found.heatmaps.to_image("mask", normalize=False)
        for index, (box, label) in enumerate(zip(boxes.pred_boxes.tensor, boxes.pred_classes.tolist(), strict=True)):
            expected, inside = image_of(model, box, label)
            assert inside == share and bool(expected.any())
            assert relative_error(maps[index : index + 1], expected) < 1e-4
    finally:
        with torch.no_grad():
            bias -= shift


def test_the_mask_branch_is_not_asked_for_other_attributes(model):
    calls = []
    handle = model.roi_heads.mask_head.register_forward_hook(lambda *_: calls.append(1))
    try:
        boxes = [given(SIZE, [[20, 10, 60, 50]], [4])]
        build_explainer(model)([INPUT], boxes)
        assert calls == []
    finally:
        handle.remove()


def test_sources(model):
    trace = model.trace([INPUT], [given(SIZE, [[20, 10, 60, 50]], [4])])
    assert trace.level_index.tolist() == [[0, 0]]
    assert [trace.sources_of(name) for name in ("score", "left", "mask")] == [(0,), (0,), (1,)]
