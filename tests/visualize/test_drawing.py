"""Pixels of drawn detections, worked out by hand."""

import inspect

import numpy as np
import pytest
from PIL import Image

import odam_d2.visualize as visualize
from odam_d2.visualize import draw_attribute_panel, draw_detection, draw_detections
from tests.visualize.test_overlay import detections, grey, warmth

SIDES = ("left", "top", "right", "bottom")
DRAWINGS = {
    "detection": lambda image, instances, **order: draw_detection(image, instances, 0, **order),
    "detections": draw_detections,
    "panel": lambda image, instances, **order: draw_attribute_panel(image, instances, 0, **order),
}


def one_hot(size=(200, 200)):
    """One detection, with a box of (20, 30, 180, 190) and a single hot cell, centred at (105, 105)."""
    values = np.zeros((20, 20))
    values[10, 10] = 1.0
    return detections([[20, 30, 180, 190]], [[0, 0, 20, 20]], values, size, grid=(20, 20))


def test_a_detection_has_its_heat_its_box_and_its_label():
    instances = one_hot()
    drawn = draw_detection(grey(200, 200), instances, 0, class_names=["dog"])
    rows, columns = warmth(drawn).nonzero()
    assert 95 <= rows.min() and rows.max() <= 114 and 95 <= columns.min() and columns.max() <= 114
    assert (drawn[110, 20] > 150).all()  # a white box, half transparent
    changed = (drawn != draw_detection(grey(200, 200), instances, 0, class_names=["elephant"])).any(2)
    rows, columns = changed.nonzero()
    assert len(rows) > 50 and rows.max() < 60 and columns.max() < 110  # the label, at the upper left corner


def test_a_map_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"`attribute` must be among \['score'\]; got 'left'"):
        draw_detection(grey(200, 200), one_hot(), 0, "left")


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_channels_stay_in_the_callers_order(drawing, tmp_path):
    """turbo's end is dark red, (122, 4, 3) in RGB; at the hottest place it is mixed with the image's blue."""
    draw, instances = DRAWINGS[drawing], one_hot()
    bgr = np.full((200, 200, 3), (100, 120, 10), np.uint8)
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    drawn = draw(bgr, instances)
    assert drawn.dtype == np.uint8 and drawn.flags.c_contiguous
    np.testing.assert_array_equal(draw(rgb, instances, rgb=True), drawn[:, :, ::-1])
    Image.fromarray(rgb).save(tmp_path / "x.png")
    for one in (tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(rgb)):
        np.testing.assert_array_equal(draw(one, instances), drawn)
        np.testing.assert_array_equal(draw(one, instances, rgb=True), drawn[:, :, ::-1])
    if drawing == "detection":
        assert drawn[10, 10].tolist() == [100, 120, 10]
        assert drawn[105, 105, 2] > drawn[105, 105, 0]  # red over blue: BGR


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_another_image_is_refused(drawing):
    message = "must be the image of the instances, 200 x 200 pixels; got 100 x 200"
    with pytest.raises(ValueError, match=message):
        DRAWINGS[drawing](grey(200, 100), one_hot())


def test_whoever_takes_an_image_says_what_its_channels_are():
    taking = [name for name in visualize.__all__ if "image" in inspect.signature(getattr(visualize, name)).parameters]
    assert set(taking) == {
        "Explanation", "draw_attribute_panel", "draw_detection", "draw_detections", "show",
    }  # fmt: skip
    for name in taking:
        rgb = inspect.signature(getattr(visualize, name)).parameters["rgb"]
        assert rgb.default is False and rgb.kind is inspect.Parameter.KEYWORD_ONLY, name


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
    warm = warmth(draw_detections(grey(1000, 4000), instances))
    columns = warm[200].nonzero()[0]
    assert abs(columns.min() - 400) <= 3 and abs(columns.max() - 1200) <= 3


def test_panel_shows_each_attribute_where_it_is_hot():
    # An image of 100 x 100, a 10 x 10 grid; the box is (20, 20, 80, 80), its window cells 2 .. 7. Each side's map has
    # one hot cell, in the middle of that side; "score" has none.
    names = ("score", *SIDES)
    maps = np.zeros((5, 6, 6))
    maps[1, 3, 0] = maps[2, 0, 3] = maps[3, 3, 5] = maps[4, 5, 3] = 1.0
    instances = detections([[20, 20, 80, 80]], [[2, 2, 6, 6]], maps, (100, 100), attributes=names)
    strip = draw_attribute_panel(grey(100, 100), instances, 0, class_names=["dog"])
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
    far_panel = draw_attribute_panel(grey(1000, 1000), far, 0)[24:-6, 332:-6]
    near_panel = draw_attribute_panel(grey(1000, 1000), near, 0)[24:-6, 332:-6]
    # Around the near one: 95 .. 145 and 13 of air, 82 .. 158; heat from 95 to 145 covers (50 / 76)^2 of it.
    assert 0.25 < warmth(near_panel).mean() < 0.5
    rows, columns = warmth(far_panel).nonzero()
    assert len(rows) and rows.mean() > 0.8 * len(far_panel) and columns.mean() > 0.9 * far_panel.shape[1]


def test_panel_of_chosen_attributes():
    instances = detections(
        [[20, 20, 80, 80]], [[2, 2, 6, 6]], np.ones((2, 36)), (100, 100), attributes=("score", "left")
    )
    assert draw_attribute_panel(grey(100, 100), instances, 0, ["left"]).shape[1] == 2 * 326 + 6


@pytest.mark.parametrize("size", [(1, 1), (600, 8000), (8000, 600), (1, 500)])
def test_panel_of_extreme_images(size):
    height, width = size
    box = [[0, 0, width, height]]
    instances = detections(box, [[0, 0, 10, 10]], np.arange(100.0), size, stride=max(size) / 10)
    strip = draw_attribute_panel(grey(*size), instances, 0)
    assert strip.shape[0] <= 350 and strip.shape[1] <= 2 * 966 + 6 and warmth(strip).any()
