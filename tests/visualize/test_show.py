"""What a notebook's cell ends with: its forms, what it takes, and what it refuses."""

import html
import io
import re

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from odam_d2.structures import HeatMaps
from odam_d2.visualize import Explanation, load_heatmaps, save_heatmaps, show
from tests.visualize.reports import NAMES, NASTY, Page, complete, heat_maps, instances_of

WINDOWS = [[0, 1, 2, 3], [4, 6, 3, 1]]
SIZE = (120, 150)


def explained(attributes=NAMES, windows=WINDOWS):
    return instances_of(heat_maps(windows, (8, 10), (8.0, 8.0), (60, 75), SIZE, attributes))


def grey():
    return np.full((*SIZE, 3), 90, np.uint8)


def page_of(explanation, tmp_path):
    """The page inside the frame, parsed."""
    (source,) = re.findall(r'srcdoc="([^"]*)"', explanation._repr_html_())
    (tmp_path / "inside.html").write_text(html.unescape(source), encoding="utf-8")
    return Page(tmp_path / "inside.html")


def record_of(explanation, tmp_path):
    """What that page knows of the image."""
    data = page_of(explanation, tmp_path).data
    (record,) = complete(data, data["inline"])["records"].values()
    return record


def test_a_notebook_gets_the_page_in_a_frame_of_its_own(tmp_path):
    explanation = show(grey(), explained(), ["dog"])
    assert isinstance(explanation, Explanation)
    markup = explanation._repr_html_()
    assert re.fullmatch(r"<iframe( [a-z]+=\"[^\"<>]*\")+></iframe>", markup)  # one element, and nothing beside it
    assert 'sandbox="allow-scripts"' in markup  # neither the notebook's origin nor its forms, windows or dialogs
    data = page_of(explanation, tmp_path).data
    image = record_of(explanation, tmp_path)
    assert [d["label"] for d in image["detections"]] == ["dog", "class 1"]
    assert data["names"] == [*NAMES, "combined"] and data["single"] is True and image["name"] == "Image"
    assert repr(explanation).startswith("Explanation('Image', 150 x 120, 2 detections, attributes=('score', ")


def test_terminals_get_a_still_image():
    with Image.open(io.BytesIO(show(grey(), explained())._repr_png_())) as still:
        assert still.format == "PNG" and still.width == 960


def test_nothing_of_the_users_breaks_out(tmp_path):
    text = f"{NASTY} </iframe> \" ' & <img src=x onerror=alert(1)>"
    explanation = show(grey(), explained(), [text, text], title=text)
    assert re.fullmatch(r"<iframe( [a-z]+=\"[^\"<>]*\")+></iframe>", explanation._repr_html_())
    page = page_of(explanation, tmp_path)
    assert len(page.scripts) == 2 and page.data["inline"]["image-0"]["detections"][1]["label"] == text
    assert [address for address in page.addresses if not address.startswith("data:")] == []


@pytest.mark.parametrize("suffix", ["html", "HTM", "jpg", "jpeg", "png"])
def test_it_is_saved_by_suffix(tmp_path, suffix):
    path = tmp_path / "new" / f"x.{suffix}"
    show(grey(), explained()).save(path)
    if suffix.lower().startswith("htm"):
        assert Page(path).data["images"] == 1
    else:
        with Image.open(path) as still:
            assert still.format == ("PNG" if suffix == "png" else "JPEG") and still.width == 960
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["x", "x.pdf", "x.html.gz"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"must end in \.html, \.jpg or \.png; got '.*{name}'"):
        show(grey(), explained()).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["png", "html"])
