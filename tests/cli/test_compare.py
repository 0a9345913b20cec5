"""tools/compare.py behind tools/explain.py, in process."""

import json
import re
import shutil
import sqlite3
from urllib.parse import unquote

import pytest
import torch
from detectron2.modeling import build_model

from odam_d2 import model_zoo
from odam_d2.store.parts import part_path
from odam_d2.visualize.storage import load_heatmaps
from tests.cli.test_explain import TINY, ZOO_NAME, image
from tests.helpers import load_command
from tests.visualize.reports import Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs on two images, and annotations that are the first run's boxes of the first image."""
    root = tmp_path_factory.mktemp("compare")
    torch.manual_seed(0)
    torch.save({"model": build_model(model_zoo.get_config(ZOO_NAME, trained=False)).state_dict()}, root / "random.pth")
    image(root / "images" / "cat.png")
    image(root / "images" / "dog.png", seed=1)
    for name, attributes in (("first", ["combined"]), ("second", ["score"])):
        arguments = ["--config-file", ZOO_NAME, "--input", root / "images", "--output", root / name]
        arguments += ["--attributes", *attributes, "--score-threshold", "0.1", "--max-detections", "2"]
        arguments += [*TINY, "MODEL.WEIGHTS", root / "random.pth"]
        assert load_command("explain").main([str(a) for a in arguments]) == 0
    instances = load_heatmaps(root / "first" / "cat" / "heatmaps.npz")
    names = instances.heatmaps.class_names
    boxes, labels = instances.pred_boxes.tensor.tolist(), instances.pred_classes.tolist()
    items = [
        {"image_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": 1 + label}
        for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True)
    ]
    content = {
        "images": [{"id": 1, "file_name": "cat.png", "height": 40, "width": 60}],
        "categories": [{"id": 1 + number, "name": name} for number, name in enumerate(names)],
        "annotations": items,
    }
    (root / "coco.json").write_text(json.dumps(content))
    return root


def call(folder, *options, runs=("first", "second"), output="pages/index.html"):
    arguments = ["--runs", *(folder / run for run in runs), "--annotations", folder / "coco.json"]
    arguments += ["--output", folder / output, *options]
    return load_command("compare").main([str(a) for a in arguments]), folder / output


def test_two_runs_side_by_side(folder, capsys):
    code, page = call(folder, "--attributes", "score", "--names", "one", "the other")
    assert code == 0 and f"Comparison: {page}" in capsys.readouterr().out
    read = Page(page)
    # The image without annotations isn't shown; both runs have the same detector, so both find both objects.
    assert "cat.png" in read.text and "that the annotations don't name, e.g. " in read.text
    assert read.text.count("dog.png") == 1  # there
    assert read.text.count("2 of 2") == 2 and "the other" in read.text
    assert "../first/report/index.html#image=0&det=0&attr=score" in read.addresses
    assert {"../first/report/index.html", "../second/report/index.html"} <= set(read.addresses)
    for address in read.addresses:
        assert address.startswith("data:") or (page.parent / address.split("#")[0]).is_file()


def test_folders_of_any_name_are_linked(folder, tmp_path):
    """What means something in an address, in Python's format, or in the page."""
    for name in ("a#b?.jpg", "100%{0}{}", "<b>&'\""):
        shutil.copytree(folder / "first", tmp_path / name)
    runs = [tmp_path / name for name in ("a#b?.jpg", "100%{0}{}", "<b>&'\"")]
    arguments = ["--runs", *runs, "--annotations", folder / "coco.json", "--output", tmp_path / "pages" / "x.html"]
    assert load_command("compare").main([str(a) for a in [*arguments, "--attributes", "score"]]) == 0
    addresses = [
        address for address in Page(tmp_path / "pages" / "x.html").addresses if not address.startswith("data:")
    ]
    assert "../a%23b%3F.jpg/report/index.html#image=0&det=0&attr=score" in addresses
    assert {unquote(address.split("#")[0]) for address in addresses} == {
        f"../{run.name}/report/index.html" for run in runs
    }


def test_an_image_that_is_broken_by_now_is_named_and_left_out(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "copy")
    with sqlite3.connect(part_path(tmp_path / "copy" / "first", 0)) as part:
        part.execute("UPDATE images SET path = replace(path, ?, ?)", (str(folder), str(tmp_path / "copy")))
    part.close()
    (tmp_path / "copy" / "images" / "dog.png").write_bytes(b"torn")
    code, page = call(tmp_path / "copy", "--attributes", "score", runs=("first",))
    assert code == 1 and page.is_file() and "dog.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, runs, message",
    [
        ((), ("first", "second"), r"got \['combined'\], and 'second' has \['score'\]"),
        (("--attributes", "mask"), ("first",), r"got \['mask'\], and 'first' has"),
        ((), ("images",), "output folders of odam explain; got .*images"),
    ],
)
def test_runs_that_do_not_fit(folder, options, runs, message, capsys):
    code, page = call(folder, *options, runs=runs, output="none.html")
    assert code == 1 and not page.exists()
    assert re.search(message, capsys.readouterr().err)


def test_annotations_of_other_images(folder, capsys, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    code, _ = call(folder, "--attributes", "score", "--annotations", str(tmp_path / "other.json"), output="none.html")
    assert code == 1 and "annotations must know one of the runs' images" in capsys.readouterr().err


def test_a_name_for_each_run(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        call(folder, "--names", "one")
    assert "--names must name each of the 2 runs; got 1" in capsys.readouterr().err
