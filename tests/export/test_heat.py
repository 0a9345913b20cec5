"""Maps in 8 bits: which method, which attributes, and that they are those of the run."""

import numpy as np
import pytest

from odam_d2.export import heat as module
from odam_d2.export.heat import HeatSource
from odam_d2.store import StoredImage
from odam_d2.structures import HeatMaps
from tests.export.runs import ATTRIBUTES, FACTS, SIZE, first_image, maps_of


@pytest.fixture
def stored(tmp_path):
    return first_image(tmp_path)


def plain(maps: HeatMaps, attribute: str) -> list[np.ndarray]:
    return [np.rint(one.numpy() * 255).astype(np.uint8) for one in maps.to_image(attribute)]


@pytest.mark.parametrize("floats", [1, 2 * SIZE[0] * SIZE[1], 10**9])
def test_maps_are_those_of_the_boxes_however_many_are_made_together(stored, monkeypatch, floats):
    monkeypatch.setattr(module, "_FLOATS", floats)
    heat = HeatSource(FACTS, attributes=["left", "score", "left"]).of(stored)
    assert heat.attributes == ("left", "score") and 2 in heat and 3 not in heat
    rows, maps = stored.maps["odam", ""]
    for attribute in heat.attributes:
        found = list(heat.of_boxes(attribute, [4, 3, 0, 2]))
        assert [row for row, _ in found] == [4, 0, 2]
        expected = plain(maps, attribute)
        assert all(np.array_equal(one, expected[rows.index(row)]) for row, one in found)
        assert {one.max() for _, one in found} == {255} and found[0][1].shape == SIZE


def test_maps_together_are_the_greatest_value_at_each_pixel(stored):
    heat = HeatSource(FACTS).of(stored)
    expected = np.max(plain(stored.maps["odam", ""][1], "score"), 0)
    assert np.array_equal(heat.together("score", [0, 1, 2, 3, 4]), expected)
    assert heat.together("score", [3]) is None and heat.together("score", []) is None


@pytest.mark.parametrize(
    "run, asked, method",
    [
        (FACTS, None, "odam"),
        (FACTS, "gradcam", "gradcam"),
        ({"methods": ["gradcam", "odam"]}, None, "gradcam"),
        ({"method": "drise"}, None, "odam"),
        ({}, None, "odam"),
    ],
)
def test_the_method_is_the_one_asked_for_or_the_run_s(stored, run, asked, method):
    heat = HeatSource(run, asked).of(stored)
    rows, maps = stored.maps[method, ""]
    for row, one in heat.of_boxes("score", range(5)):
        assert np.array_equal(one, plain(maps, "score")[list(rows).index(row)])
    assert [row in heat for row in range(5)] == [row in rows for row in range(5)]


def test_attributes(stored):
    assert HeatSource(FACTS).of(stored).attributes == ("score",)
    assert HeatSource(FACTS, attributes=["all"]).of(stored).attributes == ("score", "left")
    only_sides = StoredImage(stored.image, maps={("odam", ""): ([0], maps_of(1, 0, ("top", "left")))})
    assert HeatSource(FACTS).of(only_sides).attributes == ("top",)
    known = r"`attributes` must be among those that the run explains, \['score', 'left'\]; got \['right'\]"
    with pytest.raises(ValueError, match=known):
        HeatSource(FACTS, attributes=["score", "right"]).of(stored)


def test_what_is_lacking(stored):
    assert HeatSource(FACTS, "drise").of(StoredImage(stored.image)) is None
    assert (
        HeatSource(FACTS).of(
            StoredImage(stored.image, maps={("odam", ""): ([], HeatMaps.empty(ATTRIBUTES, SIZE, SIZE))})
        )
        is None
    )
    with pytest.raises(ValueError, match=r"`method` must be one that the run has maps of; got 'drise', and image "
                       r"'@näh er.png' has \['gradcam', 'odam'\]"):  # fmt: skip
        HeatSource(FACTS, "drise").of(stored)
