"""Whether a model's weights have changed since somebody looked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class WeightsState:
    """A model's parameters and buffers as they were.

    Changes are recognised by PyTorch's version counters and by the tensors' addresses. Writing into ``weight.data``
    changes neither and goes unnoticed.

    Attributes:
        tensors: each with its version and its address; None if they keep no versions.
    """

    tensors: list[tuple[Tensor, int, int]] | None

    @classmethod
    def of(cls, model: nn.Module) -> WeightsState:
        """The state of a model now."""
        tensors = [*model.parameters(), *model.buffers()]
        if any(tensor.is_inference() for tensor in tensors):
            return cls(None)
        return cls([(tensor, tensor._version, tensor.data_ptr()) for tensor in tensors])

    def is_same(self, other: WeightsState | None) -> bool:
        """Whether nothing has changed from one to the other, as far as can be told."""
        if other is None or self.tensors is None or other.tensors is None or len(self.tensors) != len(other.tensors):
            return False
        pairs = zip(self.tensors, other.tensors, strict=True)
        return all(one[0] is then[0] and one[1:] == then[1:] for one, then in pairs)
