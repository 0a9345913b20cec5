"""odam evaluate from end to end, on tiny images and a detector with random weights."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.modeling import build_model

from odam_d2 import model_zoo
from odam_d2.cli import measured_run as measured_runs
from odam_d2.cli.measured_run import MeasuredRun, measuring_argument_parser
from odam_d2.data.account import Account
from odam_d2.explain import build_explainer
from odam_d2.meta_arch.rcnn import OdamRCNN
from odam_d2.store import RunReader
from tests.cli.test_explain import TINY, ZOO_NAME, image
from tests.helpers import autocast_on_cpu, load_command

ROOT = Path(__file__).resolve().parents[2]
METRICS = ["pointing_box", "energy_mask", "vea", "odi_box"]
COUNT = 4


@pytest.fixture(scope="module")
def tool():
    return load_command("evaluate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tool):
    """Images, a checkpoint, and annotations that are the detector's own boxes."""
    root = tmp_path_factory.mktemp("evaluate")
    torch.manual_seed(0)
    torch.save({"model": build_model(model_zoo.get_config(ZOO_NAME, trained=False)).state_dict()}, root / "random.pth")
    for k in range(COUNT):
        image(root / "images" / f"{k}.png", seed=k)
    setup = MeasuredRun(measuring_argument_parser().parse_args(arguments(root, root / "none")))
    images = [{"id": 30 + k, "file_name": f"{k}.png", "height": 40, "width": 60} for k in range(COUNT)]
    records = [{**one, "image_id": one["id"], "file_name": str(root / "images" / one["file_name"])} for one in images]
    items = []
    for entry in setup.inputs(records):
        found = build_explainer(setup.model, "odam", ("score",))([entry])[0]["instances"]
        for (x1, y1, x2, y2), label in zip(found.pred_boxes.tensor.tolist(), found.pred_classes.tolist()):
            about = {"id": len(items), "image_id": entry["image_id"], "category_id": 1 + label}
            corners = [x1, y1, x2, y1, x2, y2, x1, y2]
            items.append({**about, "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": [corners]})
    assert len(items) > COUNT
    # One object is smaller than a cell of any level; nothing matches it.
    items.append({"id": 900, "image_id": 30, "category_id": 1, "bbox": [1, 1, 0.5, 0.5]})
    items.append({"id": 901, "image_id": 30, "category_id": 1, "bbox": [5, 5, 20, 20], "iscrowd": 1})
    categories = [{"id": 1 + k, "name": name} for k, name in enumerate(("person", "dog", "car"))]
    (root / "coco.json").write_text(json.dumps({"images": images, "annotations": items, "categories": categories}))
    return root


def arguments(folder, output, *options, metrics=METRICS, opts=()):
    found = ["--config-file", ZOO_NAME, "--annotations", folder / "coco.json", "--images", folder / "images"]
    found += ["--methods", "odam", "gradcam", "--metrics", *metrics, "--score-threshold", "0.1"]
    found += [
        "--max-detections",
        "3",
        "--output",
        output,
        *options,
        *TINY,
        "MODEL.WEIGHTS",
        folder / "random.pth",
        *opts,
    ]
    return [str(a) for a in found]


def numbers(output):
    """All that doesn't tell when and how a run was made."""
    page = re.sub(r"<p>(odam |tools/)evaluate.*?</p>", "", (output / "index.html").read_text())
    metrics = json.loads((output / "metrics.json").read_text())
    del metrics["run"]
    return page, metrics, (output / "per_object.csv").read_text(), (output / "pairs.csv").read_text()


