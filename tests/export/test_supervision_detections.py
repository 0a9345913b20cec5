"""Detections for supervision, by a stand-in of the same constructor, and by the package where it is installed."""

import json
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from odam_d2.export import SupervisionDetections, load_supervision, to_supervision
from odam_d2.store import RunReader
from odam_d2.store.filters import Filter
from tests.export.runs import SIZE, write_run
from tests.wants import needs_package


@dataclass
class Detections:
    """The constructor of ``sv.Detections``, and what it requires of `data`."""

    xyxy: np.ndarray
    mask: np.ndarray | None = None
    confidence: np.ndarray | None = None
    class_id: np.ndarray | None = None
    tracker_id: np.ndarray | None = None
    data: dict = field(default_factory=dict)

    def __post_init__(self):
        assert self.xyxy.ndim == 2 and self.xyxy.shape[1] == 4
        for one in (self.confidence, self.class_id):
            assert one.shape == (len(self.xyxy),)
        assert all(isinstance(one, np.ndarray) and len(one) == len(self.xyxy) for one in self.data.values())


@pytest.fixture(params=["stand-in", pytest.param("supervision", marks=needs_package("supervision"))])
def kind(request, monkeypatch):
    """The class that detections come as."""
    if request.param == "stand-in":
        monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=Detections))
        return Detections
    return pytest.importorskip("supervision").Detections


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path)
    with RunReader(tmp_path / "run") as reader:
        yield reader


def test_detections_of_an_image(run, kind):
    found = to_supervision(run, 0, attributes=["all"])
    assert isinstance(found, kind)
    rows = [box for _, _, box in run.detections(Filter(kind=["detection"], image=[0]))]
    assert found.xyxy.tolist() == np.float32([box.box for box in rows]).tolist()
    assert found.confidence.tolist() == np.float32([0.9, 0.8, 0.4, 0.3]).tolist()
    assert found.class_id.tolist() == [1, 0, 1, 2]
    data = found.data
    assert data["class_name"].tolist() == ["=dog()", "cat", "=dog()", "ox"]
    assert data["verdict"].tolist() == ["correct", "correct", "duplicate", "background"]
    assert data["annotation"].tolist() == [1, 0, 1, -1] and data["row"].tolist() == [0, 1, 2, 3]
    assert np.array_equal(data["outside"], [0.25, 0.5, np.nan, 1.0], equal_nan=True)
    assert np.array_equal(data["occlusion"], [0.125, np.nan, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(data["figures.mixed"], [np.nan, 1.0, 2.5, np.nan], equal_nan=True)
    assert data["figures.neighbour.label"].tolist() == ["+ox", "", "", ""]
    _, maps = run.heatmaps(0, "odam")
    for attribute in ("score", "left"):
        heat = data[f"heatmap_{attribute}"]
        assert heat.shape == (4, *SIZE) and heat.dtype == np.uint8 and not heat[3].any()
        expected = maps.to_image(attribute).numpy()
        assert np.abs(heat[:3] / 255 - expected[:3]).max() <= 0.5 / 255 + 1e-6


def test_chosen_boxes(run, kind):
    found = to_supervision(run, 0, Filter(kind=["missed", "detection"], score=None, label=["ox"]), "odam", ["left"])
    assert isinstance(found, kind) and found.data["kind"].tolist() == ["detection", "missed"]
    assert np.array_equal(found.confidence, np.float32([0.3, np.nan]), equal_nan=True)
    assert found.data["mechanism"].tolist() == ["", "low_score"]
    assert found.data["heatmap_left"].any((1, 2)).tolist() == [False, True] and "heatmap_score" not in found.data


def test_an_image_without_boxes(run, kind):
    found = to_supervision(run, 1)
    assert isinstance(found, kind) and found.xyxy.shape == (0, 4) and len(found.data["class_name"]) == 0


def test_the_folder_is_read_back(run, tmp_path, kind):
    written = SupervisionDetections(run, attributes=["score"]).write(tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [(one["number"], one["boxes"], one["size"]) for one in index] == [
        (0, 4, [48, 64]), (1, 0, [48, 64]), (3, 1, [48, 64]), (4, 0, [48, 64])
    ]  # fmt: skip
    assert (written.images, written.boxes, written.without_maps) == (4, 5, 1)
    assert written.notes[0] == "Boxes without a map: 1."
    for one in index:
        found, direct = load_supervision(tmp_path / "out" / one["file"]), to_supervision(run, one["number"])
        assert isinstance(found, kind)
        for name in ("xyxy", "confidence", "class_id"):
            assert np.array_equal(getattr(found, name), getattr(direct, name), equal_nan=True)
        # All images have all figures of the run, so that detections of several can be merged.
        more = {name for name in found.data if name.startswith("figures.")}
        assert len(more) == 5 and set(direct.data) <= set(found.data) <= set(direct.data) | more
        for name, array in direct.data.items():
            numbers = array.dtype.kind == "f"
            assert np.array_equal(found.data[name], array, equal_nan=numbers), name


def test_a_filter_leaves_images_out(run, tmp_path):
    written = SupervisionDetections(run, Filter(verdict=["duplicate"])).write(tmp_path / "out")
    (one,) = json.loads((tmp_path / "out" / "index.json").read_text())
    assert one["number"] == 0 and one["boxes"] == 1 and written.images == 1
    with np.load(tmp_path / "out" / one["file"], allow_pickle=False) as arrays:  # numpy alone reads it
        assert arrays["data.row"].tolist() == [2] and arrays["data.heatmap_score"].shape == (1, *SIZE)


def test_without_supervision(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="`supervision` must be installed to make sv.Detections; got no such package"):
        to_supervision(run, 0)
    SupervisionDetections(run).write(tmp_path / "out")  # which needs none


def test_what_is_no_file_of_ours(run, tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "b.npz", boxes=np.zeros(4))
    for name, why in (("a", "can't be read"), ("b", "without `xyxy`")):
        with pytest.raises(ValueError, match=f"`path` must be a file of odam export; got .*{name}.npz'.*{why}"):
            load_supervision(tmp_path / f"{name}.npz")
    with pytest.raises(ValueError, match="`number` must be of an image that could be read; got 2: it is no image"):
        to_supervision(run, 2)
    with pytest.raises(IndexError, match="got 7"):
        to_supervision(run, 7)
