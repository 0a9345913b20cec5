"""tools/tune_nms.py from end to end, on a handful of small synthetic images."""

import json
import re

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.modeling import build_model

from odam_d2.data.inputs import ImageInputs, InputMaker
from odam_d2.evaluation.nms_tuning.suppression import SUPPRESSIONS
from odam_d2.loading import read_detector_config
from odam_d2.utils.checkpoint import load_checkpoint_strictly
from tests.helpers import load_command, synthetic_dataset

NAME, COUNT = "test_tune_nms", 4
CONFIG = "synthetic/faster_rcnn_compact_FPN"
OPTIONS = ["INPUT.MIN_SIZE_TEST", "200", "MODEL.DEVICE", "cpu"]
GRID = ["--iou-thresholds", "0.3", "0.6", "--sigmas", "0.5", "--odam-iou-thresholds", "0.5"]
GRID += ["--lows", "0.2", "0.8", "--highs", "0.7", "2", "--decays", "1", "--weights", "0.5", "--limits", "0.9"]
GRID += ["--odam-sigmas", "2"]


@pytest.fixture(scope="module")
def tool():
    return load_command("tune_nms")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    with synthetic_dataset(NAME, "scene", "val", tmp_path_factory.mktemp("data"), COUNT) as name:
        yield name


def run(tool, output, *more, opts=()):
    return tool.main(["--config-file", CONFIG, "--dataset", NAME, *more, "--output", str(output), *OPTIONS, *opts])


@pytest.fixture(scope="module")
def tuned(tool, dataset, tmp_path_factory):
    """A folder that was tuned on the first three images."""
    output = tmp_path_factory.mktemp("tuned") / "out"
    assert run(tool, output, *GRID, "--max-images", "3") == 0
    return output


def rows_of(output):
    return json.loads((output / "grid.json").read_text())["rows"]


def as_detected(suppressed):
    """COCO's figures of the detector itself on the first three images."""
    options = [*OPTIONS, "ODAM.NMS.ENABLED", str(suppressed)]
    read = read_detector_config(CONFIG, options, trained=True)
    read.limit(0.05, 100)
    cfg = read.node
    model = build_model(cfg).eval()
    load_checkpoint_strictly(model, cfg.MODEL.WEIGHTS)
    records = DatasetCatalog.get(NAME)[:3]
    evaluator = COCOEvaluator(NAME, output_dir=None, use_fast_impl=False)
    evaluator.reset()
    for entry in ImageInputs(records, InputMaker.from_config(cfg)):
        with torch.no_grad():
            evaluator.process([entry], model([entry]))
    return evaluator.evaluate([record["image_id"] for record in records])["bbox"]


def test_published_settings_have_the_figures_of_the_detector_itself(tuned):
    published = {row["way"]: row for row in rows_of(tuned) if row["origin"] == "published"}
    assert published["nms"]["thresholds"] == {"iou_threshold": 0.5}
    assert published["odam_nms"]["thresholds"] == {"iou_threshold": 0.6, "low": 0.3, "high": 0.7}
    for way, suppressed in (("nms", False), ("odam_nms", True)):
        expected, figures = as_detected(suppressed), published[way]["figures"]
        assert figures["AP"] > 0
        for name, value in figures.items():
            assert value == pytest.approx(expected[name], abs=1e-9), (way, name)


