"""Files of torch.save: weights, with anything beside them, and without running it."""

import argparse
import collections
import datetime
import enum
import pathlib
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


def test_what_torch_allows_is_as_before_afterwards(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    load_torch_file(save({"a": argparse.Namespace()}, tmp_path / "a.pth", False))
    assert set(torch.serialization.get_safe_globals()) == before
