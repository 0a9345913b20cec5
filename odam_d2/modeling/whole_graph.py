"""A graph that stays whole where a network cuts it for the sake of training."""

import torch
from torch.overrides import TorchFunctionMode


class WholeGraph(TorchFunctionMode):
    """``tensor.detach()`` gives the tensor itself inside the block, in this thread alone."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """See :class:`torch.overrides.TorchFunctionMode`."""
        return args[0] if func is torch.Tensor.detach else func(*args, **(kwargs or {}))
