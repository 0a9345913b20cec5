"""Many gradients at once, against one at a time."""

import warnings

import pytest
import torch
from torch.nn import functional as F

from odam_d2.explain.engines import vjp
from odam_d2.explain.engines.vjp import BatchedGradients


def scalars_and_leaves():
    """Seven scalars of two leaves; none of them depends on a third."""
    leaves = [
        torch.randn(2, 3, 4, requires_grad=True),
        torch.randn(5, requires_grad=True),
        torch.randn(2, requires_grad=True),
    ]
    weight = torch.randn(7, 24)
    scalars = F.softmax(weight @ leaves[0].flatten(), 0) * leaves[1].exp().sum() + leaves[0].amax()
    return scalars, leaves


def one_by_one(scalars, leaves):
    rows = [torch.autograd.grad(s, leaves, retain_graph=True, materialize_grads=True) for s in scalars]
    return [torch.stack(parts) for parts in zip(*rows, strict=True)]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 2, 3, 64])
def test_equal_to_one_call_a_scalar_by_any_number_at_a_time(at_once):
    scalars, leaves = scalars_and_leaves()
    gradients = BatchedGradients(at_once)
    assert_same(gradients(scalars, leaves), one_by_one(scalars, leaves))
    assert gradients.batched
    assert not bool(gradients(scalars, leaves)[2].any())


def test_of_each_scalar_its_own_image_is_kept():
    scalars, leaves = scalars_and_leaves()
    halves = torch.tensor([0, 1, 0, 1, 1, 0, 0])
    found = BatchedGradients(3)(scalars, leaves[:1], halves)[0]
    assert torch.allclose(found, one_by_one(scalars, leaves)[0][torch.arange(7), halves], atol=1e-6)


def test_as_many_at_a_time_as_the_leaves_leave_room_for(monkeypatch):
    monkeypatch.setitem(vjp.CHUNK_FLOATS, "cpu", 100)
    gradients = BatchedGradients(64)
    assert gradients.size([torch.zeros(24), torch.zeros(5)]) == 3  # 29 floats each
    assert gradients.size([torch.zeros(1000)]) == 1
    assert gradients.size([torch.zeros(1)]) == 64


class Stubborn(torch.autograd.Function):
    """Doubles; its backward pass looks at a value, which no batching rule can."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient if float(gradient.sum()) > -1e9 else gradient


def test_an_operator_that_can_not_be_batched_is_looped_over_from_then_on_without_a_word():
    leaf = torch.randn(6, requires_grad=True)
    scalars = Stubborn.apply(leaf) ** 2
    gradients = BatchedGradients()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(gradients(scalars, [leaf]), one_by_one(scalars, [leaf]))
    assert not gradients.batched and gradients.size([leaf]) == 1


def test_attention_has_a_batching_rule():
    query = torch.randn(1, 2, 5, 8, requires_grad=True)
    scalars = F.scaled_dot_product_attention(query, query, query).sum(-1).flatten()
    gradients = BatchedGradients()
    assert_same(gradients(scalars, [query]), one_by_one(scalars, [query]))
    assert gradients.batched


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"),
    ],
)
def test_out_of_memory_halves_the_chunk_and_says_so_once(monkeypatch, error):
    scalars, leaves = scalars_and_leaves()
    expected = one_by_one(scalars, leaves)
    stock, tried = torch.autograd.grad, []

    def grad(outputs, inputs, directions=None, **kwargs):
        tried.append(1 if directions is None else len(directions))
        if tried[-1] > 2:
            raise error
        return stock(outputs, inputs, directions, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    gradients = BatchedGradients()
    with pytest.warns(UserWarning, match="out of memory with 7 maps or detections at a time: going on with 3") as said:
        found = gradients(scalars, leaves)
    assert len(said) == 1 and tried == [7, 3, 1, 1, 1, 1, 1, 1, 1] and gradients.batched
    assert_same(found, expected)


def test_an_error_that_is_none_of_these_comes_through():
    leaf = torch.ones(3, requires_grad=True)
    scalars = (leaf**2).clone()
    scalars.sum().backward()  # frees the graph
    with pytest.raises(RuntimeError, match="second time"):
        BatchedGradients()(scalars, [leaf])
