"""Every command tells what became of the annotations: on the terminal, in files, on pages; --strict stops it."""

import json
import re

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from odam_d2 import model_zoo
from odam_d2.cli import explain_run
from odam_d2.data import register_coco
from odam_d2.modeling.provenance import UnreachedBoxError
from tests.cli.test_explain import TINY, ZOO_NAME, image, report_data, run_json
from tests.helpers import load_command
from tests.visualize.reports import Page

NAME = "test_annotated"
LEFT_OUT = "left out: 1 annotation, the box is not finite, e.g. annotation 1 of image 'a.png': [nan, 1, 2, 3]"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of the detector at a random start."""
    torch.manual_seed(0)
    model = build_model(model_zoo.get_config(ZOO_NAME, trained=False))
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({"model": model.state_dict()}, path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two images, of which the file names one, with a dog, a box of NaN and a box outside of the image."""
    for name in ("a.png", "b.png"):
        image(tmp_path / "images" / name)
    boxes = {0: [5, 6, 20, 30], 1: [float("nan"), 1, 2, 3], 2: [99, 6, 20, 30]}
    content = {
        "images": [{"id": 0, "file_name": "images\\a.png", "height": 40, "width": 60}],
        "annotations": [{"id": k, "image_id": 0, "category_id": 2, "bbox": box} for k, box in boxes.items()],
        "categories": [{"id": 1 + k, "name": name} for k, name in enumerate(("person", "dog", "car"))],
    }
    (tmp_path / "a.json").write_text(json.dumps(content).replace("images\\\\a.png", "a.png"))
    return tmp_path


@pytest.fixture
def registered(folder):
    """The same, registered."""
    register_coco(NAME, folder / "a.json", folder / "images")
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.fixture
def call(weights, tmp_path, capsys):
    """Calls a command with the detector; gives exit code, output folder, and what was printed."""

    def run(command, *options, opts=()):
        output = tmp_path / "out"
        arguments = ["--config-file", ZOO_NAME, *options, "--output", output, *TINY, "MODEL.WEIGHTS", weights, *opts]
        code = load_command(command).main([str(one) for one in arguments])
        printed = capsys.readouterr()
        return code, output, printed.out + printed.err

    return run


def explain(folder, *more):
    usual = ("--input", folder / "images", "--annotations", folder / "a.json", "--strips", "0")
    return "explain", *usual, "--score-threshold", "0.1", "--max-detections", "2", *more


def check_account(told: dict) -> None:
    assert told["annotations"] == {"all": 3, "as_they_are": 1, "repaired": 0, "left_out": 2}
    assert [one["id"] for one in told["left_out"]] == [1, 2]


def test_explain(folder, call):
    code, output, printed = call(*explain(folder, "--explain", "annotations"))
    assert code == 0 and LEFT_OUT in printed and "2 images, 1 annotated boxes, 0 failed" in printed
    assert "without an entry: 1 image of this run that the annotations don't name, e.g. " in printed
    run = run_json(output)
    check_account(run["annotation_account"])
    assert run["failures"] == [] and [one["detections"] for one in run["images"]] == [1, 0]
    section = report_data(output)["run"]["Annotations"]
    assert section["annotations"] == "3: 1 as they are, 0 repaired, 2 left out" and len(section["left out"]) == 2


def test_images_of_another_size_are_explained_all_the_same(folder, call):
    content = json.loads((folder / "a.json").read_text())
    content["images"][0]["width"] = 61
    (folder / "a.json").write_text(json.dumps(content))
    code, output, printed = call(*explain(folder))
    assert code == 0 and [one["annotations"] for one in report_data(output)["images"]] == [None, None]
    assert "left out: 1 annotation, the image has another size than the file says" in printed
    code, output, printed = call(*explain(folder, "--explain", "annotations"))
    assert code == 0 and "2 images, 0 annotated boxes, 0 failed" in printed


def test_a_box_that_no_prediction_stands_for_costs_no_other(folder, call, monkeypatch):
    content = json.loads((folder / "a.json").read_text())
    content["annotations"] += [{"id": k, "image_id": 0, "category_id": 1, "bbox": [k, 5, 20, 20]} for k in (11, 12, 13)]
    (folder / "a.json").write_text(json.dumps(content))
    build = explain_run.build_explainer

    def picky(model, **options):
        explainer, original = build(model, **options), build(model, **options)

        class Picky(type(explainer)):
            def __call__(self, inputs, instances=None):
                if any((one.gt_boxes.tensor[:, 0] == 12).any() for one in instances or ()):
                    raise UnreachedBoxError("box 2 must fit")
                return original(inputs, instances)

        explainer.__class__ = Picky
        return explainer

    monkeypatch.setattr(explain_run, "build_explainer", picky)
    options = ("--max-detections", "9", "--explain", "annotations")
    code, output, printed = call(*explain(folder, *options))
    assert code == 0 and run_json(output)["images"][0]["detections"] == 3
    assert (
        "not explained: 1 annotation whose box no prediction of the detector stands for, e.g. [12.0, 5.0, " in printed
    )
    assert run_json(output)["annotation_account"]["unexplained"] == [{"image": "a.png", "box": [12.0, 5.0, 32.0, 25.0]}]


