"""Checkpoints fit, or the error names the keys that don't."""

import argparse
import errno
import logging
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from odam_d2.utils import files
from odam_d2.utils.checkpoint import OdamCheckpointer, load_checkpoint_strictly
from odam_d2.utils.files import OutputError
from odam_d2.utils.weight_files import CheckpointError
from tests.utils.payloads import Calls


class Net(nn.Module):
    """Two layers, and the buffers that Detectron2's models carry."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.second = nn.Linear(2, 1)
        self.register_buffer("pixel_mean", torch.full((3, 1, 1), 7.0))


def weights():
    return {
        "first.weight": torch.arange(6.0).reshape(2, 3) / 4,
        "first.bias": torch.tensor([1.0, 2.0]),
        "second.weight": torch.tensor([[3.0, 4.0]]),
        "second.bias": torch.tensor([5.0]),
    }


def assert_loaded(model):
    for name, expected in weights().items():
        assert torch.equal(model.state_dict()[name], expected), name


@pytest.mark.parametrize("wrap", [True, False], ids=["under model", "bare"])
def test_pth(tmp_path, wrap):
    torch.save({"model": weights()} if wrap else weights(), tmp_path / "a.pth")
    model = Net()
    load_checkpoint_strictly(model, tmp_path / "a.pth")
    assert_loaded(model)
    assert model.pixel_mean.flatten().tolist() == [7.0] * 3  # missing in the file, from the config


def test_half_precision_becomes_the_models_own(tmp_path):
    torch.save({"model": {k: v.half() for k, v in weights().items()}}, tmp_path / "a.pth")  # all exact in fp16
    model = Net()
    load_checkpoint_strictly(model, tmp_path / "a.pth")
    assert model.first.weight.dtype == torch.float32
    assert_loaded(model)


def test_extras_of_a_training_run_are_handed_back(tmp_path):
    optimizer = torch.optim.SGD(Net().parameters(), 0.1, momentum=0.9).state_dict()
    torch.save({"model": weights(), "optimizer": optimizer, "iteration": 41}, tmp_path / "a.pth")
    model = Net()
    assert load_checkpoint_strictly(model, tmp_path / "a.pth")["iteration"] == 41
    assert_loaded(model)


def test_pkl_of_the_model_zoo(tmp_path):
    arrays = {k: v.numpy() for k, v in weights().items()}
    arrays["anchor_generator.cell_anchors.0"] = np.zeros((3, 4), np.float32)  # old checkpoints hold it
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
    model = Net()
    load_checkpoint_strictly(model, tmp_path / "a.pkl")
    assert_loaded(model)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("second.bias"), r"has 1 missing \(second\.bias\): check"),
        (lambda w: w.update(third=torch.zeros(1)), r"has 1 unexpected \(third\): check"),
        (
            lambda w: w.update({"second.weight": torch.zeros(1, 5)}),
            r"has 1 of another shape \(second\.weight \(1, 5\) instead of \(1, 2\)\): check",
        ),
        (
            lambda w: w.update({"other.bias": w.pop("first.bias")}),
            r"has 1 missing \(first\.bias\); 1 unexpected \(other\.bias\): check",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    content = weights()
    change(content)
    torch.save({"model": content}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        load_checkpoint_strictly(Net(), tmp_path / "a.pth")


def test_long_lists_are_cut(tmp_path):
    torch.save({"model": {**weights(), **{f"x{k}": torch.zeros(1) for k in range(11)}}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"11 unexpected \(x0, .*x7 and 3 more\)"):
        load_checkpoint_strictly(Net(), tmp_path / "a.pth")


def test_wrong_shape_after_name_matching(tmp_path):
    # Files with name matching: Detectron2 leaves a tensor of another shape out with a warning only.
    arrays = {k: v.numpy() for k, v in weights().items()} | {"second.weight": np.zeros((1, 5), np.float32)}
    content = {"model": arrays, "__author__": "someone", "matching_heuristics": True}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"1 of another shape \(second\.weight \(1, 5\) instead of \(1, 2\)\)"):
        load_checkpoint_strictly(Net(), tmp_path / "a.pkl")


def test_no_file_and_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got '.*none\.pth', which doesn't exist"):
        load_checkpoint_strictly(Net(), tmp_path / "none.pth")
    for content in (b"", b"hello"):
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(ValueError, match=r"must be a checkpoint; got '.*a\.pth', which (is|begins)"):
            load_checkpoint_strictly(Net(), tmp_path / "a.pth")
    for content, told in (([1, 2], "a list"), ({}, "a dict:"), ({"epoch": 3, "lr": 0.1}, "a dict of epoch, lr:")):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=f"must be a checkpoint; got .*, which holds no weights but {told}"):
            load_checkpoint_strictly(Net(), tmp_path / "a.pth")


WRAPPED = [
    ("state_dict", "model."), ("model", "module."), ("model_state_dict", "_orig_mod."), ("", "module._orig_mod."),
    ("model", ""), ("state_dict", "_orig_mod.module."),
]  # fmt: skip


@pytest.mark.parametrize("key, prefix", WRAPPED)
@pytest.mark.parametrize("strict", [True, False])
def test_entries_and_names_of_other_libraries(tmp_path, key, prefix, strict):
    state = {prefix + name: value for name, value in weights().items()}
    torch.save({key: state, "epoch": np.int64(3), "args": argparse.Namespace()} if key else state, tmp_path / "a.pth")
    model = Net()
    extras = OdamCheckpointer(model, strict=strict).load(str(tmp_path / "a.pth"))
    assert_loaded(model)
    assert not key or extras["epoch"] == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_safetensors_in_any_precision(tmp_path, dtype):
    save_file({f"model.{k}": v.to(dtype) for k, v in weights().items()}, tmp_path / "a.safetensors")
    model = Net()
    load_checkpoint_strictly(model, tmp_path / "a.safetensors")
    assert model.first.weight.dtype == torch.float32
    assert_loaded(model)


def test_of_two_sets_of_weights_the_plain_one_is_read_and_the_other_can_be(tmp_path, caplog):
    path = str(tmp_path / "a.pth")
    torch.save({"model": {k: v + 1 for k, v in weights().items()}, "ema": {"module": weights(), "updates": 3}}, path)
    model = Net()
    with caplog.at_level(logging.WARNING):
        load_checkpoint_strictly(model, path)
    assert caplog.messages == [
        f"{path} holds several sets of weights: 'model' was read; for the other give MODEL.WEIGHTS "
        f"'{path}?key=ema.module'"
    ]
    assert model.second.bias.item() == 6
    for key in ("ema", "ema.module"):
        load_checkpoint_strictly(model := Net(), f"{path}?key={key}")
        assert_loaded(model)
    with pytest.raises(
        CheckpointError, match=r"\?key= must name weights in '.*a.pth'; got 'best': choose one of \['model'"
    ):
        load_checkpoint_strictly(model, f"{path}?key=best")
    with pytest.raises(CheckpointError, match=r"may end in \?key=NAME or \?matching_heuristics=True; got"):
        load_checkpoint_strictly(model, f"{path}?kex=best")


def test_averages_alone_are_told(tmp_path, caplog):
    torch.save({"ema": weights()}, tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING):
        load_checkpoint_strictly(model := Net(), tmp_path / "a.pth")
    assert "the weights that were read are averages (EMA), 'ema'; it holds no others" in caplog.text
    assert_loaded(model)


def test_names_of_files_with_question_marks(tmp_path):
    torch.save({"model": weights()}, tmp_path / "what?#;%20.pth")
    load_checkpoint_strictly(model := Net(), tmp_path / "what?#;%20.pth")
    assert_loaded(model)


def test_nothing_that_fits_is_an_error_whether_strict_or_not(tmp_path):
    torch.save({"model": {"other.weight": torch.ones(2), "pixel_mean": torch.ones(3, 1, 1)}}, tmp_path / "a.pth")
    torch.save({"model": {k: torch.ones(7) for k in weights()}}, tmp_path / "b.pth")
    for strict in (True, False):
        with pytest.raises(
            CheckpointError, match="nothing does, the model has first.weight, first.bias and 2 more, and the"
        ):
            OdamCheckpointer(Net(), strict=strict).load(str(tmp_path / "a.pth"))
        with pytest.raises(
            CheckpointError, match=r"nothing does, .*4 of another shape \(first.weight \(7,\) instead of"
        ):
            OdamCheckpointer(Net(), strict=strict).load(str(tmp_path / "b.pth"))


def test_a_part_that_fits_is_told_with_numbers(tmp_path, caplog):
    state = {**weights(), "second.weight": torch.ones(1, 5), "third": torch.ones(1)}
    del state["second.bias"]
    torch.save(state, tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING):
        OdamCheckpointer(Net()).load(str(tmp_path / "a.pth"))
    assert (
        "2 of the model's 4 tensors fit; it has 1 missing (second.bias); 1 unexpected (third); 1 of another shape "
        "(second.weight (1, 5) instead of (1, 2))" in caplog.text
    )


class Backbone(nn.Module):
    """Names as Detectron2 gives them, so that those of Caffe2 are converted."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv1 = nn.Conv2d(1, 2, 1, bias=False)
        self.res2 = nn.Module()
        self.res2.shortcut = nn.Conv2d(2, 2, 1)


