"""CallableDetector on several layers: maps of one level, of two and of none, against sums worked out by hand."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from odam_d2 import OdamPredictor
from odam_d2.explain import build_comparison, build_explainer
from odam_d2.meta_arch import CallableDetector
from tests.explain.test_base import assert_unchanged, state_of
from tests.helpers import ROUNDING, given, random_input, relative_error

LAYERS = ["levels.0", "levels.1"]


def mean(size):
    """A convolution without overlap that gives the mean brightness of `size` x `size` pixels, in buffers alone."""
    layer = nn.Conv2d(1, 1, size, size, bias=False)
    weight = torch.full_like(layer.weight, 1 / size**2).detach()
    del layer.weight
    layer.register_buffer("weight", weight)
    return layer


class TwoLevels(nn.Module):
    """Images of 8 x 8 px seen on a level f of 2 x 2 cells and on a level c of one.

    | row | class | score | x2 |
    |---|---|---|---|
    | 0 | 3 | .5 f00 | 4 c |
    | 1 | 5 | .5 f01 + .25 c | 8 f11 + 0 c |
    | 2 | 3 | c - .5 f10 | 4 |
    | 3 | 5 | .25 | 4 |
    """

    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList([mean(4), mean(8)])
        self.unused = nn.Identity()

    def forward(self, batched_inputs):
        images = torch.stack([x["image"] for x in batched_inputs])
        return [self.said(fine[0], coarse[0, 0, 0]) for fine, coarse in zip(*(level(images) for level in self.levels))]

    @staticmethod
    def said(f, c):
        scores = torch.stack([0.5 * f[0, 0], 0.5 * f[0, 1] + 0.25 * c, c - 0.5 * f[1, 0], c.new_tensor(0.25)])
        right = torch.stack([4 * c, 8 * f[1, 1] + 0 * c, c.new_tensor(4.0), c.new_tensor(4.0)])
        boxes = torch.stack([torch.zeros(4), torch.zeros(4), right, torch.full((4,), 8.0)], 1)
        return {"boxes": boxes, "scores": scores, "classes": torch.tensor([3, 5, 3, 5]), "logits": 2 * scores}


def image(*cells, size=None):
    """An image of 8 x 8 px whose four quarters have these brightnesses."""
    pixels = torch.tensor(cells, dtype=torch.float32).view(1, 2, 2).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return {"image": pixels, **({"height": size[0], "width": size[1]} if size else {})}


# f = .8 .4 / .6 1, and c, their mean, is .7.
IMAGE = image(0.8, 0.4, 0.6, 1.0)


def detector(net=None, **options):
    options = {"layers": LAYERS, "strides": [4, 8], "frame": "input", **options}
    return CallableDetector(net or TwoLevels(), **options).eval()


def at_cells(maps, attribute):
    """(R, 2, 2): raw maps at the centres of the four quarters, which are those of the fine level's cells."""
    return maps.to_image(attribute, normalize=False, size=(2, 2))


def test_maps_of_one_level_of_two_and_of_none():
    found = build_explainer(detector(), attributes=("score", "right"))([IMAGE])[0]["instances"]
    assert torch.allclose(found.scores, torch.tensor([0.4, 0.375, 0.4, 0.25]))
    expected = torch.tensor(
        [
            [[0.4, 0.0], [0.0, 0.0]],  # .5 f00
            [[0.175, 0.2 + 0.175], [0.175, 0.175]],  # .25 c everywhere, and .5 f01 where that is
            [[0.7, 0.7], [0.7 - 0.3, 0.7]],  # c everywhere, less .5 f10
            [[0.0, 0.0], [0.0, 0.0]],
        ]
    )
    assert torch.allclose(at_cells(found.heatmaps, "score"), expected, atol=1e-6)
    right = torch.tensor([[[2.8, 2.8], [2.8, 2.8]], [[0.0, 0.0], [0.0, 8.0]]])
    assert torch.allclose(at_cells(found.heatmaps, "right")[:2], right, atol=1e-6)
    # Constant sides: gradients of zero, no errors.
    assert not bool(at_cells(found.heatmaps, "right")[2:].any())
    # Row 0 has its score on one level and its side on the other, so that it has a window on both.
    assert torch.bincount(found.heatmaps.owners).tolist() == [2, 2, 2, 1]
    assert found.heatmaps.strides[:2].tolist() == [[4.0, 4.0], [8.0, 8.0]]


