"""What is in a head, and which batch norms keep their statistics."""

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm, ShapeSpec
from detectron2.layers.batch_norm import LayerNorm as ChannelLayerNorm
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from torch import nn
from torch.nn import functional as F
from torchvision.ops.misc import FrozenBatchNorm2d as TorchvisionFrozenNorm

from odam_d2.modeling import instance_wise
from odam_d2.modeling.instance_wise import register_instance_wise, unknown_types, why_norm_not_fixed
from tests.wants import needs_package


class Opaque(nn.Module):
    pass


class Made(nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)


class OwnNorm(nn.BatchNorm2d):
    """Fixed statistics, and an activation behind them, as backbones of timm have it."""

    def forward(self, x):
        self.seen = getattr(self, "seen", 0) + 1
        self.running_mean += 0.5
        return F.relu(F.batch_norm(x, torch.zeros(4), self.running_var, self.weight, self.bias, False, 0.0, self.eps))


class OfTheBatch(nn.BatchNorm2d):
    """Statistics of the batch in eval mode as well."""

    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)


class OfTheItems(nn.BatchNorm1d):
    """The mean of the items, and fixed deviations."""

    def forward(self, x):
        return x - x.mean(0) + self.bias[:, None]


class Renamed(nn.BatchNorm2d):
    pass


def test_a_head_is_what_is_in_it():
    shape = ShapeSpec(channels=8, height=7, width=7)
    assert unknown_types([FastRCNNConvFCHead(shape, conv_dims=[8], fc_dims=[8], conv_norm="BN")]) == ([], [])
    norm = FastRCNNConvFCHead(shape, conv_dims=[8], fc_dims=[8], conv_norm=lambda channels: OwnNorm(channels))
    assert unknown_types([norm]) == (["OwnNorm"], [])
    assert unknown_types([Made(nn.Linear(2, 2), nn.ReLU())]) == ([], ["Made"])
    assert unknown_types([Made(Opaque(), Opaque()), nn.Linear(1, 1)]) == (["Opaque"], ["Made"])
    # Attention lets the items of its batch see each other if they are given as a sequence.
    assert unknown_types([nn.MultiheadAttention(2, 1)])[0] == ["NonDynamicallyQuantizableLinear"]


NORMS = [
    nn.BatchNorm2d, nn.SyncBatchNorm, NaiveSyncBatchNorm, FrozenBatchNorm2d, TorchvisionFrozenNorm, nn.InstanceNorm2d,
    lambda channels: nn.GroupNorm(2, channels), ChannelLayerNorm, nn.LocalResponseNorm,
    lambda channels: nn.InstanceNorm2d(channels, track_running_stats=True),
]  # fmt: skip


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_that_is_trusted_makes_the_same_of_an_item_alone(norm):
    norm = norm(4).eval()
    assert unknown_types([norm]) == ([], [])
    two = torch.randn(2, 4, 3, 3)
    two[1] = 3 * two[1] + 5
    assert torch.allclose(norm(two)[:1], norm(two[:1]), rtol=1e-5, atol=1e-6)


def test_norms_that_nobody_knows_are_not_trusted():
    assert unknown_types([nn.CrossMapLRN2d(2), nn.BatchNorm3d(4), nn.Softmax(0)])[0] == [
        "CrossMapLRN2d", "BatchNorm3d", "Softmax",
    ]  # fmt: skip


def test_a_promise_counts_for_what_is_inside(monkeypatch):
    for name in ("INSTANCE_WISE_MODULES", "_PROMISED"):
        monkeypatch.setattr(instance_wise, name, set(getattr(instance_wise, name)))
    register_instance_wise(Made)
    assert unknown_types([Made(Opaque())]) == ([], [])


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, NaiveSyncBatchNorm, Renamed])
def test_norms_with_fixed_statistics(kind):
    norm = kind(4)
    assert why_norm_not_fixed(norm) == "stays in training mode"
    assert why_norm_not_fixed(norm.eval()) is None
    assert why_norm_not_fixed(kind(4, track_running_stats=False).eval()) == "keeps no running ones"


class OfVectors(nn.BatchNorm1d):
    """Fixed statistics, for vectors alone."""

    def forward(self, x):
        count, channels = x.shape
        return (x - self.running_mean) * self.weight + self.bias


class OfTheBatchOfVectors(OfVectors):
    def forward(self, x):
        return super().forward(x - x.mean(0))


def test_norms_that_are_not_known_are_asked_for_an_item_alone():
    own = OwnNorm(4).eval()
    own.register_forward_pre_hook(lambda *_: pytest.fail("a hook saw what no image gave"))
    assert why_norm_not_fixed(own) is None
    assert own.running_mean.tolist() == [0] * 4 and not hasattr(own, "seen")
    assert why_norm_not_fixed(OwnNorm(4)) == "stays in training mode"
    assert why_norm_not_fixed(OfVectors(4).eval()) is None
    for kind in (OfTheBatch, OfTheItems, OfTheBatchOfVectors):
        assert why_norm_not_fixed(kind(4).eval()) == "has a `forward` of its own that takes them from the batch"
    patched = nn.BatchNorm2d(4).eval()
    patched.forward = lambda x: x
    assert why_norm_not_fixed(patched) == "has a `forward` of its own"
    assert not isinstance(FrozenBatchNorm2d(4), nn.modules.batchnorm._BatchNorm)


@needs_package("timm")
def test_norms_of_timm_keep_their_statistics():
    from timm.layers import BatchNormAct2d

    assert why_norm_not_fixed(BatchNormAct2d(4).eval()) is None
    assert why_norm_not_fixed(BatchNormAct2d(4)) == "stays in training mode"
