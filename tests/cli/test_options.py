"""Keys of cfg.ODAM reach what every tool explains with."""

import csv

import pytest

from odam_d2.engine.watching import WatchExplanations
from odam_d2.explain.base import ENGINES, SmoothingEngine
from tests.cli.test_evaluate import arguments, folder, tool  # noqa: F401  fixtures
from tests.helpers import load_tool, synthetic_dataset, zoo_config

# An engine for dense detectors that none but it would choose; group norm in full is its other option.
KEYS = ["ODAM.SMOOTHING", "0.3", "ODAM.GROUP_NORM", "exact", "ODAM.ENGINE", "dense", "MODEL.DEVICE", "cpu"]


@pytest.fixture
def used(monkeypatch):
    """What engines were asked for: (class, group_norm, smoothing) of every pass."""
    seen = []

    def spied(inner):
        def spy(self, trace, attributes, smoothing=0.0):
            seen.append((type(self).__name__, getattr(self, "group_norm", None), smoothing))
            return inner(self, trace, attributes, smoothing)

        return spy

    for cls in {SmoothingEngine, *ENGINES.values()}:
        for name in ("gradient_windows", "odam_maps"):
            if name in vars(cls) and not getattr(vars(cls)[name], "__isabstractmethod__", False):
                monkeypatch.setattr(cls, name, spied(vars(cls)[name]))
    return seen


FCOS = ["MODEL.META_ARCHITECTURE", "OdamFCOS", "ODAM.FCOS.NUM_CONVS", "1", "MODEL.FPN.OUT_CHANNELS", "32"]
R18 = ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64"]


def test_benchmark_heeds_them(used, monkeypatch):
    benchmark = load_tool("benchmarks/explaining")
    # Processes of their own, which nobody here looks into.
    monkeypatch.setattr(benchmark.benchmarking, "peak_memory", lambda *_: 1.0)
    small = ["--size", "128", "192", "--boxes", "2", "--candidates", "2", "--repeats", "1", "--warmup", "0"]
    retinanet = ["--config-file", "COCO-Detection/retinanet_R_50_FPN_3x.yaml", "--skip-loop", "--threads", "1"]
    assert benchmark.main([*retinanet, *small, *R18, *FCOS, *KEYS]) == 0
    assert set(used) == {("DenseEngine", "exact", 0.3)}


def test_exactness_heeds_them(used, capsys):
    options = ["--config-file", "COCO-Detection/retinanet_R_50_FPN_3x.yaml", "--boxes", "2", "--size", "192", "256"]
    assert load_tool("research/exactness").main([*options, *R18, *FCOS, *KEYS]) == 0
    assert set(used) == {("DenseEngine", "exact", 0.3), ("AutogradEngine", None, 0.3)}


def test_watching_heeds_them(tmp_path):
    with synthetic_dataset("watched", "scene", "val", tmp_path, num_images=1) as name:
        cfg = zoo_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml", "DATASETS.TEST", (name,), *KEYS)
        cfg.ODAM.TRAIN.WATCH_IMAGES = 0
        hook = WatchExplanations.from_config(cfg)
    assert hook.options == {
        "method": "odam", "attributes": ("score",), "engine": "dense", "layer": "", "group_norm": "exact",
        "smoothing": 0.3, "center_prior": False,
    }  # fmt: skip


@pytest.mark.parametrize("options, opts", [((), KEYS[:2]), (("--method-option", "odam.smoothing=0.3"), ())])
def test_evaluate_heeds_smoothing_whatever_else_is_measured(tool, folder, tmp_path, options, opts):  # noqa: F811
    found = {}
    for name, extra, keys in (("plain", (), ()), ("smooth", options, opts), ("timed", options, opts)):
        metrics = ["energy_box", *(["runtime"] if name == "timed" else [])]
        command = arguments(folder, tmp_path / name, "--max-images", "1", *extra, metrics=metrics, opts=keys)
        assert tool.main(command) == 0
        with (tmp_path / name / "per_object.csv").open() as file:
            rows = list(csv.DictReader(file))
        found[name] = {
            method: [float(row["energy_box"]) for row in rows if row["method"] == method]
            for method in ("odam", "gradcam")
        }
    plain, smooth, timed = found.values()
    assert plain["odam"] != smooth["odam"] and plain["gradcam"] == smooth["gradcam"]
    for method in smooth:  # a metric does not change the maps of others
        assert timed[method] == pytest.approx(smooth[method])