@pytest.fixture(scope="module")
def whole(tool, folder, tmp_path_factory):
    """The output of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "out"
    assert tool.main(arguments(folder, output)) == 0
    return output


def test_what_a_run_leaves(whole):
    page, metrics, _, _ = numbers(whole)
    run = json.loads((whole / "metrics.json").read_text())["run"]
    assert run["seed"] == 0 and "torch" in run["versions"] and run["command"].startswith("odam evaluate --config")
    assert list(metrics["metrics"]) == METRICS and metrics["failures"] == []
    assert metrics["counts"]["images"] == COUNT and metrics["counts"]["crowd"] == 1
    matched = metrics["counts"]["matched"]
    assert 0 < matched < metrics["counts"]["objects"]
    rows = list(csv.DictReader((whole / "per_object.csv").read_text().splitlines()))
    assert len(rows) == 2 * matched and {row["method"] for row in rows} == {"odam", "gradcam"}
    for method in ("odam", "gradcam"):
        values = [float(row["energy_mask"]) for row in rows if row["method"] == method]
        assert metrics["metrics"]["energy_mask"]["methods"][method]["mean"] == pytest.approx(sum(values) / len(values))
    with RunReader(whole) as reader:
        known = [{"id": 1 + k, "name": name} for k, name in enumerate(("person", "dog", "car"))]
        assert reader.run["categories"] == known
    assert (whole / "curve_vea.png").read_bytes().startswith(b"\x89PNG")
    assert page.count("data:image/jpeg") >= 3 * 2 and "map of gradcam" in page


def test_missing_images_are_counted_listed_and_an_error(tool, folder, whole, tmp_path, capsys):
    content = json.loads((folder / "coco.json").read_text())
    content["images"] += [{"id": 99, "file_name": "gone.png", "height": 40, "width": 60}]
    content["images"][1]["width"] = 61
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    code = tool.main(arguments(folder, tmp_path / "out", "--annotations", other))
    error = capsys.readouterr().err
    assert code == 1 and re.search("missing: .*gone.png", error) and re.search("failed: .*1.png.*61 x 40", error)
    metrics = numbers(tmp_path / "out")[1]
    assert (metrics["counts"]["missing"], metrics["counts"]["failed"], metrics["counts"]["images"]) == (1, 1, 3)


def test_terminal_and_page_say_what_metrics_leave_out(tool, folder, tmp_path, capsys):
    content = json.loads((folder / "coco.json").read_text())
    for one in content["annotations"]:
        one.pop("segmentation", None)
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    assert tool.main(arguments(folder, tmp_path / "out", "--annotations", tmp_path / "boxes.json")) == 0
    page, metrics, _, _ = numbers(tmp_path / "out")
    said = f"Matched objects left out by energy_mask, vea: {metrics['counts']['matched']} without a mask."
    assert said in page and said in capsys.readouterr().out


def test_faithfulness_and_runtime(tool, folder, tmp_path, monkeypatch):
    """The detector's answers are another file's business: here it is as sure as the image is bright."""

    def object_scorer(model, amp):
        assert not amp
        return lambda images, classes, boxes, where=None: (
            images.mean((1, 2, 3))[slice(None) if where is None else where] / 255
        )

    monkeypatch.setattr(measured_runs, "object_scorer", object_scorer)
    names = ["deletion", "insertion", "overall", "untouched", "runtime"]
    assert tool.main(arguments(folder, tmp_path, "--max-images", "1", metrics=names)) == 0
    found = {name: row["methods"]["odam"]["mean"] for name, row in numbers(tmp_path)[1]["metrics"].items()}
    assert found["overall"] == pytest.approx(found["insertion"] - found["deletion"], abs=1e-6)
    assert found["untouched"] == pytest.approx(0.5, abs=0.05) and found["runtime"] > 0
    assert (tmp_path / "curve_deletion.png").is_file() and (tmp_path / "curve_insertion.png").is_file()


def test_mixed_precision_reaches_all_that_asks_the_detector(tool, folder, tmp_path, monkeypatch):
    """And images where nothing matches cost D-RISE no masks."""
    scorers, stock, passes = [], measured_runs.object_scorer, []
    monkeypatch.setattr(measured_runs, "object_scorer", lambda *a, **more: scorers.append(more) or stock(*a, **more))
    trace = OdamRCNN.trace
    monkeypatch.setattr(OdamRCNN, "trace", lambda self, *more: passes.append(autocast_on_cpu()) or trace(self, *more))
    content = json.loads((folder / "coco.json").read_text())
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 30]
    (tmp_path / "other.json").write_text(json.dumps(content))
    options = ("--methods", "odam", "drise", "--method-option", "drise.num_masks=2", "--amp", "--max-images", "2")
    given = ("--annotations", tmp_path / "other.json")
    assert tool.main(arguments(folder, tmp_path / "out", *options, *given, metrics=["insertion", "untouched"])) == 0
    run = json.loads((tmp_path / "out" / "metrics.json").read_text())["run"]
    assert scorers == [{"amp": True}] and run["amp"] and run["methods"]["drise"]["amp"]
    # The first image is detected; the second is, and masked.
    assert passes == [False, False, True]


def test_a_looser_threshold_matches_what_overlaps_less(tool, folder, tmp_path):
    """Annotations of seven tenths of the detector's own boxes."""
    content = json.loads((folder / "coco.json").read_text())
    for one in content["annotations"]:
        one["bbox"][2] *= 0.7
    (tmp_path / "other.json").write_text(json.dumps(content))
    found = {}
    for threshold in ("0.9", "0.5"):
        options = ("--annotations", tmp_path / "other.json", "--iou-threshold", threshold)
        assert tool.main(arguments(folder, tmp_path / threshold, *options, metrics=["pointing_box"])) == 0
        metrics = json.loads((tmp_path / threshold / "metrics.json").read_text())
        rows = list(csv.DictReader((tmp_path / threshold / "per_object.csv").read_text().splitlines()))
        assert metrics["run"]["iou_threshold"] == float(threshold) and len(rows) == 2 * metrics["counts"]["matched"]
        found[threshold] = [float(row["iou"]) for row in rows]
    # Three detections of each image, by two methods.
    assert found == {"0.9": [], "0.5": pytest.approx([0.7] * 3 * COUNT * 2, abs=1e-6)}


