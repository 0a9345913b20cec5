"""Pixels of the drawings, worked out by hand."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.structures import HeatMaps
from odam_d2.visualize.drawing import draw_detection, draw_detections
from odam_d2.visualize.overlay import draw_boxes, draw_heatmap, instance_color, instance_labels


def grey(height, width, value=100):
    return np.full((height, width, 3), value, np.uint8)


def detections(boxes, windows, values, size, grid=(10, 10), stride=10.0, attributes=("score",)):
    """Instances in an image of `size` that is its own model input."""
    n = len(boxes)
    heatmaps = HeatMaps(
        torch.tensor(values, dtype=torch.float32).reshape(len(attributes), -1),
        torch.tensor(windows).reshape(n, 4),
        torch.tensor([grid] * n).reshape(n, 2),
        torch.full((n, 2), stride),
        attributes,
        size,
        size,
    )
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        scores=torch.linspace(0.98, 0.5, n),
        pred_classes=torch.zeros(n, dtype=torch.int64),
        heatmaps=heatmaps,
    )


def warmth(image):
    """(h, w) bool: pixels with a colour of their own, which a grey image and white or black lines don't have."""
    return (image.max(2).astype(int) - image.min(2)) > 40


def test_heat_is_mixed_in_by_its_height():
    # matplotlib's "gray" maps heat 1 to 255, .25 to entry 64 of 0 .. 255. Opacity is full from heat .5 on:
    # 1 -> .8, .25 -> .8 * .25 / .5 = .4. So 100 * .2 + 255 * .8 = 224 and 100 * .6 + 64 * .4 = 85.6; 0 changes nothing.
    heat = np.array([[1.0, 0.25, 0.0]], np.float32)
    drawn = draw_heatmap(grey(1, 3), heat, alpha=0.8, colormap="gray")
    assert drawn.dtype == np.uint8 and drawn[0, :, 0].tolist() == [224, 86, 100]
    np.testing.assert_array_equal(draw_heatmap(grey(1, 3), torch.from_numpy(heat), 0.8, "gray"), drawn)


def test_cold_places_show_the_photograph():
    photograph = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(draw_heatmap(photograph, np.zeros((5, 6))), photograph)


@pytest.mark.parametrize(
    "heat, colormap, message",
    [
        (np.zeros((2, 3)), "turbo", r"`heatmap` must be \(h, w\) = \(3, 2\).*got \(2, 3\)"),
        (np.full((3, 2), 1.5), "turbo", r"must lie in \[0, 1\]; got 1\.5 to 1\.5: min-max"),
        (np.full((3, 2), -0.1), "turbo", r"must lie in \[0, 1\]"),
        (np.full((3, 2), np.nan), "turbo", r"must lie in \[0, 1\]; got nan"),
        (np.zeros((3, 2)), "rainbows", "`colormap` must be one that matplotlib knows; got 'rainbows'"),
    ],
)
def test_bad_heat_is_refused(heat, colormap, message):
    with pytest.raises(ValueError, match=message):
        draw_heatmap(grey(3, 2), heat, colormap=colormap)


def test_boxes_are_drawn_at_their_place():
    image = grey(80, 100)
    drawn = draw_boxes(image, np.array([[20.0, 30.0, 70.0, 60.0]]), colors=[(1.0, 0.0, 0.0)])
    warm = warmth(drawn)
    assert warm[45, 20] and warm[45, 70] and warm[30, 45] and warm[60, 45]  # the four sides
    assert not warm[36:54, 26:64].any() and not warm[:, :14].any() and not warm[:, 77:].any()
    assert (drawn[36:54, 26:64] == 100).all() and (image == 100).all()
    np.testing.assert_array_equal(draw_boxes(image, np.zeros((0, 4))), image)


def test_detection_has_heat_box_and_label():
    values = np.zeros((8, 8))
    values[5, 4] = 1.0  # the cell centred at (45, 55)
    one = detections([[20, 10, 70, 75]], [[0, 0, 8, 8]], values, (80, 80), (8, 8))
    drawn = draw_detection(grey(80, 80), one, 0, rgb=True)
    rows, columns = warmth(drawn[31:74, 21:70]).nonzero()
    assert abs(rows.mean() + 31.5 - 55) < 1 and abs(columns.mean() + 21.5 - 45) < 1
    assert (drawn[50, 20] > 150).all()  # a white box, half transparent
    named = draw_detection(grey(80, 80), one, 0, class_names=["dog"], rgb=True)
    rows, columns = (named != drawn).any(2).nonzero()
    assert len(rows) and rows.max() < 40 and columns.max() < 80  # the label, at the upper left corner
    assert np.array_equal(draw_detection(grey(80, 80), one, 0)[:, :, ::-1], drawn)  # BGR in, BGR out


def test_labels_and_colours():
    instances = detections([[0, 0, 5, 5]] * 2, [[0, 0, 1, 1]] * 2, [0.0, 0.0], (100, 100))
    assert instance_labels(instances, ["dog"]) == ["0 dog 0.98", "1 dog 0.50"]
    assert instance_labels(instances, []) == ["0 class 0 0.98", "1 class 0 0.50"]
    colors = [instance_color(k) for k in range(12)]
    assert len(set(colors)) == 12 and all(0.0 <= part <= 1.0 for color in colors for part in color)


@pytest.mark.parametrize(
    "size, expected",
    [((1, 1), (480, 480)), ((600, 8000), (120, 1600)), ((300, 640), (300, 640)), ((50, 100), (240, 480))],
)
def test_overlay_is_of_a_handy_size(size, expected):
    instances = detections([], [], [], size)
    assert draw_detections(grey(*size), instances).shape == (*expected, 3)


def test_overlay_scales_boxes_along():
    # 4000 wide becomes 1600: a factor .4, so x = 1000 .. 3000 is drawn at 400 .. 1200.
    instances = detections([[1000, 200, 3000, 700]], [[0, 0, 1, 1]], [0.0], (1000, 4000))
    warm = warmth(draw_detections(grey(1000, 4000), instances, rgb=True))
    columns = warm[200].nonzero()[0]
    assert abs(columns.min() - 400) <= 3 and abs(columns.max() - 1200) <= 3
