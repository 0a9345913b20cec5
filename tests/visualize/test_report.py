"""The report is one whole file that holds the right maps, and whose script draws them as HeatMaps does."""

import base64
import io
import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

import odam_d2.visualize.report as report_module
from odam_d2.structures import HeatMaps
from odam_d2.visualize.ground_truth import Annotation
from odam_d2.visualize.report import failure_entry, image_entry, script_json, write_report
from tests.wants import find_program, needs

TEMPLATES = Path(report_module.__file__).parent / "templates"
NAMES = ("score", "left", "top", "right", "bottom")
NASTY = "</script><script>alert(1)</script><!--&amp;\u2028 ünïcødé 图.jpg"
NODE = find_program("node", "nodejs")
needs_node = needs("node", NODE is not None)


class Page(HTMLParser):
    """Scripts, addresses and visible text of a page, as a browser's tokenizer sees them."""

    def __init__(self, path):
        super().__init__()
        self.scripts, self.addresses, self.text, self._inside, self.ids = [], [], "", [], {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ("src", "href", "srcset", "action", "data") if name in attrs]
        if tag not in ("meta", "link", "input", "img", "path"):
            self._inside.append(tag)
        if tag == "script":
            self.scripts.append("")
            self.ids[attrs.get("id")] = len(self.scripts) - 1

    def handle_endtag(self, tag):
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data):
        if self._inside and self._inside[-1] == "script":
            self.scripts[-1] += data
        elif not self._inside or self._inside[-1] != "style":
            self.text += data

    @property
    def data(self):
        return json.loads(self.scripts[self.ids["data"]])


def heat_maps(windows, grid, stride, image_size, output_size, attributes=NAMES, seed=0):
    """Random maps whose values are k / 255 of their maximum, k whole, so that 8 bits hold them exactly."""
    cells = sum(h * w for _, _, h, w in windows)
    steps = torch.randint(1, 256, (len(attributes), cells), generator=torch.Generator().manual_seed(seed)).float()
    first = 0
    for _, _, h, w in windows:
        steps[:, first] = 255
        first += h * w
    n = len(windows)
    return HeatMaps(
        steps * 0.5,
        torch.tensor(windows).reshape(n, 4),
        torch.tensor([grid] * n).reshape(n, 2),
        torch.tensor([stride] * n, dtype=torch.float32).reshape(n, 2),
        attributes,
        image_size,
        output_size,
    )


def instances_of(heatmaps):
    n = len(heatmaps)
    return Instances(
        heatmaps.output_size,
        pred_boxes=Boxes(torch.tensor([[2.0, 3.0, 20.5, 30.123]] * n).reshape(n, 4)),
        scores=torch.linspace(0.9, 0.5, n),
        pred_classes=torch.arange(n),
        heatmaps=heatmaps,
    )


WINDOWS = [[0, 1, 2, 3], [4, 6, 3, 1]]


@pytest.fixture
def heatmaps():
    return heat_maps(WINDOWS, (8, 10), (8.0, 8.0), (60, 75), (120, 150))


@pytest.fixture
def entry(heatmaps):
    return image_entry(NASTY, np.full((120, 150, 3), 90, np.uint8), instances_of(heatmaps), ["<b>dog</b>"])


def decoded(detection, attribute):
    flat = np.frombuffer(base64.b64decode(detection["maps"][NAMES.index(attribute)]), np.uint8)
    return flat.reshape(detection["window"][2:])


def test_windows_come_back(tmp_path, heatmaps, entry):
    write_report(tmp_path / "r.html", [entry], NAMES, {})
    data = Page(tmp_path / "r.html").data
    assert data["attributes"] == list(NAMES) and data["names"] == [*NAMES, "combined"]
    image = data["images"][0]
    assert image["size"] == [150, 120] and image["input"] == [60, 75]
    for index, detection in enumerate(image["detections"]):
        assert detection["window"] == WINDOWS[index] and detection["grid"] == [8, 10] and detection["stride"] == [8, 8]
        for k, name in enumerate(NAMES):
            raw = heatmaps.window(index, name).numpy()
            assert detection["peaks"][k] == 127.5
            np.testing.assert_array_equal(decoded(detection, name), raw * 2)
    first = image["detections"][0]
    assert first["box"] == [2.0, 3.0, 20.5, 30.12] and first["score"] == 0.9
    assert [d["label"] for d in image["detections"]] == ["<b>dog</b>", "class 1"]