def test_sanity_checks_beside_the_table(tool, folder, tmp_path, capsys):
    found = arguments(folder, tmp_path, "--max-images", "2", "--sanity", "1", metrics=["pointing_box", "stability"])
    assert tool.main(found) == 0
    report = json.loads((tmp_path / "sanity.json").read_text())
    rows = csv.DictReader((tmp_path / "per_object.csv").read_text().splitlines())
    matched = [row for row in rows if row["method"] == "odam"]
    of_the_first = sum(row["image_id"] == matched[0]["image_id"] for row in matched)
    # Seven groups of layers and another class asked for, by two methods.
    assert len(report["rows"]) == 2 * 8 and {row["objects"] for row in report["rows"]} == {of_the_first}
    assert [len(report["verdicts"][method]) for method in ("odam", "gradcam")] == [2, 2]
    told, page = capsys.readouterr().out, (tmp_path / "index.html").read_text()
    assert all(text in told for texts in report["verdicts"].values() for text in texts)
    assert (tmp_path / "sanity.png").read_bytes().startswith(b"\x89PNG") and 'src="sanity.png"' in page
    assert "(another class asked for): " in page and "odam" in page
    assert -1 <= numbers(tmp_path)[1]["metrics"]["stability"]["methods"]["odam"]["mean"] <= 1


