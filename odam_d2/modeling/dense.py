"""Dense heads that say again what they said at one anchor, and that show how they are built.

Shape letters: D detections over the batch, N images, A anchors a cell, K classes, O outputs of an anchor, C channels,
(H, W) the grid of a level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from detectron2.modeling.meta_arch.fcos import FCOSHead
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from torch import Tensor, nn

from ..structures import DetectionTrace, Predictions
from ..utils.untyped import UntypedModule
from .dense_layers import Branch, Output, keeps_grid, layers_of


class TracedDenseHead(ABC):
    """Re-computes a dense head's predictions at the anchors of the traced detections.

    Attributes:
        detector: what holds the head, its anchor generator and its box coding.
        maps: for each of the head's results, for each level, (N, channels, H, W) as it came out; filled by
            :meth:`run`.
        branches: how the head is built, for the fast engine; empty where it could not be read.
        unreadable: why it could not be read, in a few words; None if it could.
    """

    def __init__(self, detector: UntypedModule):
        self.detector = detector
        self.layout = self._layout()
        self.maps: list[list[Tensor]] = []
        self.branches: list[Branch] = []
        self.outputs: list[Output] = []
        self.unreadable = self._read()

    @abstractmethod
    def decode(self, outputs: Tensor, trace: DetectionTrace) -> Predictions:
        """Predictions from the (D, O) outputs of the detections' anchors."""

    def combine_scores(self, logits: Tensor, *others: Tensor) -> Tensor:
        """What is reported as confidence, (..., K), from class logits (..., K) and (..., 1) of each further result."""
        del others
        return logits.sigmoid()

    def candidates(self, results: Sequence[Sequence[Tensor]], anchors: Tensor) -> tuple[Tensor, Tensor]:
        """What the head says at all P anchors of all levels, before anything is chosen among them.

        Args:
            results: of the head: class logits, box deltas, and what it has besides, for each level (N, channels, H, W).
            anchors: (P, 4) XYXY of all levels, in model-input pixels.

        Returns:
            (N, P, 4) decoded XYXY boxes in model-input pixels, not clipped; (N, P, K) scores: to rounding those of
            inference, which takes images and levels one by one.
        """
        logits, deltas, *others = (torch.cat(levels, 1) for levels in self._by_anchor(results))
        decode = self.detector.box2box_transform.apply_deltas
        return torch.stack([decode(delta, anchors) for delta in deltas]), self.combine_scores(logits, *others)

    def say_of_image(self, results: Sequence[Sequence[Tensor]], number: int) -> tuple[list[Tensor], list[Tensor]]:
        """What the head says at every anchor of one image, level by level.

        Args:
            results: of the head; see :meth:`candidates`.
            number: of the image.

        Returns:
            For each level (H * W * A, K) scores, to the last bit those of inference (the same operators on the same
            shapes and strides), and (H * W * A, 4) deltas.
        """
        logits, deltas, *others = self._by_anchor(results)
        # Image by image as in inference: how a sigmoid rounds depends on how many are taken together.
        levels = zip(logits, *others, strict=True)
        scores = [self.combine_scores(*(one[number] for one in level)) for level in levels]
        return scores, [level[number] for level in deltas]

    def _by_anchor(self, results: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """For each result of the head, for each level, (N, H * W * A, channels of an anchor)."""
        pairs = zip(results, self._widths(), strict=True)
        return [[permute_to_N_HWA_K(level, width) for level in levels] for levels, width in pairs]

    def _widths(self) -> list[int]:
        """For each result of the head, the channels of an anchor."""
        widths = {result: channels for result, channels, _ in self.layout}
        return [widths[result] for result in sorted(widths)]

    def _layout(self) -> list[tuple[int, int, int | None]]:
        """Where each of the O outputs lies in the results of the head: (result, channels of an anchor, offset)."""
        return [(0, self.detector.num_classes, None), *((1, 4, side) for side in range(4))]

    @abstractmethod
    def _read(self) -> str | None:
        """Fills `branches` and `outputs`; the reason where the head is not one that is known."""

    @property
    def module(self) -> UntypedModule:
        """The head itself, from the features of all levels to its results."""
        return self.detector.head

    @property
    def num_anchors(self) -> int:
        """A, the same on all levels."""
        return self.detector.anchor_generator.num_anchors[0]

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """Predictions of the traced detections from (N, C, H, W) features, with a graph back to them."""
        maps = self.module([features[name] for name in trace.level_names])
        return self.decode(self.gather(maps, trace), trace)

    def gather(self, maps: Sequence[Sequence[Tensor]], trace: DetectionTrace) -> Tensor:
        """(D, O): the outputs of the detections' anchors in the results of the head."""
        y, x, anchors = self.cells(trace)
        gathered, order = [], []
        for level in range(len(trace.level_names)):
            members = (trace.level_index[:, 0] == level).nonzero()[:, 0]
            image, row, column = trace.image_index[members], y[members], x[members]
            outputs = []
            for result, stride, offset in self.layout:
                channel = anchors[members] * stride + (trace.classes[members] if offset is None else offset)
                outputs.append(maps[result][level][image, channel, row, column])
            gathered.append(torch.stack(outputs, 1))
            order.append(members)
        return torch.cat(gathered)[torch.cat(order).argsort()]

    def class_vectors(self, trace: DetectionTrace) -> Tensor:
        """(D, K): the sigmoid of every class at the detections' anchors."""
        result, classes, _ = self.layout[0]
        y, x, anchors = self.cells(trace)
        vectors = trace.references.new_zeros(len(trace), classes)
        for level, logits in enumerate(self.maps[result]):
            members = (trace.level_index[:, 0] == level).nonzero()[:, 0]
            channels = anchors[members, None] * classes + torch.arange(classes, device=members.device)
            place = (trace.image_index[members, None], channels, y[members, None], x[members, None])
            vectors[members] = logits[place].sigmoid().to(vectors)
        return vectors

    def cells(self, trace: DetectionTrace) -> tuple[Tensor, Tensor, Tensor]:
        """Row, column and number among the cell's anchors of each detection's anchor, (D,) int64 each."""
        widths = [trace.features[name].shape[-1] for name in trace.level_names]
        width = torch.tensor(widths, device=trace.rows.device)[trace.level_index[:, 0]]
        anchors, cell = trace.rows % self.num_anchors, trace.rows // self.num_anchors
        return cell // width, cell % width, anchors

    def run(self, levels: Sequence[Tensor]) -> Sequence[list[Tensor]]:
        """Results of the head on (N, C, H, W) features, as they are; keeps them, masks and norms' statistics."""
        with self.recording():
            results = self.module(levels)
        self.maps = [
            [_untouched(level, channels) for level in levels]
            for levels, channels in zip(results, self._widths(), strict=True)
        ]
        return results

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keeps masks and norms' statistics of the head's own pass inside the block; the hooks go at its end."""
        handles = [one for branch in self.branches for layer in branch.layers for one in layer.watch()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def keep_class_branch(self) -> None:
        """Forgets the branches that the class logit does not come from, so that :meth:`recording` passes them over."""
        self.branches = [branch for branch in self.branches if 0 in branch.outputs]

    def read_branches(self, parts: Sequence[tuple[Sequence[nn.Module], Sequence[nn.Conv2d]]]) -> str | None:
        """Reads subnets with their output convolutions, in the order of the head's results."""
        convs = [conv for _, tops in parts for conv in tops]
        self.outputs = [Output(convs[result], stride, offset) for result, stride, offset in self.layout]
        branches = []
        for subnet, tops in parts:
            layers = layers_of(subnet)
            if isinstance(layers, str):
                return f"in the head, {layers}"
            numbers = [k for k, output in enumerate(self.outputs) if any(output.conv is conv for conv in tops)]
            branches.append(Branch(layers, numbers))
        for conv in convs:
            if not keeps_grid(conv):
                return f"an output convolution does not keep the grid: {conv}"
        relus = [layer.relu for branch in branches for layer in branch.layers]
        if len({id(relu) for relu in relus}) < len(relus):
            return "its branches share layers"
        self.branches = branches
        return None


class TracedRetinaNetHead(TracedDenseHead):
    """Outputs of an anchor: the logit of the detection's class, then dx, dy, dw, dh."""

    def decode(self, outputs: Tensor, trace: DetectionTrace) -> Predictions:
        """See :meth:`TracedDenseHead.decode`."""
        boxes = self.detector.box2box_transform.apply_deltas(outputs[:, 1:5], trace.references)
        return Predictions(scores=self.combine_scores(outputs[:, 0]), logits=outputs[:, 0], boxes=boxes)

    def _read(self) -> str | None:
        head = self.module
        if type(head) is not RetinaNetHead:
            return f"the head {type(head).__name__} is not RetinaNetHead"
        return self.read_branches([(head.cls_subnet, [head.cls_score]), (head.bbox_subnet, [head.bbox_pred])])


class TracedFCOSHead(TracedRetinaNetHead):
    """Outputs of a location: the class logit, the four distances to the sides over the stride, and centerness."""

    def _layout(self) -> list[tuple[int, int, int | None]]:
        return [*super()._layout(), (2, 1, 0)]

    def decode(self, outputs: Tensor, trace: DetectionTrace) -> Predictions:
        """See :meth:`TracedDenseHead.decode`; the score is the geometric mean of class and centerness."""
        boxes = self.detector.box2box_transform.apply_deltas(outputs[:, 1:5], trace.references)
        scores = self.combine_scores(outputs[:, 0], outputs[:, 5])
        return Predictions(scores, outputs[:, 0], boxes, extras={"centerness": outputs[:, 5].sigmoid()})

    def combine_scores(self, logits: Tensor, *others: Tensor) -> Tensor:
        """See :meth:`TracedDenseHead.combine_scores`; the only other is the centerness."""
        (centerness,) = others
        return (logits.sigmoid() * centerness.sigmoid()).sqrt()

    def _read(self) -> str | None:
        head = self.module
        if type(head) is not FCOSHead:
            return f"the head {type(head).__name__} is not FCOSHead"
        return self.read_branches(
            [(head.cls_subnet, [head.cls_score]), (head.bbox_subnet, [head.bbox_pred, head.ctrness])]
        )


def _untouched(level: Tensor, channels: int) -> Tensor:
    """What stays as it is when inference writes over its rearrangement: the (N, A * channels, H, W) result itself.

    Inference applies ``sigmoid_`` in place to (N, H * W * A, channels). That is a copy of the result wherever such a
    shape can't be laid over it; with one anchor a cell and channels last, or a single cell, it can, and the copy is
    made here.
    """
    rearranged = level.view(len(level), -1, channels, *level.shape[-2:]).permute(0, 3, 4, 1, 2)
    try:
        rearranged.view(len(level), -1, channels)
    except RuntimeError:
        return level
    return level.clone()