def test_evaluate(folder, call):
    options = ("--methods", "odam", "--metrics", "pointing_box", "pointing_mask", "--score-threshold", "0.1")
    files = ("--annotations", folder / "a.json", "--images", folder / "images")
    code, output, printed = call("evaluate", *files, *options)
    assert code == 0 and LEFT_OUT in printed
    metrics = json.loads((output / "metrics.json").read_text())
    check_account(metrics["annotation_account"])
    assert metrics["counts"]["images"] == 1 and metrics["counts"]["objects"] == 1
    page = Page(output / "index.html").text
    assert "3: 1 as they are, 0 repaired, 2 left out" in page and "[nan, 1, 2, 3]: the box is not finite" in page


def test_evaluate_a_data_set(registered, call):
    options = ("--dataset", registered, "--methods", "odam", "--metrics", "pointing_box", "--score-threshold", "0.1")
    code, output, printed = call("evaluate", *options)
    assert code == 0 and LEFT_OUT in printed
    check_account(json.loads((output / "metrics.json").read_text())["annotation_account"])


def test_tune_nms(registered, call):
    """COCO's own evaluation takes an id of 0 for "not matched"; here it is found."""
    options = ("--dataset", registered, "--ways", "nms", "--iou-thresholds", "0.5", "--score-threshold", "0.01")
    code, output, printed = call("tune_nms", *options)
    assert code == 0 and LEFT_OUT in printed
    check_account(json.loads((output / "grid.json").read_text())["annotation_account"])


def test_visualize_data(registered, folder, capsys):
    tool = load_command("visualize_data")
    arguments = ["--dataset-name", registered, "--output-dir", str(folder / "drawn")]
    assert tool.main(arguments) == 0 and LEFT_OUT in capsys.readouterr().out
    assert [path.name for path in (folder / "drawn").iterdir()] == ["a.png"]
    assert tool.main([*arguments, "--strict"]) == 1 and "`--strict` must find" in capsys.readouterr().err


def test_compare(folder, call, capsys):
    _, run, _ = call(*explain(folder, "--attributes", "score"))
    arguments = ["--runs", run, "--attributes", "score", "--annotations", folder / "a.json"]
    arguments = [str(one) for one in (*arguments, "--output", folder / "index.html")]
    tool = load_command("compare")
    assert tool.main(arguments) == 0 and LEFT_OUT in capsys.readouterr().out
    assert "3: 1 as they are, 0 repaired, 2 left out" in Page(folder / "index.html").text
    assert tool.main([*arguments, "--strict"]) == 1 and "`--strict` must find" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["explain", "evaluate", "evaluate a data set", "tune_nms", "train"])
def test_strict(command, registered, folder, call, capsys):
    """Nothing begins where something would be lost."""
    files = ("--annotations", folder / "a.json", "--images", folder / "images")
    arguments = {
        "explain": explain(folder),
        "evaluate": ("evaluate", *files),
        "evaluate a data set": ("evaluate", "--dataset", registered),
        "tune_nms": ("tune_nms", "--dataset", registered),
    }
    if command == "train":
        opts = ["DATASETS.TRAIN", f"('{NAME}',)", "DATASETS.TEST", "()", "OUTPUT_DIR", str(folder / "out")]
        code = load_command("train").main(["--config-file", ZOO_NAME, "--strict", *opts])
        told = capsys.readouterr().err
    else:
        code, _, told = call(*arguments[command], "--strict")
    assert code == 1 and re.search("error: `--strict` must find .*left out: 1 annotation, the box is not finite", told)
    assert not (folder / "out").exists()


@pytest.mark.parametrize("key", ["DATASETS.TRAIN", "DATASETS.TEST"])
def test_training_on_other_classes_ends_before_it_begins(key, folder, capsys):
    opts = ["DATASETS.TRAIN", "('synthetic_scene_train',)", "DATASETS.TEST", "()", "OUTPUT_DIR", str(folder / "out")]
    opts += [key, "('coco_2017_val',)"]
    assert load_command("train").main(["--config-file", ZOO_NAME, *opts]) == 1
    told = capsys.readouterr().err
    assert "error: `DATASETS` must name data sets of the detector's classes; got 'coco_2017_val' with 80 cl" in told
    assert not (folder / "out").exists()


def test_annotated_classes_that_the_detector_lacks(folder, call):
    (folder / "a.json").write_text((folder / "a.json").read_text().replace('"dog"', '"Dog"'))
    code, output, printed = call(*explain(folder))
    assert code == 0 and "The detector has no class for 'Dog' (nearest: 'dog')" in printed
    code, output, printed = call(*explain(folder, "--explain", "annotations"))
    assert code == 1 and "error: an annotated category must be a class of the detector" in printed
    code, output, printed = call(*explain(folder, "--strict"))
    assert code == 1 and "without a class: 1 annotation of categories that the detector doesn't have" in printed
