"""Where a network is."""

from itertools import chain

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """The device of a network's first parameter, or, where it has none, of its first buffer; else the CPU."""
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
