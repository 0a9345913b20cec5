"""What happens around training steps, on a model that is three numbers."""

import math

import pytest
import torch
from detectron2.engine import SimpleTrainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from odam_d2.engine.hooks import KeepLossNormalizer, RequireFiniteLosses, SeedEachStep, bare_model


class Toy(nn.Module):
    """Losses from the images' own numbers."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.chance = []

    def forward(self, batch):
        if not self.training:
            return [float("nan")]
        self.chance.append(float(torch.rand(1)))
        return {"loss_a": self.weight * sum(one["value"] for one in batch), "loss_b": self.weight * 0.5}


def trainer(batches, *hooks):
    model = Toy()
    one = SimpleTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.1))
    one.register_hooks(hooks)
    return one


def entry(image_id, value):
    return {"image_id": image_id, "value": torch.tensor(value)}


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_with_iteration_and_images(broken):
    batches = [[entry(1, 1.0)], [entry(5, 1.0), entry("x7", broken)], [entry(9, 1.0)]]
    run = trainer(batches, RequireFiniteLosses())
    message = rf"losses must be finite; got loss_a = {broken} at iteration 1 for the images .*\[5, 'x7'\]"
    with pytest.raises(FloatingPointError, match=message):
        run.train(0, 3)
    # One step was taken: 1 - .1 * (1 + .5). The broken one did not reach the weight, and nothing listens any more.
    assert float(run.model.weight) == pytest.approx(0.85)
    assert not run.model._forward_hooks


def test_finite_losses_and_results_of_inference_pass():
    run = trainer([[entry(1, 1.0)]] * 2, RequireFiniteLosses())
    run.train(0, 2)
    run.before_train()
    assert math.isnan(run.model.eval()([entry(1, 1.0)])[0])  # results are nobody's losses
    run.after_train()


def test_losses_whose_sum_alone_overflows_are_told_all():
    run = trainer([[entry(1, 3e38)]], RequireFiniteLosses())
    run.model.weight.data.fill_(1.0)
    run.model.register_forward_hook(lambda m, i, o: {"loss_a": o["loss_a"], "loss_b": o["loss_a"]})
    with pytest.raises(FloatingPointError, match=r"loss_a = 3\..*e\+38, loss_b = 3\..*e\+38 at iteration 0"):
        run.train(0, 1)


def test_chance_of_a_step_depends_on_the_iteration_alone():
    whole = trainer([[entry(1, 1.0)]] * 4, SeedEachStep(5))
    whole.train(0, 4)
    torch.rand(17)
    later = trainer([[entry(1, 1.0)]] * 2, SeedEachStep(5))
    later.train(2, 4)
    assert later.model.chance == whole.model.chance[2:] and len(set(whole.model.chance)) == 4
    other = trainer([[entry(1, 1.0)]], SeedEachStep(6))
    other.train(0, 1)
    assert other.model.chance != whole.model.chance[:1]


def test_the_normalizer_goes_into_checkpoints_and_back():
    run = trainer([], KeepLossNormalizer())
    run.iter = 3
    assert "hooks" not in run.state_dict()  # a model without one
    run.model.loss_normalizer = 12.5
    state = run.state_dict()
    again = trainer([], KeepLossNormalizer())
    again.load_state_dict(state)
    assert again.model.loss_normalizer == 12.5 and again.iter == 3


def test_the_bare_model():
    model = Toy()
    assert bare_model(model) is model
    wrapped = DistributedDataParallel.__new__(DistributedDataParallel)
    nn.Module.__init__(wrapped)
    wrapped.module = model
    assert bare_model(wrapped) is model
