"""Optimizers by their names in the config."""

import pytest
import torch
from detectron2.config import get_cfg
from torch import nn

from odam_d2.config import add_odam_config
from odam_d2.engine import OdamTrainer


class Toy(nn.Module):
    """A backbone with a norm, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.head = nn.Linear(2, 1)


def config(**solver):
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.WEIGHT_DECAY_NORM = 0.5, 0.25, 0.0
    for name, value in solver.items():
        cfg.ODAM.SOLVER[name] = value
    return cfg


def test_sgd_is_the_default_and_detectron2s_own():
    assert isinstance(OdamTrainer.build_optimizer(config(), Toy()), torch.optim.SGD)


def test_adamw_has_a_rate_of_its_own_for_the_backbone_and_no_decay_of_norms():
    model = Toy()
    optimizer = OdamTrainer.build_optimizer(config(OPTIMIZER="AdamW", BACKBONE_MULTIPLIER=0.1), model)
    assert isinstance(optimizer, torch.optim.AdamW)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert found[id(model.backbone[0].weight)] == (pytest.approx(0.05), 0.25)
    assert found[id(model.backbone[1].weight)] == (pytest.approx(0.05), 0.0)
    assert found[id(model.head.bias)] == (0.5, 0.25)


def test_adamw_clips_gradients_where_the_config_says_so():
    cfg = config(OPTIMIZER="AdamW")
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, "norm"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1.0
    model = Toy()
    optimizer = OdamTrainer.build_optimizer(cfg, model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    optimizer.step()
    assert float(model.head.weight.grad.norm()) == pytest.approx(1.0, rel=1e-4)


def test_an_unknown_optimizer_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\['AdamW', 'SGD'\]; got 'Lion'"):
        OdamTrainer.build_optimizer(config(OPTIMIZER="Lion"), Toy())