def test_a_prediction_of_one_level_has_one_window():
    maps = build_explainer(detector(), attributes=("score",))([IMAGE])[0]["instances"].heatmaps
    assert torch.bincount(maps.owners).tolist() == [1, 2, 2, 1]
    assert torch.allclose(maps.window(0, "score"), torch.tensor([[0.4, 0.0], [0.0, 0.0]]))


def test_the_relu_waits_for_the_sum():
    # f10 = 1.2, c = .75: .75 - .6 > 0; f10 = 3 and c = 1.2: 1.2 - 1.5 < 0.
    for cells, least in (((0.4, 0.4, 1.2, 1.0), 0.15), ((0.4, 0.4, 3.0, 1.0), 0.0)):
        found = build_explainer(detector(), attributes=("score",))([image(*cells)])[0]["instances"]
        c = sum(cells) / 4
        assert torch.allclose(at_cells(found.heatmaps, "score")[2], torch.tensor([[c, c], [least, c]]), atol=1e-6)


def test_images_of_a_batch_are_those_of_each_alone():
    images = [IMAGE, image(0.1, 0.9, 0.2, 0.3, size=(16, 24))]
    explainer = build_explainer(detector(), attributes=("score", "right", "y2"))
    together, alone = explainer(images), [explainer([one])[0] for one in images]
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one["instances"].scores, other["instances"].scores, rtol=ROUNDING)
        for name in ("score", "right", "y2"):
            maps, expected = (r["instances"].heatmaps.to_image(name, normalize=False) for r in (one, other))
            assert torch.allclose(maps, expected, rtol=ROUNDING, atol=1e-7)
    assert together[1]["instances"].image_size == (16, 24)
    assert together[1]["instances"].heatmaps.to_image("score").shape == (4, 16, 24)


def test_given_boxes():
    # Twice as large as the images: [0, 0, 2.8, 8] is [0, 0, 5.6, 16] there.
    boxes = [given((16, 16), [[0, 0, 6, 16], [0, 0, 15, 16]], [3, 5])]
    entry = {**IMAGE, "height": 16, "width": 16}
    found = build_explainer(detector(), attributes=("score",))([entry], boxes)[0]["instances"]
    assert found.prediction_index.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.4, 0.375])
    assert torch.allclose(at_cells(found.heatmaps, "score")[0], torch.tensor([[0.4, 0.0], [0.0, 0.0]]))


def test_one_layer_in_a_list_is_one_layer():
    for name in ("score", "right"):
        one, other = (
            build_explainer(CallableDetector(TwoLevels(), frame="input", **layer).eval(), attributes=(name,))([IMAGE])
            for layer in ({"layer": "levels.1", "stride": 8}, {"layers": ("levels.1",), "strides": (8.0,)})
        )
        assert torch.equal(one[0]["instances"].heatmaps.values, other[0]["instances"].heatmaps.values)
    # On the coarse layer alone: c - .5 f10 is c there.
    found = build_explainer(detector(layers=LAYERS[1:], strides=[8]), attributes=("score",))([IMAGE])[0]["instances"]
    assert found.heatmaps.values[0].tolist() == pytest.approx([0.0, 0.175, 0.7, 0.0])


def test_logits_and_gradient_methods():
    model = detector(logits=True)
    found = build_explainer(model, attributes=("logit",))([IMAGE])[0]["instances"]
    assert torch.allclose(at_cells(found.heatmaps, "logit")[1], torch.tensor([[0.35, 0.75], [0.35, 0.35]]))
    assert set(found.get_fields()) == {"pred_boxes", "scores", "pred_classes", "heatmaps"}
    assert set(model([IMAGE])[0]["instances"].get_fields()) == {"pred_boxes", "scores", "pred_classes"}
    (both,) = build_comparison(model, ["odam", "gradcam"], attributes=("score",))([IMAGE])
    # Grad-CAM: the mean gradient over the level, .5 / 4, times f; and .25 c.
    expected = 0.125 * torch.tensor([[0.8, 0.4], [0.6, 1.0]]) + 0.175
    assert torch.allclose(at_cells(both["heatmaps"]["gradcam"], "score")[1], expected)


