"""The still sheet of an image: its layout, and whose heat maps it draws."""

import numpy as np
import pytest

from odam_d2.visualize import sheet as sheet_module
from odam_d2.visualize.sheet import draw_sheet
from tests.visualize.test_overlay import detections, grey, warmth


def several(number, size=(120, 160), attributes=("score",)):
    """Detections of falling score in a 120 x 160 image, all hot in one cell of a 12 x 16 grid."""
    maps = np.zeros((len(attributes), number, 12, 16))
    maps[:, :, 6, 8] = 1.0
    boxes, windows = [[40, 30, 120, 100]] * number, [[0, 0, 12, 16]] * number
    return detections(boxes, windows, maps, size, (12, 16), attributes=attributes)


def drawn_for(monkeypatch, instances, attributes=("score",)):
    """The labels of the detections whose heat maps are drawn, in their order."""
    labels = []
    real = sheet_module.instance_label
    monkeypatch.setattr(
        sheet_module, "instance_label", lambda *arguments: labels.append(real(*arguments)) or labels[-1]
    )
    draw_sheet(grey(120, 160), instances, ("dog",), attributes)
    return labels


def test_the_three_best_are_drawn_by_falling_score(monkeypatch):
    # Scores of four: .98, .82, .66, .5, now in another order.
    instances = several(4)[[2, 3, 0, 1]]
    assert drawn_for(monkeypatch, instances) == ["2 dog 0.98", "3 dog 0.82", "0 dog 0.66"]


def test_without_scores_the_first_are_drawn(monkeypatch):
    instances = several(4)
    instances.remove("scores")
    assert drawn_for(monkeypatch, instances) == ["0 dog", "1 dog", "2 dog"]


def test_layout():
    # 160 x 120 becomes 948 x 711, between gaps of 6. Below comes a line of text of 26, then the maps.
    bare = draw_sheet(grey(120, 160), several(0), (), ("score",))
    assert bare.shape == (6 + 711 + 26 + 6, 960, 3) and not warmth(bare).any()
    one = draw_sheet(grey(120, 160), several(1), (), ("score",))
    assert one.shape[1] == 960 and one.shape[0] > bare.shape[0] + 150
    three = draw_sheet(grey(120, 160), several(3), (), ("score",))
    assert three.shape == one.shape  # side by side
    heat = warmth(three[750:])[60:]
    assert [bool(heat[:, k * 314 : (k + 1) * 314].any()) for k in range(3)] == [True, True, True]
    names = ("score", "left", "top", "right", "bottom", "combined")
    rows = draw_sheet(grey(120, 160), several(3, attributes=names[:-1]), (), names)
    assert rows.shape[1] == 960 and rows.shape[0] > one.shape[0] + 150  # a row for each detection


@pytest.mark.parametrize("size", [(1, 1), (40, 4000), (4000, 40)])
def test_images_of_extreme_shapes(size):
    instances = detections([[0, 0, size[1], size[0]]], [[0, 0, 10, 10]], np.arange(100.0), size, stride=max(size) / 10)
    sheet = draw_sheet(grey(*size), instances, (), ("score",))
    assert sheet.shape[1] >= 960 and sheet.shape[0] < 1100 and warmth(sheet).any()
