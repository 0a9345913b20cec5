"""RoIAlign by looking cells up, against Detectron2's pooler."""

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes

from odam_d2.modeling.lookup_pooler import LookupROIPooler
from tests.helpers import relative_error

STRIDES = (4, 8, 16, 32)
# On every level and between, over each border and outside, thin, without area, and turned round.
BOXES = torch.tensor(
    [
        [3.3, 5.1, 40.2, 30.9], [20.0, 10.0, 150.0, 120.0], [0.0, 0.0, 256.0, 128.0], [-30.0, -20.0, 280.0, 160.0],
        [250.0, 120.0, 256.0, 128.0], [300.0, 200.0, 330.0, 250.0], [-90.0, 3.0, -50.0, 60.0], [7.0, 2.0, 9.0, 125.0],
        [1.0, 60.0, 250.0, 61.0], [50.0, 50.0, 50.0, 50.0], [90.0, 80.0, 60.0, 40.0], [100.0, 30.0, 212.0, 142.0],
    ]
)  # fmt: skip


def poolers(size, levels, ratio, kind):
    stock = ROIPooler(size, [1 / s for s in STRIDES[:levels]], ratio, kind)
    return stock, LookupROIPooler.of(stock)


def levels_of(count, images, channels=5):
    torch.manual_seed(0)
    return [torch.randn(images, channels, 128 // s, 256 // s) for s in STRIDES[:count]]


@pytest.mark.parametrize("kind", ["ROIAlign", "ROIAlignV2"])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("levels, size", [(4, 7), (1, 3), (1, (2, 5))])
def test_it_pools_what_the_operator_pools(kind, ratio, levels, size):
    stock, lookup = poolers(size, levels, ratio, kind)
    features = levels_of(levels, 3)
    boxes = [Boxes(BOXES), Boxes(BOXES[:0]), Boxes(BOXES.flip(0) * 0.7)]
    expected, found = stock(features, boxes), lookup(features, boxes)
    assert found.shape == expected.shape and bool(expected.any())
    assert relative_error(found, expected) < 1e-5


def test_pieces_are_put_together_again(monkeypatch):
    stock, lookup = poolers(7, 4, 0, "ROIAlignV2")
    features, boxes = levels_of(4, 2), [Boxes(BOXES), Boxes(BOXES * 0.5)]
    whole = lookup(features, boxes)
    monkeypatch.setattr("odam_d2.modeling.lookup_pooler._LOOKUPS_AT_ONCE", 1)
    # The same sums, of fewer RoIs at a time.
    assert relative_error(lookup(features, boxes), whole) < 1e-5


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(count):
    stock, lookup = poolers(7, 4, 0, "ROIAlignV2")
    features, boxes = levels_of(4, 1), [Boxes(BOXES[:count])]
    found = lookup(features, boxes)
    assert found.shape == (count, 5, 7, 7) and torch.allclose(found, stock(features, boxes), atol=1e-5)


def test_what_is_not_read_does_not_count():
    """NaN one cell from where an RoI of two cells ends, sampled once a pooled cell: at cells 2.5 and 3.5."""
    lookup = LookupROIPooler.of(ROIPooler(2, [1 / 4], 1, "ROIAlignV2"))
    feature = torch.full((1, 1, 8, 8), float("nan"))
    feature[:, :, 2:5, 2:5] = torch.arange(9.0).view(3, 3)
    found = lookup([feature], [Boxes(torch.tensor([[10.0, 10.0, 18.0, 18.0], [12.0, 12.0, 16.0, 16.0]]))])
    # Bilinear in the middle of four of 0 1 2 / 3 4 5 / 6 7 8; the second RoI, at cells 2.75 and 3.25, reads no others.
    assert found[0, 0].tolist() == [[2.0, 3.0], [5.0, 6.0]]
    assert found[1, 0].flatten().tolist() == pytest.approx([3.0, 3.5, 4.5, 5.0])


def test_boxes_keep_their_precision_in_mixed_precision():
    """Detectron2 rounds the boxes of bfloat16 features; here a box at 200.3 stays there."""
    stock, lookup = poolers(7, 4, 0, "ROIAlignV2")
    features, boxes = levels_of(4, 1), [Boxes(torch.tensor([[200.3, 90.7, 245.9, 120.2]]))]
    halves = [f.bfloat16() for f in features]
    with torch.autocast("cpu", torch.bfloat16):
        found = lookup(halves, boxes)
        rounded = stock(halves, boxes)
    expected = stock([f.float() for f in halves], boxes)
    assert found.dtype == torch.bfloat16
    # Eight bits of the result, and nothing else.
    assert relative_error(found.float(), expected) < 2**-8 < 0.1 * relative_error(rounded.float(), expected)


def test_what_is_not_roi_align_is_not_taken():
    class Own(ROIPooler):
        pass

    assert LookupROIPooler.of(Own(7, [1 / 4], 0, "ROIAlignV2")) is None
    assert LookupROIPooler.of(ROIPooler(7, [1 / 4], 0, "ROIPool")) is None
    mixed = ROIPooler(7, [1 / 4, 1 / 8], 0, "ROIAlignV2")
    mixed.level_poolers[1] = torch.nn.Sequential(ROIAlign(7, 1 / 8, 0))
    assert LookupROIPooler.of(mixed) is None
