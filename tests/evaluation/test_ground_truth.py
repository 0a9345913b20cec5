"""What of a record's annotations counts, and masks of every kind."""

import numpy as np
import pytest
from pycocotools import mask as mask_util

from odam_d2.evaluation import TrueObjects, records_from_coco
from tests.data.test_coco import coco


def truth_of(tmp_path, *annotations):
    return TrueObjects.of(records_from_coco(coco(tmp_path, annotations), tmp_path, ("cat", "dog"), 2)[0])


def test_what_does_not_count_is_left_out_and_counted(tmp_path):
    crowd = {"iscrowd": 1, "segmentation": {"size": [4, 6], "counts": [0, 24]}}
    truth = truth_of(tmp_path, crowd, {"ignore": 1}, {"bbox": [0, 0, 0, 3]}, {"bbox": [1.5, 1, 2, 2]})
    assert truth.dropped == {"crowd": 1, "ignored": 1, "empty": 0}  # the reader leaves that one out
    assert truth.ids == [3] and truth.boxes.tolist() == [[1.5, 1, 3.5, 3]] and truth.classes.tolist() == [1]
    assert truth.size == (4, 6)


def test_masks_of_every_kind(tmp_path):
    expected = np.zeros((4, 6), dtype=bool)
    expected[1:3, 1:3] = True
    packed = mask_util.encode(np.asfortranarray(expected.astype(np.uint8)))
    packed["counts"] = packed["counts"].decode("ascii")
    # Columns of 4: one empty, then twice 1 empty 2 full 1 empty.
    lengths = {"size": [4, 6], "counts": [5, 2, 2, 2, 13]}
    polygon = [[1, 1, 3, 1, 3, 3, 1, 3]]
    kinds = [{"segmentation": one} for one in (packed, lengths, polygon)]
    # The last is a triangle between pixels: nothing is left of it.
    truth = truth_of(tmp_path, *kinds, {}, {"segmentation": []}, {"segmentation": [[1, 1, 1.2, 1, 1.2, 1.2]]})
    assert truth.has_mask.tolist() == [True, True, True, False, False, False]
    for number in range(3):
        assert (truth.masks[number].numpy() == expected).all()
    assert not truth.masks[3:].any()
    assert (truth.inside_boxes[0].numpy() == expected).all()


@pytest.mark.parametrize(
    "segmentation, message",
    [
        ({"size": [3, 6], "counts": [0, 18]}, "of another size than the image .6 x 3 instead of 6 x 4"),
        ("what", "must be COCO's polygons or run lengths for an image of 6 x 4; but"),
        ([[0, 0, float("nan"), 1, 1, 1]], "is not finite"),
        ({"size": [4, 6], "counts": [10, 5]}, "don't add up"),
    ],
)
def test_masks_that_can_not_be_used(segmentation, message):
    """Records of a reader of one's own; those of this package hold no such masks."""
    item = {"bbox": [0, 0, 2, 2], "category_id": 0, "id": 7, "segmentation": segmentation}
    with pytest.raises(ValueError, match=f"the mask of annotation 7 .*{message}"):
        _ = TrueObjects.of({"height": 4, "width": 6, "annotations": [item]}).masks


def test_a_image_without_annotations(tmp_path):
    truth = TrueObjects.of(records_from_coco(coco(tmp_path, []), tmp_path, None, 2)[1])
    assert truth.boxes.shape == (0, 4) and truth.masks.shape == (0, 4, 6) and truth.has_mask.shape == (0,)
