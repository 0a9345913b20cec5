"""The losses of Odam-Train against plain Python, and their gradients."""

import math

import pytest
import torch

from odam_d2.ops.losses import (
    MARGIN,
    both_losses,
    consistency_loss,
    pair_similarities,
    ranking_loss,
    separation_loss,
    unit_vectors,
)


def similarity(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def slow_losses(maps, same, other, weights):
    """Both losses from their definitions, pair by pair, in Python's own numbers."""
    consistency = separation = 0.0
    for (a, p), weight in zip(same, weights):
        consistency += weight * -math.log(min(max(similarity(maps[a], maps[p]), 1e-4), 1 - 1e-4))
    for a, p in other:
        separation += -math.log(1 - min(max(similarity(maps[a], maps[p]), 1e-4), 1 - 1e-4))
    total = len(same) + len(other)
    return consistency / total, separation / total


def losses(maps, same, other, weights=None):
    vectors, total = unit_vectors(maps), len(same) + len(other)
    pairs = [torch.tensor(pairs, dtype=torch.int64).view(-1, 2) for pairs in (same, other)]
    return consistency_loss(vectors, pairs[0], total, weights), separation_loss(vectors, pairs[1], total)


def test_by_hand():
    # Unit vectors (1, 0), (.6, .8), (.8, .6): cosines .6, .8, .96.
    maps = torch.tensor([[5.0, 0.0], [3.0, 4.0], [8.0, 6.0]], dtype=torch.float64)
    same, other = losses(maps, [(0, 1)], [(0, 2), (2, 1)], [0.5])
    assert float(same) == pytest.approx(0.5 * -math.log(0.6) / 3)
    assert float(other) == pytest.approx((-math.log(0.2) - math.log(0.04)) / 3)


def test_against_plain_python():
    maps = torch.rand(12, 7, dtype=torch.float64)
    maps[3, 2:] = 0.0
    maps[4, :2] = 0.0  # 3 and 4 have nothing in common
    maps[5] = 2.0 * maps[6]  # and these two everything
    same, other = [(0, 1), (0, 2), (4, 3), (6, 5), (2, 9)], [(0, 3), (3, 4), (6, 5), (5, 6), (10, 11)]
    weights = [0.9, 0.5, 1.0, 0.25, 0.75]
    for found, expected in zip(losses(maps, same, other, weights), slow_losses(maps.tolist(), same, other, weights)):
        assert float(found) == pytest.approx(expected, rel=1e-12)


def test_both_at_once_are_each_alone():
    vectors, weights = unit_vectors(torch.rand(6, 5, dtype=torch.float64)), torch.tensor([0.5, 2.0])
    same, other = torch.tensor([[0, 1], [3, 4]]), torch.tensor([[0, 3], [0, 4], [3, 2]])
    consistency, separation, similarities = both_losses(vectors, same, other, 5, weights)
    assert float(consistency) == pytest.approx(float(consistency_loss(vectors, same, 5, weights)), rel=1e-12)
    assert float(separation) == pytest.approx(float(separation_loss(vectors, other, 5)), rel=1e-12)
    expected = [similarity(vectors[a].tolist(), vectors[p].tolist()) for a, p in [*same.tolist(), *other.tolist()]]
    assert similarities.tolist() == pytest.approx(expected)


def test_similarities_are_kept_from_zero_and_one():
    maps = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    same, other = losses(maps, [(0, 1)], [(0, 2)])
    assert float(same) == pytest.approx(-math.log(1e-4) / 2, rel=1e-5)
    assert float(other) == pytest.approx(-math.log(1e-4) / 2, rel=1e-3)  # 1 - (1 - 1e-4) in float32
    (same + other).backward()
    assert not maps.grad.any()  # clamped: published, and what keeps the gradient finite


def test_a_map_of_all_zeros_is_like_nothing_and_has_no_gradient():
    maps = torch.tensor([[0.0, 0.0], [3.0, 4.0], [4.0, 3.0]], requires_grad=True)
    vectors = unit_vectors(maps)
    assert vectors.tolist() == [[0.0, 0.0], pytest.approx([0.6, 0.8]), pytest.approx([0.8, 0.6])]
    same, other = losses(maps, [(1, 0), (1, 2)], [(0, 2)])
    (same + other).backward()
    assert torch.isfinite(maps.grad).all() and not maps.grad[0].any() and maps.grad[1].any()


@pytest.mark.parametrize("count", [0, 3])
def test_no_pairs_give_a_zero_that_keeps_the_graph(count):
    maps = torch.rand(count, 4, requires_grad=True)
    for loss in losses(maps, [], []):
        assert loss.dim() == 0 and float(loss) == 0.0 and loss.requires_grad
        (gradient,) = torch.autograd.grad(loss, maps, retain_graph=True)
        assert gradient.shape == (count, 4) and not gradient.any()


def test_total_may_be_a_tensor_and_counts_pairs_of_elsewhere():
    vectors, pairs = unit_vectors(torch.rand(3, 5)), torch.tensor([[0, 1], [0, 2]])
    for loss in (consistency_loss, separation_loss):
        whole = float(loss(vectors, pairs, 2))
        assert float(loss(vectors, pairs, torch.tensor(8))) == pytest.approx(whole / 4)
        assert float(loss(vectors, pairs, torch.tensor(0))) == pytest.approx(whole * 2)


def test_gradients():
    maps = (torch.rand(5, 6, dtype=torch.float64) + 0.1).requires_grad_()
    same, other = torch.tensor([[0, 1], [0, 2], [3, 4]]), torch.tensor([[0, 3], [0, 4], [3, 2]])
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m: consistency_loss(unit_vectors(m), same, 6, weights), maps)
    assert torch.autograd.gradcheck(lambda m: separation_loss(unit_vectors(m), other, 6), maps)
    assert torch.autograd.gradgradcheck(lambda m: separation_loss(unit_vectors(m), other, 6), maps)
    similarities = pair_similarities(unit_vectors(maps.detach()), torch.cat([same, other]))
    assert ((similarities > MARGIN) & (similarities < 1 - MARGIN)).all()  # so none of the checks was of a constant


def test_pairs_of_another_shape_are_answered():
    with pytest.raises(ValueError, match=r"\(P, 2\) rows of `vectors`; got \(2,\)"):
        pair_similarities(torch.rand(2, 3), torch.tensor([0, 1]))


def test_ranking_by_hand():
    same, other = torch.tensor([0.8, 0.5], requires_grad=True), torch.tensor([0.6], requires_grad=True)
    # Differences -.2 and .1 in units of .1: log(1 + exp(-2)) and log(1 + exp(1)).
    loss = ranking_loss(same, other, 0.1)
    assert float(loss.detach()) == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.e)) / 2, rel=1e-5)
    loss.backward()
    assert same.grad[0] < 0 < other.grad[0]
    empty = ranking_loss(same[:0], other, 0.1)
    assert float(empty.detach()) == 0.0 and empty.requires_grad
