"""A run on disk, as the page is shown it."""

import io
import json
import os
import shutil
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image

from odam_d2.serve.limits import ServeLimits
from odam_d2.serve.run_view import RunView
from odam_d2.serve.workbench import Workbench
from odam_d2.store import AnnotationRow, DetectionRow, ImageRow, RunReader, RunWriter, StoredImage
from odam_d2.store.filters import ORDERS, Filter
from odam_d2.structures import HeatMaps
from odam_d2.utils.files import write_json
from odam_d2.visualize.report import PageWords, ReportImages, write_report_folder
from odam_d2.visualize.report.figures import flat_figures, numbers_of
from odam_d2.visualize.report.records import image_record
from tests.serve.conftest import JSON, serving
from tests.visualize.reports import Page

SIZE = (40, 60)


def maps_of(count: int) -> HeatMaps:
    """Small maps, one window each."""
    windows = torch.tensor([[1, 2, 3, 4]] * count)
    values = torch.arange(2 * 12 * count, dtype=torch.float32).view(2, -1)
    grid, stride = torch.tensor([[5, 8]] * count), torch.full((count, 2), 8.0)
    return HeatMaps(values, windows, grid, stride, ("score", "left"), SIZE, SIZE)


def photo(number: int) -> np.ndarray:
    """(h, w, 3) uint8 BGR."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, :, number % 3] = 200
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of four images, whose last one failed, and whose third one is gone."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "images").mkdir()
    with RunWriter(folder) as writer:
        for number in range(4):
            path = folder / "images" / f"dog {number}.png"
            row = ImageRow(number, str(number), path.name, str(path), SIZE, SIZE)
            if number != 2:
                Image.fromarray(photo(number)[:, :, ::-1]).save(path)
            if number == 3:
                writer.write(StoredImage(ImageRow(3, "3", path.name, str(path), failure="it is broken")))
                continue
            boxes = [
                DetectionRow((1, 1, 9, 9), 0, "dog", 0.9 - number / 10, verdict="correct", iou=0.8, annotation=0),
                DetectionRow((5, 5, 30, 30), 1, "<cat>", 0.4, verdict="background", outside=0.5 + number / 10,
                             figures={"heat": {"own": 0.25 * number}, "said": "cat"}),
                DetectionRow((9, 9, 50, 39), 0, "dog", None, "missed", verdict="missed", mechanism="low_score",
                             figures={"missed": {"rank": 7 - number}}),
            ]  # fmt: skip
            truth = [AnnotationRow((1, 1, 9, 9), 0, "dog", id=number)]
            writer.write(StoredImage(row, truth, boxes, {("odam", ""): ([0, 1], maps_of(2))}))
        writer.put_run({"class_names": ["dog", "<cat>"]})
    run = {"method": "odam", "dataset": "d", "images": [{"file": "x"}] * 3, "versions": {"torch": "2"}}
    write_json(folder / "run.json", run)
    return folder


@pytest.fixture(scope="module")
def shown(folder):
    """Asks a server that shows the run, and has no detector."""
    with serving(Workbench(run=RunView(folder, ServeLimits()))) as client:
        yield client


@pytest.fixture(scope="module")
def reader(folder):
    with RunReader(folder) as reader:
        yield reader


def test_what_the_page_is_told_at_first(shown):
    told = shown.get("/api/about").json()["run"]
    assert (told["images"], told["boxes"], told["annotated"], told["noun"]) == (4, 9, True, "detection")
    assert told["names"]["label"] == ["<cat>", "dog"] and told["names"]["mechanism"] == ["low_score"]
    assert told["methods"] == ["odam"] and set(told["figures"]) < set(ORDERS)
    assert (told["first"], told["attributes"], told["combined"]) == (0, ["score", "left"], None)
    assert (told["failed"], told["failures"]) == (1, [["dog 3.png", "it is broken"]])
    assert told["facts"] == {"method": "odam", "dataset": "d", "versions": {"torch": "2"}}


@pytest.mark.parametrize(
    "query, chosen",
    [
        ("", Filter()),
        ("label=dog", Filter(label=("dog",))),
        ("label=dog&label=%3Ccat%3E&verdict=correct", Filter(label=("dog", "<cat>"), verdict=("correct",))),
        ("score_min=0.5&score_max=0.85", Filter(score=(0.5, 0.85))),
        ("mechanism=", Filter(mechanism=(None,))),
        ("outside_min=0.55&image=0&image=1", Filter(outside=(0.55, None), image=(0, 1))),
        ("kind=missed&area_max=1e9", Filter(kind=("missed",), area=(None, 1e9))),
        ("label=nobody", Filter(label=("nobody",))),
    ],
)
@pytest.mark.parametrize("order, way", [("place", False), ("score", True), ("area", False)])
def test_boxes_are_those_of_the_reader(shown, reader, query, chosen, order, way):
    told = shown.get(f"/api/run/boxes?{query}&order_by={order}&descending={way}&offset=1&limit=3").json()
    expected = reader.detections(chosen, order, way, 1, 3)
    assert [(one["image"], one["row"]) for one in told["boxes"]] == [(image, row) for image, row, _ in expected]
    for one, (_, _, box) in zip(told["boxes"], expected, strict=True):
        for name in ("label", "score", "kind", "verdict", "mechanism", "iou", "outside"):
            assert one[name] == getattr(box, name)
    assert told["count"] == reader.count(chosen) and told["total"] == 9
    for column, counts in told["counts"].items():
        assert counts == {word or "": number for word, number in reader.counts(column, chosen).items()}


@pytest.mark.parametrize("name", ["", "DOG 1", "g", "%", "' OR 1=1--"])
@pytest.mark.parametrize("judged", ["with", "without"])
def test_boxes_by_names_of_images_and_annotated_objects(shown, reader, judged, name):
    told = shown.get(f"/api/run/boxes?judged={judged}&name={quote(name)}").json()
    expected = [(image, row) for image, row, box in reader.detections()
                if (box.annotation is not None) == (judged == "with")
                and name.lower() in reader.image_row(image).name.lower()]  # fmt: skip
    assert [(one["image"], one["row"]) for one in told["boxes"]] == expected and told["count"] == len(expected)
    for number in range(4):
        rows = shown.get(f"/api/run/rows/{number}?judged={judged}&name={quote(name)}").json()["rows"]
        assert rows == [row for image, row in expected if image == number]


def test_groups_have_headings_that_are_paged(shown):
    told = shown.get("/api/run/boxes?group_by=mechanism&order_by=score&score_max=2").json()
    assert (told["items"], told["count"]) == (7, 6)
    assert told["boxes"][0] == {"group": None, "count": 6}
    whole = shown.get("/api/run/boxes?group_by=label&order_by=score&descending=true").json()
    assert [one["group"] if "group" in one else one["score"] for one in whole["boxes"]] == [
        "<cat>", 0.4, 0.4, 0.4, "dog", 0.9, 0.8, 0.7, None, None, None]  # fmt: skip
    for offset in range(12):
        page = shown.get(f"/api/run/boxes?group_by=label&order_by=score&descending=true&offset={offset}&limit=3")
        assert page.json()["boxes"] == whole["boxes"][offset : offset + 3] and page.json()["items"] == 11
    by_image = shown.get("/api/run/boxes?group_by=image&kind=missed").json()["boxes"]
    assert [one["group"] for one in by_image[::2]] == ["dog 0.png", "dog 1.png", "dog 2.png"]


def test_boxes_by_figures_of_the_report(shown, reader):
    flat = {(image, row): numbers_of(flat_figures(box.figures, box.verdict)) for image, row, box in reader.detections()}
    names = {name for one in flat.values() for name in one}
    assert set(shown.get("/api/run/figures").json()["figures"]) == names == {"heat own", "rank"}
    for name in names:
        for sign, way in ((1, "false"), (-1, "true")):
            told = shown.get(f"/api/run/boxes?order_by=figure%20{quote(name)}&descending={way}").json()["boxes"]
            known = sorted((at for at in flat if name in flat[at]), key=lambda at: (sign * flat[at][name], at))
            expected = [*known, *(at for at in flat if name not in flat[at])]
            assert [(one["image"], one["row"]) for one in told] == expected
            assert [one["value"] for one in told] == pytest.approx([flat[at].get(name) for at in expected])
    assert "figure" in shown.get("/api/run/boxes?order_by=figure%20colour").error


def test_facts_are_those_of_the_report(folder, reader, tmp_path):
    words = PageWords({"method": "</script>", "Annotations": {"left out": ["1: <no> area"] * 3}})
    shutil.copytree(folder / "store", tmp_path / "store")
    view = RunView(tmp_path, ServeLimits())
    assert view.about()["facts"] == {"class_names": ["dog", "<cat>"]}
    view.close()
    write_report_folder(reader, tmp_path / "report", words, quiet=True)
    view = RunView(tmp_path, ServeLimits())
    assert view.about()["facts"] == words.facts
    page = json.loads(Page(tmp_path / "report" / "index.html").scripts[0])
    for name in ("first", "combined", "failed", "methods", "annotated", "images", "boxes"):
        assert view.about()[name] == page[name]
    assert view.about()["attributes"] == page["names"]
    view.close()


def test_images_with_boxes_that_are_asked_for(shown):
    every = shown.get("/api/run/images").json()
    assert every["count"] == 4 and [one["boxes"] for one in every["images"]] == [3, 3, 3, 0]
    assert every["images"][3]["error"] == "it is broken" and every["images"][0]["name"] == "dog 0.png"
    some = shown.get("/api/run/images?score_min=0.75&name=DOG").json()
    assert some["count"] == 2
    assert [(one["number"], one["passing"], one["boxes"]) for one in some["images"]] == [(0, 1, 3), (1, 1, 3)]
    assert shown.get("/api/run/images?offset=3&limit=5").json()["images"][0]["number"] == 3
    assert shown.get("/api/run/images?name=%25").json()["count"] == 0


def test_an_image_is_the_record_of_the_report(shown, reader):
    told = shown.get("/api/run/image/1").json()
    expected = image_record(reader.image(1), "/api/run/photo/1")
    assert {name: told[name] for name in ("name", "size", "image", "gone", "error")} == {
        name: expected[name] for name in ("name", "size", "image", "gone", "error")
    }
    assert told["detections"][0]["maps"]["odam"][""]["maps"] == expected["detections"][0]["maps"]["odam"][""]["maps"]
    assert [one["label"] for one in told["detections"]] == ["dog", "<cat>", "dog"]


def test_images_that_are_gone_or_failed_are_told(shown):
    gone = shown.get("/api/run/image/2").json()
    assert gone["image"] is None and "can't be read" in gone["gone"] and len(gone["detections"]) == 3
    failed = shown.get("/api/run/image/3").json()
    assert failed["error"] == "it is broken" and failed["image"] is None
    assert shown.get("/api/run/photo/2").status == 404
    assert shown.ask("POST", "/api/run/open/2", "{}", JSON).status == 404


@pytest.mark.parametrize("small", ["", "?thumb=1"])
def test_photographs_are_jpegs_of_the_images(shown, small):
    reply = shown.get(f"/api/run/photo/1{small}")
    assert reply.headers["content-type"] == "image/jpeg"
    image = np.asarray(Image.open(io.BytesIO(reply.body)))
    assert image.shape == (*SIZE, 3) and np.abs(image[:, :, ::-1].astype(int) - photo(1)).max() < 6


def test_a_browser_shows_no_photograph_of_another_run_under_the_same_number(shown):
    """On the same port, where the address of a run's first image is always the same."""
    tags = []
    for number in (0, 1):
        reply = shown.get(f"/api/run/photo/{number}")
        assert reply.headers["cache-control"] == "private, no-cache"
        tags.append(reply.headers["etag"])
    assert tags[0] != tags[1]
    again = shown.ask("GET", "/api/run/photo/1", headers={"If-None-Match": tags[1]})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tags[1])
    other = shown.ask("GET", "/api/run/photo/1", headers={"If-None-Match": tags[0]})
    assert other.status == 200 and Image.open(io.BytesIO(other.body)).size == SIZE[::-1]


