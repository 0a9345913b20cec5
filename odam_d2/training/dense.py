"""The explained positives of dense heads: anchors, or locations, that are trained to find an object.

Shape letters: P positives over the batch, n of them in a chunk, N images, L anchors of all levels, V directions,
C channels, (h, w) cells of a chunk's windows, S x S what an output convolution sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from detectron2.structures import Boxes
from torch import Tensor, nn
from torch.nn import functional as F

from ..explain.engines.dense import DenseEngine
from ..explain.engines.dense_chunk import Place
from ..explain.engines.dense_gradients import DenseGradients, WindowGradients
from ..modeling.dense import TracedDenseHead
from ..modeling.dense_layers import Branch
from ..ops.receptive_field import transposed_convolution
from ..structures import DetectionTrace, HeatMaps
from ..utils.untyped import UntypedModule
from .explained import ExplainedPositives
from .pairing import Positives


class DifferentiableWindows(WindowGradients):
    """Gradients in windows that themselves have a graph, to the weights of the head; its ReLU masks are constants.

    Slower than :class:`WindowGradients`, which keeps none.
    """

    def weight(self, conv: nn.Conv2d) -> Tensor:
        """See :meth:`DenseGradients.weight`: not a constant here."""
        return conv.weight

    def back(self, branch: Branch, place: Place, top: Tensor) -> Tensor:
        """See :meth:`DenseGradients.back`."""
        gradient = top
        for layer in reversed(branch.layers):
            around = self.cells_around(place, gradient.shape[0])
            masked = gradient * self.derivative(layer, place.level, *around)[:, :, :, None]
            stepped = transposed_convolution(masked.flatten(2, 3), self.weight(layer.conv))
            gradient = stepped.unflatten(2, masked.shape[2:4])
        margin = self.radius - self.reach(branch)
        return F.pad(gradient, (0, 0, 0, 0, 0, 0, margin, margin, margin, margin))


class SecondOrderDenseEngine(DenseEngine):
    """The engine of dense heads, whose gradients keep a graph."""

    def gradients_of(self, trace: DetectionTrace) -> DenseGradients:
        """See :meth:`DenseEngine.gradients_of`."""
        return DifferentiableWindows(trace)


@dataclass
class DenseStep:
    """What a training step of a dense detector leaves behind.

    Attributes:
        head: recorded the forward pass, see :meth:`TracedDenseHead.recording`.
        anchors: of each level.
        labels: N times (L,) int64, class of each anchor of all levels; K for background, -1 for ignored.
        truths: N times (L, 4), the annotated box of each anchor's object.
    """

    head: TracedDenseHead
    anchors: list[Boxes] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    truths: list[Tensor] = field(default_factory=list)


class DensePositives(ExplainedPositives):
    """Takes gradients in the windows that the class logits see, by the masks of the training step's own forward pass.

    Group norm is taken at its frozen statistics.

    Args:
        model: the detector.
        step: of this detector; its head kept its results in ``maps``.
        names: of the levels.
        levels: (N, C, H, W) features of each, with their graph.
        image_sizes: N times (h, w) without padding.
        padded_size: (h, w) of the batch with padding.
        second_order: whether gradients keep a graph of their own.

    Raises:
        TypeError: if the head is not one of plain convolutions, norms and ReLUs.
    """

    weigh = False

    def __init__(
        self,
        model: UntypedModule,
        step: DenseStep,
        names: Sequence[str],
        levels: Sequence[Tensor],
        image_sizes: list[tuple[int, int]],
        padded_size: tuple[int, int],
        second_order: bool,
    ):
        self.engine = (SecondOrderDenseEngine if second_order else DenseEngine)(model, group_norm="frozen")
        self.nothing = levels[0].flatten()[:0].sum()
        labels = torch.stack(step.labels)
        image_index, anchors = ((labels >= 0) & (labels != model.num_classes)).nonzero().unbind(1)
        counts = torch.tensor([len(a) for a in step.anchors], device=labels.device)
        level = torch.bucketize(anchors, counts.cumsum(0), right=True)
        references = Boxes.cat(step.anchors).tensor[anchors].to(levels[0].dtype)
        features = dict(zip(names, levels, strict=True))
        self.trace = DetectionTrace(
            instances=[],
            features=features,
            strides={n: float(s) for n, s in zip(names, model.anchor_generator.strides, strict=True)},
            image_index=image_index,
            level_index=level[:, None],
            references=references,
            boxes=references,
            rows=anchors - (counts.cumsum(0) - counts)[level],
            classes=labels[image_index, anchors],
            level_names=tuple(names),
            image_sizes=image_sizes,
            padded_size=padded_size,
            output_sizes=image_sizes,
            head=step.head,
            compute_features=lambda: features,
        )
        reason = self.engine.unsupported(self.trace)
        if reason:
            raise TypeError(
                f"`model` must have a dense head that trains by explanations; got {type(model).__name__}, and "
                f"{reason}: set ODAM.TRAIN.WEIGHT to 0"
            )
        with torch.no_grad():
            outputs = step.head.gather(step.head.maps, self.trace).to(references.dtype)
            self.trace.boxes = step.head.decode(outputs, self.trace).boxes
        truths = torch.stack(step.truths)[image_index, anchors]
        self.positives = Positives(self.trace.boxes, truths, self.trace.classes, image_index)

    def heat_maps(self, rows: Tensor) -> list[HeatMaps]:
        """See :meth:`ExplainedPositives.heat_maps`."""
        taken = {
            name: getattr(self.trace, name)[rows]
            for name in ("image_index", "level_index", "references", "boxes", "rows", "classes")
        }
        return self.engine.odam_maps(replace(self.trace, **taken), ("logit",), 0.0)
