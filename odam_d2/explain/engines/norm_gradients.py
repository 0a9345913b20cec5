"""A guard against a wrong gradient in torch itself.

On a CPU, the backward pass of batch norm in eval mode reads an incoming gradient that is not contiguous as if it were
(seen in torch 2.14.1, in single and double precision). A ``flatten(2).transpose(1, 2)`` after the norm, as in query
detectors, is enough.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...utils.threads import in_this_thread


@contextmanager
def contiguous_norm_gradients(model: nn.Module) -> Iterator[None]:
    """Outputs of batch norms that run inside the block get contiguous gradients, also later; values don't change."""

    def guard(_norm, _inputs, output):
        if output.requires_grad:
            output.register_hook(torch.Tensor.contiguous)

    handles = [m.register_forward_hook(in_this_thread(guard)) for m in model.modules() if isinstance(m, _BatchNorm)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