@pytest.mark.parametrize(
    "options, message",
    [
        (("--dataset", "nothing"), "either --dataset, or --annotations and --images"),
        (("--metrics", "beauty"), "invalid choice: 'beauty'"),
        (("--method-option", "num_masks=3"), "must be METHOD.NAME=VALUE; got 'num_masks=3'"),
        (("--max-images", "0"), "must be at least 1"),
        (("--iou-threshold", "1.5"), "must be in [0, 1); got 1.5"),
        (("--num-machines", "2"), "--dist-url must be where several machines meet; got 'auto'"),
        (("--num-gpus", "2"), "--num-gpus must be at most 1 on the CPU; got 2: give --num-processes 2"),
        (("--machine-rank", "1"), "--machine-rank must be in 0 .. 0; got 1"),
        (("--machine-rank", "-1", "--num-machines", "2"), "--machine-rank: must be at least 0; got -1"),
    ],
)
def test_wrong_arguments(tool, folder, tmp_path, options, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        tool.main(arguments(folder, tmp_path / "out", *options))
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--method-option", "drise.num_masks=3"), "`--method-option` must be for one of --methods; got 'drise'"),
        (("--method-option", "odam.what=3"), "options of method 'odam' must be among"),
        (("--attribute", "beauty"), "beauty"),
        (("--annotations", "gone.json"), "json file in the COCO format; got 'gone.json'"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(tool, folder, tmp_path, options, message, capsys):
    assert tool.main(arguments(folder, tmp_path / "out", *options)) == 1
    assert re.search(f"error: .*{message}", capsys.readouterr().err) and not (tmp_path / "out").exists()


def test_categories_of_another_detector(tool, folder, tmp_path, capsys):
    content = json.loads((folder / "coco.json").read_text())
    content["categories"][0]["name"] = "tree"
    (tmp_path / "other.json").write_text(json.dumps(content))
    assert tool.main(arguments(folder, tmp_path / "out", "--annotations", tmp_path / "other.json")) == 1
    assert "['tree', 'dog', 'car'], the detector ['person', 'dog', 'car']" in capsys.readouterr().err


def test_class_names_of_another_data_set(tool, folder, tmp_path, capsys):
    """A config of three classes that inherits COCO's names; without any, categories are taken by rising id."""
    coco = ("DATASETS.TEST", "('coco_2017_val',)", "DATASETS.TRAIN", "('coco_2017_train',)")
    assert tool.main(arguments(folder, tmp_path / "out", opts=coco)) == 1
    told = capsys.readouterr().err
    assert "got 80 names, ['person', 'bicycle', " in told and "for 3 classes" in told and "DATASETS.TEST" in told
    for fitting in (("DATASETS.TEST", "()", "DATASETS.TRAIN", "()"), coco[:2]):  # the second has its names in TRAIN
        assert tool.main(arguments(folder, tmp_path / "out", "--max-images", "1", opts=fitting)) == 0
    # Page and table have their names all the same.
    page, _, objects, _ = numbers(tmp_path / "out")
    rows = list(csv.DictReader(objects.splitlines()))
    assert rows and all(row["class_name"] == ("person", "dog", "car")[int(row["class"])] for row in rows)
    assert "class 0" not in page and "class 1" not in page and re.search("(person|dog|car), score 0", page)


def test_class_names_that_only_the_registered_file_knows(tool, folder, tmp_path):
    """Detectron2 reads a COCO file's categories with its images, which is after the config."""
    name = f"test_evaluate_names_{tmp_path.name}"
    register_coco_instances(name, {}, str(folder / "coco.json"), str(folder / "images"))
    try:
        none = ("DATASETS.TEST", "()", "DATASETS.TRAIN", "()")
        found = arguments(folder, tmp_path, "--max-images", "1", opts=none)
        at = found.index("--annotations")
        found[at : at + 4] = ["--dataset", name]
        assert tool.main(found) == 0
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    rows = list(csv.DictReader(numbers(tmp_path)[2].splitlines()))
    assert rows and {row["class_name"] for row in rows} <= {"person", "dog", "car"}


@pytest.fixture
def launched(tool, monkeypatch):
    """What would be started, on a machine with GPUs; the detector is another file's business."""
    started = []

    def launch(function, *shared, args, timeout):
        assert function is tool.measure_in_process and timeout.days
        started.append(shared)
        if args[0].machine_rank == 0:
            (Path(args[0].output) / "metrics.json").write_text('{"failures": []}')

    on_gpu = SimpleNamespace(device="cuda")
    read = {"records": [], "account": Account("coco.json")}
    setup = SimpleNamespace(config=on_gpu, comparison=None, measuring=None, settings=dict, files=dict, **read)
    monkeypatch.setattr(tool, "MeasuredRun", lambda args: setup)
    monkeypatch.setattr(tool, "measure", lambda setup, command: started.append("here"))
    monkeypatch.setattr("odam_d2.utils.processes.launch", launch)
    return started


SECOND = ("--num-gpus", "2", "--num-machines", "2", "--machine-rank", "1", "--dist-url", "tcp://first:5000")


@pytest.mark.parametrize(
    "options, expected, files",
    [
        (("--num-gpus", "2"), (2, 1, 0, "auto"), {"store", "metrics.json"}),
        (("--num-machines", "2", "--dist-url", "tcp://a:5"), (1, 2, 0, "tcp://a:5"), {"store", "metrics.json"}),
        (SECOND, (2, 2, 1, "tcp://first:5000"), set()),
    ],
)
def test_gpus_and_machines_share_the_images(tool, folder, tmp_path, launched, options, expected, files):
    assert tool.main(arguments(folder, tmp_path, *options)) == 0
    assert launched == [expected] and {file.name for file in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    "options, message",
    [
        (("--num-machines", "2"), "--dist-url must be where several machines meet; got 'auto'"),
        (("--num-gpus", "0"), "--num-gpus must be at least 1; got 0"),
    ],
)
def test_gpus_and_machines_that_do_not_go_together(tool, folder, tmp_path, launched, options, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        tool.main(arguments(folder, tmp_path, *options))
    assert message in capsys.readouterr().err and launched == []
