"""Several explanations in one notebook's page, in headless Chromium: each works and stays to itself."""

import html
import io
import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from odam_d2.structures import HeatMaps
from odam_d2.visualize import show
from tests.visualize.browsers import browse, element, needs_chromium

pytestmark = needs_chromium

# Frames share the page's process, and so its pretended time: otherwise it may be over before they are drawn.
ONE_PROCESS = "--disable-features=IsolateSandboxedIframes"
# What somebody does inside a frame, and what they see there. It is told to the page around.
VISIT = """<script>
setTimeout(() => { // once the frame has its size
const $ = (id) => document.getElementById(id), seen = {};
const chosen = () => document.querySelector("#detection-list [aria-current] .number").textContent;
const clickAt = (x, y) => {
  const area = $("layers").getBoundingClientRect();
  const place = { clientX: area.left + x / 128 * area.width, clientY: area.top + y / 96 * area.height };
  $("layers").dispatchEvent(new MouseEvent("click", place));
};
try { seen.reached = parent.document.title; } catch (error) { seen.reached = error.name; }
seen.names = [...document.querySelectorAll("#attributes button")].map((b) => b.textContent);
seen.labels = [...document.querySelectorAll("#detection-list .label")].map((b) => b.textContent);
seen.chosen = [chosen()];
clickAt(10, 10);
seen.chosen.push(chosen());
clickAt(70, 50);
seen.chosen.push(chosen());
document.querySelectorAll("#attributes button")[1].click();
seen.what = $("what").textContent;
$("opacity").value = 25;
$("opacity").dispatchEvent(new Event("input"));
seen.opacity = $("heat").style.opacity;
$("open-help").click();
seen.help = [$("help").open];
document.querySelector("#help .close").click();
seen.help.push($("help").open);
const hidden = [...document.querySelectorAll(".top, .images, #about-links, footer")];
seen.shown = hidden.filter((e) => e.checkVisibility()).length;
seen.colour = getComputedStyle($("what")).color;
seen.heat = [$("heat").width > 0, getComputedStyle($("heat")).display];
seen.address = location.href;
seen.fits = document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth;
parent.postMessage(JSON.stringify([document.title, seen]), "*");
}, 500);
</script></body>"""
PAGE = """<!doctype html><html><head><title>notebook</title><style>
p, h1, button, span {{ color: rgb(1, 2, 3) !important; }} canvas {{ display: none !important; }}
</style></head><body style="margin: 0"><p id="what">the notebook's own</p>
<pre id="seen"></pre><script>
const $ = "the notebook's own", seen = {{}};
addEventListener("message", (event) => {{
  const [title, found] = JSON.parse(event.data);
  seen[title] = {{ ...found, origin: event.origin }};
  document.getElementById("seen").textContent = JSON.stringify(seen);
  const what = document.getElementById("what").textContent;
  document.getElementById("own").textContent = [$, what, location.hash].join("/");
}});
</script><pre id="own"></pre><div style="width: {width}px">{cells}</div></body></html>"""


@pytest.fixture
def instances():
    """A dog that is hot all over its box in the middle, and a cat at the upper left with a fainter map."""
    heatmaps = HeatMaps(
        torch.tensor([[*[1.0] * 6, 1.0, 0.5], [*[2.0] * 6, 1.0, 0.5]]),
        torch.tensor([[2, 3, 2, 3], [0, 0, 1, 2]]),
        torch.tensor([[6, 8]] * 2),
        torch.tensor([[16.0, 16.0]] * 2),
        ("score", "left"),
        (96, 128),
        (96, 128),
        class_names=("dog", "<b>cat</b>"),
    )
    return Instances(
        (96, 128),
        pred_boxes=Boxes(torch.tensor([[40.0, 24.0, 104.0, 72.0], [2.0, 3.0, 30.5, 20.0]])),
        scores=torch.tensor([0.9, 0.5]),
        pred_classes=torch.tensor([0, 1]),
        heatmaps=heatmaps,
    )


