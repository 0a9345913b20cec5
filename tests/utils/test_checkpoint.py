"""Checkpoints fit, or the error names the keys that don't."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from odam_d2.utils.checkpoint import load_checkpoint_strictly


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
        with pytest.raises(ValueError, match=r"must be a checkpoint that Detectron2 can read; got '.*a\.pth': ."):
            load_checkpoint_strictly(Net(), tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="must be a checkpoint"):
        load_checkpoint_strictly(Net(), tmp_path / "list.pth")
