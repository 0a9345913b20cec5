"""What a detector that predicts at anchors has in hand between its head and its detections.

Shape letters: N images, D detections or candidates over the batch, C channels, (H, W) the grid of a level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from detectron2.structures import Boxes, ImageList, Instances

from ..modeling.dense import TracedDenseHead
from ..modeling.provenance import image_index_of, input_frame_boxes
from ..structures import DetectionTrace


@dataclass
class ForwardPass:
    """One run of backbone and head.

    Attributes:
        images: N images, normalised and padded.
        names: the levels that the head reads.
        strides: model-input pixels per cell of each.
        levels: (N, C, H, W) features of each.
        head: a memory around the head, which has run.
        results: of the head.
        anchors: of each level.
        compute_features: see :class:`odam_d2.structures.DetectionTrace`.
    """

    images: ImageList
    names: tuple[str, ...]
    strides: Sequence[float]
    levels: list[torch.Tensor]
    head: TracedDenseHead
    results: Sequence[list[torch.Tensor]]
    anchors: list[Boxes]
    compute_features: Callable[[], dict[str, torch.Tensor]]

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        """N times (h, w) without padding."""
        return [(int(h), int(w)) for h, w in self.images.image_sizes]

    @cached_property
    def said(self) -> list[tuple[list[torch.Tensor], list[torch.Tensor]]]:
        """For each image what :meth:`odam_d2.modeling.dense.TracedDenseHead.say_of_image` gives."""
        return [self.head.say_of_image(self.results, number) for number in range(len(self.image_sizes))]

    def remember(
        self, found: list[Instances], rows: torch.Tensor, levels: torch.Tensor, output_sizes: list[tuple[int, int]]
    ) -> DetectionTrace:
        """The trace of N results in the frame of `output_sizes`, whose anchors are (D,) `rows` of (D,) `levels`."""
        counts = torch.tensor([len(a) for a in self.anchors], device=rows.device)
        first = counts.cumsum(0) - counts
        return DetectionTrace(
            instances=found,
            features=dict(zip(self.names, self.levels, strict=True)),
            strides={n: float(s) for n, s in zip(self.names, self.strides, strict=True)},
            image_index=image_index_of([len(r) for r in found], rows.device),
            level_index=levels[:, None],
            references=Boxes.cat(self.anchors).tensor[first[levels] + rows],
            boxes=input_frame_boxes(found, self.image_sizes, output_sizes),
            rows=rows,
            classes=torch.cat([result.pred_classes for result in found]),
            level_names=self.names,
            image_sizes=self.image_sizes,
            padded_size=tuple(self.images.tensor.shape[-2:]),
            output_sizes=output_sizes,
            head=self.head,
            compute_features=self.compute_features,
        )
