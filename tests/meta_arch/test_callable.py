"""CallableDetector: any detector behind a trace, against gradients written by hand."""

import warnings

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

import odam_d2
from odam_d2.explain import build_explainer, known_attributes
from odam_d2.meta_arch import CallableDetector
from tests.explain.test_base import assert_unchanged, state_of
from tests.helpers import given, random_input, relative_error

SIDES = ("left", "top", "right", "bottom")


class Tiny(nn.Module):
    """One convolution of 4 x 4 px to a cell, which sums them up, and a box whose numbers are read off two cells.

    The score is a quarter of cell (0, 0), plus three quarters of cell (0, 1); the right side lies at twice cell (1, 1).
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 4, 4, bias=False)
        nn.init.constant_(self.conv.weight, 1 / 16)
        self.other = nn.Conv2d(1, 1, 1)

    def forward(self, batched_inputs):
        cells = self.conv(torch.stack([x["image"] for x in batched_inputs]))[:, 0]
        zero = cells.new_zeros(())
        found = []
        for cell in cells:
            boxes = torch.stack([torch.stack([zero, zero, 2 * cell[1, 1], zero + 8]), cell.new_tensor([0, 0, 4, 4])])
            scores = torch.stack([0.25 * cell[0, 0] + 0.75 * cell[0, 1], 0.5 * cell[1, 0]])
            found.append({"boxes": boxes, "scores": scores, "classes": torch.tensor([3, 7]), "logits": 2 * scores})
        return found


def tiny_input(*cells, size=None):
    """An image of 8 x 8 px whose four quarters have these brightnesses."""
    image = torch.tensor(cells, dtype=torch.float32).view(1, 2, 2).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return {"image": image, **({"height": size[0], "width": size[1]} if size else {})}


def tiny(**options):
    options = {"layer": "conv", "stride": 4, "frame": "input", **options}
    return CallableDetector(Tiny(), **options).eval()


def test_maps_are_literals():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # autograd is what was asked for: nothing to warn of
        explainer = build_explainer(tiny(), attributes=("score", "right"))
        found = explainer([tiny_input(0.8, 0.4, 0.2, 3.0)])[0]["instances"]
    # Cells 0.8, 0.4 / 0.2, 3: score .25 * .8 + .75 * .4 = .5; its map has .25 * .8 and .75 * .4; right is 2 * 3.
    assert torch.allclose(found.scores, torch.tensor([0.5, 0.1]))
    assert torch.allclose(found.pred_boxes.tensor, torch.tensor([[0.0, 0, 6, 8], [0, 0, 4, 4]]))
    assert torch.allclose(found.heatmaps.window(0, "score"), torch.tensor([[0.2, 0.3], [0.0, 0.0]]))
    assert torch.allclose(found.heatmaps.window(0, "right"), torch.tensor([[0.0, 0.0], [0.0, 6.0]]))
    assert torch.allclose(found.heatmaps.window(1, "score"), torch.tensor([[0.0, 0.0], [0.1, 0.0]]))
    # The second box is a constant: a gradient of zero, not an error.
    assert not found.heatmaps.window(1, "right").any()
    assert found.heatmaps.strides.tolist() == [[4.0, 4.0]] * 2


@pytest.mark.parametrize("frame, boxes, right", [("input", [0, 0, 12, 24], 6.0), ("original", [0, 0, 6, 8], 3.0)])
def test_frames(frame, boxes, right):
    # An image of 16 px wide and 24 px high, seen at 8 x 8. `predict` says x2 = 6 in one frame or in the other.
    found = build_explainer(tiny(frame=frame))([tiny_input(0.8, 0.4, 0.2, 3.0, size=(24, 16))])[0]["instances"]
    assert found.pred_boxes.tensor[0].tolist() == boxes and found.image_size == (24, 16)
    # Sides are in model-input pixels: an x2 of 6 there, of 3 if 6 was meant in an image twice as wide.
    assert float(found.heatmaps.window(0, "right")[1, 1]) == pytest.approx(right)
    assert found.heatmaps.to_image("score").shape == (2, 24, 16)


def test_attributes_are_those_that_predict_gives():
    with_logits, without = tiny(logits=True), tiny()
    assert "logit" in known_attributes(with_logits) and "logit" not in known_attributes(without)
    assert "combined" in known_attributes(without)
    with pytest.raises(ValueError, match=r"must be among \['score', 'left'.*got \['logit'\]"):
        build_explainer(without, attributes=("logit",))
    found = build_explainer(with_logits, attributes=("logit",))([tiny_input(0.8, 0.4, 0.2, 3.0)])[0]["instances"]
    assert torch.allclose(found.heatmaps.window(0, "logit"), torch.tensor([[0.4, 0.6], [0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"got \['boxes', 'classes', 'scores'\] for image 0: add \['logits'\]"):
        CallableDetector(
            Tiny(), lambda x: [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "classes": torch.zeros(0)}],
            layer="conv", stride=4, frame="input", logits=True,
        ).eval()([tiny_input(1, 1, 1, 1)])  # fmt: skip


def test_given_boxes_name_their_predictions():
    inputs = [tiny_input(0.8, 0.4, 0.2, 3.0, size=(16, 16)), tiny_input(0.4, 0.4, 0.4, 3.0)]
    # Twice the size of the prediction [0, 0, 4, 4] of class 7, a little off; then both of the second image.
    boxes = [given((16, 16), [[0, 0, 8, 7]], [7]), given((8, 8), [[0, 0, 6, 8], [0, 0, 4, 4]], [3, 7])]
    first, second = (result["instances"] for result in build_explainer(tiny(), attributes=("score",))(inputs, boxes))
    assert first.prediction_index.tolist() == [1] and second.prediction_index.tolist() == [0, 1]
    assert first.pred_boxes.tensor.tolist() == [[0, 0, 8, 7]]
    assert first.prediction_boxes.tensor.tolist() == [[0, 0, 8, 8]]
    assert first.scores.tolist() == pytest.approx([0.1])
    assert torch.allclose(first.heatmaps.window(0, "score"), torch.tensor([[0.0, 0.0], [0.1, 0.0]]))
    assert torch.allclose(second.heatmaps.window(0, "score"), torch.tensor([[0.1, 0.3], [0.0, 0.0]]))


@pytest.mark.parametrize(
    "box, label, best", [([0, 0, 4, 4], 3, "0.33"), ([0, 0, 6, 8], 4, "0.00"), ([5, 5, 8, 8], 7, "0.00")]
)
def test_a_given_box_that_nothing_fits(box, label, best):
    with pytest.raises(ValueError, match=rf"box 0 of `instances\[0\]`.*class {label}.*2 predictions.*than {best}:"):
        build_explainer(tiny())([tiny_input(0.8, 0.4, 0.2, 3.0)], [given((8, 8), [box], [label])])


def test_no_predictions():
    def nothing(batched_inputs):
        net.conv(torch.stack([x["image"] for x in batched_inputs]))
        none = torch.zeros(0)
        return [{"boxes": torch.zeros(0, 4), "scores": none, "classes": none.long()} for _ in batched_inputs]

    net = Tiny()
    model = CallableDetector(net, nothing, layer="conv", stride=4, frame="input").eval()
    inputs = [tiny_input(1, 1, 1, 1)] * 2
    assert [len(result["instances"].heatmaps) for result in build_explainer(model)(inputs)] == [0, 0]
    with pytest.raises(ValueError, match="none of 0 predictions"):
        build_explainer(model)(inputs[:1], [given((8, 8), [[0, 0, 4, 4]], [3])])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda found: None, r"list with one mapping for each of 1 images; got NoneType"),
        (lambda found: found * 2, "got 2 of them"),
        (lambda found: [found[0]["boxes"]], "got Tensor for image 0"),
        (lambda found: [{**found[0], "boxes": found[0]["boxes"][:1]}], r"'boxes'.*\(R, 4\) with R = 2.*got \(1, 4\)"),
        (lambda found: [{**found[0], "scores": torch.tensor(0.5)}], r"'boxes'.*R = 0.*got \(2, 4\)"),
        (lambda found: [{**found[0], "classes": [3, 7]}], r"'classes'.*got list"),
        (
            lambda found: [{**found[0], "scores": found[0]["scores"].detach()}],
            "'scores' of `predict` must have a graph",
        ),
        (lambda found: [{**found[0], "boxes": found[0]["boxes"].detach()}], "'boxes'.*leave no_grad, detach"),
    ],
)
def test_a_predict_that_breaks_its_promise(change, message):
    net = Tiny()
    model = CallableDetector(net, lambda x: change(net(x)), layer="conv", stride=4, frame="input").eval()
    with pytest.raises(ValueError, match=message):
        build_explainer(model)([tiny_input(1, 1, 1, 1)])


def test_a_predict_that_changes_its_mind():
    net, calls = Tiny(), []

    def predict(batched_inputs):
        calls.append(1)
        return [{k: v[len(calls) % 2 :] for k, v in found.items()} for found in net(batched_inputs)]

    model = CallableDetector(net, predict, layer="conv", stride=4, frame="input").eval()
    # Detection and explanation are of one pass.
    assert len(build_explainer(model)([tiny_input(1, 1, 1, 1)])[0]["instances"].heatmaps) == 1
    trace = model.trace([tiny_input(1, 1, 1, 1)])
    with pytest.raises(RuntimeError, match="got 2 detections for image 0, then 1 others"):
        trace.head.predict(trace.features, trace)


def test_layers_that_cannot_be_explained_on():
    image = tiny_input(1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"'convs'.*among \['conv', 'other'\]"):
        tiny(layer="convs")
    with pytest.raises(ValueError, match=r"'other' must give one \(1, C, H, W\).*got nothing"):
        build_explainer(tiny(layer="other"))([image])
    net = Tiny()
    one_by_one = CallableDetector(
        net, lambda x: [net([one])[0] for one in x], layer="conv", stride=4, frame="input"
    ).eval()
    with pytest.raises(ValueError, match=r"one \(2, C, H, W\).*got \[\(1, 1, 2, 2\), \(1, 1, 2, 2\)\]"):
        build_explainer(one_by_one)([image, image])
    assert len(build_explainer(one_by_one)([image])[0]["instances"]) == 2

    def aside(x):
        net.other(torch.stack([one["image"] for one in x]))
        return net(x)

    beside = CallableDetector(net, aside, layer="other", stride=1, frame="input").eval()
    with pytest.raises(ValueError, match="'other', on which no score and no box depends"):
        build_explainer(beside)([image])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"frame": "image"}, "`frame`.*'image'"),
        ({"stride": 0}, "`stride`.*got 0"),
        ({"min_iou": 0}, "`min_iou`.*got 0"),
    ],
)
def test_arguments_that_are_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_a_stride_that_leaves_the_image_uncovered():
    with pytest.raises(ValueError, match="2 cells along y cover 4 of 8 pixels"):
        build_explainer(tiny(stride=2))([tiny_input(1, 1, 1, 1)])


def test_training_mode_is_refused():
    with pytest.raises(RuntimeError, match="eval mode"):
        tiny().train().trace([tiny_input(1, 1, 1, 1)])


@pytest.fixture(scope="module")
def torchvision_detector():
    """An untrained Faster R-CNN of torchvision's, which pads and suppresses inside; its boxes are in ``image``."""
    torch.manual_seed(0)
    net = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=5, min_size=96, max_size=256, box_score_thresh=0.0,
        box_detections_per_img=3, rpn_post_nms_top_n_test=20,
    )  # fmt: skip

    def predict(batched_inputs):
        found = net([x["image"] / 255 for x in batched_inputs])
        return [{"boxes": f["boxes"], "scores": f["scores"], "classes": f["labels"]} for f in found]

    # Block 12 is the last with 16 px to a cell.
    model = CallableDetector(net, predict, layer="backbone.body.12", stride=16, frame="input").eval()
    return model, net


