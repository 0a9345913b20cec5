"""The center prior against loops over cells of plain autograd's maps; when it is measured; who is refused it."""

import numpy as np
import pytest
import torch

from odam_d2.explain import build_comparison, build_explainer, center_prior
from odam_d2.explain.center_prior import DAMPING, CenterPrior, damped_inverse, noise_image
from tests.families import QueryFamily
from tests.helpers import compact_detector, given, random_input
from tests.wants import require_package

ENTRY = random_input(96, 128, seed=3)
BOXES = given((96, 128), [[20.0, 16.0, 70.0, 80.0], [60.0, 30.0, 120.0, 90.0]], [0, 1])
ATTRIBUTES = ("score", "left")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    for name, value in {"IMAGES": 2, "PREDICTIONS": 3, "CELLS": 1}.items():
        monkeypatch.setattr(center_prior, name, value)


@pytest.fixture(scope="module", params=["retinanet", "fcos"])
def model(request):
    # Its strides end at 128 pixels, which is all that the noise needs.
    return compact_detector(request.param)


def plain_maps(model, trace):
    """For each detection its level, its own cell and its (K, H, W) maps, by plain autograd."""
    level = trace.level_index[:, 0].tolist()
    leaves = {name: one.clone().requires_grad_() for name, one in trace.features.items()}
    with torch.enable_grad():
        said = trace.head.predict(leaves, trace)
        # The left side counts outward.
        scalars = {"score": said.scores, "left": -said.boxes[:, 0]}
        for row, number in enumerate(level):
            name, maps = trace.level_names[number], []
            for attribute in ATTRIBUTES:
                (gradient,) = torch.autograd.grad(scalars[attribute][row], leaves[name], retain_graph=True)
                image = int(trace.image_index[row])
                maps.append((gradient[image] * leaves[name][image]).sum(0).clamp(min=0).detach().numpy())
            place = int(trace.rows[row]) // trace.head.num_anchors
            yield number, divmod(place, maps[0].shape[1]), np.stack(maps)


def plain_factor(mean, largest):
    """(K,) 1.01 p / (p^2 + .01), p the share of the largest mean; 1 where that is nothing."""
    shares = [m / most if most else None for m, most in zip(mean.tolist(), largest.tolist(), strict=True)]
    return np.array([1.0 if share is None else 1.01 * share / (share**2 + 0.01) for share in shares])


def plain_factors(maps, reach):
    """Level -> {(row, column from the own cell): (K,) factors} from the maps of random predictions."""
    held: dict = {}
    for level, (own_y, own_x), heat in maps:
        heat = heat / heat.max((1, 2), keepdims=True).clip(1e-30)
        for y in range(heat.shape[1]):
            for x in range(heat.shape[2]):
                place = (y - own_y, x - own_x)
                if max(abs(place[0]), abs(place[1])) <= reach:
                    held.setdefault(level, {}).setdefault(place, []).append(heat[:, y, x])
    factors: dict = {}
    for level, places in held.items():
        means = {place: np.mean(values, 0) for place, values in places.items()}
        largest = np.max(list(means.values()), 0)
        factors[level] = {place: plain_factor(mean, largest) for place, mean in means.items()}
    return factors