def test_every_setting_is_there_and_the_best_is_chosen(tuned, capsys):
    rows = rows_of(tuned)
    # Six published; NMS, linear Soft-NMS and DIoU-NMS at two, gaussian Soft-NMS at one, Odam-NMS at three (low .8 has
    # no high of .7), gaussian Matrix-NMS, odam_sum and odam_soft at one each, linear Matrix-NMS as it is; and the
    # best possible.
    assert len(rows) == 6 + 2 + 2 + 2 + 1 + 3 + 1 + 1 + 1 + 1 + 1
    assert {row["way"] for row in rows} == {*SUPPRESSIONS, "best_possible"}
    assert set(found_ways := json.loads((tuned / "thresholds.json").read_text())["thresholds"]) == set(SUPPRESSIONS)
    assert all(len(names) == len(SUPPRESSIONS[way].thresholds) for way, names in found_ways.items())
    found = json.loads((tuned / "thresholds.json").read_text())
    assert found["metric"] == "AP" and found["dataset"] == NAME
    for way, thresholds in found["thresholds"].items():
        mine = [row for row in rows if row["way"] == way]
        most = max(row["figures"]["AP"] for row in mine)
        assert [row["figures"]["AP"] for row in mine if row["thresholds"] == thresholds][0] == most
    table = (tuned / "table.md").read_text()
    assert table.count("published") >= 3 and "3 images of test_tune_nms, chosen by AP" in table
    assert {"grid.json", "table.md", "thresholds.json", "tune.png"} <= {p.name for p in tuned.iterdir()}
    assert len(list((tuned / "candidates").iterdir())) == 3


def test_resuming_detects_nothing_again_and_a_longer_run_only_what_is_new(tool, tuned, monkeypatch):
    before = rows_of(tuned)
    asked = []
    monkeypatch.setattr(tool.ImageInputs, "__getitem__", _counting(tool.ImageInputs.__getitem__, asked))
    (tuned / "candidates" / "000001.npz").write_bytes(b"cut short")
    assert run(tool, tuned, *GRID, "--max-images", "3", "--resume") == 0
    assert asked == [1] and rows_of(tuned) == before
    assert run(tool, tuned, *GRID, "--resume", "--ways", "nms", "--metric", "AP50") == 0
    assert asked == [1, 3]
    assert json.loads((tuned / "thresholds.json").read_text())["metric"] == "AP50"


def test_how_boxes_are_dropped_is_no_part_of_what_candidates_depend_on(tool, dataset, tmp_path):
    found = []
    for opts in ([], ["ODAM.NMS.METHOD", "soft", "ODAM.NMS.SIGMA", "1.0"], ["ODAM.NMS.STRIDE", "16.0"]):
        command = ["--config-file", CONFIG, "--dataset", NAME, "--output", str(tmp_path), *OPTIONS, *opts]
        found.append(tool.Setup(tool.argument_parser().parse_args(command)).dependencies())
    assert found[0] == found[1] != found[2]


def _counting(method, asked):
    def counted(self, index):
        asked.append(index)
        return method(self, index)

    return counted


def test_chosen_thresholds_are_reported_on_other_images(tool, dataset, tmp_path):
    chosen = {"nms": {"iou_threshold": 0.45}, "odam_nms": {"iou_threshold": 0.5, "low": 0.1, "high": 0.9}}
    (tmp_path / "thresholds.json").write_text(json.dumps({"thresholds": chosen}))
    output = tmp_path / "out"
    arguments = ["--thresholds", str(tmp_path / "thresholds.json"), "--ways", "nms", "odam_nms", "--skip-images", "3"]
    assert run(tool, output, *arguments) == 0
    rows = rows_of(output)
    assert [(row["way"], row["origin"]) for row in rows] == [
        ("nms", "published"), ("odam_nms", "published"), ("nms", "chosen"), ("odam_nms", "chosen"),
        ("best_possible", "annotations"),
    ]  # fmt: skip
    found = rows[-1]["figures"]
    assert all(found["AP50"] >= row["figures"]["AP50"] for row in rows)
    table = (output / "table.md").read_text()
    assert "best_possible" in table and "Hard pairs:" in table and "AUC by maps" in table
    assert {row["way"]: row["thresholds"] for row in rows if row["origin"] == "chosen"} == chosen
    assert [path.name for path in (output / "candidates").iterdir()] == ["000003.npz"]
    assert not (output / "thresholds.json").exists()


