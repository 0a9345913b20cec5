"""Pixels of strips, worked out by hand."""

import numpy as np
import pytest

from odam_d2.visualize.drawing import draw_attribute_panel
from tests.visualize.test_overlay import detections, grey, warmth

SIDES = ("left", "top", "right", "bottom")


def test_panel_shows_each_attribute_where_it_is_hot():
    # An image of 100 x 100, a 10 x 10 grid; the box is (20, 20, 80, 80), its window cells 2 .. 7. Each side's map has
    # one hot cell, in the middle of that side; "score" has none.
    names = ("score", *SIDES)
    maps = np.zeros((5, 6, 6))
    maps[1, 3, 0] = maps[2, 0, 3] = maps[3, 3, 5] = maps[4, 5, 3] = 1.0
    instances = detections([[20, 20, 80, 80]], [[2, 2, 6, 6]], maps, (100, 100), attributes=names)
    strip = draw_attribute_panel(grey(100, 100), instances, 0, class_names=["dog"], rgb=True)
    # Around box and heat (cell borders 15 .. 85 with half a cell on each side) come 10 % of 70 and 8 pixels of air:
    # the part from 0 to 100, so every panel is the whole image at 320 x 320, behind a gap of 6, below 24 of title.
    assert strip.shape == (320 + 24 + 6, 7 * (320 + 6) + 6, 3)
    panels = [strip[24:-6, 6 + k * 326 : 326 + k * 326] for k in range(7)]
    assert not warmth(panels[1]).any()  # score
    middles = []
    for panel in panels[2:6]:
        rows, columns = warmth(panel).nonzero()
        middles.append((round(rows.mean() / 32, 1), round(columns.mean() / 32, 1)))
    # Cell (5, 2) is centred at (5.5, 2.5) cells of 32 pixels, and so on.
    np.testing.assert_allclose(middles, [(5.5, 2.5), (2.5, 5.5), (5.5, 7.5), (7.5, 5.5)], atol=0.15)
    combined = sum(warmth(panel) for panel in panels[2:6])
    assert abs(int(warmth(panels[6]).sum()) - int((combined > 0).sum())) <= 5
    assert warmth(strip[:24, :326]).sum() == 0 and (strip[:24, :326] < 100).any()  # the title is dark on light


def test_panel_cuts_to_the_box_but_never_cuts_heat_off():
    # 1000 x 1000, a grid of 100 x 100 cells of 10; a small box at the upper left, a hot cell far away at (905, 805).
    values = np.zeros((100, 100))
    values[80, 90] = 1.0
    far = detections([[100, 100, 140, 140]], [[0, 0, 100, 100]], values, (1000, 1000), (100, 100))
    near = detections([[100, 100, 140, 140]], [[10, 10, 4, 4]], np.ones(16), (1000, 1000), (100, 100))
    far_panel = draw_attribute_panel(grey(1000, 1000), far, 0, rgb=True)[24:-6, 332:-6]
    near_panel = draw_attribute_panel(grey(1000, 1000), near, 0, rgb=True)[24:-6, 332:-6]
    # Around the near one: 95 .. 145 and 13 of air, 82 .. 158; heat from 95 to 145 covers (50 / 76)^2 of it.
    assert 0.25 < warmth(near_panel).mean() < 0.5
    rows, columns = warmth(far_panel).nonzero()
    assert len(rows) and rows.mean() > 0.8 * len(far_panel) and columns.mean() > 0.9 * far_panel.shape[1]


def test_panel_of_chosen_attributes():
    instances = detections(
        [[20, 20, 80, 80]], [[2, 2, 6, 6]], np.ones((2, 36)), (100, 100), attributes=("score", "left")
    )
    assert draw_attribute_panel(grey(100, 100), instances, 0, ["left"], rgb=True).shape[1] == 2 * 326 + 6


@pytest.mark.parametrize("size", [(1, 1), (600, 8000), (8000, 600), (1, 500)])
def test_panel_of_extreme_images(size):
    height, width = size
    box = [[0, 0, width, height]]
    instances = detections(box, [[0, 0, 10, 10]], np.arange(100.0), size, stride=max(size) / 10)
    strip = draw_attribute_panel(grey(*size), instances, 0, rgb=True)
    assert strip.shape[0] <= 350 and strip.shape[1] <= 2 * 966 + 6 and warmth(strip).any()
