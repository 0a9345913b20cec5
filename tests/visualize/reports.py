"""Runs, maps and reports that several tests of pages share."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.store import AnnotationRow, DetectionRow, ImageRow, RunReader, RunWriter, StoredImage
from odam_d2.structures import HeatMaps

NAMES = ("score", "left", "top", "right", "bottom")
NASTY = "</script><script>alert(1)</script><!--&amp;\u2028 ünïcødé 图.jpg"


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


def script_content(path):
    """Key and content that a script file of a report gives to the page."""
    text = path.read_text(encoding="ascii")
    return json.loads("[" + re.fullmatch(r"odamReport\((.*)\)\n", text, re.DOTALL)[1] + "]")


def read_report(folder):
    """What a report's page knows, with ``records`` of images by number, ``listed``, their names, and ``rows``."""
    facts = Page(folder / "index.html").data
    parts = dict(script_content(path) for path in (folder / facts["folder"]).rglob("*.js"))
    return complete(facts, parts)


def complete(facts, parts):
    """The facts of a page with what it has loaded, or has inside."""
    records = {int(key[6:]): one for key, one in parts.items() if key.startswith("image-")}
    chunks = [parts[f"images-{k}"] for k in range(facts["chunks"]["images"])]
    rows = [parts[f"rows-{k}"] for k in range(facts["chunks"]["rows"])]
    return {**facts, "records": records, "listed": [name for one in chunks for name in one["names"]], "rows": rows}


def column(report, name):
    """A column of all rows of a report."""
    kind = "u1" if name == "judged" else "<u4" if name in ("image", "row", *report["tables"]) else "<f4"
    values = [np.frombuffer(base64.b64decode(chunk["columns"][name]), kind) for chunk in report["rows"]]
    values = np.concatenate([np.zeros(0, kind), *values])
    return [report["tables"][name][v] for v in values] if name in report["tables"] else values.tolist()


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


def hot_maps(boxes, attributes=("score",)):
    """Maps that are hot all over each (x1, y1, x2, y2) box, whose sides are whole cells of 16 pixels, of 96 x 128."""
    windows = [[y1 // 16, x1 // 16, (y2 - y1) // 16, (x2 - x1) // 16] for x1, y1, x2, y2 in boxes]
    n, cells = len(boxes), sum(h * w for _, _, h, w in windows)
    return HeatMaps(
        torch.ones(len(attributes), cells),
        torch.tensor(windows).reshape(n, 4),
        torch.tensor([[6, 8]] * n).reshape(n, 2),
        torch.full((n, 2), 16.0),
        attributes,
        (96, 128),
        (96, 128),
    )


def stored(number, rows, annotations=None, maps=None, name=None, failure=None):
    """An image of 96 x 128 with rows and maps by ODAM, given by role."""
    size = None if failure else (96, 128)
    name = f"{number}.jpg" if name is None else name
    image = ImageRow(number, f"key {number}", name, f"nowhere/{number}.jpg", size, size, failure)
    return StoredImage(image, annotations, rows, {("odam", role): one for role, one in (maps or {}).items()})


def row(box, label="dog", score=0.5, **values):
    return DetectionRow(tuple(map(float, box)), 0, label, score, **values)


def truth(box, label="dog", **values):
    return AnnotationRow(tuple(map(float, box)), 0, label, **values)


def write_run(folder, images, **facts):
    """Writes a run and opens it."""
    with RunWriter(folder) as writer:
        for one in images:
            writer.write(one)
        writer.put_run({"method": "odam", **facts})
    return RunReader(folder)


def grey(image):
    """The pixels of any image: 96 x 128, all grey."""
    del image
    return np.full((96, 128, 3), 90, np.uint8)
