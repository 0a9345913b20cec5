"""A guard against a wrong gradient of torch's own.

Batch norm in eval mode, asked on a CPU for the gradient by its input, reads an incoming gradient that is not contiguous
as if it were (seen in torch 2.14.1, in single and double precision; a ``flatten(2).transpose(1, 2)`` behind the norm is
enough, as query detectors have it).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...utils.threads import in_this_thread


@contextmanager
def contiguous_norm_gradients(model: nn.Module) -> Iterator[None]:
    """What batch norms give inside the block gets its gradient contiguous, also after it; forward nothing changes."""

    def guard(_norm, _inputs, output):
        if output.requires_grad:
            output.register_hook(torch.Tensor.contiguous)

    handles = [m.register_forward_hook(in_this_thread(guard)) for m in model.modules() if isinstance(m, _BatchNorm)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