@pytest.mark.parametrize(
    "arguments, opts, message",
    [
        (["--dataset", "nobodys"], [], "`dataset` must be registered; got 'nobodys'"),
        (["--skip-images", "9"], [], "`skip_images` must leave images; got 9 of 4"),
        (["--thresholds", "none.json"], [], "`thresholds` must be a file that odam tune-nms wrote; got 'none.json'"),
        (["--metric", "JI", "--max-images", "1", "--ways", "nms"], [], "`metric` must be one that the evaluator gives"),
        ([], ["ODAM.NMS.LOW", "0.9"], "`low` must be at most `high`"),
        ([], ["MODEL.META_ARCHITECTURE", "ProposalNetwork"], "ODAM.NMS.ENABLED must be of a detector that suppresses"),
    ],
)
def test_what_does_not_fit_is_said(tool, dataset, tmp_path, capsys, arguments, opts, message):
    assert run(tool, tmp_path / "out", *arguments, opts=opts) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "classes, keys, told",
    [
        (["person"], [], "['person', 'dog', 'car']"),  # COCO's evaluator asserts that there is no class 1
        (["dog", "person", "car"], [], "['person', 'dog', 'car']"),
        (["person"], ["DATASETS.TEST", "()", "DATASETS.TRAIN", "()"], "3 classes without names"),
    ],
)
def test_classes_of_another_data_set(tool, tmp_path, capsys, classes, keys, told):
    name = f"test_tune_nms_{tmp_path.name}"
    DatasetCatalog.register(name, lambda: [{"file_name": "x", "image_id": 0, "height": 9, "width": 9}])
    MetadataCatalog.get(name).set(thing_classes=classes, evaluator_type="coco")
    try:
        assert run(tool, tmp_path / "out", "--dataset", name, opts=keys) == 1
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    error = capsys.readouterr().err
    assert f"got '{name}' with {classes}, and the detector has {told}: " in error and error.count("\n") == 1


@pytest.mark.parametrize("kind, told", [
    ("sem_seg", "must be scored by boxes; got '{}' with evaluator_type 'sem_seg': name one"),
    ("cityscapes_instance", "must be scored by boxes; got '{}' with evaluator_type"),
    ("pascal_voc", "`max_images` must be left out for '{}', whose evaluator_type 'pascal_voc' judges all images"),
])  # fmt: skip
def test_data_sets_that_are_scored_in_another_way(tool, tmp_path, kind, told):
    name = f"test_tune_nms_{tmp_path.name}"
    arguments = ["--config-file", CONFIG, "--dataset", name, "--output", str(tmp_path), "--max-images", "1", *OPTIONS]
    DatasetCatalog.register(name, lambda: [{"file_name": "x", "image_id": 0, "height": 9, "width": 9}])
    MetadataCatalog.get(name).set(thing_classes=["person"], evaluator_type=kind)
    try:
        with pytest.raises(ValueError, match=re.escape(told.format(name))):
            _ = tool.Setup(tool.argument_parser().parse_args(arguments)).score
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    "asked, opts, protocol",
    [
        ([], [], "toolkit"),
        (["--protocol", "strict"], [], "strict"),
        ([], ["ODAM.TEST.CROWD_PROTOCOL", "strict"], "strict"),
    ],
)
def test_the_protocol_of_crowds_goes_to_the_evaluator_and_changes_no_candidates(tool, tmp_path, asked, opts, protocol):
    def setup(name, *more):
        arguments = ["--config-file", CONFIG, "--dataset", name, "--output", str(tmp_path), *more, *OPTIONS]
        return tool.Setup(tool.argument_parser().parse_args([*arguments, *opts]))

    name = f"test_tune_nms_{tmp_path.name}"
    DatasetCatalog.register(name, lambda: [{"file_name": "x", "image_id": 0, "height": 9, "width": 9}])
    MetadataCatalog.get(name).set(thing_classes=["person"], evaluator_type="crowdhuman")
    try:
        crowd, other = setup(name, *asked), setup(name)
        assert crowd.protocol == crowd.score.evaluator.protocol == protocol
        assert crowd.dependencies() == other.dependencies() and "CROWD_PROTOCOL" not in str(crowd.dependencies())
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    assert setup("synthetic_scene_val", *asked).protocol is None  # no crowd


def test_candidates_of_other_settings_are_not_taken_up(tool, tuned, capsys):
    assert run(tool, tuned, *GRID, "--resume", "--score-threshold", "0.3") == 1
    assert "differs in ['config']" in capsys.readouterr().err
