"""What a notebook's cell ends with: the page in a frame of its own, a still image, and files."""

import html
import io
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from odam_d2 import show
from odam_d2.structures import HeatMaps
from tests.visualize.test_report import Page
from tests.visualize.test_report_in_browser import CHROMIUM, browse, element
from tests.wants import needs

NASTY = '"</iframe><script>alert(1)</script> $x$ 犬 &amp;'


class Frames(HTMLParser):
    """The elements of a cell's output, with their attributes, as a browser reads them."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def instances_of(n=2, names=("dog", "cat"), attributes=("score", "left"), **more):
    """`n` detections in an image of 96 x 128, hot all over their windows of 3 x 2 cells of 16 pixels."""
    heatmaps = HeatMaps(
        torch.ones(len(attributes), 6 * n),
        torch.tensor([[2, 3, 2, 3]] * n).reshape(n, 4),
        torch.tensor([[6, 8]] * n).reshape(n, 2),
        torch.full((n, 2), 16.0),
        attributes,
        (96, 128),
        (96, 128),
        class_names=names,
    )
    found = Instances((96, 128), pred_boxes=Boxes(torch.tensor([[40.0, 24.0, 104.0, 72.0]] * n).reshape(n, 4)))
    found.pred_classes = torch.arange(n)
    found.heatmaps = heatmaps
    for name, value in more.items():
        found.set(name, value)
    return found


@pytest.fixture
def blue():
    """(96, 128, 3) uint8 BGR, wholly blue."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, :, 0] = 200
    return image


def test_the_page_is_in_a_frame_that_can_do_nothing_else(blue, tmp_path):
    cell = show(blue, instances_of(scores=torch.tensor([0.9, 0.5])), title=NASTY)._repr_html_()
    ((tag, attributes),) = Frames(cell).elements
    assert tag == "iframe" and attributes["sandbox"] == "allow-scripts" and attributes["title"] == NASTY
    (tmp_path / "frame.html").write_text(attributes["srcdoc"], encoding="utf-8")
    page = Page(tmp_path / "frame.html")
    assert not [address for address in page.addresses if "//" in address]
    (image,) = page.data["images"]
    assert image["name"] == NASTY and [one["label"] for one in image["detections"]] == ["dog", "cat"]
    assert re.search(r"height: (\d+)px", attributes["style"])


def test_attributes_are_those_asked_for_in_this_order(blue, tmp_path):
    show(blue, instances_of(), attributes=("left",)).save(tmp_path / "x.html")
    assert Page(tmp_path / "x.html").data["names"] == ["left"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg"])
def test_still_images_keep_the_colours(blue, tmp_path, suffix):
    explanation = show(blue, instances_of(scores=torch.tensor([0.9, 0.5])))
    explanation.save(tmp_path / f"x.{suffix}")
    saved = np.asarray(Image.open(tmp_path / f"x.{suffix}").convert("RGB")).astype(int)
    red, _, azure = saved[60, saved.shape[1] // 2]  # in the image with all boxes, blue as it was given
    assert azure > 150 and red < 60
    if suffix == "png":
        assert (tmp_path / "x.png").read_bytes() == explanation._repr_png_()


def test_the_image_may_be_a_path_a_pillow_image_or_rgb(blue, tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), blue)
    rgb = np.ascontiguousarray(blue[:, :, ::-1])
    expected = show(blue, instances_of())._repr_png_()
    for image, options in ((str(tmp_path / "x.png"), {}), (Image.fromarray(rgb), {}), (rgb, {"rgb": True})):
        assert show(image, instances_of(), **options)._repr_png_() == expected
    assert "'x.png'" in repr(show(tmp_path / "x.png", instances_of()))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_none_one_and_many_and_boxes_without_scores(blue, tmp_path, count):
    explanation = show(blue, instances_of(count))
    explanation.save(tmp_path / "x.html")
    (image,) = Page(tmp_path / "x.html").data["images"]
    assert len(image["detections"]) == count
    assert Image.open(io.BytesIO(explanation._repr_png_())).width >= 960


def test_names_may_be_given(blue, tmp_path):
    show(blue, instances_of(names=()), ["wolf", "lynx"]).save(tmp_path / "x.html")
    (image,) = Page(tmp_path / "x.html").data["images"]
    assert [one["label"] for one in image["detections"]] == ["wolf", "lynx"]


def test_what_cannot_be_shown_is_refused(blue, tmp_path):
    bare = Instances((96, 128), pred_boxes=Boxes(torch.zeros(0, 4)), pred_classes=torch.zeros(0))
    with pytest.raises(ValueError, match="must have pred_boxes, pred_classes, heatmaps; got only"):
        show(blue, bare)
    with pytest.raises(TypeError, match=r'got the whole result: give result\["instances"\]'):
        show(blue, {"instances": bare})
    with pytest.raises(TypeError, match="must be Instances; got list"):
        show(blue, [])
    with pytest.raises(ValueError, match="128 x 96 pixels; got 64 x 48: give the original image"):
        show(blue[::2, ::2], instances_of())
    with pytest.raises(ValueError, match=r"`attributes` must be among .*; got \['top'\]"):
        show(blue, instances_of(), attributes="top")
    with pytest.raises(ValueError, match=r"must end in .html, .jpg or .png; got '.*x.gif'"):
        show(blue, instances_of()).save(tmp_path / "x.gif")
    assert not (tmp_path / "x.gif").exists()


@needs("Chromium", CHROMIUM is not None)
def test_a_browser_draws_two_cells_beside_each_other(blue, tmp_path):
    cells = [show(blue, instances_of(n, scores=torch.linspace(0.9, 0.5, n)), title=f"{n} boxes") for n in (1, 2)]
    for number, cell in enumerate(cells):
        cell.save(tmp_path / f"{number}.html")
        dom, console = browse(tmp_path / f"{number}.html", tmp_path, "--dump-dom")
        assert console == []
        assert len(re.findall("<rect", element(dom, "boxes"))) >= number + 1
    notebook = tmp_path / "notebook.html"
    body = "".join(cell._repr_html_() for cell in cells)
    notebook.write_text(f"<!doctype html><title>notebook</title><body>{body}</body>", encoding="utf-8")
    dom, console = browse(notebook, tmp_path, "--dump-dom")
    assert console == [] and dom.count("<iframe") == 2 and html.escape("2 boxes") in dom
    shot = tmp_path / "shot.png"
    browse(notebook, tmp_path, f"--screenshot={shot}", "--window-size=1000,1200")
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    # Both frames show the blue image.
    strong = (pixels[:, :, 2] > 150) & (pixels[:, :, 0] < 60)
    assert strong[: len(strong) // 2].any() and strong[len(strong) // 2 :].any()


def test_the_frame_is_closed_by_nothing_in_it(blue):
    cell = show(blue, instances_of(), [NASTY, NASTY], title=NASTY)._repr_html_()
    assert cell.count("</iframe>") == 1 and cell.endswith("</iframe>") and "<script" not in cell


def test_saving_is_whole_or_not_at_all(blue, tmp_path, monkeypatch):
    explanation = show(blue, instances_of())
    (tmp_path / "x.png").write_bytes(b"before")
    monkeypatch.setattr(Image.Image, "save", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        explanation.save(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == b"before"
