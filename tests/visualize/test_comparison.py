"""The comparison: the right object in the right row, the same part of the image for every detector."""

import base64
import io

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from odam_d2.structures import HeatMaps
from odam_d2.visualize.comparison import Findings, comparison_entry, write_comparison
from odam_d2.visualize.ground_truth import Annotation
from tests.visualize.reports import NASTY, Page

SIZE = (120, 160)
SMALL, LARGE, LONELY = (100.0, 20.0, 120.0, 40.0), (20.0, 30.0, 60.0, 90.0), (130.0, 100.0, 150.0, 118.0)
OBJECTS = [
    Annotation(SMALL, "dog", 0),
    Annotation((0.0, 0.0, 150.0, 110.0), "dog", 0, crowd=True),
    Annotation(LARGE, "cat", 1),
    Annotation(LONELY, "dog", 0),
]


def findings(boxes, classes, hot=None, link="r/report.html#det={}"):
    """Detections whose maps are hot in one cell of 10 px, (row, column), each."""
    n = len(boxes)
    values = torch.zeros(1, n * 12 * 16)
    for index, (y, x) in enumerate(hot or [(0, 0)] * n):
        values[0, index * 192 + y * 16 + x] = 1.0
    maps = HeatMaps(
        values, torch.tensor([[0, 0, 12, 16]] * n).reshape(n, 4), torch.tensor([[12, 16]] * n).reshape(n, 2),
        torch.full((n, 2), 10.0), ("score",), SIZE, SIZE,
    )  # fmt: skip
    instances = Instances(
        SIZE, pred_boxes=Boxes(torch.tensor(boxes).reshape(n, 4)), scores=torch.linspace(0.9, 0.6, n),
        pred_classes=torch.tensor(classes, dtype=torch.int64), heatmaps=maps,
    )  # fmt: skip
    return Findings(instances, ("dog", "cat"), link)


@pytest.fixture
def entry():
    grey = np.full((*SIZE, 3), 100, np.uint8)
    # The first finds the dog, a box off by 2 px, and a dog where there is a cat; the second finds the cat. LARGE is 40
    # x 60 around (40, 60): its middle lies in cell (6, 4), and outside it is cell (6, 7).
    one = findings([[102.0, 20, 122, 40], [*LARGE]], [0, 0], [(3, 11), (6, 4)])
    other = findings([[*LARGE]], [1], [(6, 4)])
    return comparison_entry("x.jpg", grey, OBJECTS, [one, other, None], ["score"])


def pixels(uri):
    head, content = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(float)


def test_rows_are_objects_and_cells_are_detectors(entry):
    assert entry["objects"] == 3 and entry["found"] == [1, 1, 0]
    assert [(row["number"], row["label"]) for row in entry["rows"]] == [(1, "cat"), (2, "dog")]  # by falling area
    states = [[cell["state"] for cell in row["cells"]] for row in entry["rows"]]
    assert states == [["missed", "found", "absent"], ["found", "missed", "absent"]]
    dog = entry["rows"][1]["cells"][0]
    # 20 x 20 against itself 2 px to the right: 18 * 20 / (2 * 400 - 360).
    assert dog["iou"] == pytest.approx(360 / 440) and dog["score"] == pytest.approx(0.9)
    assert dog["link"] == "r/report.html#det=0" and entry["rows"][0]["cells"][1]["link"] == "r/report.html#det=0"


def test_crops_of_a_row_show_the_same_part(entry):
    for row in entry["rows"]:
        shapes = {pixels(uri).shape for cell in row["cells"] for uri in cell.get("crops", {}).values()}
        shapes |= {pixels(cell["crop"]).shape for cell in row["cells"] if "crop" in cell} | {pixels(row["crop"]).shape}
        assert len(shapes) == 1
        height, width, _ = shapes.pop()
        assert height <= 190 and width <= 220


def test_heat_lies_where_the_map_has_it(entry):
    # The cat's crop: 1.5 * (40, 60) + 16 = 76 x 106 px around (40, 60), which in a cell's shape of 220 x 190 is 122.7 x
    # 106, moved right by 21.4 to begin at the image's border. So x runs from 0 to 123, y from 7 to 113.
    heated, plain = pixels(entry["rows"][0]["cells"][1]["crops"]["score"]), pixels(entry["rows"][0]["crop"])
    height, width, _ = heated.shape
    y, x = round((65 - 7) / 106 * height), round(45 / 123 * width)
    assert np.abs(heated[y, x] - plain[y, x]).max() > 60
    away = round(100 / 123 * width)
    assert np.abs(heated[y, away] - plain[y, away]).max() < 8


def test_objects_at_the_border_and_of_any_size_have_crops():
    grey = np.full((*SIZE, 3), 100, np.uint8)
    boxes = [(0.0, 0.0, 160.0, 120.0), (0.0, 0.0, 4.0, 3.0), (156.0, 0.0, 160.0, 120.0), (0.0, 110.0, 160.0, 120.0)]
    objects = [Annotation(box, "dog", 0) for box in boxes]
    rows = comparison_entry("x", grey, objects, [findings([list(b) for b in boxes], [0] * 4)], ["score"])["rows"]
    assert len(rows) == 4 and all(pixels(row["crop"]).size for row in rows)


def test_nothing_found_and_nothing_there():
    grey = np.zeros((*SIZE, 3), np.uint8)
    nothing = comparison_entry("x", grey, OBJECTS, [findings([], [])], ["score"])
    assert nothing["rows"] == [] and nothing["found"] == [0] and nothing["objects"] == 3
    assert comparison_entry("x", grey, [], [findings([[*LARGE]], [1])], ["score"])["objects"] == 0


def test_the_page_is_whole_and_fetches_nothing(tmp_path, entry):
    detectors = [{"name": name, "detail": NASTY, "link": f"{name}/report.html"} for name in ("a", "b", NASTY)]
    write_comparison(tmp_path / "index.html", [{**entry, "name": NASTY}], detectors, ["score"], NASTY)
    page = Page(tmp_path / "index.html")
    assert page.scripts == []
    outside = {address for address in page.addresses if not address.startswith("data:")}
    assert outside == {"a/report.html", "b/report.html", f"{NASTY}/report.html", "r/report.html#det=0"}
    assert "3 annotated objects, 1 of them found by no detector" in page.text
    assert page.text.count("not found") == 2 and "1 of 3" in page.text and "image not explained" in page.text
    assert "score 0.90" in page.text and "IoU 0.82" in page.text
