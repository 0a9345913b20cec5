"""D-RISE: against a loop over masks and detections, on a detector whose reasons are known, and what it is asked."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from detectron2.data.detection_utils import read_image
from detectron2.structures import Boxes, Instances
from torch import nn

from odam_d2 import model_zoo
from odam_d2.explain import build_explainer
from odam_d2.ops.masks import draw_masks, masks_at
from odam_d2.structures import DetectionTrace
from tests.helpers import autocast_on_cpu, compact_detector, given, random_input
from tests.wants import RTDETR

INPUTS = [random_input(64, 96, 128, 192)]
DEMO = Path(__file__).parents[3] / "datasets" / "demo" / "images" / "scene_demo_000000.jpg"
BOX = given((128, 192), [[20, 20, 100, 100]], [1])


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn", detections=5)


def drise(model, **options):
    return build_explainer(model, "drise", progress=False, **options)


def iou(one, other):
    """Of two boxes, worked out side by side."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / sum(((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)), -common)


def rows_of(model, trace):
    """Softmax rows of a trace's detections without the background, from the RoIs alone."""
    heads = model.roi_heads
    pooled = heads.box_pooler([trace.features[name] for name in trace.level_names], [Boxes(trace.references)])
    return heads.box_predictor(heads.box_head(pooled))[0].softmax(1)[:, :-1]


