"""Masks are checked before pycocotools sees them: what it draws wrongly, hangs or dies on is refused."""

import json
import math

import numpy as np
import pytest
from pycocotools import mask as mask_util

from odam_d2.data.segmentations import box_of_segmentation, check_segmentation, decode_segmentation
from odam_d2.data.values import UnusableError

SIZE = (8, 10)  # h, w
SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]


def packed(mask: np.ndarray) -> dict:
    found = mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": found["size"], "counts": found["counts"].decode("ascii")}


def test_every_kind_is_drawn():
    square = decode_segmentation([SQUARE], SIZE)
    assert square.shape == SIZE and square[1:4, 2:6].all() and square.sum() == 12
    # Columns of 8: two empty ones; then four times 1 empty, 3 full, 4 empty; two empty ones.
    lengths = {"size": [8, 10], "counts": [17, 3, 5, 3, 5, 3, 5, 3, 36]}
    assert (decode_segmentation(lengths, SIZE) == square).all()
    assert (decode_segmentation(packed(square), SIZE) == square).all()
    assert not decode_segmentation(None, SIZE).any()


def test_packed_run_lengths_are_read_as_pycocotools_reads_them(seed):
    """Its own numbers, of masks of noise, stripes and blobs: each is accepted, and no other mask comes of it."""
    random = np.random.default_rng(seed)
    for height, width in ((1, 1), (1, 300), (300, 1), (37, 53), (480, 640)):
        for density in (0.0, 0.01, 0.5, 1.0):
            mask = random.random((height, width)) < density
            one = packed(mask)
            assert check_segmentation(one, (height, width)) == (one, [])
            assert (decode_segmentation(one, (height, width)) == mask).all()


@pytest.mark.parametrize("nothing", [None, [], {}, "", [[]], [[], []]])
def test_no_mask(nothing):
    assert check_segmentation(nothing, SIZE) == (None, [])


@pytest.mark.parametrize(
    "given, mask, repair",
    [
        (SQUARE, [SQUARE], "a polygon as a flat list"),
        ([[2, 1], [6, 1], [6, 4], [2, 4]], [SQUARE], "a polygon as a list of points"),
        ([[[2, 1], [6, 1], [6, 4], [2, 4]]], [SQUARE], "a polygon as a list of points"),
        ([[str(v) for v in SQUARE]], [SQUARE], "numbers as text in a polygon"),
        ([[1, 2, 3, 4], SQUARE], [SQUARE], "polygons of fewer than 6 numbers dropped"),
        ([[], SQUARE], [SQUARE], "polygons of fewer than 6 numbers dropped"),
        ([[50, 50, 60, 50, 60, 60], SQUARE], [SQUARE], "polygons outside of the image dropped"),
        ([{"size": [8, 10], "counts": [80]}], {"size": [8, 10], "counts": [80]}, "run lengths in a list"),
        (
            {"size": ["8", 10.0], "counts": [80]},
            {"size": [8, 10], "counts": [80]},
            "the size of run lengths as text or with a decimal point",
        ),
        (
            {"size": [8, 10], "counts": ["70", 10.0]},
            {"size": [8, 10], "counts": [70, 10]},
            "run lengths as text or with a decimal point",
        ),
        ({"counts": [80]}, {"size": [8, 10], "counts": [80]}, "run lengths without a size"),
    ],
)
def test_what_is_repaired(given, mask, repair):
    assert check_segmentation(given, SIZE) == (mask, [repair])


FAR = [[-100.0, -100.0, 300000000.0, 200000000.0, 200.0, 100.0]]
ZIGZAG = [[value for k in range(2000) for value in (50 if k % 2 else -50, k / 1000)]]


