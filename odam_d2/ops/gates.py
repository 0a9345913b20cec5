"""ReLUs whose gates can be learned through a gradient.

The gradient of a net of ReLUs depends on which of them are open, and on its weights. A ReLU is open or shut, a step
whose own derivative is zero: a loss on gradients changes weights, but never which ReLUs open for which input. Here the
step stays a step, and only its derivative is replaced by that of a sigmoid, as a straight-through estimator does
(Bengio, Leonard and Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", arXiv 1308.3432).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.threads import in_this_thread


class _Step(torch.autograd.Function):
    """1 above zero, else 0; its derivative is a sigmoid's, as wide as its inputs are spread."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return (z > 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        width = z.std().clamp(min=1e-6) if z.numel() > 1 else torch.ones_like(z[:1])
        open_share = torch.sigmoid(z / width)
        return gradients[0] * open_share * (1 - open_share) / width


class _LearnableReLU(torch.autograd.Function):
    """ReLU with its own value and gradient; only the gradient of its gradient differs."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * learnable_step(ctx.saved_tensors[0])


def learnable_step(z: Tensor) -> Tensor:
    """1 where `z` is above zero, else 0, of any shape; has a derivative, see the module's docstring."""
    return _Step.apply(z)


def relu_with_learnable_gates(z: Tensor) -> Tensor:
    """``relu(z)``, of any shape, with the gradient of ReLU; a second derivative sees the gate as a sigmoid."""
    return _LearnableReLU.apply(z)


@contextmanager
def learnable_gates(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, every ``nn.ReLU`` in these modules is :func:`relu_with_learnable_gates`, for the calls of this thread."""
    replace = in_this_thread(lambda _module, inputs, _output: relu_with_learnable_gates(inputs[0]))
    relus = {part for module in modules for part in module.modules() if type(part) is nn.ReLU and not part.inplace}
    handles = [relu.register_forward_hook(replace) for relu in relus]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
