"""Detections come back from disk to the last bit."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.structures import HeatMaps
from odam_d2.visualize.storage import class_name, load_heatmaps, save_heatmaps

ATTRIBUTES = ("score", "left")


def some_instances():
    # Two windows of 2 x 3 and 1 x 2 cells: 8 values an attribute. Values that a text format or fp16 would not keep.
    values = torch.rand(2, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor([[1e-30], [1e20]])
    heatmaps = HeatMaps(
        values,
        torch.tensor([[0, 1, 2, 3], [4, 4, 1, 2]]),
        torch.tensor([[8, 10], [8, 10]]),
        torch.tensor([[8.0, 8.0], [8.0, 8.0]]),
        ATTRIBUTES,
        (60, 80),
        (120, 160),
    )
    return Instances(
        (120, 160),
        pred_boxes=Boxes(torch.tensor([[1 / 3, 2.0, 30.0, 40.0], [5.0, 6.0, 70.0, 80.0]])),
        scores=torch.tensor([0.9, 1 / 7]),
        pred_classes=torch.tensor([1, 5]),
        heatmaps=heatmaps,
    )


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def test_round_trip_to_the_last_bit(tmp_path):
    saved = some_instances()
    save_heatmaps(tmp_path / "deep" / "a.npz", saved)
    loaded = load_heatmaps(tmp_path / "deep" / "a.npz")
    assert loaded.image_size == (120, 160)
    assert same_bits(loaded.pred_boxes.tensor, saved.pred_boxes.tensor)
    assert same_bits(loaded.scores, saved.scores)
    assert same_bits(loaded.pred_classes, saved.pred_classes)
    for name in ("values", "windows", "grids", "strides"):
        assert same_bits(getattr(loaded.heatmaps, name), getattr(saved.heatmaps, name)), name
    assert loaded.heatmaps.attributes == ATTRIBUTES
    assert (loaded.heatmaps.image_size, loaded.heatmaps.output_size) == ((60, 80), (120, 160))
    assert loaded[1:].heatmaps.window(0, "left").shape == (1, 2)  # the loaded maps are whole HeatMaps


def test_class_names_come_back(tmp_path):
    saved, names = some_instances(), ("cat", "dog")
    save_heatmaps(tmp_path / "given.npz", saved, names)
    saved.heatmaps.class_names = ("lion", "wolf")
    save_heatmaps(tmp_path / "carried.npz", saved)
    assert load_heatmaps(tmp_path / "given.npz").heatmaps.class_names == names
    assert load_heatmaps(tmp_path / "carried.npz").heatmaps.class_names == ("lion", "wolf")


def test_no_detection(tmp_path):
    empty = Instances(
        (12, 16),
        pred_boxes=Boxes(torch.zeros(0, 4)),
        scores=torch.zeros(0),
        pred_classes=torch.zeros(0, dtype=torch.int64),
        heatmaps=HeatMaps.empty(ATTRIBUTES, (6, 8), (12, 16)),
    )
    save_heatmaps(tmp_path / "a.npz", empty)
    loaded = load_heatmaps(tmp_path / "a.npz")
    assert len(loaded) == 0 and len(loaded.heatmaps) == 0 and loaded.heatmaps.attributes == ATTRIBUTES


def test_numpy_alone_reads_names(tmp_path):
    save_heatmaps(tmp_path / "a.npz", some_instances(), ["dog", "<b>"], "näher/<1>.jpg")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["class_names"].tolist() == ["<b>", "class 5"]
        assert str(arrays["file_name"]) == "näher/<1>.jpg"
        assert int(arrays["format_version"]) == 2


def test_class_name():
    assert [class_name(k, ["a"]) for k in (0, 1, -1)] == ["a", "class 1", "class -1"]


def test_foreign_files_are_refused(tmp_path):
    np.savez(tmp_path / "foreign.npz", values=np.zeros(3))
    with pytest.raises(ValueError, match=r"foreign\.npz' in no format of ours: run"):
        load_heatmaps(tmp_path / "foreign.npz")
    np.savez(tmp_path / "newer.npz", format_version=np.array(3))
    with pytest.raises(ValueError, match=r"format 2; got '.*newer\.npz' in format 3"):
        load_heatmaps(tmp_path / "newer.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"must be a file that save_heatmaps wrote; got '.*text\.npz'"):
        load_heatmaps(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError):
        load_heatmaps(tmp_path / "missing.npz")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    def half(handle, **arrays):
        handle.write(b"half of it")
        raise OSError("no space left")

    save_heatmaps(tmp_path / "a.npz", some_instances())
    before = (tmp_path / "a.npz").read_bytes()
    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(OSError, match="no space left"):
        save_heatmaps(tmp_path / "a.npz", some_instances()[:1])
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"] and (tmp_path / "a.npz").read_bytes() == before
