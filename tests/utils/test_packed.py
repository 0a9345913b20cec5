"""Packed weights: what becomes whole numbers, what becomes differences, and how they are read again."""

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from odam_d2.utils import packed
from odam_d2.utils.checkpoint import load_checkpoint_strictly
from odam_d2.utils.packed import is_packed, pack, state_checksum, unpack


def base_state():
    return {
        "layer.weight": torch.tensor([[8.0, 4.0, -7.0, 2.0], [1.0, 0.3, -0.7, 0.0]]),
        "anew.weight": torch.tensor([[1.0, 0.7, 0.5]]),
        "shape.weight": torch.ones(1, 2),
    }


@pytest.fixture
def base(tmp_path):
    torch.save({"model": base_state()}, tmp_path / "base.pth")
    return str(tmp_path / "base.pth")


def trained_state():
    """The base a little later: a quarter up, down or not at all; a layer that began anew, one of another shape."""
    change = torch.tensor([[0.25, -0.25, 0.0, 0.25], [0.0, 0.25, 0.25, -0.25]])
    return {
        "layer.weight": base_state()["layer.weight"] + change,
        "anew.weight": torch.tensor([[-0.9, 0.2, 0.1]]),
        "shape.weight": torch.ones(1, 3),
        "layer.bias": torch.tensor([1e6, 1e-6]),
    }


def test_only_matrices_become_whole_numbers():
    state = {
        "w": torch.tensor([[1.0, -0.5]]),
        "bias": torch.tensor([0.1, 0.2]),
        "batches": torch.tensor(7),
        "index": torch.tensor([[300, 2]]),
        "mask": torch.tensor([[True, False]]),
        "scalar": torch.tensor(0.3),
        "nothing": torch.zeros(0, 4),
    }
    content = pack(state)
    assert [key for key, value in content["weights"].items() if isinstance(value, dict)] == ["w", "nothing"]
    found = unpack(content)
    assert list(found) == list(state)
    for key in set(state) - {"w"}:
        assert found[key].dtype == state[key].dtype and torch.equal(found[key], state[key])
    assert found["w"].flatten().tolist() == pytest.approx([1.0, -0.5], abs=0.5 / 127)


def test_levels_count_for_large_tensors(monkeypatch):
    state = {"w": torch.linspace(-1, 1, 100).reshape(1, 100)}
    assert len(pack(state, 7)["weights"]["w"]["steps"].unique()) > 90  # few weights have 255
    monkeypatch.setattr(packed, "_SMALL", 100)
    assert pack(state, 7)["weights"]["w"]["steps"].unique().tolist() == [-3, -2, -1, 0, 1, 2, 3]


def test_small_changes_are_kept_as_differences(base):
    state = trained_state()
    content = pack(state, base=base)
    kinds = {key: value["difference"] for key, value in content["weights"].items() if isinstance(value, dict)}
    assert kinds == {"layer.weight": True, "anew.weight": False, "shape.weight": False}
    # A quarter is three of seven levels.
    assert content["weights"]["layer.weight"]["steps"].tolist() == [[3, -3, 0, 3], [0, 3, 3, -3]]
    found = unpack(content)
    assert torch.allclose(found["layer.weight"], state["layer.weight"], rtol=0, atol=1e-6)
    assert torch.allclose(found["anew.weight"], state["anew.weight"], rtol=0, atol=0.5 / 127)
    assert torch.equal(found["layer.bias"], state["layer.bias"])


def test_differences_have_as_many_levels_as_are_asked_for(base):
    # A quarter is one of three levels, three of seven, and fifteen of thirty-one.
    for fewest, quarter in ((3, 1), (7, 3), (31, 15)):
        steps = pack(trained_state(), base=base, fewest=fewest)["weights"]["layer.weight"]["steps"]
        assert steps.tolist() == [[quarter, -quarter, 0, quarter], [0, quarter, quarter, -quarter]]


def test_differences_are_no_less_exact_than_weights(base):
    generator = torch.Generator().manual_seed(0)
    change = 0.1 * torch.randn(2, 4, generator=generator)
    state = {"layer.weight": base_state()["layer.weight"] + change}
    with_base, alone = unpack(pack(state, base=base)), unpack(pack(state))
    wanted = state["layer.weight"]
    assert (with_base["layer.weight"] - wanted).norm() <= (alone["layer.weight"] - wanted).norm()


def test_another_base_is_an_error(base):
    content = pack(trained_state(), base=base)
    changed = base_state()
    changed["layer.weight"][0, 0] += 1
    torch.save({"model": changed}, base)
    with pytest.raises(ValueError, match=r"base\.pth' has changed: pack them anew with .*/bundle_weights\.py"):
        unpack(content)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)


def test_the_strict_checkpointer_reads_packed_files(tmp_path, base):
    state = {key: trained_state()[key] for key in ("layer.weight", "layer.bias")}
    content = pack(state, base=base)
    torch.save(content, tmp_path / "packed.pth")
    assert is_packed(torch.load(tmp_path / "packed.pth", weights_only=True)) and not is_packed({"model": state})
    model = Net()
    load_checkpoint_strictly(model, tmp_path / "packed.pth")
    assert torch.equal(model.layer.weight, unpack(content)["layer.weight"])
    assert torch.equal(model.layer.bias, state["layer.bias"])


def test_detectron2s_own_says_what_to_give_instead(tmp_path):
    torch.save(pack({"layer.weight": torch.ones(2, 4)}), tmp_path / "packed.pth")
    with pytest.raises(
        ValueError, match="packed by odam_d2: give their address, odam://NAME.pth, in place of the file"
    ):
        DetectionCheckpointer(Net()).load(str(tmp_path / "packed.pth"))


def test_the_checksum_is_of_names_and_values_alone():
    state = {
        "a": torch.arange(6.0).view(2, 3),
        "b": torch.ones(1),
        "c": torch.tensor(True),
        "d": torch.ones(2).bfloat16(),
    }
    same = {
        "a": torch.arange(6.0).view(2, 3).t().contiguous().t(),  # other memory
        "b": torch.ones(1).expand(1).as_strided((1,), (0,)),
        "c": torch.tensor(True),
        "d": torch.ones(2, requires_grad=True).bfloat16(),
    }
    assert state_checksum(state) == state_checksum(same)
    for key, value in {
        "a": torch.arange(6.0).view(3, 2) + 1,
        "c": torch.tensor(False),
        "d": torch.zeros(2).bfloat16(),
    }.items():
        assert state_checksum({**state, key: value}) != state_checksum(state)
    assert state_checksum({"e": state["b"]}) != state_checksum({"b": state["b"]})
