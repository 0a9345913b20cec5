"""Frames as they are drawn."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.structures import HeatMaps
from odam_d2.video.drawing import AllObjects, ExplainedFrame, OneObject, draw_tints
from odam_d2.video.figures import TrackFigures, row_of
from odam_d2.visualize.overlay import ALPHA, draw_heatmap, instance_color

SIZE = (192, 256)


def found(places=((2, 2), (2, 18))):
    """Detections with a map of 4 x 4 cells of 8 pixels at each place; the first cells are hot."""
    heat = torch.zeros(4, 4)
    heat[1:3, 1:3] = 1.0
    number = len(places)
    maps = HeatMaps(
        heat.flatten().repeat(number)[None],
        torch.tensor([[top, left, 4, 4] for top, left in places]).reshape(-1, 4),
        torch.tensor([[24, 32]] * number).reshape(-1, 2),
        torch.full((number, 2), 8.0),
        ("score",),
        SIZE,
        SIZE,
        class_names=("person",),
    )
    corners = [[8.0 * left, 8.0 * top, 8.0 * left + 32, 8.0 * top + 32] for top, left in places]
    return Instances(
        SIZE,
        pred_boxes=Boxes(torch.tensor(corners).reshape(-1, 4)),
        scores=torch.full((number,), 0.9),
        pred_classes=torch.zeros(number, dtype=torch.int64),
        heatmaps=maps,
    )


def frame_of(instances, ids, place=0, grey=100):
    return ExplainedFrame(np.full((*SIZE, 3), grey, np.uint8), instances, np.array(ids, dtype=np.int64), place)


def test_maps_are_tinted_each_in_its_color_and_nothing_else_changes():
    rgb, colors = np.full((*SIZE, 3), 100, np.uint8), [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
    drawn = draw_tints(rgb, found(), "score", colors)
    for (y, x), color in (((32, 32), (255, 0, 0)), ((32, 160), (0, 0, 255))):
        # Hottest in the middle: the opacity is ALPHA there.
        expected = 100 * (1 - ALPHA) + np.array(color) * ALPHA
        assert np.abs(drawn[y, x] - expected).max() <= 1
    heat = found().heatmaps.to_image("score").amax(0).numpy()
    assert np.array_equal(drawn[heat == 0], rgb[heat == 0]) and (heat == 0).any()
    assert np.array_equal(draw_tints(rgb, found(()), "score", []), rgb)


def test_where_maps_lie_over_each_other_colors_are_mixed():
    rgb, colors = np.zeros((*SIZE, 3), np.uint8), [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
    drawn = draw_tints(rgb, found(((2, 2), (2, 2))), "score", colors)
    assert np.abs(drawn[32, 32] - ALPHA * np.array([127.5, 0.0, 127.5])).max() <= 1


def test_an_object_has_one_color_whatever_its_row():
    drawer, colors = AllObjects(("person",), "score"), []
    for ids, places in (([3, 7], ((2, 2), (2, 18))), ([7, 3], ((2, 18), (2, 2)))):
        drawn = drawer.draw(frame_of(found(places), ids))
        colors.append((drawn[48, 16].tolist(), drawn[48, 144].tolist()))  # the lower left corners of both boxes
    assert colors[0] == colors[1]
    assert colors[0][0] == [round(255 * part) for part in instance_color(3)]
    assert colors[0][1] == [round(255 * part) for part in instance_color(7)]
    nothing = drawer.draw(frame_of(found(()), []))
    assert (nothing == 100).all()


def test_a_followed_object_has_its_map_and_curves_beside():
    figures = TrackFigures(7, "score")
    for k in range(3):
        figures.add(k, k / 10, found(), 1, "person")
    figures.add(3, 0.3)
    drawer = OneObject(("person",), "score", figures)
    drawn = drawer.draw(frame_of(found(), [3, 7], place=1))
    height, width = drawn.shape[:2]
    assert height == 192 and width > SIZE[1] + 150
    expected = draw_heatmap(np.full((*SIZE, 3), 100, np.uint8), found().heatmaps.to_image("score")[1])
    assert np.abs(drawn[34:40, 156:164].astype(int) - expected[34:40, 156:164]).max() <= 2
    assert (drawn[34:40, 28:36] == 100).all()  # the other's heat isn't shown
    assert abs(int(drawn[48, 16, 0]) - 191) <= 1 and len(set(drawn[48, 16].tolist())) == 1  # its box is grey
    gone = drawer.draw(frame_of(found(((2, 2),)), [3], place=3))
    assert gone.shape == drawn.shape and (gone[34:40, 156:164] == 100).all()


def test_figures_are_of_the_object_and_empty_without_it():
    figures = TrackFigures(7, "score")
    figures.add(0, 0.0, found(), 1, "person")
    figures.add(5, 0.5)
    assert figures.label == "person" and figures.scores[0] == pytest.approx(0.9) and np.isnan(figures.scores[1])
    assert figures.boxes[0] == [144.0, 16.0, 176.0, 48.0]
    lines = figures.as_csv().splitlines()
    assert lines == ["frame,seconds,score,on_neighbours,beyond,x1,y1,x2,y2", "0,0.000,0.9,0,0,144,16,176,48"]
    figures.forget(1)
    assert figures.frames == [5] and len(figures.shares) == 1
    assert row_of(3, np.array([5, 3])) == 1 and row_of(3, np.array([], dtype=np.int64)) is None