def test_images_are_jpegs_of_bounded_size():
    large = np.full((1000, 4000, 3), 200, np.uint8)
    instances = instances_of(heat_maps(WINDOWS, (8, 10), (8.0, 8.0), (60, 75), (1000, 4000)))
    entry = image_entry("x", large, instances)
    sizes = []
    for key in ("image", "thumb"):
        head, content = entry[key].split(",")
        assert head == "data:image/jpeg;base64"
        sizes.append(Image.open(io.BytesIO(base64.b64decode(content))).size)
    assert sizes == [(1280, 320), (128, 32)]
    assert entry["size"] == [4000, 1000]  # boxes stay in the original frame


def test_no_text_can_break_out(tmp_path, entry):
    run = {"command": NASTY, "versions": {NASTY: NASTY}}
    entries = [entry, failure_entry(NASTY, NASTY)]
    write_report(tmp_path / "r.html", entries, NAMES, run, title=NASTY, empty=NASTY)
    page = Page(tmp_path / "r.html")
    assert len(page.scripts) == 2  # the data and the page's own, none that a name has opened
    assert page.data["images"][0]["name"] == page.data["images"][1]["error"] == NASTY
    assert page.data["run"] == run
    assert page.text.count("alert(1)") == 2  # the title, twice, as text


def test_script_json_has_no_markup():
    text = script_json({"a": "</script><!-- & >", "b": "\u2028"})
    assert not set("<>&\u2028") & set(text) and json.loads(text) == {"a": "</script><!-- & >", "b": "\u2028"}


def test_nothing_is_fetched(tmp_path, entry):
    write_report(tmp_path / "r.html", [entry], NAMES, {})
    page = Page(tmp_path / "r.html")
    assert [address for address in page.addresses if not address.startswith("data:")] == []
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    for forbidden in ("https://", "url(", "@import", "fetch(", "XMLHttpRequest", "import("):
        assert forbidden not in text, forbidden
    assert text.replace("http://www.w3.org/2000/svg", "").count("http://") == 0  # a namespace, never fetched


def test_combined_needs_its_parts(tmp_path):
    maps = heat_maps(WINDOWS, (8, 10), (8.0, 8.0), (60, 75), (120, 150), ("score", "left"))
    entry = image_entry("x", np.zeros((120, 150, 3), np.uint8), instances_of(maps))
    write_report(tmp_path / "r.html", [entry], ("score", "left"), {})
    data = Page(tmp_path / "r.html").data
    assert data["names"] == ["score", "left"] and data["combined"] is None


def test_ground_truth_is_shown_and_judged(heatmaps):
    image = np.zeros((120, 150, 3), np.uint8)
    truth = [Annotation((2.0, 3.0, 20.5, 30.123), "dog", 0), Annotation((0.0, 0.0, 1.0, 1.0), "cat", -1, True)]
    entry = image_entry("x", image, instances_of(heatmaps), ["dog"], truth)
    assert entry["detections"][0]["truth"]["verdict"] == "match" and entry["detections"][0]["truth"]["iou"] > 0.999
    assert entry["detections"][1]["truth"] == {"iou": 0.0, "verdict": "miss"}  # another class
    assert entry["annotations"][1] == {"label": "cat", "box": [0.0, 0.0, 1.0, 1.0], "crowd": True}
    unjudged = image_entry("x", image, instances_of(heatmaps), ["dog"], truth, judge=False)
    assert "truth" not in unjudged["detections"][0] and len(unjudged["annotations"]) == 2
    assert image_entry("x", image, instances_of(heatmaps))["annotations"] is None


def test_no_detection_and_no_image(tmp_path):
    empty = instances_of(HeatMaps.empty(NAMES, (60, 75), (120, 150)))
    entry = image_entry("x", np.zeros((120, 150, 3), np.uint8), empty)
    assert entry["detections"] == []
    for name, entries in (("one", [entry]), ("none", [])):
        write_report(tmp_path / f"{name}.html", entries, NAMES, {}, empty="Nothing scored .5 or more.")
        data = Page(tmp_path / f"{name}.html").data
        assert data["empty"] == "Nothing scored .5 or more." and len(data["images"]) == len(entries)


