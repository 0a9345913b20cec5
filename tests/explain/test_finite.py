"""Numbers that are not finite are found, and weights are looked at again only where they changed."""

import pytest
import torch
from torch import nn

from odam_d2.explain import finite
from odam_d2.explain.finite import all_finite, not_finite_in, require_finite_weights

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [(), (NAN,), (INF,), (-INF,), (INF, -INF)])
def test_a_sum_tells_of_every_number(dtype, bad):
    values = torch.ones(64, dtype=dtype)
    values[: len(bad)] = torch.tensor(bad, dtype=dtype)
    assert all_finite(values) is (not bad)
    assert all_finite(values[1:].reshape(9, 7).T) is (len(bad) < 2)


def test_large_numbers_whose_sum_is_infinite_are_finite():
    assert all_finite(torch.full((4,), 3e38)) and all_finite(torch.zeros(0))


@pytest.fixture
def looked(monkeypatch):
    """How many tensors were looked at."""
    seen = []
    original = finite.all_finite
    monkeypatch.setattr(finite, "all_finite", lambda tensor: seen.append(tensor) or original(tensor))
    return seen


def net():
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))


def test_weights_are_looked_at_once(looked):
    model = net()
    for _ in range(3):
        require_finite_weights(model)
    assert len(looked) == 6  # two of each, and the norm's two running ones; its counter is an integer


def break_in_place(model):
    with torch.no_grad():
        model[0].weight[0, 0] = NAN


def break_by_loading(model):
    model.load_state_dict({**model.state_dict(), "0.bias": torch.tensor([1.0, INF, 1.0])})


def break_by_another_parameter(model):
    model[0].weight = nn.Parameter(torch.full((3, 3), NAN))


def break_by_other_data(model):
    model[0].weight.data = torch.full((3, 3), NAN)


def break_a_buffer(model):
    model[1].running_var.fill_(INF)


def break_another_module(model):
    model[0] = nn.Linear(3, 3)
    nn.init.constant_(model[0].bias, NAN)


def break_by_a_step(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model[0].weight.grad = torch.full((3, 3), INF)
    optimizer.step()


@pytest.mark.parametrize(
    "change",
    [break_in_place, break_by_loading, break_by_another_parameter, break_by_other_data, break_a_buffer,
     break_another_module, break_by_a_step],
)  # fmt: skip
def test_weights_that_changed_are_looked_at_again(change):
    model = net()
    require_finite_weights(model)
    change(model)
    for _ in range(2):  # what was found broken is no less so when asked again
        with pytest.raises(FloatingPointError, match="weights must be finite; got NaN or inf in '[01]\\."):
            require_finite_weights(model)


def test_weights_that_keep_no_versions_are_always_looked_at(looked):
    with torch.inference_mode():
        model = net()
    require_finite_weights(model)
    require_finite_weights(model)
    assert len(looked) == 12


def test_models_are_told_apart():
    good, bad = net(), net()
    require_finite_weights(good)
    break_in_place(bad)
    assert not_finite_in(good) is None and not_finite_in(bad) == "0.weight"
    with pytest.raises(FloatingPointError):
        require_finite_weights(bad)