@pytest.mark.parametrize(
    "given, reason",
    [
        ([[math.nan, 1, 2, 3, 4, 5]], "a polygon of the mask is not finite"),
        ([[1, 1, 2, math.inf, 4, 5]], "a polygon of the mask is not finite"),
        ([[1, 1, 2, 10**400, 4, 5]], "a polygon of the mask is not finite"),
        ([[1, 1, 2, None, 4, 5]], "a polygon of the mask is no number"),
        ([[1, 1, 2, True, 4, 5]], "a polygon of the mask is no number"),
        ([[1, 1, 2, "x", 4, 5]], "a polygon of the mask is no number"),
        ([SQUARE, "text"], "a polygon of the mask is no list of numbers"),
        ([SQUARE, {"x": 1}], "a polygon of the mask is no list of numbers"),
        (FAR, "a polygon of the mask lies absurdly far outside of the image"),
        (ZIGZAG, "the outline of a polygon of the mask is absurdly long"),
        ([[20, 1, 26, 1, 26, 4]], "the mask lies outside of the image"),
        ([SQUARE[:7]], "a polygon of the mask has an odd number of numbers"),
        ([SQUARE, SQUARE[:7]], "a polygon of the mask has an odd number of numbers"),
        ([[1, 2, 3, 4]], "no polygon of the mask has 6 numbers"),
        ("rle", "the mask is neither polygons nor run lengths"),
        (5, "the mask is neither polygons nor run lengths"),
        (True, "the mask is neither polygons nor run lengths"),
        ({"size": [8, 10]}, "the run lengths of the mask are neither text nor numbers"),
        ({"size": [8, 10], "counts": None}, "the run lengths of the mask are neither text nor numbers"),
        ({"size": [8, 10], "counts": [10, 5]}, "the run lengths of the mask don't add up to the pixels of the image"),
        ({"size": [8, 10], "counts": []}, "the run lengths of the mask don't add up to the pixels of the image"),
        ({"size": [8, 10], "counts": [90, -10]}, "a run length of the mask is negative"),
        ({"size": [8, 10], "counts": [79.5, 0.5]}, "a run length of the mask is no whole number"),
        ({"size": [8, 10], "counts": [2**40, 80]}, "a run length of the mask is no whole number"),
        ({"size": [8, 10], "counts": [[80]]}, "a run length of the mask is no number"),
        ({"size": [10, 8], "counts": [80]}, "the mask is of another size than the image"),
        ({"size": [8], "counts": [80]}, "the size of the mask is no pair of sides"),
        ({"size": [0, 10], "counts": []}, "the size of the mask is no number of pixels"),
        ({"size": [-8, -10], "counts": [80]}, "the size of the mask is no number of pixels"),
        ({"size": [8, 10], "counts": "`"}, "the packed run lengths of the mask are cut off"),
        ({"size": [8, 10], "counts": "é"}, "the packed run lengths of the mask hold other characters"),
        ({"size": [8, 10], "counts": "\x00"}, "the packed run lengths of the mask hold other characters"),
        ({"size": [8, 10], "counts": "o" * 40 + "0"}, "a run length of the mask is no whole number"),
    ],
)
def test_what_is_refused(given, reason):
    with pytest.raises(UnusableError) as refused:
        check_segmentation(given, SIZE)
    assert refused.value.reason == reason
    with pytest.raises(UnusableError):  # nor does it reach pycocotools in another way
        decode_segmentation(given, SIZE)


def test_packed_run_lengths_that_were_cut_or_changed(seed):
    """Of every cut and of every changed character the mask is refused, or is a mask of whole columns of pixels."""
    mask = np.random.default_rng(seed).random((30, 40)) < 0.1
    text = packed(mask)["counts"]
    changed = [text[:k] for k in range(len(text))]
    changed += [text[:k] + chr(ord(text[k]) ^ 1) + text[k + 1 :] for k in range(len(text))]
    refused = 0
    for one in changed:
        try:
            decode_segmentation({"size": [30, 40], "counts": one}, (30, 40))
        except UnusableError:
            refused += 1
    assert refused >= len(changed) - 1  # "" is no mask at all


def test_sizes_that_nobody_knows_are_checked_as_far_as_they_can_be():
    assert check_segmentation({"size": [8, 10], "counts": [80]}, None)[0] == {"size": [8, 10], "counts": [80]}
    with pytest.raises(UnusableError, match="absurdly far"):
        check_segmentation(FAR, None)
    with pytest.raises(UnusableError, match="more pixels than"):
        check_segmentation({"size": [100000, 100000], "counts": [5 * 10**9, 5 * 10**9]}, None)


def test_the_box_around_a_mask():
    assert box_of_segmentation([SQUARE, [7.5, 2, 9, 2, 9, 6]]) == [2, 1, 7, 5]
    mask = decode_segmentation([SQUARE], SIZE)
    assert box_of_segmentation(packed(mask)) == [2, 1, 4, 3]
    assert box_of_segmentation({"size": [8, 10], "counts": [17, 3, 60]}) == [2, 1, 1, 3]
    assert box_of_segmentation({"size": [8, 10], "counts": [80]}) is None


def test_valid_masks_are_not_touched():
    polygon = json.loads(json.dumps([SQUARE, [0.5, 1.25, 3, 1, 3, 2.75]]))
    assert check_segmentation(polygon, SIZE) == (polygon, [])
