"""What a graph reaches, roots at zero, and where a graph ends, on nets of one number."""

import pytest
import torch
from torch import nn

from odam_d2.modeling.graph_cut import end_zeros, find_cut, guard_roots, reached, tensors_in
from odam_d2.modeling.leaves import Leaves, graph_in_place, leaves_at


def test_what_is_reached():
    a, b, c = (torch.ones(1, requires_grad=True) for _ in range(3))
    leaves = {"a": a, "b": b, "c": c}
    assert reached([a * 2 + b.detach(), (c * 3).sum()], leaves) == ["a", "c"]
    assert reached([torch.ones(1)], leaves) == [] == reached([], leaves)


def test_a_gradient_of_zero_stays_zero_at_a_root_of_zero():
    x = torch.tensor([4.0, 0.0], requires_grad=True)
    roots = x.sqrt()
    # Without help, 0 * inf: the slope of the second root makes NaN of the first one's gradient.
    assert torch.autograd.grad(roots[0], x, retain_graph=True)[0].isnan().tolist() == [False, True]
    guard_roots([roots])
    # d sqrt(x) / dx = 1 / (2 * 2) at 4.
    assert torch.autograd.grad(roots[0], x, retain_graph=True)[0].tolist() == [0.25, 0.0]
    assert torch.autograd.grad(roots[1], x)[0].tolist() == [0.0, float("inf")]


@pytest.mark.parametrize("join", [torch.cat, torch.stack])
def test_a_gradient_of_zero_ends_where_levels_are_joined(join):
    a, b = (torch.tensor([2.0, 3.0], requires_grad=True) for _ in range(2))
    asked: list[str] = []

    def watched(value, name):
        value.register_hook(lambda gradient: None if gradient is None else asked.append(name))
        return value

    joined = join([watched(a * 1, "a") ** 2, watched(b * 1, "b") ** 3]).flatten()

    def gradients(*rows):
        asked.clear()
        return torch.autograd.grad(joined[list(rows)].sum(), [a, b], retain_graph=True, materialize_grads=True)

    expected = [gradients(1), gradients(0, 3)]
    assert sorted(asked) == ["a", "b"]
    end_zeros([joined])
    found = gradients(1)
    # d a^2 / da = 6 at 3; autograd alone asks b as well, and gets zeros.
    assert asked == ["a"] and [one.tolist() for one in found] == [[0.0, 6.0], [0.0, 0.0]]
    both = gradients(0, 3)
    assert sorted(asked) == ["a", "b"] and [one.tolist() for one in both] == [[4.0, 0.0], [0.0, 27.0]]
    for one, other in zip([found, both], expected, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_operators_of_ones_own_may_be_called_anything():
    class Named(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            ctx.name = "CatBackward"
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    a = torch.tensor([2.0], requires_grad=True)
    root = Named.apply(a).sqrt()
    guard_roots([root])
    end_zeros([root])
    # 1 / (2 sqrt 2)
    assert torch.autograd.grad(root, a)[0].tolist() == pytest.approx([0.3535534])


def test_what_is_not_finite_is_no_zero():
    a, b = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
    joined = torch.cat([a, b])
    end_zeros([joined])
    found = torch.autograd.grad(joined, [a, b], torch.tensor([float("nan"), 0.0]), materialize_grads=True)
    assert found[0].isnan().all() and found[1].tolist() == [0.0]


def test_several_gradients_at_once_are_left_as_they_are():
    a, b = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    joined = torch.cat([2 * a, 3 * b])
    end_zeros([joined])
    found = torch.autograd.grad(joined, [a, b], torch.eye(4), is_grads_batched=True)
    assert torch.equal(torch.cat(found, 1), torch.diag(torch.tensor([2.0, 2.0, 3.0, 3.0])))


def test_work_in_place_does_not_spoil_the_graph():
    x = torch.tensor([[0.0], [1.0]], requires_grad=True)
    with graph_in_place():
        copy = x * 1.0
        first, second = copy[0].sigmoid_(), copy[1].sigmoid_()
    # sigmoid' = s (1 - s): .25 at 0, .19661 at 1.
    found = torch.autograd.grad(first.sum() + second.sum(), x)[0].flatten().tolist()
    assert found == pytest.approx([0.25, 0.1966119], abs=1e-6)


class Net(nn.Module):
    def __init__(self, cut):
        super().__init__()
        self.cut = cut
        self.backbone, self.head, self.last = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, batched_inputs):
        features = self.backbone(torch.stack([x["image"] for x in batched_inputs]))
        if self.cut == "head":
            with torch.no_grad():
                return self.last(self.head(features))
        hidden = self.head(features)
        return self.last(hidden.detach() if self.cut == "between" else hidden)


INPUTS = [{"image": torch.ones(1, 2, 2)}]


def sources(model):
    return {"": model.backbone}


def test_where_it_is_cut():
    assert find_cut(Net("head"), sources, INPUTS) == "in 'head'"
    behind = "in `forward` of Net, behind 'head', the last module whose output depends on the maps"
    assert find_cut(Net("between"), sources, INPUTS) == behind


def test_leaves_stand_where_the_maps_were_and_the_mode_comes_back():
    net = Net("")
    with torch.enable_grad(), leaves_at(sources(net), Leaves(1)) as kept:
        out = net(INPUTS)
        assert torch.is_grad_enabled()
    (leaf,) = kept.maps.values()
    assert leaf.is_leaf and leaf.requires_grad and kept.padded_size == (2, 2) and kept.calls == {"": 1}
    assert reached([out], kept.maps) == [""]
    assert not net.backbone._forward_hooks and not net.backbone._forward_pre_hooks
    with torch.no_grad(), leaves_at(sources(net), Leaves(1, {"": torch.zeros(1, 1, 2, 2)})):
        changed = net(INPUTS)
        assert not torch.is_grad_enabled()
    assert torch.equal(changed, net.last(net.head(torch.zeros(1, 1, 2, 2))))


def test_only_the_maps_that_are_named_are_replaced():
    net, images = Net(""), torch.ones(1, 1, 2, 2)
    modules = {"first": net.backbone, "second": net.head}
    with torch.enable_grad(), leaves_at(modules, Leaves(1, {"second": torch.zeros(1, 1, 2, 2)})) as kept:
        net(INPUTS)
    assert torch.equal(kept.maps["first"], net.backbone(images)) and kept.maps["first"].requires_grad
    assert not bool(kept.maps["second"].any()) and not kept.maps["second"].requires_grad


def test_tensors_in_containers():
    one = torch.ones(1)
    assert len(list(tensors_in({"a": [one, (one, 1)], "b": torch.ones(1, dtype=torch.int64), "c": None}))) == 2