def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(b"before")

    def fail(*arguments, **options):
        raise OSError("full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="full"):
        show(grey(), explained()).save(path)
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def seen(explanation):
    """The colour of the image's last pixels in the still sheet's overview, RGB."""
    with Image.open(io.BytesIO(explanation._repr_png_())) as still:
        return np.asarray(still)[700, 900].tolist()


def test_images_in_any_form(tmp_path):
    blue = np.full((*SIZE, 3), (200, 20, 10), np.uint8)  # BGR
    Image.fromarray(blue[:, :, ::-1]).save(tmp_path / "blue.png")
    for image, options in (
        (blue, {}),
        (blue[:, :, ::-1], {"rgb": True}),
        (tmp_path / "blue.png", {}),
        (str(tmp_path / "blue.png"), {"rgb": True}),
        (Image.open(tmp_path / "blue.png"), {}),
    ):
        assert seen(show(image, explained(), **options)) == [10, 20, 200]
    assert repr(show(tmp_path / "blue.png", explained())).startswith("Explanation('blue.png'")


def test_it_keeps_what_it_was_given():
    image = grey()
    explanation = show(image, explained())
    image[:] = 0
    assert seen(explanation) == [90, 90, 90]


def test_names_travel_with_the_heat_maps(tmp_path):
    instances = explained()
    instances.heatmaps.class_names = ("cat", "cow")
    labels = [d["label"] for d in record_of(show(grey(), instances), tmp_path)["detections"]]
    assert labels == ["cat", "cow"]
    save_heatmaps(tmp_path / "maps.npz", instances)
    kept = record_of(show(grey(), load_heatmaps(tmp_path / "maps.npz")), tmp_path)["detections"]
    assert [d["label"] for d in kept] == ["cat", "cow"]


def test_attributes_are_chosen_in_the_callers_order(tmp_path):
    assert page_of(show(grey(), explained(), attributes=("bottom", "combined")), tmp_path).data["names"] == [
        "bottom",
        "combined",
    ]
    assert page_of(show(grey(), explained(), attributes="left"), tmp_path).data["names"] == ["left"]
    few = explained(("score", "left"))
    assert page_of(show(grey(), few), tmp_path).data["names"] == ["score", "left"]
    for wrong in ("combined", ["score", "objectness"], []):
        with pytest.raises(ValueError, match=r"`attributes` must be among \['score', 'left'\]; got \["):
            show(grey(), few, attributes=wrong)


def test_no_detections(tmp_path):
    empty = instances_of(HeatMaps.empty(NAMES, (60, 75), SIZE))
    explanation = show(grey(), empty)
    data = page_of(explanation, tmp_path).data
    assert data["empty"] == "No detections in this image." and record_of(explanation, tmp_path)["detections"] == []
    assert explanation._repr_png_()


def test_boxes_without_scores(tmp_path):
    instances = explained()
    instances.remove("scores")
    explanation = show(grey(), instances)
    assert [d["score"] for d in record_of(explanation, tmp_path)["detections"]] == [None, None]
    assert explanation._repr_png_()


def test_the_height_of_the_frame_follows_the_image():
    def height(explanation):
        return int(re.search(r'height: (\d+)px; border: 0"></iframe>$', explanation._repr_html_()).group(1))

    # 156 for bars; (960 - 250) 120 / 150 = 568 is cut to 540, a panorama's to 300.
    assert height(show(grey(), explained())) == 156 + 540
    wide = explained()
    wide.heatmaps.output_size = (20, 150)
    wide = Instances((20, 150), **wide.get_fields())
    assert height(show(np.zeros((20, 150, 3), np.uint8), wide)) == 156 + 300
    assert height(show(grey(), explained(), height=480)) == 480


@pytest.mark.parametrize(
    "image, instances, error, message",
    [
        (grey(), {"instances": explained()}, TypeError, r'got the whole result: give result\["instances"\]'),
        (grey(), [1], TypeError, r"must be Instances; got list"),
        (
            grey(),
            Instances(SIZE, pred_boxes=Boxes(torch.zeros(0, 4)), pred_classes=torch.zeros(0)),
            ValueError,
            r"must have pred_boxes, pred_classes, heatmaps; got only \['pred_boxes', 'pred_classes'\]: take them from",
        ),
        (grey()[:-1], explained(), ValueError, "must be the image of the instances, 150 x 120 pixels; got 150 x 119"),
        (grey()[0], explained(), ValueError, r"`image` must be \(h, w, 3\) uint8"),
        ("nowhere.jpg", explained(), ValueError, "readable image"),
    ],
)
def test_what_can_not_be_shown_is_refused_at_once(image, instances, error, message):
    with pytest.raises(error, match=message):
        show(image, instances)
