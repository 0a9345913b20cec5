"""The commands on a LazyConfig, from its file to theirs."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers import load_command, synthetic_dataset
from tests.loading.lazily import write_small, write_weights


@pytest.fixture(scope="module")
def lazy(tmp_path_factory):
    """A data set of six images, a config for it, and its weights."""
    folder = tmp_path_factory.mktemp("lazy_commands")
    with synthetic_dataset("lazy_scenes", "scene", "val", folder, 6) as name:
        path = write_small(folder, train=name, test=name, more="odam = dict(attributes=['score', 'left'])\n")
        yield path, write_weights(path), folder


def run(command, *words):
    return load_command(command).main([str(word) for word in words])


def test_explain(lazy, tmp_path):
    path, weights, _ = lazy
    Image.fromarray(np.full((60, 90, 3), 120, np.uint8)).save(tmp_path / "a.png")
    options = [
        "--config-file",
        path,
        "--input",
        tmp_path / "a.png",
        "--output",
        tmp_path / "out",
        "--max-detections",
        2,
    ]
    assert run("explain", *options, "--score-threshold", 0, f"train.init_checkpoint={weights}") == 0
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert about["attributes"] == ["score", "left"] and about["architecture"] == "RetinaNet"
    assert about["images"][0]["detections"] <= 2 and about["weights"] == str(weights)
    names = ["--class-names", "a", "b", "c", "--", f"train.init_checkpoint={weights}", "odam.method=gradcam"]
    assert run("explain", *options, "--score-threshold", 0, *names) == 0
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert about["method"] == "gradcam" and list((tmp_path / "out" / "a").glob("det_*_[abc]_*.jpg"))


def test_evaluate_and_resume(lazy, tmp_path):
    path, weights, _ = lazy
    options = ["--config-file", path, "--dataset", "lazy_scenes", "--score-threshold", 0, "--iou-threshold", 0.05]
    options += ["--metrics", "pointing_box", "deletion", "--output", tmp_path / "out"]
    assert run("evaluate", *options, "--max-images", 1, f"train.init_checkpoint={weights}") == 0
    again = [*options, "--max-images", 2, "--resume"]
    assert run("evaluate", *again, f"train.init_checkpoint={weights}") == 0
    assert run("evaluate", *again, f"train.init_checkpoint={weights}", "odam.smoothing=0.2") == 1


def test_tune_nms(lazy, tmp_path):
    path, weights, _ = lazy
    options = ["--config-file", path, "--dataset", "lazy_scenes", "--max-images", 1, "--score-threshold", 0]
    options += ["--ways", "nms", "odam_nms", "--lows", 0.3, "--highs", 0.9, "--odam-iou-thresholds", 0.5]
    assert run("tune_nms", *options, "--output", tmp_path, f"train.init_checkpoint={weights}") == 0
    assert json.loads((tmp_path / "grid.json").read_text())["most"] == 6  # the config's own limit


def test_train_by_explanations_resume_and_evaluate(lazy, tmp_path):
    path, weights, _ = lazy
    options = ["--config-file", path, "--num-gpus=0", f"train.output_dir={tmp_path}", "train.log_period=1"]
    options += [f"train.init_checkpoint={weights}", "train.eval_period=0", "optimizer.lr=0.001", "train.seed=1"]
    assert run("train", *options, "train.max_iter=2", "odam.train.weight=0.5") == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert lines[-1]["iteration"] == 1 and lines[-1]["loss_odam_consistency"] > 0
    assert run("train", *options[:3], "--resume", *options[3:], "train.max_iter=3") == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1, 2] and "loss_odam_consistency" not in lines[-1]
    assert run("train", *options[:3], "--eval-only", *options[3:]) == 0
    assert (tmp_path / "inference" / "coco_instances_results.json").is_file()


@pytest.mark.parametrize(
    "option, message",
    [
        ("odam.train.watch_period=5", "`odam.train.watch_period` must be 0 for a LazyConfig"),
        ("dataloader.train.dataset.names=nowhere", r"dataloader must name registered data sets; got \['nowhere'\]"),
        ("train.init_checkpoint=gone.pth", "train.init_checkpoint must be a checkpoint; got 'gone.pth'"),
        ("train.init_checkpoint=detectron2://gone/gone.pkl", "put the file at .*detectron2/gone/gone.pkl"),
    ],
)
def test_trainings_that_can_not_begin(lazy, capsys, monkeypatch, option, message):
    def refused(*args, **kwargs):
        raise OSError("no way out")

    monkeypatch.setattr("urllib.request.urlretrieve", refused)
    assert run("train", "--config-file", lazy[0], option) == 1
    assert re.search(message, capsys.readouterr().err)


def test_visualize_data(lazy, tmp_path):
    options = ["--source", "dataloader", "--config-file", lazy[0], "--num", 1, "--output-dir", tmp_path]
    assert run("visualize_data", *options) == 0
    (file,) = tmp_path.glob("*.jpg")
    assert np.asarray(Image.open(file)).shape[0] == 64  # as the training mapper resizes


@pytest.mark.parametrize("kind", ["txt", "json"])
def test_class_names_from_files(lazy, tmp_path, kind):
    from odam_d2.cli.config import read_class_names

    file = tmp_path / f"names.{kind}"
    file.write_text("fox\n\nelk\n" if kind == "txt" else json.dumps(
        {"categories": [{"id": 5, "name": "elk"}, {"id": 2, "name": "fox"}]}))  # fmt: skip
    assert read_class_names([str(file)]) == ("fox", "elk") and read_class_names(["fox", "elk"]) == ("fox", "elk")
    file.write_text("")
    with pytest.raises(ValueError, match="without any: check the file"):
        read_class_names([str(file)])
    with pytest.raises(ValueError, match=r"got \['fox'\] more than once"):
        read_class_names(["fox", "elk", "fox"])