def test_the_reports_own_files_are_used_where_they_are_current(folder, reader):
    row = reader.image_row(0)
    images = ReportImages(folder / "report")
    assert images.kept(row) is None
    images.write(row, photo(2))  # another image, so that it shows
    view = RunView(folder, ServeLimits())
    assert Image.open(io.BytesIO(view.photo(0))).getpixel((5, 5))[0] > 150
    view.close()
    os.utime(row.path, (2e9, 2e9))  # the image is newer
    assert images.kept(row) is None


def test_an_image_of_the_run_becomes_one_to_work_with(shown):
    told = shown.ask("POST", "/api/run/open/1", "", JSON).json()
    assert told["name"] == "dog 1.png" and told["size"] == [60, 40]
    opened = Image.open(io.BytesIO(shown.get(f"/api/images/{told['image']}").body))
    np.testing.assert_array_equal(np.asarray(opened)[:, :, ::-1], photo(1))


def test_an_image_of_the_run_is_saved_as_a_page(shown):
    reply = shown.post("/api/page", {"record": {"key": "run-1", "more": 1}})
    assert reply.status == 200 and b"data:image/jpeg" in reply.body and b"dog 1.png" in reply.body


def test_large_images_of_the_run_are_not_decoded(folder):
    view = RunView(folder, ServeLimits(pixels=100))
    with pytest.raises(Exception, match="million pixels"):
        view.opened(1)
    view.close()