@pytest.mark.parametrize("blobs", [True, False])
def test_caffe2_pickles(tmp_path, blobs):
    arrays = {
        "conv1_w": np.full((2, 1, 1, 1), 3, np.float32), "conv1_w_momentum": np.ones(2), "lr": np.float32(0.1),
        "res2_branch1_w": np.full((2, 2, 1, 1), 4, np.float32), "res2_branch1_b": np.ones(2, np.float32),
    }  # fmt: skip
    del arrays["lr"]
    content = {"blobs": arrays, "cfg": "MODEL: !!python/object/apply:os.system ['false']"} if blobs else arrays
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, 2))
    load_checkpoint_strictly(model := Backbone(), tmp_path / "a.pkl")
    assert model.stem.conv1.weight.unique().tolist() == [3] and model.res2.shortcut.weight.unique().tolist() == [4]


def test_pickles_of_tensors_and_other_layouts(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"state_dict": {f"module.{k}": v for k, v in weights().items()}}))
    load_checkpoint_strictly(model := Net(), tmp_path / "a.pkl")
    assert_loaded(model)


@pytest.mark.parametrize("query", ["?matching_heuristics=True", ""])
def test_names_are_matched_by_their_ends_where_asked(tmp_path, query):
    torch.save({"model": {"weight": torch.ones(2, 3)}}, tmp_path / "a.pth")
    model = nn.ModuleDict({"body": nn.Linear(3, 2, bias=False)})
    if query:
        load_checkpoint_strictly(model, f"{tmp_path / 'a.pth'}{query}")
        assert model["body"].weight.unique().tolist() == [1]
    else:
        with pytest.raises(CheckpointError, match="nothing does"):
            load_checkpoint_strictly(model, tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.pkl"])
def test_no_code_is_run(tmp_path, name):
    content = {"model": weights(), "more": Calls("eval", tmp_path / "written")}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds 'builtins.eval', which weights don't need and which is not run"):
        OdamCheckpointer(Net()).load(str(tmp_path / name))
    assert not (tmp_path / "written").exists()


def test_addresses_that_can_not_be_fetched():
    for address in ("http://127.0.0.1:9/a.pkl", "catalog://nothing"):
        with pytest.raises(CheckpointError, match=f"must be a checkpoint that can be fetched; got '{address}'"):
            load_checkpoint_strictly(Net(), address)


def test_a_failed_load_leaves_the_checkpointer_usable(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"")
    checkpointer = OdamCheckpointer(model := Net())
    with pytest.raises(CheckpointError):
        checkpointer.load(str(tmp_path / "a.pth"))
    torch.save(weights(), tmp_path / "a.pth")
    checkpointer.load(str(tmp_path / "a.pth"))
    assert_loaded(model)


def test_checkpoints_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    checkpointer = OdamCheckpointer(Net(), str(tmp_path))
    checkpointer.save("model_0", iteration=0)
    whole = (tmp_path / "model_0.pth").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", full)
        with pytest.raises(
            OutputError, match="model_0.pth' must be writable; got No space left on device: free some space"
        ):
            checkpointer.save("model_0", iteration=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_checkpoint", "model_0.pth"]
    assert (tmp_path / "model_0.pth").read_bytes() == whole
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 0
    (tmp_path / "last_checkpoint").write_text("")
    with pytest.raises(CheckpointError, match="'last_checkpoint' in .* must name a checkpoint; it is empty"):
        checkpointer.resume_or_load("", resume=True)
