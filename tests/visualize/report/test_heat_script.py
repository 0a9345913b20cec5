"""The page's script draws maps as HeatMaps does, and colours them as overlays are."""

import numpy as np
import pytest

from odam_d2.structures import HeatMaps
from odam_d2.visualize.overlay import OPAQUE_FROM, color_table
from odam_d2.visualize.pages import base64_text
from odam_d2.visualize.report.records import encode_maps
from tests.visualize.browsers import needs_node, run_node
from tests.visualize.reports import heat_maps

pytestmark = needs_node


RENDER = """
const { detections, input, size, combine } = JSON.parse(require("fs").readFileSync(0));
const draw = (d, map) => OdamHeat.normalise(OdamHeat.render(d, OdamHeat.decode(map), input, ...size));
const parts = detections.map((d) => combine ? OdamHeat.maximum(d.maps.map((m) => draw(d, m))) : draw(d, d.maps[0]));
console.log(JSON.stringify(parts.map((p) => ({ ...p, values: Array.from(p.values) }))));
"""
CASES = {
    "inside": ([[2, 3, 3, 4]], (8, 10), (8.0, 8.0), (64, 80), (47, 61)),
    "at the borders": ([[0, 0, 2, 3], [6, 7, 2, 3], [0, 0, 8, 10]], (8, 10), (8.0, 8.0), (64, 80), (47, 61)),
    "padded grid": ([[0, 0, 8, 10], [5, 6, 3, 4]], (8, 10), (8.0, 8.0), (50, 70), (100, 33)),
    "in the padding alone": ([[7, 0, 1, 4], [0, 9, 3, 1]], (8, 10), (8.0, 8.0), (50, 70), (100, 33)),
    "uneven strides": ([[1, 2, 3, 3]], (5, 7), (16.5, 13.25), (77, 90), (40, 40)),
    "one cell, one row": ([[3, 3, 1, 1], [2, 0, 1, 10]], (8, 10), (8.0, 8.0), (64, 80), (64, 80)),
    "one-cell grid": ([[0, 0, 1, 1]], (1, 1), (32.0, 32.0), (32, 32), (9, 9)),
    "coarser than the grid": ([[1, 1, 6, 8]], (8, 10), (8.0, 8.0), (64, 80), (5, 4)),
}


def drawn_by_the_page(maps, size, combine=False):
    """(R, h, w): the parts that the script gives, in images that are zero elsewhere."""
    value = {"detections": encode_maps(maps), "input": maps.image_size, "size": size, "combine": combine}
    images = np.zeros((len(maps), *size))
    for image, part in zip(images, run_node(["heat"], RENDER, value), strict=True):
        top, left, height, width = (part[name] for name in ("top", "left", "height", "width"))
        image[top : top + height, left : left + width] = np.reshape(part["values"], (height, width))
        assert part["whole"] == ((height, width) == tuple(size))
    return images


@pytest.mark.parametrize("combine", [False, True], ids=["score", "combined"])
def test_the_page_interpolates_as_heat_maps_do(combine):
    for name, (windows, grid, stride, input_size, size) in CASES.items():
        maps = heat_maps(windows, grid, stride, input_size, (300, 400), seed=len(name))
        drawn = drawn_by_the_page(maps, size, combine)
        expected = maps.to_image("combined" if combine else "score", size=size).numpy()
        np.testing.assert_allclose(drawn, expected, atol=2e-5, err_msg=name)


def test_several_windows_are_merged_before_they_travel():
    """Two detections with two windows each, on grids of one stride: their sum is what the page draws."""
    maps = heat_maps([[1, 1, 4, 4], [3, 4, 4, 4], [0, 0, 3, 9], [5, 5, 3, 3]], (8, 10), (8.0, 8.0), (64, 80), (64, 80))
    parts = (maps.values, maps.windows, maps.grids, maps.strides, maps.attributes, (64, 80), (64, 80))
    maps = HeatMaps(*parts, maps.windows.new_tensor([0, 0, 1, 1]))
    drawn, expected = drawn_by_the_page(maps, (47, 61)), maps.to_image("score", size=(47, 61)).numpy()
    # Half of one of 255 steps, and twice that where the sum is scaled anew.
    np.testing.assert_allclose(drawn, expected, atol=1.5 / 255)
    assert len(drawn) == 2


COLOUR = """
const { heat, lut, from } = JSON.parse(require("fs").readFileSync(0)), pixels = new Uint8ClampedArray(4 * heat.length);
OdamHeat.colour(heat, OdamHeat.decode(lut), from, pixels);
console.log(JSON.stringify(Array.from(pixels)));
"""


def test_the_page_colours_as_the_overlay_does():
    value = {"heat": [0, 0.25, 1], "lut": base64_text(color_table("viridis").tobytes()), "from": OPAQUE_FROM}
    # Entries 0, 64 and 255 of matplotlib's viridis; heat .25 is half of what is drawn fully opaque.
    assert run_node(["heat"], COLOUR, value) == [68, 1, 84, 0, 59, 82, 139, 128, 253, 231, 37, 255]
