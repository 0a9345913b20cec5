"""What the losses of Odam-Train know of a detector: its positives, and their heat maps with a graph."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..structures import HeatMaps
from .pairing import Positives


class ExplainedPositives(ABC):
    """The positives of a training step, able to explain why they were given their object's class.

    Attributes:
        positives: P of them, of N images.
        weigh: whether pairs of one object are weighted by their IoUs, as published for two-stage detectors.
        nothing: () a zero with the graph of the features.
    """

    positives: Positives
    weigh: bool
    nothing: Tensor

    @abstractmethod
    def heat_maps(self, rows: Tensor) -> list[HeatMaps]:
        """N HeatMaps with the attribute ``logit`` of some positives, in their order, with a graph to the features.

        First order: the gradient in them is a constant. Second order: it has a graph to the head's weights.

        Args:
            rows: (R,) int64, ascending.
        """


def require_independent_norms(modules: list[nn.Module], name: str) -> None:
    """Raises ValueError where a batch norm lets the predictions of a head see each other in training."""
    for module in (part for head in modules for part in head.modules()):
        # The common base of all of torch's, and of Detectron2's own; frozen ones are none.
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"`{name}` must treat each prediction on its own to be trained by explanations; got a "
                f"{type(module).__name__}: set its norm to 'GN' or '', or ODAM.TRAIN.WEIGHT to 0"
            )
