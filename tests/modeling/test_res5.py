"""The maps of C4 heads against the detector called layer by layer."""

import pytest
import torch
from detectron2.modeling import build_model
from torchvision.ops import roi_align

from odam_d2.explain import build_explainer
from odam_d2.utils.calibration import calibrate_frozen_norms
from tests.families import R18, SMALL
from tests.helpers import given, random_input, relative_error, zoo_config

SIZE = (128, 160)  # 8 x 10 cells of res4
INPUT = random_input(*SIZE)
BOX, LABEL = [30.0, 20.0, 130.0, 100.0], 2


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    cfg = zoo_config("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml", *SMALL, *R18)
    model = build_model(cfg).eval()
    calibrate_frozen_norms(model, [INPUT])
    return model


def by_hand(model):
    """The leaf res4, and the scalars of the box: res5 runs on 14 x 14 pooled cells, and their mean is classified."""
    with torch.no_grad():
        leaf = model.backbone(model.preprocess_image([INPUT]).tensor)["res4"]
    leaf.requires_grad_()
    heads = model.roi_heads
    cells = heads.res5(roi_align(leaf, [torch.tensor([BOX])], 14, 1 / 16, 0, aligned=True))
    assert cells.shape[-2:] == (7, 7)
    logits, deltas = heads.box_predictor(cells.mean(dim=(2, 3)))
    dx, _, dw, _ = (deltas[0, 4 * LABEL : 4 * LABEL + 4] / torch.tensor([10.0, 10, 5, 5])).unbind()
    # A box 100 px wide around x = 80.
    left = -(80 + dx * 100 - 0.5 * dw.exp() * 100)
    mask = heads.mask_head.layers(cells)[0, LABEL]
    inside = mask[mask.sigmoid() > 0.5]
    assert 0 < len(inside) < mask.numel()
    return leaf, {"score": logits[0].softmax(0)[LABEL], "logit": logits[0, LABEL], "left": left, "mask": inside.mean()}


@pytest.mark.parametrize("engine", ["roi", "autograd"])
def test_maps_are_gradient_times_res4(model, engine):
    leaf, targets = by_hand(model)
    explainer = build_explainer(model, attributes=tuple(targets), engine=engine)
    found = explainer([INPUT], [given(SIZE, [BOX], [LABEL])])[0]["instances"]
    assert float(found.scores[0]) == pytest.approx(float(targets["score"]), rel=1e-5)
    for name, target in targets.items():
        (gradient,) = torch.autograd.grad(target, leaf, retain_graph=True)
        expected = (gradient * leaf.detach()).sum(1, keepdim=True).clamp(min=0)
        expected = torch.nn.functional.interpolate(expected, SIZE, mode="bilinear", align_corners=False)[0]
        assert bool(expected.any())
        assert relative_error(found.heatmaps.to_image(name, normalize=False), expected) < 1e-4, name


def test_predictions_said_again_are_those_of_detection(model):
    trace = model.trace([INPUT, random_input(96, 128, seed=1)])
    with torch.no_grad():
        said = trace.head.predict(trace.features, trace)
    assert len(trace) == 4 and trace.level_names == ("res4",)
    assert torch.allclose(said.scores, torch.cat([i.scores for i in trace.instances]), atol=1e-6)