def notebook(path, *cells, width=960):
    """A page that holds cells as a notebook does, each visited by a user."""
    ending = html.escape("</body>")
    assert all(cell.count(ending) == 1 for cell in cells)
    visited = "<hr>".join(cell.replace(ending, html.escape(VISIT)) for cell in cells)
    path.write_text(PAGE.format(width=width, cells=visited), encoding="utf-8")
    return path


def grey():
    return np.full((96, 128, 3), 90, np.uint8)


@pytest.mark.parametrize("width", [960, 600])
def test_each_cell_works_and_stays_to_itself(instances, tmp_path, width):
    cells = [show(grey(), instances, title="a")._repr_html_()]
    cells.append(show(grey(), instances, attributes=("left", "score"), title="b")._repr_html_())
    page = notebook(tmp_path / "notebook.html", *cells, width=width)
    dom, console = browse(page, tmp_path, ONE_PROCESS, "--dump-dom")
    assert console == []
    seen = json.loads(html.unescape(element(dom, "seen")))
    assert list(seen) == ["a", "b"]
    for title, names in (("a", ["score", "left"]), ("b", ["left", "score"])):
        found = seen[title]
        assert found["names"] == names and found["labels"] == ["dog", "<b>cat</b>"]
        assert found["chosen"] == ["0", "1", "0"]  # at first, after a click on the cat, after one on the dog
        assert found["what"] == f"{names[1]} of 0 dog 0.900"
        assert found["opacity"] == "0.25" and found["heat"] == [True, "block"]
        assert found["help"] == [True, False]
        assert found["shown"] == 0  # no heading, list of images or word of an address bar in a cell
        # Nothing comes in from the notebook or gets out to it.
        assert found["reached"] == "SecurityError" and found["origin"] == "null"
        assert found["colour"] != "rgb(1, 2, 3)" and found["address"] == "about:srcdoc"
        assert found["fits"] is True
    assert element(dom, "own") == "the notebook's own/the notebook's own/"


def test_the_heat_is_seen(instances, tmp_path):
    page = tmp_path / "notebook.html"
    page.write_text(f"<body>{show(grey(), instances)._repr_html_()}</body>", encoding="utf-8")
    _, console = browse(page, tmp_path, ONE_PROCESS, f"--screenshot={tmp_path / 'seen.png'}")
    assert console == []
    pixels = np.asarray(Image.open(io.BytesIO((tmp_path / "seen.png").read_bytes())).convert("RGB")).astype(int)
    red, green, blue = np.moveaxis(pixels[150:600, 100:900], -1, 0)
    assert np.count_nonzero((red > green + 50) & (red > blue + 50)) > 1000


def test_a_saved_page_has_a_heading_and_links(instances, tmp_path):
    show(grey(), instances, title="street.jpg").save(tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    told = '<script>document.getElementById("summary").textContent = location.hash</script></body>'
    (tmp_path / "x.html").write_text(text.replace("</body>", told), encoding="utf-8")
    dom, console = browse(tmp_path / "x.html", tmp_path, "--dump-dom")
    assert console == [] and "<h1>street.jpg</h1>" in dom and '<body class="single">' in dom
    assert html.unescape(element(dom, "summary")) == "#image=0&det=0&attr=score"


def test_no_detections_and_no_scores(instances, tmp_path):
    unscored = Instances((96, 128), **instances.get_fields())
    unscored.remove("scores")
    show(grey(), unscored).save(tmp_path / "unscored.html")
    dom, console = browse(tmp_path / "unscored.html", tmp_path, "--dump-dom")
    assert console == [] and element(dom, "what") == "score of 0 dog " and element(dom, "count") == "2 detections"
    show(grey(), instances[:0]).save(tmp_path / "none.html")
    dom, console = browse(tmp_path / "none.html", tmp_path, "--dump-dom")
    assert console == [] and element(dom, "notice") == "No detections in this image."
