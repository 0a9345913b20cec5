"""D-RISE: hides random parts of the image and finds out which of them the detection needs.

Shape letters: D detections over the batch, R of one image, B masks at a time, K classes.
"""

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ...modeling.inference_copy import inference_copy
from ...ops.masks import draw_masks, masks_at
from ...structures import DetectionTrace, HeatMaps
from ...utils.precision import low_precision
from ...utils.progress import tell_progress
from ...utils.untyped import UntypedModule
from ..base import Explainer, register_method
from ..windows import MapWindows, assemble


@register_method("drise")
class DRISE(Explainer):
    """h = sum_m weight_m * M_m / (N p), N random masks M_m, weighted by how much of the detection is still found.

    The weight of a mask is the maximum, over the detections j of the masked image, of IoU x cosine of the class
    vectors x score; zero if nothing is detected. One set of masks serves all detections of an image, and every image
    gets the same masks for the same seed. No gradients are used: the detector runs N times an image, and the detection
    is explained as a whole, under the attribute ``score``.

    Source: Petsiuk et al., CVPR 2021 (arXiv 2006.03204), equations 1 to 5. Departures and choices:

    - The factor for objectness is the score that the detector reports with j.
    - The class vector holds the head's scores of all classes but background (softmax or sigmoid, see
      ``class_vectors`` of :class:`~odam_d2.structures.TracedHead`); for given boxes it is one-hot of the given class.
      For a head without ``class_vectors`` it is one-hot of the detected class, so that the cosine is 1 or 0.
    - Masks multiply the image before it is normalised, so hidden parts are black.
    - A map is kept on a grid of cells over the image: each mask is taken at their centres, not averaged over them.

    Args:
        args: as for :class:`Explainer`.
        num_masks: N.
        resolution: cells of a mask along each side before it is enlarged.
        probability: p, that a cell is visible, in (0, 1].
        batch_size: B, masked images that go through the detector together.
        stride: model-input pixels per cell of the maps.
        seed: of the masks.
        amp: run masked images in mixed precision, see :func:`odam_d2.utils.precision.low_precision`, through an
            :func:`odam_d2.modeling.inference_copy` of the detector: about twice as fast on a CPU.
        progress: show a progress bar.

    Raises:
        ValueError: if one of these is out of range.
    """

    uses_gradients = False
    explains = ("score",)
    slow = True

    def __init__(
        self,
        *args,
        num_masks: int = 1000,
        resolution: int = 16,
        probability: float = 0.5,
        batch_size: int = 8,
        stride: int = 8,
        seed: int = 0,
        amp: bool = False,
        progress: bool = True,
    ):
        super().__init__(*args)
        counts = {"num_masks": num_masks, "resolution": resolution, "batch_size": batch_size, "stride": stride}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"`{name}` must be at least 1; got {count}: give a positive number")
        if not 0.0 < probability <= 1.0:
            raise ValueError(f"`probability` must be in (0, 1]; got {probability}: it is the visible share")
        self.num_masks, self.resolution, self.probability = num_masks, resolution, probability
        self.batch_size, self.stride, self.seed, self.amp, self.progress = batch_size, stride, seed, amp, progress

    def explain(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> list[HeatMaps]:
        """See :meth:`Explainer.explain`."""
        vectors = _class_vectors(trace, given=instances is not None)
        numbers = trace.image_index.unique().tolist()
        asked = inference_copy(self.model, boxes_only=True) if self.amp else self.model
        bar = tqdm(total=self.num_masks * len(numbers), desc="D-RISE", unit="mask", disable=not self.progress)
        with bar as progress, torch.no_grad():
            parts = [self._image(asked, trace, batched_inputs[n], n, vectors, progress) for n in numbers]
        return assemble(trace, parts, self.attributes)

    def _image(
        self,
        asked: UntypedModule,
        trace: DetectionTrace,
        entry: dict,
        number: int,
        vectors: Tensor | None,
        progress: tqdm,
    ) -> MapWindows:
        """Maps of the detections of image `number`, from what `asked` detects; `vectors` are of the whole batch."""
        chosen = (trace.image_index == number).nonzero()[:, 0]
        size, device = trace.image_sizes[number], trace.boxes.device
        grid = (-(-size[0] // self.stride), -(-size[1] // self.stride))
        # Of the image as it is given, which a detector may resize inside.
        pixels = [(torch.arange(side, device=device) + 0.5) / side for side in entry["image"].shape[-2:]]
        centres = [
            (torch.arange(cells, device=device) + 0.5) * self.stride / side
            for cells, side in zip(grid, size, strict=True)
        ]
        image = entry["image"].to(device)
        # Without the original size detections stay in the frame of the model input.
        others = {key: value for key, value in entry.items() if key not in ("image", "height", "width")}
        generator = torch.Generator().manual_seed(self.seed)
        total = trace.boxes.new_zeros(len(chosen), *grid)
        for begin in range(0, self.num_masks, self.batch_size):
            count = min(self.batch_size, self.num_masks - begin)
            grids, shifts = (
                drawn.to(device) for drawn in draw_masks(count, self.resolution, self.probability, generator)
            )
            masks = masks_at(grids, shifts, *pixels)
            with low_precision(device, self.amp):
                seen = asked.trace([{**others, "image": image * mask} for mask in masks])
                seen_vectors = _class_vectors(seen, given=False)
            weights = _what_is_left(trace, chosen, vectors, seen, seen_vectors)
            total += torch.einsum("db,byx->dyx", weights, masks_at(grids, shifts, *centres))
            progress.update(count)
            tell_progress(begin + count, self.num_masks)
        windows = torch.tensor([[0, 0, *grid]], device=device).expand(len(chosen), 4)
        strides = trace.boxes.new_tensor([self.stride] * 2)
        values = total.flatten()[None] / (self.num_masks * self.probability)
        return MapWindows(
            detections=chosen,
            source=0,
            windows=windows,
            grid=grid,
            strides=strides,
            values=values,
            adds_up=[False],
        )


def _class_vectors(trace: DetectionTrace, given: bool) -> Tensor | None:
    """(D, K) of the detections to explain; None for a head without ``class_vectors``."""
    if not hasattr(trace.head, "class_vectors"):
        return None
    vectors = trace.head.class_vectors(trace).to(trace.references)
    return F.one_hot(trace.classes, vectors.shape[1]).to(vectors) if given else vectors


def _what_is_left(
    trace: DetectionTrace, chosen: Tensor, vectors: Tensor | None, seen: DetectionTrace, seen_vectors: Tensor | None
) -> Tensor:
    """(R, B): the weights of B masks for R chosen detections, from the detections of the masked images."""
    weights = trace.boxes.new_zeros(len(chosen), len(seen.image_sizes))
    if len(seen) == 0:
        return weights
    if vectors is None or seen_vectors is None:
        cosine = (trace.classes[chosen, None] == seen.classes).float()
    else:
        cosine = F.normalize(vectors[chosen], dim=1) @ F.normalize(seen_vectors.to(vectors), dim=1).T
    alike = pairwise_iou(Boxes(trace.boxes[chosen]), Boxes(seen.boxes.to(trace.boxes))) * cosine
    alike = alike * torch.cat([found.scores for found in seen.instances]).to(alike)
    return weights.scatter_reduce_(1, seen.image_index.expand_as(alike), alike, "amax")
