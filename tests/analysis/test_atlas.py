"""Mean maps in box coordinates: by hand, against plain means, in any order."""

import numpy as np
import pytest
import torch

from odam_d2.analysis import Atlas
from odam_d2.analysis.atlas import box_maps
from odam_d2.structures import COMBINED_PARTS, HeatMaps
from tests.evaluation import scenes


def maps_of(values, attributes=("score",), stride=1.0):
    """From (R, K, h, w) numbers, whose cells are `stride` pixels."""
    values = torch.as_tensor(np.array(values), dtype=torch.float32)
    count, _, height, width = values.shape
    return HeatMaps(
        values.transpose(0, 1).reshape(len(attributes), -1), torch.tensor([[0, 0, height, width]]).repeat(count, 1),
        torch.tensor([[height, width]]).repeat(count, 1), torch.full((count, 2), stride), attributes,
        (int(height * stride), int(width * stride)), (int(height * stride), int(width * stride)),
    )  # fmt: skip


def test_cells_of_the_box_and_around_it_by_hand():
    # Cells are pixels and boxes 2 x 2 pixels, so that 4 x 4 samples of [-.5, 1.5] are the pixels around.
    heat = np.zeros((4, 4))
    heat[1, 1], heat[0, 3], heat[3, 3] = 4.0, 2.0, 8.0
    maps, inside = box_maps(scenes.heatmaps(heat.tolist()), (1, 1, 3, 3), ("score",), 4)
    assert inside.all() and maps[0].tolist() == (heat / 8).tolist()
    # A pixel further left and up: a column and a row lie outside of the image, and with them the greatest value.
    maps, inside = box_maps(scenes.heatmaps(heat.tolist()), (0, 0, 2, 2), ("score",), 4)
    expected = np.zeros((4, 4))
    expected[1:, 1:] = heat[:3, :3] / 4
    assert maps[0].tolist() == expected.tolist()
    assert inside.tolist() == [[False] * 4] + [[False, True, True, True]] * 3
    maps, inside = box_maps(scenes.heatmaps(heat.tolist()), (20, 20, 22, 22), ("score",), 4)
    assert not inside.any() and not maps.any()


def test_inside_the_image_it_is_to_image_of_the_region():
    values = np.random.default_rng(0).random((1, 5, 12, 16))
    one = maps_of(values, COMBINED_PARTS, stride=8.0)
    box, region = (40.0, 30.0, 80.0, 70.0), (20.0, 10.0, 100.0, 90.0)
    attributes = (*COMBINED_PARTS, "combined")
    maps, inside = box_maps(one, box, attributes, 32)
    assert inside.all()
    for k, name in enumerate(attributes):
        expected = one.to_image(name, size=(32, 32), region=region)[0]
        assert torch.allclose(torch.from_numpy(maps[k]), expected, atol=1e-6)


def test_means_and_counts_by_hand():
    atlas = Atlas(["score"], size=4)
    box = torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    first, second = np.zeros((4, 4)), np.zeros((4, 4))
    first[0, 0], second[0, 0], second[1, 1] = 3.0, 1.0, 2.0
    nothing = np.zeros((4, 4))
    atlas.add([7], box, scenes.heatmaps(first.tolist()))
    atlas.add(
        torch.tensor([7, 7, 2]), box.repeat(3, 1), scenes.heatmaps(*(x.tolist() for x in (second, nothing, first)))
    )
    atlas.add([7], torch.tensor([[1.0, 1.0, 1.0, 3.0]]), scenes.heatmaps(first.tolist()))  # a box without a size
    found = atlas.summary()
    assert list(found) == atlas.classes == [2, 7] and found[7].attributes == ("score",)
    assert found[7].mean[0, 0, 0] == pytest.approx(0.75) and found[7].mean[0, 1, 1] == 0.5
    assert found[7].mean[0].sum() == pytest.approx(1.25)
    assert found[7].detections.tolist() == [2] and found[7].images.tolist() == [2]
    assert (found[7].covered == 2).all() and (found[2].covered == 1).all()
    # One image: nothing is known of others.
    assert np.isnan(found[2].low).all() and found[2].mean[0, 0, 0] == 1.0
    # Two images with 1 and .5: standard deviation .354, error .25, times 1.96.
    assert found[7].low[0, 0, 0] == pytest.approx(0.75 - 1.96 * 0.25, abs=1e-4) and found[7].high[0, 0, 0] == 1.0


