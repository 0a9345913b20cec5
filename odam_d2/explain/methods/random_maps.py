"""A control for the other methods: maps without information.

Shape letters: D detections over the batch, R of one image, K attributes, (H, W) the grid of a map, N images.
"""

import torch
from detectron2.structures import Instances

from ...structures import DetectionTrace, HeatMaps
from ..base import Explainer, register_method
from ..windows import MapWindows, assemble


@register_method("random")
class RandomMaps(Explainer):
    """Every cell of every map is drawn from [0, 1), whatever the image and the detector.

    These maps are a metric's baseline. A method that does no better on a metric has shown nothing by it, and if many
    methods do no better, the metric is in doubt.

    Source: the random order that Samek et al., IEEE TNNLS 2017 (arXiv 1509.06321), compare heat maps with: there of
    regions, here of cells.

    Args:
        args: as for :class:`Explainer`.
        stride: model-input pixels per cell of the maps; D-RISE's default.
        seed: of the random numbers, which are the same for each image.

    Raises:
        ValueError: if `stride` is below 1.
    """

    uses_gradients = False

    def __init__(self, *args, stride: int = 8, seed: int = 0):
        super().__init__(*args)
        if stride < 1:
            raise ValueError(f"`stride` must be at least 1; got {stride}: give a positive number")
        self.stride, self.seed = stride, seed

    def explain(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> list[HeatMaps]:
        """See :meth:`Explainer.explain`."""
        del batched_inputs, instances
        parts = [self._image(trace, number) for number in trace.image_index.unique().tolist()]
        return assemble(trace, parts, self.attributes)

    def _image(self, trace: DetectionTrace, number: int) -> MapWindows:
        """Maps of the detections of image `number`."""
        chosen, device = (trace.image_index == number).nonzero()[:, 0], trace.boxes.device
        height, width = trace.image_sizes[number]
        grid = (-(-height // self.stride), -(-width // self.stride))
        # On the CPU: the same numbers on every device.
        generator = torch.Generator().manual_seed(self.seed)
        values = torch.rand(len(chosen), len(self.attributes), *grid, generator=generator).to(trace.boxes)
        windows = torch.tensor([[0, 0, *grid]], device=device).expand(len(chosen), 4)
        strides = trace.boxes.new_tensor([self.stride] * 2)
        flat = values.transpose(0, 1).flatten(1)
        return MapWindows(
            detections=chosen,
            source=0,
            windows=windows,
            grid=grid,
            strides=strides,
            values=flat,
            adds_up=[False] * len(self.attributes),
        )