def test_no_predictions():
    def only_first(batched_inputs):
        first, *others = net(batched_inputs)
        return [first, *({key: value[:0] for key, value in one.items()} for one in others)]

    net = TwoLevels()
    model = CallableDetector(net, only_first, layers=LAYERS, strides=[4, 8], frame="input").eval()
    counts = [len(result["instances"].heatmaps) for result in build_explainer(model)([IMAGE, IMAGE, IMAGE])]
    assert counts == [4, 0, 0]
    net.said = lambda f, c: {key: value[:0] for key, value in TwoLevels.said(f, c).items()}
    assert [len(result["instances"].heatmaps) for result in build_explainer(detector(net))([IMAGE] * 2)] == [0, 0]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"strides": [4]}, "`strides` must be a list of 2 numbers, one a layer; got 1 of them"),
        ({"strides": 8}, "`strides` must be a list of 2 numbers, one a layer; got 8"),
        ({"strides": [4, 0]}, r"`strides` must be a number > 0 for layer 'levels\.1'; got 0"),
        ({"layers": [LAYERS[0]] * 2}, r"`layers` must be different modules; got \['levels\.0'\] twice"),
        ({"layers": []}, r"`layers` must be a list of paths; got \[\]"),
        ({"layers": "levels.0"}, "`layers` must be a list of paths; got 'levels.0'"),
        ({"layers": ["levels.0", "levels.2"]}, r"'levels\.2'.*among \['levels\.0', 'levels\.1'\]"),
        ({"layer": "levels.0"}, r"`layer` and `stride` must be given, or.*got \['layer', 'layers', 'strides'\]"),
        ({"layers": None, "strides": None}, "got none of them"),
        ({"strides": None, "stride": 4}, r"got \['stride', 'layers'\]"),
    ],
)
def test_arguments_that_are_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        detector(**options)


def test_a_layer_that_never_runs():
    model = detector(layers=[*LAYERS, "unused"], strides=[4, 8, 8])
    with pytest.raises(ValueError, match=r"'unused' must give one \(1, C, H, W\).*got nothing"):
        build_explainer(model)([IMAGE])


def test_a_layer_that_runs_twice():
    net = TwoLevels()
    twice = CallableDetector(net, lambda x: net(x) and net(x), layers=LAYERS, strides=[4, 8], frame="input").eval()
    with pytest.raises(ValueError, match=r"'levels\.0' must give one.*got \[\(1, 1, 2, 2\), \(1, 1, 2, 2\)\]"):
        build_explainer(twice)([IMAGE])


def test_a_layer_that_gives_several_maps():
    class Several(TwoLevels):
        def __init__(self):
            super().__init__()
            self.both = nn.Module()
            self.both.forward = lambda images: [level(images) for level in self.levels]

        def forward(self, batched_inputs):
            fine, coarse = self.both(torch.stack([x["image"] for x in batched_inputs]))
            return [self.said(f[0], c[0, 0, 0]) for f, c in zip(fine, coarse)]

    with pytest.raises(ValueError, match=r"'both' must give one \(1, C, H, W\).*got \['list'\]"):
        build_explainer(detector(Several(), layers=["both"], strides=[4]))([IMAGE])


def test_a_stride_that_leaves_the_image_uncovered_names_its_layer():
    with pytest.raises(ValueError, match=r"`stride` of layer 'levels\.0'.*got 2.*2 cells along y cover 4 of 8 pixels"):
        build_explainer(detector(strides=[2, 8]))([IMAGE])