def test_factors_and_maps_are_those_of_loops_over_autograds_maps(model):
    assert DAMPING == 0.1
    explainer = build_explainer(model, attributes=ATTRIBUTES, center_prior=True, group_norm="exact")
    found = explainer([ENTRY], [BOXES])[0]["instances"].heatmaps
    raw = build_explainer(model, attributes=ATTRIBUTES, group_norm="exact")([ENTRY], [BOXES])[0]["instances"].heatmaps
    generator = torch.Generator().manual_seed(0)
    images = [{"image": noise_image(128, generator)} for _ in range(2)]
    trace = model.random_trace(images, 3, generator)
    assert len(trace) == 2 * 3 * 5 and trace.level_index[:, 0].bincount().tolist() == [6] * 5
    # Windows of 7 x 7 cells; group norm spreads over the whole grid.
    reach = 10**6 if hasattr(model.head, "ctrness") else 3
    factors = plain_factors(plain_maps(model, trace), reach)
    of_boxes = model.trace([ENTRY], [BOXES])
    y, x, _ = of_boxes.head.cells(of_boxes)
    for row in range(len(found)):
        level, (top, left, *_) = int(of_boxes.level_index[row, 0]), found.windows[row].tolist()
        table = factors[level]
        far = [max(abs(place[axis]) for place in table) for axis in (0, 1)]
        for k, name in enumerate(ATTRIBUTES):
            window = found.window(row, name)
            expected = raw.window(row, name).clone()
            for i in range(expected.shape[0]):
                for j in range(expected.shape[1]):
                    place = (top + i - int(y[row]), left + j - int(x[row]))
                    near = tuple(int(np.clip(one, -most, most)) for one, most in zip(place, far, strict=True))
                    expected[i, j] *= float(table[near][k]) if near in table else 0.0
            assert bool(expected.any())
            torch.testing.assert_close(window, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_a_comparison_has_the_same_maps(model):
    alone = build_explainer(model, attributes=("score",), center_prior=True)([ENTRY], [BOXES])[0]["instances"].heatmaps
    both = build_comparison(model, {"hirescam": {}, "odam": {"center_prior": True}}, ("score",))
    maps = both([ENTRY], [BOXES])[0]["heatmaps"]
    torch.testing.assert_close(maps["odam"].values, alone.values, rtol=1e-4, atol=1e-6 * float(alone.values.max()))
    assert not torch.allclose(maps["odam"].to_image("score"), maps["hirescam"].to_image("score"), atol=1e-2)


def test_it_is_measured_once_and_again_when_weights_have_changed(monkeypatch):
    model, measured = compact_detector("retinanet"), []
    trace = model.random_trace
    monkeypatch.setattr(model, "random_trace", lambda *about: measured.append(1) or trace(*about))
    explainer = build_explainer(model, attributes=("score",), center_prior=True)
    first, again = (explainer([ENTRY], [BOXES])[0]["instances"].heatmaps.values for _ in range(2))
    assert len(measured) == 1 and torch.equal(first, again)
    with torch.no_grad():
        model.head.cls_score.weight.add_(0.01)
    explainer([ENTRY], [BOXES])
    assert len(measured) == 2
    explainer([ENTRY], [given((96, 128), [], [])])
    assert len(measured) == 2


def test_the_same_is_drawn_each_time():
    model = compact_detector("retinanet")
    explainer = build_explainer(model, attributes=("score",), center_prior=True)
    one, other = (CenterPrior.measure(model, explainer.heat_maps).factors for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_small_means_are_not_blown_up():
    mean = torch.tensor([[[2.0, 1.0, 0.2, 0.02, 0.0]], [[0.0] * 5]])
    # p = 1, .5, .1, .01, 0: 1.01 p / (p^2 + .01).
    expected = [1.0, 0.505 / 0.26, 0.101 / 0.02, 0.0101 / 0.0101, 0.0]
    torch.testing.assert_close(damped_inverse(mean), torch.tensor([[expected], [[1.0] * 5]]))


def test_noise_has_contrast_at_every_size():
    image = noise_image(256, torch.Generator().manual_seed(0))
    assert (image.shape, float(image.min()), float(image.max())) == ((3, 256, 256), 0.0, 255.0)
    means = [float(image.unfold(1, n, n).unfold(2, n, n).mean((3, 4)).std()) for n in (1, 4, 16, 64)]
    assert all(one > 5 for one in means)


def test_detectors_whose_windows_are_not_alike_are_refused():
    with pytest.raises(ValueError, match="`center_prior` must be False for this detector; .* OdamRCNN predicts at no"):
        build_explainer(compact_detector("faster_rcnn"), center_prior=True)
    model = compact_detector("retinanet")
    with pytest.raises(ValueError, match="`center_prior` must be False on a named layer; got True with layer 'backbon"):
        build_explainer(model, center_prior=True, layer="backbone.bottom_up.res4")
    with pytest.raises(ValueError, match=r"options of method 'gradcam' must be left out; got \['center_prior'\]"):
        build_explainer(model, "gradcam", center_prior=True)


def test_query_detectors_are_refused():
    require_package("transformers")
    with pytest.raises(ValueError, match="`center_prior` must be False .* OdamDETR predicts at no locations"):
        build_explainer(QueryFamily("RTDetrForObjectDetection").detector(), center_prior=True)