@torch.no_grad()
def slow_maps(model, entry, trace, vectors, count):
    """The definition in loops: one mask, one masked image, one pair of detections at a time; cells of 8 pixels."""
    height, width = entry["image"].shape[1:]
    generator = torch.Generator().manual_seed(5)
    maps = torch.zeros(len(trace), height // 8, width // 8)
    for _ in range(count):
        drawn = draw_masks(1, 16, 0.5, generator)
        y, x = ((torch.arange(side) + 0.5) / side for side in (height, width))
        seen = model.trace([{"image": entry["image"] * masks_at(*drawn, y, x)}])
        found = rows_of(model, seen)
        y, x = ((torch.arange(side // 8) * 8 + 4.0) / side for side in (height, width))
        for d in range(len(trace)):
            weights = [0.0]
            for j in range(len(seen)):
                cosine = float(vectors[d] @ found[j] / (vectors[d].norm() * found[j].norm()))
                overlap = iou(trace.boxes[d].tolist(), seen.boxes[j].tolist())
                weights.append(overlap * cosine * float(seen.instances[0].scores[j]))
            maps[d] += max(weights) * masks_at(*drawn, y, x)[0] / (count * 0.5)
    return maps


def test_detections_against_a_loop(model):
    found = drise(model, num_masks=4, batch_size=3, seed=5)(INPUTS)[0]["instances"].heatmaps
    trace = model.trace(INPUTS)
    expected = slow_maps(model, INPUTS[0], trace, rows_of(model, trace), 4)
    assert len(found) == 5 and float(expected.max()) > 0
    assert torch.allclose(found.values.view(5, 8, 12), expected, atol=1e-5)


def test_a_given_box_asks_for_its_class_alone(model):
    found = drise(model, num_masks=3, seed=5)(INPUTS, [BOX])[0]["instances"].heatmaps
    expected = slow_maps(model, INPUTS[0], model.trace(INPUTS, [BOX]), torch.tensor([[0.0, 1.0, 0.0]]), 3)
    assert torch.allclose(found.values.view(1, 8, 12), expected, atol=1e-5)


class Lamp(nn.Module):
    """Finds one object of class 1 where it stands, as surely as its upper left corner, of 8 x 8 pixels, is bright."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def trace(self, batched_inputs, instances=None):
        size = tuple(batched_inputs[0]["image"].shape[1:])
        found = [
            Instances(
                size,
                pred_boxes=Boxes(torch.tensor([[16.0, 16.0, 48.0, 48.0]])),
                pred_classes=torch.tensor([1]),
                scores=entry["image"][:, 16:24, 16:24].mean()[None] / 255,
            )
            for entry in batched_inputs
        ]
        count = len(found)
        boxes = torch.cat([one.pred_boxes.tensor for one in found])
        classes = torch.ones(count, dtype=torch.int64)
        if instances is not None:
            found, classes = instances, instances[0].pred_classes
            found[0].scores = torch.ones(1)
        nothing = torch.zeros(count, 1, dtype=torch.int64)
        return DetectionTrace(
            found, {}, {}, torch.arange(count), nothing, boxes, boxes, nothing[:, 0], classes, (), [size] * count, size,
            [size] * count, head=None, compute_features=dict,
        )  # fmt: skip


def test_the_map_points_at_what_the_detector_looks_at():
    image = [{"image": torch.full((3, 64, 64), 255.0)}]
    (result,) = drise(Lamp(), num_masks=2000, batch_size=200)(image)
    heatmap = result["instances"].heatmaps.to_image("score")[0]
    y, x = divmod(int(heatmap.argmax()), 64)
    assert 12 <= y < 28 and 12 <= x < 28
    assert float(heatmap[14:26, 14:26].mean()) > 1.5 * float(heatmap[40:, 40:].mean())


def test_a_head_that_tells_no_class_vectors_is_compared_by_its_class():
    image, box = [{"image": torch.full((3, 64, 64), 255.0)}], [[16, 16, 48, 48]]
    same, other = (
        drise(Lamp(), num_masks=4)(image, [given((64, 64), box, [label])])[0]["instances"].heatmaps for label in (1, 0)
    )
    assert bool(same.values.any()) and not bool(other.values.any())


def test_batches_and_seeds(model, monkeypatch):
    sizes, stock = [], type(model).trace
    monkeypatch.setattr(type(model), "trace", lambda self, x, *more: sizes.append(len(x)) or stock(self, x, *more))
    maps = [
        drise(model, num_masks=5, batch_size=size, seed=seed)(INPUTS)[0]["instances"].heatmaps.values
        for size, seed in ((2, 0), (2, 0), (3, 0), (2, 1))
    ]
    # The image itself, then its masks: one set for all five detections, never more together than was asked.
    assert sizes == [1, 2, 2, 1] * 2 + [1, 3, 2] + [1, 2, 2, 1]
    assert torch.equal(maps[0], maps[1])
    assert torch.allclose(maps[0], maps[2], rtol=1e-3) and not torch.allclose(maps[0], maps[3], rtol=1e-3)


def test_a_image_without_detections_is_not_masked(model, monkeypatch):
    calls, stock = [], type(model).trace
    monkeypatch.setattr(type(model), "trace", lambda self, x, *more: calls.append(len(x)) or stock(self, x, *more))
    found = drise(model, num_masks=4)(INPUTS, [given((128, 192), [], [])])
    assert calls == [1] and len(found[0]["instances"].heatmaps) == 0


def test_masked_images_without_detections_leave_a_map_of_zeros(monkeypatch):
    model = compact_detector("faster_rcnn", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0")
    found = drise(model, num_masks=2)(INPUTS, [BOX])[0]["instances"].heatmaps
    assert len(found) == 1 and not bool(found.values.any())


@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn", "cascade_rcnn", "retinanet", "fcos", RTDETR])
def test_mixed_precision_is_asked_of_masked_images_alone(name, monkeypatch):
    """Of trained detectors: those with random weights are full of ties that a bit decides."""
    model = model_zoo.get(f"synthetic/{name}_compact_FPN", device="cpu")
    image = [{"image": torch.as_tensor(read_image(DEMO, "BGR").transpose(2, 0, 1).copy())}]
    whole = drise(model, num_masks=3)(image)[0]["instances"]
    kinds, stock = [], type(model).trace
    monkeypatch.setattr(type(model), "trace", lambda self, *more: kinds.append(autocast_on_cpu()) or stock(self, *more))
    mixed = drise(model, num_masks=3, amp=True)(image)[0]["instances"]
    assert kinds == [False, True] and len(whole) and torch.equal(mixed.scores, whole.scores)
    one, other = mixed.heatmaps.values, whole.heatmaps.values
    assert one.dtype == torch.float32 and not torch.equal(one, other)
    # Scores in [0, 1] move by hundredths, and now and then another detection survives suppression.
    assert float((one - other).abs().mean()) < 0.01
    # What is left of it in whole precision is the copy's rounding.
    monkeypatch.setattr("odam_d2.explain.methods.drise.low_precision", lambda device, enabled: nullcontext())
    copied = drise(model, num_masks=3, amp=True)(image)[0]["instances"].heatmaps.values
    assert not torch.equal(copied, other) and torch.allclose(copied, other, atol=1e-4)


def test_stride_is_that_of_the_maps(model):
    found = drise(model, num_masks=1, stride=10)(INPUTS, [BOX])[0]["instances"].heatmaps
    assert found.grids.tolist() == [[7, 10]] and found.strides.tolist() == [[10.0, 10.0]]


def test_a_bar_shows_the_time_that_is_left(model, capsys):
    build_explainer(model, "drise", num_masks=4)(INPUTS, [BOX])
    assert "D-RISE: 100%" in (shown := capsys.readouterr().err) and "mask/s" in shown
    drise(model, num_masks=4)(INPUTS, [BOX])
    assert "D-RISE" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_masks": 0}, "`num_masks` must be at least 1; got 0"),
        ({"resolution": 0}, "`resolution` must be at least 1"),
        ({"batch_size": -1}, "`batch_size` must be at least 1"),
        ({"stride": 0}, "`stride` must be at least 1"),
        ({"probability": 0.0}, r"`probability` must be in \(0, 1\]"),
        ({"probability": 1.5}, r"`probability` must be in \(0, 1\]"),
    ],
)
def test_options_out_of_range(model, options, message):
    with pytest.raises(ValueError, match=message):
        drise(model, **options)
