"""The report in a browser: headless Chromium draws lists, boxes and heat, and finds no fault in the page's script."""

import io
import re
import subprocess

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from odam_d2.structures import HeatMaps
from odam_d2.visualize.report import failure_entry, image_entry, write_report
from tests.wants import find_program, needs

CHROMIUM = find_program("chromium", "chromium-browser", "google-chrome")
pytestmark = needs("Chromium", CHROMIUM is not None)

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,800",
    "--virtual-time-budget=15000",  # pretended milliseconds: what is loaded and drawn later than that is not seen
    "--enable-logging=stderr",  # the page's console, too
)  # fmt: skip


def browse(page, tmp_path, *options):
    """Opens a page anew; its output and what its console said."""
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120)
    log = done.stderr.decode(errors="replace")
    assert done.returncode == 0, log
    return done.stdout.decode(), [line for line in log.splitlines() if "CONSOLE" in line]


def element(dom, identity):
    """What the DOM holds in the element of an id that holds none of its own kind."""
    return re.search(rf'<(\w+)[^>]*\bid="{identity}"[^>]*>(.*?)</\1>', dom, re.DOTALL).group(2)


@pytest.fixture
def report(tmp_path):
    """A grey image with two detections, hot all over a box in its middle, and one that could not be explained."""
    heatmaps = HeatMaps(
        torch.tensor([[*[1.0] * 6, 1.0, 0.5]]),
        torch.tensor([[2, 3, 2, 3], [0, 0, 1, 2]]),
        torch.tensor([[6, 8]] * 2),
        torch.tensor([[16.0, 16.0]] * 2),
        ("score",),
        (96, 128),
        (96, 128),
    )
    instances = Instances(
        (96, 128),
        pred_boxes=Boxes(torch.tensor([[40.0, 24.0, 104.0, 72.0], [2.0, 3.0, 30.5, 20.0]])),
        scores=torch.tensor([0.9, 0.5]),
        pred_classes=torch.tensor([0, 1]),
        heatmaps=heatmaps,
    )
    grey = np.full((96, 128, 3), 90, np.uint8)
    entries = [image_entry("street.jpg", grey, instances, ["dog", "cat"]), failure_entry("torn.jpg", "no image")]
    write_report(tmp_path / "report.html", entries, ("score",), {"method": "odam"})
    return tmp_path / "report.html"


def test_lists_and_boxes_are_in_the_page(report, tmp_path):
    dom, console = browse(report, tmp_path, "--dump-dom")
    assert console == []
    assert element(dom, "summary") == "2 images · 2 detections · odam"
    images, detections = (element(dom, f"{name}-list").split("<li>")[1:] for name in ("image", "detection"))
    assert len(images) == 2 and "street.jpg" in images[0] and "torn.jpg" in images[1]
    assert len(detections) == 2 and "dog" in detections[0] and "0.500" in detections[1]
    found = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" class="box', element(dom, "boxes")
    )
    boxes = sorted(tuple(map(float, box)) for box in found)
    assert boxes == [(2.0, 3.0, 28.5, 17.0), (40.0, 24.0, 64.0, 48.0)]


STEPS = """<script>
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const first = document.querySelector("#detection-list button"), box = document.querySelector("#boxes .box");
const seen = [];
for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "b", "b"]) {
  press(key);
  const chosen = [...document.querySelectorAll("#detection-list [aria-current] .number")].map((b) => b.textContent);
  const selected = [...document.querySelectorAll("#boxes .box.selected")].map((b) => b.getAttribute("x"));
  seen.push([chosen.join(), selected.join(), document.querySelectorAll("#boxes .box").length].join("/"));
  if (key === "ArrowLeft") seen.push(first.isConnected && box.isConnected);
}
document.getElementById("summary").textContent = seen.join(" ");
</script></body>"""


def test_stepping_moves_what_is_chosen_and_makes_nothing_anew(report, tmp_path):
    """Detections 0 and 1: one step, round to the first, and back; then boxes off and on again."""
    report.write_text(report.read_text().replace("</body>", STEPS))
    dom, console = browse(report, tmp_path, "--dump-dom")
    assert console == []
    assert element(dom, "summary").split() == ["1/2/2", "0/40/2", "1/2/2", "true", "1//0", "1/2/2"]


def test_the_heat_is_seen(report, tmp_path):
    _, console = browse(report, tmp_path, f"--screenshot={tmp_path / 'seen.png'}")
    assert console == []
    pixels = np.asarray(Image.open(io.BytesIO((tmp_path / "seen.png").read_bytes())).convert("RGB")).astype(int)
    assert pixels.shape == (800, 1200, 3)
    # The middle of the window shows the chosen detection: turbo's dark red, the highest heat, over grey.
    red, green, blue = np.moveaxis(pixels[200:600, 300:900], -1, 0)
    assert np.count_nonzero((red > green + 50) & (red > blue + 50)) > 1000
    assert np.count_nonzero((red == green) & (green == blue)) > 1000


def test_a_fault_in_a_script_is_noticed(report, tmp_path):
    report.write_text(report.read_text().replace("OdamHeat.decode(data.luts[name])", "OdamHeat.nothing()"))
    dom, console = browse(report, tmp_path, "--dump-dom")
    assert "OdamHeat.nothing is not a function" in "".join(console)
    assert element(dom, "detection-list") == ""
