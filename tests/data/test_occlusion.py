"""How much of an object is hidden: by hand, and by counting pixels."""

import numpy as np
import pytest
from detectron2.structures import BoxMode

from odam_d2.data.occlusion import covered, occlusions


def annotation(*box, **values):
    return {"bbox": list(map(float, box)), "bbox_mode": BoxMode.XYXY_ABS, "iscrowd": 0, "category_id": 0, **values}


def test_what_other_boxes_cover_together():
    found = occlusions(
        [
            annotation(0, 0, 10, 10),
            annotation(5, 0, 15, 10),  # half of the first
            annotation(5, 5, 10, 20),  # nothing new of the first; a quarter of the second
            annotation(40, 40, 50, 50),  # alone
        ]
    )
    # The third: 5 x 15, of which 5 x 5 lie in the first, and in the second as well.
    assert found == pytest.approx([0.5, 0.5, 25 / 75, 0.0])


def test_what_is_no_object_covers_nothing():
    found = occlusions(
        [
            annotation(0, 0, 10, 10),
            annotation(0, 0, 10, 5, iscrowd=1),
            annotation(0, 0, 10, 5, ignore=1),
            annotation(3, 3, 3, 9),
        ]
    )
    assert found == [0.0, 1.0, 1.0, 0.0]


def test_the_annotation_itself_is_believed():
    first = annotation(0, 0, 10, 10, visible_fraction=0.3, full_box=[0, 0, 10, 10], visible_box=[0, 0, 10, 10])
    # A whole body of 10 x 40, of which 10 x 10 are seen.
    second = annotation(0, 0, 10, 10, full_box=[0, 0, 10, 40], visible_box=[0, 0, 10, 10])
    third = annotation(0, 0, 10, 10, full_box=None, visible_box=None)
    assert occlusions([first, second, third]) == pytest.approx([0.7, 0.75, 1.0])
    assert occlusions([annotation(0, 0, 1, 1, visible_fraction=1.2)]) == [0.0]
    assert occlusions([]) == []


@pytest.mark.parametrize("seed", range(8))
def test_covered_equals_counted_pixels(seed):
    made = np.random.default_rng(seed)
    size = 24
    for _ in range(20):
        corners = made.integers(-4, size + 4, (made.integers(0, 7), 2, 2))
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
        own = np.array([*made.integers(0, 10, 2), *made.integers(11, size, 2)])
        image = np.zeros((size, size), bool)
        for x1, y1, x2, y2 in boxes.clip(0):
            image[y1:y2, x1:x2] = True
        part = image[own[1] : own[3], own[0] : own[2]]
        assert covered(own.tolist(), boxes.tolist()) == pytest.approx(part.mean(), abs=1e-12)