def test_what_lies_outside_of_the_image_counts_for_no_mean():
    atlas = Atlas(["score"], size=4)
    heat = np.zeros((4, 4))
    heat[0, 0] = 1.0
    atlas.add([0], torch.tensor([[0.0, 0.0, 2.0, 2.0]]), scenes.heatmaps(heat.tolist()))
    found = atlas.summary()[0]
    assert np.isnan(found.mean[0, 0]).all() and np.isnan(found.mean[0, :, 0]).all()
    assert found.mean[0, 1, 1] == 1.0 and found.covered[0].tolist() == [[0] * 4] + [[0, 1, 1, 1]] * 3


def random_images(generator, count=15):
    for _ in range(count):
        detections = int(generator.integers(0, 4))
        values = np.maximum(generator.normal(size=(detections, 2, 6, 6)), 0)
        values[generator.random(detections) < 0.2] = 0
        corner = torch.from_numpy(generator.uniform(-1, 4, (detections, 2))).float()
        size = torch.from_numpy(generator.uniform(1, 4, (detections, 2))).float()
        boxes = torch.cat([corner, corner + size], 1)
        yield generator.integers(0, 2, detections).tolist(), boxes, maps_of(values, ("score", "left"))


def test_against_plain_means():
    images = list(random_images(np.random.default_rng(0)))
    atlas = Atlas(["score", "left"], size=5)
    for one in images:
        atlas.add(*one)
    found = atlas.summary()
    for label in (0, 1):
        for k in range(2):
            for y, x in ((0, 0), (2, 2), (4, 1)):
                by_image = []
                for classes, boxes, maps in images:
                    values = []
                    for row, other in enumerate(classes):
                        part, inside = box_maps(maps[row], boxes[row].tolist(), atlas.attributes, 5)
                        if other == label and part[k].any() and inside[y, x]:
                            values.append(float(part[k, y, x]))
                    if values:
                        by_image.append(values)
                everything = np.concatenate(by_image)
                mean = everything.mean()
                assert found[label].mean[k, y, x] == pytest.approx(mean, abs=1e-8)
                assert found[label].covered[k, y, x] == len(everything)
                number = len(by_image)
                if number < 2:
                    assert np.isnan(found[label].low[k, y, x])
                    continue
                spread = sum((sum(values) - mean * len(values)) ** 2 for values in by_image)
                error = np.sqrt(spread * number / (number - 1)) / len(everything)
                assert found[label].high[k, y, x] == pytest.approx(min(mean + 1.959964 * error, 1), abs=1e-5)
                assert found[label].low[k, y, x] == pytest.approx(max(mean - 1.959964 * error, 0), abs=1e-5)


def test_order_and_processes_make_no_difference():
    images = list(random_images(np.random.default_rng(1)))
    whole, first, second = (Atlas(["score", "left"], size=8) for _ in range(3))
    for one in images:
        whole.add(*one)
    for number in np.random.default_rng(2).permutation(len(images)).tolist():
        (first if number % 3 else second).add(*images[number])
    second.merge(first)
    expected, found = whole.summary(), second.summary()
    assert list(found) == list(expected)
    for label in expected:
        for name in ("mean", "low", "high", "covered", "detections", "images"):
            assert np.array_equal(getattr(found[label], name), getattr(expected[label], name), equal_nan=True), name


def test_nothing_and_what_does_not_fit():
    assert Atlas(["score"]).summary() == {}
    with pytest.raises(
        ValueError, match=r"`other` must have the attributes \['score'\] and the size 64; got .* and 32"
    ):
        Atlas(["score"]).merge(Atlas(["score"], 32))
    with pytest.raises(ValueError, match="`attributes` must name at least one"):
        Atlas([])
