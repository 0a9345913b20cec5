"""Detecting without a graph, with or without Odam-NMS, which needs gradients of its own on the way."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from ..utils.untyped import UntypedModule


@contextmanager
def without_graph(model: UntypedModule) -> Iterator[None]:
    """No gradients inside. With Odam-NMS also what its own gradients need: no inference mode and no autocast.

    Tensors made in inference mode can't enter a graph later, and gradients of scores underflow in half precision.

    Args:
        model: a detector with ``odam_nms``, None where it suppresses as Detectron2 does.
    """
    with ExitStack() as stack:
        if model.odam_nms is not None:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.autocast(model.device.type, enabled=False))
        stack.enter_context(torch.no_grad())
        yield