class Aside(TwoLevels):
    """Runs a layer that nothing depends on; what it says depends on weights that are learned."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batched_inputs):
        self.unused(torch.stack([x["image"] for x in batched_inputs]))
        found = super().forward(batched_inputs)
        return [{**one, "scores": one["scores"] * self.scale, "boxes": one["boxes"] * self.scale} for one in found]


def test_a_layer_beside_the_way_adds_nothing():
    model = detector(Aside(), layers=["unused", *LAYERS], strides=[1, 4, 8])
    found, expected = (
        build_explainer(one, attributes=("score",))([IMAGE])[0]["instances"].heatmaps for one in (model, detector())
    )
    assert torch.equal(found.values, expected.values) and torch.equal(found.strides, expected.strides)
    with pytest.raises(ValueError, match="got 'unused', on which no score and no box depends"):
        build_explainer(detector(Aside(), layers=["unused"], strides=[1]))([IMAGE])


def test_what_has_no_graph_is_named():
    net = TwoLevels()

    def without(key):
        return lambda x: [{**one, key: one[key].detach()} for one in net(x)]

    for key, attribute in (("scores", "score"), ("boxes", "left")):
        model = CallableDetector(net, without(key), layers=LAYERS, strides=[4, 8], frame="input").eval()
        message = rf"'{key}' of `predict` must have a graph back to layer 'levels\.0' and 'levels\.1'; got a tensor"
        with pytest.raises(ValueError, match=message):
            build_explainer(model, attributes=(attribute,))([IMAGE])
    # What isn't asked for needs none.
    boxes_alone = CallableDetector(net, without("scores"), layers=LAYERS, strides=[4, 8], frame="input").eval()
    found = build_explainer(boxes_alone, attributes=("right",))([IMAGE])[0]["instances"]
    assert torch.allclose(at_cells(found.heatmaps, "right")[1], torch.tensor([[0.0, 0.0], [0.0, 8.0]]))


def test_one_layer_behind_another_cuts_its_way():
    """The score is 2 b + a with b = 3 a: the way through b counts for b alone."""

    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Identity(), nn.Conv2d(1, 1, 1, bias=False)
            nn.init.constant_(self.b.weight, 3.0)

        def forward(self, batched_inputs):
            a = self.a(torch.stack([x["image"] for x in batched_inputs]))
            b = self.b(a)
            scores = (2 * b + a)[:, 0, 0, :1]
            boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
            return [{"boxes": boxes, "scores": score, "classes": torch.tensor([0])} for score in scores]

    model = detector(Behind(), layers=["a", "b"], strides=[1, 1])
    maps = build_explainer(model, attributes=("score",))([image(0.5, 0, 0, 0)])[0]["instances"].heatmaps
    # a = .5 where the score is made, b = 1.5.
    first, second = maps.values[0].view(2, 8, 8)
    assert float(first[0, 0]) == pytest.approx(0.5) and float(second[0, 0]) == pytest.approx(3.0)
    assert float(maps.to_image("score", normalize=False)[0, 0, 0]) == pytest.approx(3.5)


def test_from_other_maps_the_detector_says_something_else():
    model = detector(logits=True)
    trace = model.trace([IMAGE])
    assert trace.level_names == tuple(LAYERS) and trace.strides == {"levels.0": 4.0, "levels.1": 8.0}
    changed = {"levels.1": torch.full((1, 1, 1, 1), 0.3)}
    said = trace.head.predict(changed, trace)
    # .5 f01 + .25 * .3; what is not named stays.
    assert said.scores.tolist() == pytest.approx([0.4, 0.275, 0.0, 0.25])
    assert said.logits.tolist() == pytest.approx([0.8, 0.55, 0.0, 0.5])


@pytest.mark.parametrize(
    "limits, expected",
    [
        ({"test_score_thresh": 0.3}, [0.4, 0.375, 0.4]),
        ({"max_detections_per_image": 1}, [0.4]),
        ({"max_detections_per_image": 3, "test_score_thresh": 0.2}, [0.4, 0.375, 0.4]),
        ({"max_detections_per_image": 0}, []),
    ],
)
def test_limits_of_score_and_number(limits, expected):
    model = detector()
    for name, value in limits.items():
        setattr(model, name, value)
    (result,), (found,) = model([IMAGE]), build_explainer(model, attributes=("score",))([IMAGE])
    assert result["instances"].scores.tolist() == pytest.approx(expected)
    assert torch.equal(result["instances"].scores, found["instances"].scores)
    assert len(found["instances"].heatmaps) == len(expected)


@pytest.fixture(scope="module")
def pyramid():
    """An untrained Faster R-CNN of torchvision's on the two levels of its feature pyramid."""
    torch.manual_seed(0)
    net = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=5, min_size=128, max_size=256, box_score_thresh=0.0,
        box_detections_per_img=2, rpn_post_nms_top_n_test=20,
    )  # fmt: skip

    def predict(batched_inputs):
        found = net([x["image"] / 255 for x in batched_inputs])
        return [{"boxes": f["boxes"], "scores": f["scores"], "classes": f["labels"]} for f in found]

    layers = [f"backbone.fpn.layer_blocks.{number}" for number in (0, 1)]
    return CallableDetector(net, predict, layers=layers, strides=[32, 32], frame="input").eval(), net