INPUTS = [random_input(96, 128, 192, 256), random_input(96, 112, seed=1)]


def test_torchvision_against_gradients_by_hand(torchvision_detector):
    model, net = torchvision_detector
    attributes = ("score", "left", "y2")
    results = build_explainer(model, attributes=attributes)(INPUTS)
    # By hand: the detector once, the layer's output kept with its gradient, one call a scalar.
    kept = []
    handle = net.get_submodule("backbone.body.12").register_forward_hook(lambda m, i, o: kept.append(o))
    said = net([x["image"] / 255 for x in INPUTS])
    handle.remove()
    for number, result in enumerate(results):
        found = result["instances"]
        assert len(found) == len(said[number]["scores"]) == 3
        assert torch.equal(found.scores, said[number]["scores"].detach())
        scale = 2.0 if number == 0 else 1.0
        assert torch.allclose(found.pred_boxes.tensor, said[number]["boxes"].detach() * scale)
        for index in range(len(found)):
            box = said[number]["boxes"][index]
            targets = {"score": said[number]["scores"][index], "left": -box[0], "y2": box[3]}
            for name in attributes:
                (gradient,) = torch.autograd.grad(targets[name], kept[0], retain_graph=True)
                expected = (gradient * kept[0].detach())[number].sum(0).clamp(min=0)
                assert relative_error(found.heatmaps.window(index, name)[None], expected[None]) < 1e-4
    assert any(bool(r["instances"].heatmaps.to_image("left", False).any()) for r in results)
    # 96 x 128 and 96 x 112 make a batch of 96 x 128: 6 x 8 cells of 16 px.
    assert results[1]["instances"].heatmaps.grids.tolist() == [[6, 8]] * 3


def test_another_layer_belongs_to_the_detector(torchvision_detector):
    # Beside a layer nearer to the image there may be ways to the score that the trace's own layer does not see.
    model, _ = torchvision_detector
    with pytest.raises(ValueError, match="`layer` of the explainer must be None.*'backbone.body.12'"):
        build_explainer(model, layer="model.backbone.body.4")(INPUTS[:1])


@pytest.mark.parametrize("caller", [torch.no_grad, torch.inference_mode])
def test_the_model_is_as_it_was(torchvision_detector, caller):
    model, _ = torchvision_detector
    model.train()
    try:
        before = state_of(model)
        explainer = build_explainer(model, attributes=("score",))
        with caller():
            explainer([{**x, "image": x["image"].clone()} for x in INPUTS])
        assert_unchanged(before, state_of(model))
        with pytest.raises(ValueError, match="none of 3 predictions"):
            explainer(INPUTS[:1], [given((192, 256), [[0, 0, 9, 9]], [99])])
        assert_unchanged(before, state_of(model))
    finally:
        model.eval()


def test_it_is_a_public_name():
    assert odam_d2.CallableDetector is CallableDetector
