"""Heat and boxes on pixels, worked out by hand."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.structures import HeatMaps
from odam_d2.visualize.overlay import (
    draw_boxes,
    draw_heatmap,
    instance_color,
    instance_labels,
)


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


def test_labels_and_colours():
    instances = detections([[0, 0, 5, 5]] * 2, [[0, 0, 1, 1]] * 2, [0.0, 0.0], (100, 100))
    assert instance_labels(instances, ["dog"]) == ["0 dog 0.98", "1 dog 0.50"]
    assert instance_labels(instances, []) == ["0 class 0 0.98", "1 class 0 0.50"]
    instances.heatmaps.class_names = ("cat",)
    assert instance_labels(instances) == ["0 cat 0.98", "1 cat 0.50"]  # the names that travel with the maps
    assert instance_labels(instances, ["dog"]) == ["0 dog 0.98", "1 dog 0.50"]  # unless others are given
    instances.remove("scores")
    assert instance_labels(instances) == ["0 cat", "1 cat"]
    colors = [instance_color(k) for k in range(12)]
    assert len(set(colors)) == 12 and all(0.0 <= part <= 1.0 for color in colors for part in color)