INPUTS = [random_input(128, 160, 250, 330), random_input(128, 144, seed=1)]


def test_torchvision_against_gradients_by_hand(pyramid):
    model, net = pyramid
    attributes = ("score", "left", "top", "right", "bottom")
    results = build_explainer(model, attributes=attributes)(INPUTS)
    kept = []
    handles = [net.get_submodule(path).register_forward_hook(lambda m, i, o: kept.append(o)) for path in model.layers]
    said = net([x["image"] / 255 for x in INPUTS])
    for handle in handles:
        handle.remove()
    worst = 0.0
    for number, result in enumerate(results):
        found = result["instances"]
        assert torch.equal(found.scores, said[number]["scores"].detach()) and len(found) == 2
        for index in range(2):
            (x1, y1, x2, y2), one = said[number]["boxes"][index], found.heatmaps[index]
            scalars = dict(zip(attributes, (said[number]["scores"][index], -x1, -y1, x2, y2), strict=True))
            for name in attributes:
                gradients = torch.autograd.grad(scalars[name], kept, retain_graph=True, allow_unused=True)
                # Both levels have the same grid, so that their maps are added cell by cell.
                expected = sum((g * o.detach())[number].sum(0) for g, o in zip(gradients, kept) if g is not None)
                values = one.values[one.attributes.index(name)].view(-1, *expected.shape).sum(0).clamp(min=0)
                error = (values - expected.clamp(min=0)).norm() / expected.clamp(min=0).norm().clamp(min=1e-30)
                worst = max(worst, float(error))
    assert worst < 1e-5
    assert any(bool(r["instances"].heatmaps.to_image("left", False).any()) for r in results)


def test_torchvision_through_a_predictor(pyramid):
    model, net = pyramid
    predictor = OdamPredictor.of(model, min_size=128, max_size=256, attributes=("score",))
    found = predictor(torch.zeros(96, 120, 3, dtype=torch.uint8).numpy())["instances"]
    assert found.heatmaps.to_image("score").shape == (2, 96, 120)


@pytest.mark.parametrize("caller", [torch.no_grad, torch.inference_mode])
def test_the_model_is_as_it_was(pyramid, caller):
    model, _ = pyramid
    model.train()
    try:
        before = state_of(model)
        explainer = build_explainer(model, attributes=("score",))
        with caller():
            explainer([{**x, "image": x["image"].clone()} for x in INPUTS])
        assert_unchanged(before, state_of(model))
        with pytest.raises(ValueError, match="none of 2 predictions"):
            explainer(INPUTS[:1], [given((250, 330), [[0, 0, 9, 9]], [99])])
        assert_unchanged(before, state_of(model))
    finally:
        model.eval()


def test_a_scale_that_is_no_power_of_two_costs_no_rounding():
    """A map that is nearly zero everywhere would show it: boxes in the frame of the explanation are taken as said."""
    entry = {**IMAGE, "height": 7, "width": 11}
    trace = detector().trace([entry])
    _, predictions = trace.head.recorded(("right",))
    assert torch.equal(predictions.boxes, TwoLevels()([IMAGE])[0]["boxes"])
    of_original = detector(frame="original").trace([entry])
    assert of_original.head.recorded(("right",))[1].boxes[0, 2].item() == pytest.approx(2.8 * 8 / 11)


def test_a_detector_that_fails_is_left_as_it_was():
    model = detector()
    model.model.said = lambda f, c: 1 / 0
    before = state_of(model)
    with pytest.raises(ZeroDivisionError):
        build_explainer(model)([IMAGE])
    assert_unchanged(before, state_of(model))


def test_a_copy_says_the_same():
    model = detector()
    found, expected = (
        build_explainer(one, attributes=("score",))([IMAGE])[0]["instances"].heatmaps
        for one in (copy.deepcopy(model), model)
    )
    assert relative_error(at_cells(found, "score")[:3], at_cells(expected, "score")[:3]) == 0
