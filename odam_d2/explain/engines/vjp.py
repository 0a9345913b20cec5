"""Gradients of many scalars by as few backward passes as memory allows.

Shape letters: M scalars, m of them at a time.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ..memory import Halving, out_of_memory

# Most scalars of one backward pass; more gain nothing.
MAX_AT_ONCE = 64
# Floats that the gradients of one pass may hold at its leaves; the layers between may hold many times as much. On CPUs
# large passes gain nothing: a hundred maps of DETR (R50, 800 x 1088, one thread) through its encoder took 78 s eight at
# a time and 48 s one by one. Small networks gain, since there the calls themselves cost most.
CHUNK_FLOATS = {"cpu": 200_000}
CHUNK_FLOATS_ELSEWHERE = 32_000_000


class BatchedGradients:
    """``torch.autograd.grad`` for many scalars at once, and one at a time where that isn't possible.

    Whether every operator's backward pass has a batching rule is found out by trying; after the first failure scalars
    are taken one by one. When memory runs out, half as many are taken at a time, with one warning.

    Attributes:
        batched: whether to take several scalars at a time.
        at_once: how many at most.
    """

    def __init__(self, at_once: int = MAX_AT_ONCE):
        self.batched = True
        self.at_once = at_once
        self._halving = Halving()

    def size(self, leaves: Sequence[Tensor]) -> int:
        """How many scalars to take at a time: the gradients of one are as large as the leaves."""
        if not self.batched or not leaves:
            return 1
        floats = max(1, sum(leaf.numel() for leaf in leaves))
        most = CHUNK_FLOATS.get(leaves[0].device.type, CHUNK_FLOATS_ELSEWHERE)
        return max(1, min(self.at_once, most // floats))

    def __call__(self, scalars: Tensor, leaves: Sequence[Tensor], images: Tensor | None = None) -> list[Tensor]:
        """Gradients of all scalars with respect to all leaves; the graph stays.

        Args:
            scalars: (M,) with a graph.
            leaves: what to differentiate by; zeros where a scalar does not depend on one.
            images: (M,) int64 along the first axis of the leaves, which is all that is kept of each scalar's
                gradients; None to keep everything.

        Returns:
            For each leaf (M, *leaf.shape), or (M, *leaf.shape[1:]) with `images`.

        Raises:
            torch.cuda.OutOfMemoryError: if there is not enough memory for even one.
        """
        kept: list[list[Tensor]] = [[] for _ in leaves]
        begin = 0
        while begin < len(scalars):
            part = slice(begin, min(begin + self.size(leaves), len(scalars)))
            try:
                gradients = self._gradients(scalars, leaves, part)
                if images is not None:
                    gradients = [_of_image(gradient, images[part]) for gradient in gradients]
            except RuntimeError as error:
                self._recover(error, part.stop - part.start)
                continue
            for parts, one in zip(kept, gradients, strict=True):
                parts.append(one)
            begin = part.stop
        return [parts[0] if len(parts) == 1 else torch.cat(parts) for parts in kept]

    def _gradients(self, scalars: Tensor, leaves: Sequence[Tensor], part: slice) -> list[Tensor]:
        if part.stop - part.start == 1:
            one = torch.autograd.grad(scalars[part.start], leaves, retain_graph=True, materialize_grads=True)
            return [gradient[None] for gradient in one]
        number = torch.arange(part.start, part.stop, device=scalars.device)
        directions = scalars.new_zeros(len(number), len(scalars))
        directions[torch.arange(len(number), device=scalars.device), number] = 1.0
        with warnings.catch_warnings():
            # About operators that torch takes one by one; a loop over everything is no slower.
            warnings.filterwarnings("ignore", message=".*batching rule.*")
            found = torch.autograd.grad(
                scalars, leaves, directions, retain_graph=True, is_grads_batched=True, allow_unused=True
            )
        # `materialize_grads` would forget the batch.
        return [
            leaf.new_zeros(len(number), *leaf.shape) if gradient is None else gradient
            for gradient, leaf in zip(found, leaves, strict=True)
        ]

    def _recover(self, error: RuntimeError, tried: int) -> None:
        """Sets what to try next, or raises the error where nothing is left to try."""
        if tried > 1 and not out_of_memory(error):
            self.batched = False
        else:
            self.at_once = self._halving.after(error, tried)


def _of_image(gradients: Tensor, images: Tensor) -> Tensor:
    """(m, ...) from (m, N, ...), of the image that each belongs to; no copy where there is one image."""
    if gradients.shape[1] == 1:
        return gradients[:, 0]
    return gradients[torch.arange(len(gradients), device=gradients.device), images]
