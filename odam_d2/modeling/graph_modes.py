"""Ways to run a network so that it leaves a graph, though it was written to detect without one."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_PARTS = {
    getattr(owner, name)
    for owner in (torch, Tensor)
    for name in ("unbind", "split", "chunk", "tensor_split", "split_with_sizes")
    if hasattr(owner, name)
}


class WholeGraph(TorchFunctionMode):
    """``tensor.detach()`` gives the tensor itself inside the block, in this thread alone."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """See :class:`torch.overrides.TorchFunctionMode`."""
        return args[0] if func is torch.Tensor.detach else func(*args, **(kwargs or {}))


class PartsAsCopies(TorchFunctionMode):
    """The parts that a tensor with a graph is taken into are copies inside the block, in this thread alone.

    Detection works in place on such parts, such as the boxes of one image of the batch, which are scaled. Where there
    is a graph, torch forbids that for views of which it has given several at once.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """See :class:`torch.overrides.TorchFunctionMode`."""
        found = func(*args, **(kwargs or {}))
        if func in _PARTS and isinstance(found, tuple | list) and any(one.requires_grad for one in found):
            return type(found)(one.clone() for one in found)
        return found


class GradWhatever(TorchFunctionMode):
    """``torch.no_grad`` has no effect inside the block once something is so, in this thread alone.

    Args:
        begun: whether it is so.
    """

    def __init__(self, begun: Callable[[], bool]):
        super().__init__()
        self.begun = begun

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """See :class:`torch.overrides.TorchFunctionMode`."""
        if func is torch._C._set_grad_enabled and self.begun() and not args[0]:
            return None
        return func(*args, **(kwargs or {}))