@pytest.mark.parametrize(
    "path",
    [
        "boxes?limit=501", "boxes?limit=-1", "boxes?offset=-1", "boxes?offset=99999999999999999999",
        "boxes?order_by=1;drop",
        "boxes?score_min=nan", "boxes?score_min=inf", "boxes?score_max=1e400", "boxes?area_min=x", "boxes?image=-1",
        "boxes?image=1e3", "images?limit=1001", "boxes?group_by=score", "images?order_by=size",
        "boxes?judged=maybe", "boxes?name=" + "x" * 501, "boxes?order_by=figur%20x",
        "rows/-1", "rows/x", "image/-1", "image/99999999999999999999", "image/x", "photo/1.5",
        "boxes?" + "&".join(["label=x"] * 201), "images?name=" + "x" * 501,
    ],
)  # fmt: skip
def test_addresses_that_ask_for_nothing_sensible_are_refused(shown, path):
    reply = shown.get(f"/api/run/{path}")
    assert reply.status == 422 and reply.error and "\n" not in reply.error


@pytest.mark.parametrize("path", ["image/4", "photo/4", "image/2147483648", "rows/4"])
def test_images_that_the_run_lacks_are_not_found(shown, path):
    assert shown.get(f"/api/run/{path}").status == 404


def test_words_are_values_and_never_sql(shown):
    told = shown.get("/api/run/boxes?label=dog%27%20OR%201%3D1--&verdict=%22").json()
    assert told["count"] == 0 and shown.get("/api/run/boxes").json()["count"] == 9


def test_without_a_run_or_a_detector_this_is_said(shown, client):
    assert "no run" in client.get("/api/run/boxes").error
    reply = shown.post("/api/ask", {"ask": "detections", "detector": "x", "image": "0" * 16})
    assert reply.status == 404 and "--config-file" in reply.error
    assert client.get("/api/about").json()["run"] is None