def test_a_failed_report_leaves_the_old_one(tmp_path, entry):
    write_report(tmp_path / "r.html", [entry], NAMES, {})
    before = (tmp_path / "r.html").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path / "r.html", [entry], NAMES, {"seconds": float("nan")})
    assert (tmp_path / "r.html").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def run_node(script, value):
    program = (TEMPLATES / "heat.js").read_text(encoding="utf-8") + script
    done = subprocess.run([NODE, "-e", program], input=json.dumps(value), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


RENDER = """
const { detections, input, size, combine } = JSON.parse(require("fs").readFileSync(0));
const draw = (d, map) => OdamHeat.normalise(OdamHeat.render(d, OdamHeat.decode(map), input, ...size));
const images = detections.map((d) => combine ? OdamHeat.maximum(d.maps.map((m) => draw(d, m))) : draw(d, d.maps[0]));
console.log(JSON.stringify(images.map((p) => Array.from(p))));
"""
CASES = {
    "inside": ([[2, 3, 3, 4]], (8, 10), (8.0, 8.0), (64, 80), (47, 61)),
    "at the borders": ([[0, 0, 2, 3], [6, 7, 2, 3], [0, 0, 8, 10]], (8, 10), (8.0, 8.0), (64, 80), (47, 61)),
    "padded grid": ([[0, 0, 8, 10], [5, 6, 3, 4]], (8, 10), (8.0, 8.0), (50, 70), (100, 33)),
    "uneven strides": ([[1, 2, 3, 3]], (5, 7), (16.5, 13.25), (77, 90), (40, 40)),
    "one cell, one row": ([[3, 3, 1, 1], [2, 0, 1, 10]], (8, 10), (8.0, 8.0), (64, 80), (64, 80)),
    "one-cell grid": ([[0, 0, 1, 1]], (1, 1), (32.0, 32.0), (32, 32), (9, 9)),
    "coarser than the grid": ([[1, 1, 6, 8]], (8, 10), (8.0, 8.0), (64, 80), (5, 4)),
}


@needs_node
@pytest.mark.parametrize("combine", [False, True], ids=["score", "combined"])
def test_the_page_interpolates_as_heat_maps_do(combine):
    for name, (windows, grid, stride, input_size, size) in CASES.items():
        maps = heat_maps(windows, grid, stride, input_size, (300, 400), seed=len(name))
        entry = image_entry("x", np.zeros((300, 400, 3), np.uint8), instances_of(maps))
        value = {"detections": entry["detections"], "input": entry["input"], "size": size, "combine": combine}
        drawn = np.array(run_node(RENDER, value)).reshape(len(windows), *size)
        expected = maps.to_image("combined" if combine else "score", size=size).numpy()
        np.testing.assert_allclose(drawn, expected, atol=2e-5, err_msg=name)


COLOUR = """
const { heat, lut } = JSON.parse(require("fs").readFileSync(0)), pixels = new Uint8ClampedArray(4 * heat.length);
OdamHeat.colour(heat, OdamHeat.decode(lut), 0.5, pixels);
console.log(JSON.stringify(Array.from(pixels)));
"""


@needs_node
def test_the_page_colours_as_the_overlay_does(tmp_path, entry):
    write_report(tmp_path / "r.html", [entry], NAMES, {})
    lut = Page(tmp_path / "r.html").data["luts"]["viridis"]
    # Entries 0, 64 and 255 of matplotlib's viridis; heat .25 is half of what is drawn fully opaque.
    assert run_node(COLOUR, {"heat": [0, 0.25, 1], "lut": lut}) == [68, 1, 84, 0, 59, 82, 139, 128, 253, 231, 37, 255]


@needs_node
def test_the_pages_script_parses(tmp_path, entry):
    write_report(tmp_path / "r.html", [entry], NAMES, {})
    page = Page(tmp_path / "r.html")
    (tmp_path / "page.js").write_text(page.scripts[1 - page.ids["data"]], encoding="utf-8")
    done = subprocess.run([NODE, "--check", tmp_path / "page.js"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
