"""The weights of a checkpoint are found by what fits the model, whatever entries and names are called."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

from odam_d2.utils.state_dicts import choose, state_dicts, worth_naming

WANTED = {"backbone.conv.weight": None, "backbone.conv.bias": None, "head.weight": None}


def weights(prefix="", value=1.0):
    return {prefix + name: torch.full((2,), value) for name in WANTED}


def first(content, wanted=WANTED):
    return state_dicts(content, wanted)[0]


@pytest.mark.parametrize("prefix", [
    "", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.module.",
    "model.model.", "detector.", "net.student.",
])  # fmt: skip
@pytest.mark.parametrize("keys", [(), ("model",), ("state_dict",), ("model_state_dict",), ("a", "b", "state_dict")])
def test_entries_and_beginnings_of_names(keys, prefix):
    content = weights(prefix)
    for key in reversed(keys):
        content = {"epoch": 3, key: content, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}
    found = first(content)
    assert set(found.weights) == set(WANTED) and found.fitting == 3 and not found.strangers
    assert found.where.split(".")[: len(keys)] == list(keys) or not keys


@pytest.mark.parametrize(
    "inner", ["_orig_mod", "module", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "module._orig_mod"]
)
def test_parts_of_the_model_that_were_wrapped_alone(inner):
    state = {
        "head.weight": torch.ones(2),
        **{f"backbone.{inner}.conv.{end}": torch.ones(2) for end in ("weight", "bias")},
    }
    assert set(first({"model": state}).weights) == set(WANTED)


def test_a_model_that_is_wrapped_itself():
    wanted = {f"_orig_mod.{name}": None for name in WANTED}
    assert set(first(weights(), wanted).weights) == set(first(weights("module."), wanted).weights) == set(wanted)


def test_names_that_begin_so_in_the_model_are_left_alone():
    wanted = {"model.a": None, "model.b": None}
    found = first({"model.a": torch.ones(1), "model.b": torch.ones(1)}, wanted)
    assert set(found.weights) == set(wanted) and found.where == ""


@pytest.mark.parametrize(
    "content, where",
    [
        ({"model": weights(), "ema": weights(value=2)}, "ema"),
        ({"ema": {"module": weights(value=2), "updates": 3}, "model": weights()}, "ema.module"),
        ({"model": weights(), "model_ema": weights(value=2)}, "model_ema"),
        ({"ema_state": weights(value=2), "model": weights()}, "ema_state"),
        ({"state_dict_ema": weights(value=2), "state_dict": weights()}, "state_dict_ema"),
        ({"state_dict": {**weights("model."), **weights("ema_model.", 2)}}, "state_dict.ema_model"),
    ],
)
def test_averaged_weights_come_second_and_can_be_chosen(content, where):
    found = worth_naming(state_dicts(content, WANTED))
    assert [one.averaged for one in found] == [False, True] and found[1].where == where
    assert found[0].weights["head.weight"].tolist() == [1, 1]
    for key in (where, where.partition(".")[0] if where.startswith("ema") else where.rpartition(".")[2]):
        assert choose(found, key).weights["head.weight"].tolist() == [2, 2]
    assert choose(found, "nothing") is None


def test_averaged_weights_alone_are_read():
    assert first({"ema": weights(), "model": {"other": torch.ones(1)}}).where == "ema"


def test_two_models_in_one_entry():
    content = {"model": {**weights("student."), **weights("teacher.", 2)}}
    found = worth_naming(state_dicts(content, WANTED))
    assert [one.where for one in found] == ["model.student", "model.teacher"]
    assert choose(found, "teacher").weights["head.weight"].tolist() == [2, 2]


def test_what_lies_beside_the_model_is_told():
    found = first({"state_dict": {**weights("model."), "loss.weight": torch.ones(1)}})
    assert found.strangers == ["loss.weight"] and set(found.weights) == set(WANTED)


def test_arrays_and_scalars_become_tensors():
    state = {
        "backbone.conv.weight": np.arange(2, dtype=">f4"),
        "backbone.conv.bias": np.float32(2),
        "head.weight": "no",
    }
    found = first({"model": state}).weights
    assert found["backbone.conv.weight"].tolist() == [0, 1] and found["backbone.conv.bias"].shape == ()
    assert "head.weight" not in found


def test_versions_of_modules_follow_their_names():
    state = OrderedDict(weights("module._orig_mod."))
    state._metadata = {
        "": {},
        "module": {},
        "module._orig_mod": {"version": 1},
        "module._orig_mod.backbone": {"version": 3},
    }
    assert first({"model": state}).weights._metadata == {"": {"version": 1}, "backbone": {"version": 3}}


@pytest.mark.parametrize("content", [None, 3, [1], {}, {"a": "b"}, {"a": {"b": [torch.ones(1)]}}, {1: torch.ones(1)}])
def test_no_weights_at_all(content):
    assert state_dicts(content, WANTED) == []
