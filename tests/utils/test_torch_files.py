"""Files of torch.save: weights, with anything beside them, and without running it."""

import argparse
import collections
import datetime
import enum
import pathlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from odam_d2.utils.torch_files import load_torch_file, without_stand_ins
from odam_d2.utils.unpickling import CarriesCode
from tests.utils.payloads import CALLS, Calls

FORMS = pytest.mark.parametrize("legacy", [False, True], ids=["archive", "before torch 1.6"])


class Own:
    """Somebody's class, with weights in it."""

    def __init__(self):
        self.weights = torch.ones(2)


class Kind(enum.Enum):
    """Somebody's enumeration."""

    ONE = 1


def save(content, path, legacy):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@FORMS
def test_numbers_and_containers_are_read(tmp_path, legacy):
    beside = {
        "epoch": np.int64(7), "best": np.float32(0.5), "flag": np.bool_(True), "history": np.arange(3.0),
        "names": np.array(["a", "b"]), "sizes": collections.defaultdict(list, {"k": [1]}), "counts": {1, 2},
        "last": collections.deque([1, 2]), "seen": collections.Counter("aab"), "bytes": b"abc", "size": torch.Size([2]),
    }  # fmt: skip
    content, strangers = load_torch_file(save({"model": {"w": torch.ones(2)}, **beside}, tmp_path / "a.pth", legacy))
    assert not strangers and torch.equal(content["model"]["w"], torch.ones(2))
    assert content["epoch"] == 7 and content["best"] == 0.5 and content["flag"] and content["bytes"] == b"abc"
    assert content["history"].tolist() == [0, 1, 2] and content["names"].tolist() == ["a", "b"]
    assert content["sizes"] == {"k": [1]} and content["counts"] == {1, 2} and content["last"] == [1, 2]
    assert content["seen"] == {"a": 2, "b": 1} and content["size"] == (2,)


@FORMS
def test_objects_are_left_out_and_named(tmp_path, legacy):
    beside = {
        "args": argparse.Namespace(lr=0.1), "cfg": OmegaConf.create({"a": [1, {"b": 2}]}), "own": Own(),
        "kind": Kind.ONE, "path": pathlib.PurePosixPath("a/b"), "date": datetime.datetime(2020, 1, 1),
        "space": types.SimpleNamespace(a=1),
    }  # fmt: skip
    path = save({"model": {"w": torch.ones(2)}, "list": [1, Own()], **beside}, tmp_path / "a.pth", legacy)
    content, strangers = load_torch_file(path)
    assert {"argparse.Namespace", "omegaconf.dictconfig.DictConfig", "datetime.datetime"} < strangers
    assert {name.rpartition(".")[2] for name in strangers} == {
        "Namespace", "DictConfig", "Own", "Kind", "PurePosixPath", "datetime", "SimpleNamespace",
    }  # fmt: skip
    kept = without_stand_ins(content)
    assert list(kept) == ["model", "list"] and kept["list"] == [1]
    assert torch.equal(kept["model"]["w"], torch.ones(2))


def test_versions_of_modules_are_kept(tmp_path):
    path = save(torch.nn.BatchNorm2d(2).state_dict(), tmp_path / "a.pth", False)
    kept = without_stand_ins(load_torch_file(path)[0])
    assert kept._metadata[""]["version"] == 2


@FORMS
@pytest.mark.parametrize("name", CALLS)
def test_calls_are_refused_by_name_and_not_made(tmp_path, name, legacy):
    target = tmp_path / "written"
    path = save({"model": {"w": torch.ones(2)}, "more": Calls(name, target)}, tmp_path / "a.pth", legacy)
    with pytest.raises(CarriesCode) as refused:
        load_torch_file(path)
    assert refused.value.name and not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists()  # so it would have


@FORMS
def test_a_whole_model_is_named(tmp_path, legacy):
    path = save(torch.nn.Sequential(torch.nn.Linear(2, 1)), tmp_path / "a.pth", legacy)
    try:
        content, _ = load_torch_file(path)
        named = content.dotted
    except CarriesCode as error:
        named = error.name
    assert named.startswith("torch.nn.modules.")


TENSORS = {
    "float64": torch.arange(3.0, dtype=torch.float64), "bfloat16": torch.ones(2, dtype=torch.bfloat16),
    "complex64": torch.tensor([1 + 2j]), "bool": torch.tensor([True, False]), "uint8": torch.tensor([3]).byte(),
    "no axis": torch.tensor(2.5), "empty": torch.empty(0, 3), "transposed": torch.arange(6.0).view(2, 3).t(),
    "every other": torch.arange(9.0)[2::2], "expanded": torch.ones(1).expand(3),
    "channels last": torch.rand(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}  # fmt: skip
# Types without a class of storages, of those that this torch can save.
TENSORS.update(
    {
        str(dtype): torch.ones(3).to(dtype)
        for dtype in getattr(torch.storage, "_new_dtypes", set)()
        if dtype in (getattr(torch, "uint16", None), getattr(torch, "float8_e5m2", None))
    }
)


@FORMS
def test_tensors_are_what_was_saved(tmp_path, legacy):
    whole = torch.arange(10.0)
    content = {**TENSORS, "one": whole[:4], "other": whole[2:]}
    found, _ = load_torch_file(save(content, tmp_path / "a.pth", legacy))
    assert list(found) == list(content)
    for name, one in content.items():
        assert found[name].dtype == one.dtype and found[name].stride() == one.stride(), name
        # Few operators know all of the types.
        assert found[name].shape == one.shape and found[name].tolist() == one.tolist(), name
    found["one"][2] = 7
    assert float(found["other"][0]) == 7  # they lie in one storage, as they did


class Attributes(dict):
    """Somebody's dict whose keys are attributes, as many configs are."""


class Steps(list):
    """Somebody's list."""


@FORMS
def test_own_containers_are_left_out(tmp_path, legacy):
    content = {"w": torch.ones(2), "cfg": Attributes(lr=0.1), "steps": Steps([1, 2]), "one": Steps([1])}
    found, strangers = load_torch_file(save(content, tmp_path / "a.pth", legacy))
    assert {name.rpartition(".")[2] for name in strangers} == {"Attributes", "Steps"}
    assert list(without_stand_ins(found)) == ["w"]


@pytest.mark.parametrize("offset, size, stride", [(0, (3,), (1,)), (-1, (2,), (1,)), (0, (2,), (2,)), (3, (), ())])
def test_a_tensor_stays_in_its_storage(tmp_path, offset, size, stride):
    """Beyond it there is whatever else lies in memory."""

    class Beyond:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (torch.ones(2)._typed_storage(), offset, size, stride, False, {})

    path = save({"w": Beyond()}, tmp_path / "a.pth", False)
    with pytest.raises(pickle.UnpicklingError, match="must lie in its storage of 8 bytes"):
        load_torch_file(path)


@FORMS
def test_numbers_of_the_other_byte_order(tmp_path, legacy, monkeypatch):
    """The file says in which order its numbers are; those before torch 1.6 always begin with the least byte."""
    path = save({"w": torch.arange(3.0)}, tmp_path / "a.pth", legacy)
    monkeypatch.setattr("sys.byteorder", "big" if sys.byteorder == "little" else "little")
    found = load_torch_file(path)[0]["w"]
    assert torch.equal(torch.from_numpy(found.numpy().byteswap()), torch.arange(3.0))
