"""Layers are found from the heads down, forget, and come back bit for bit."""

import pytest
import torch
from torch import nn

from odam_d2.evaluation.metrics.randomise import layer_groups, shuffle_weights, weights_restored
from tests.helpers import compact_detector

STAGES = [f"backbone.bottom_up.{name}" for name in ("res5", "res4", "res3", "res2", "stem")]


@pytest.mark.parametrize("name, heads", [("faster_rcnn", "proposal_generator, roi_heads"), ("retinanet", "head")])
def test_groups_run_from_the_heads_to_the_stem(name, heads):
    model = compact_detector(name)
    groups = layer_groups(model)
    assert [group.name for group in groups] == [heads, "backbone beside bottom_up", *STAGES]
    held = [id(p) for group in groups for p in group.parameters]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    fpn = {id(p) for key, p in model.backbone.named_parameters() if not key.startswith("bottom_up")}
    assert {id(p) for p in groups[1].parameters} == fpn


def test_a_net_without_a_backbone_is_taken_part_by_part_and_shared_weights_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    net[2].weight = net[0].weight
    groups = layer_groups(net)
    assert [(group.name, len(group.parameters)) for group in groups] == [("2", 2), ("0", 1)]
    assert layer_groups(nn.ReLU()) == []


def test_shuffled_weights_are_the_same_values_elsewhere():
    layer = nn.Linear(30, 30)
    before = layer.weight.detach().clone()
    shuffle_weights((layer.weight,), torch.Generator().manual_seed(0))
    assert not torch.equal(layer.weight, before)
    assert torch.equal(layer.weight.flatten().sort().values, before.flatten().sort().values)


def test_weights_come_back_after_an_error():
    net = nn.Linear(4, 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(RuntimeError, match="in between"), weights_restored(net):
        shuffle_weights(tuple(net.parameters()), torch.Generator().manual_seed(0))
        assert not torch.equal(net.weight, before["weight"])
        raise RuntimeError("in between")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.weight.requires_grad and net.weight.grad is None
