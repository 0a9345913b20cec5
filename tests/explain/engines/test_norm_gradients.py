"""The guard, against what a batch norm in eval mode is: a scale and a shift."""

import torch
from torch import nn

from odam_d2.explain.engines.norm_gradients import contiguous_norm_gradients


def test_the_gradient_is_the_norms_scale_whatever_its_strides():
    generator = torch.Generator().manual_seed(0)
    norm = nn.BatchNorm2d(3).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 4.0]))
        norm.running_var.fill_(0.25 - norm.eps)  # deviation .5
    x = torch.randn(2, 3, 4, 5, generator=generator, requires_grad=True)
    weight = torch.randn(2, 20, 3, generator=generator)
    with contiguous_norm_gradients(norm):
        output = norm(x)
    (found,) = torch.autograd.grad((output.flatten(2).transpose(1, 2) * weight).sum(), x)
    # weight / deviation = 2, 4, 8
    expected = weight.transpose(1, 2).reshape(2, 3, 4, 5) * torch.tensor([2.0, 4.0, 8.0]).view(3, 1, 1)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not norm._forward_hooks
