"""ReLUs with a value and a gradient of their own, and a second derivative through their gates."""

import torch
from torch import nn

from odam_d2.ops.gates import learnable_gates, learnable_step, relu_with_learnable_gates


def test_value_and_gradient_are_those_of_relu():
    z = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert torch.equal(relu_with_learnable_gates(z), torch.relu(z))
    (ours,) = torch.autograd.grad((relu_with_learnable_gates(z) * weights).sum(), z)
    (plain,) = torch.autograd.grad((torch.relu(z) * weights).sum(), z)
    assert torch.equal(ours, plain)


def test_step_has_the_derivative_of_a_sigmoid_as_wide_as_its_inputs():
    z = torch.tensor([-1.0, 1.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(learnable_step(z).sum(), z)
    share = torch.sigmoid(z.detach() / 2**0.5)  # the standard deviation of -1 and 1 is the root of 2
    torch.testing.assert_close(gradient, share * (1 - share) / 2**0.5)


def test_a_loss_on_gradients_reaches_what_opens_a_gate():
    layer = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    x = torch.randn(5, 3, requires_grad=True)

    def bias_gradient():
        (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), layer[0].bias, allow_unused=True)[0]

    plain = bias_gradient()
    assert plain is None or not bool(plain.any())
    with learnable_gates([layer]):
        expected, learned = layer(x), bias_gradient()
    assert torch.equal(expected, layer(x)) and learned is not None and bool(learned.any())
    assert not layer[1]._forward_hooks
