"""Whether the pixels that a map calls important are: deletion and insertion.

Deletion hides pixels in falling order of heat and watches the detector's score of the object; insertion shows them in
that order on an empty image. A steep fall and a steep rise speak for the map.

A map that is the same everywhere, such as one of zeros, has no order: it hides nothing and shows nothing, and both
curves stay where they begin. In the order of the image its value would follow from where the object lies.

Shape letters: R objects, (h, w) the model input, S steps that are scored, M images that go through together, B
objects in them.
Source: Petsiuk et al., RISE, BMVC 2018, as Zhao and Chan, ICLR 2023 (arXiv 2304.06354), section 4, apply it to
detections.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# In steps of 1 % of the box's area; 100 steps, every 10th is scored.
STEP_SHARE = 0.01
SCORED_STEPS = tuple(range(10, 101, 10))

# (M, 3, h, w) images, (B,) classes and (B, 4) boxes of objects, (B,) the image that each of them is to be found in
# -> (B,) scores in [0, 1].
ScoreObjects = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass
class FaithfulnessCurves:
    """Scores of R objects while their pixels go, and while they come.

    Attributes:
        deletion: (R, S + 1) float32 scores, the first of the untouched image.
        insertion: (R, S + 1) float32 scores, the first of the empty image.
    """

    deletion: Tensor
    insertion: Tensor

    @property
    def untouched(self) -> Tensor:
        """(R,) the score of each object in the untouched image; raw curves follow it."""
        return self.deletion[:, 0]

    def normalised(self) -> "FaithfulnessCurves":
        """The curves over the score of the untouched image; NaN where that is zero."""
        score = torch.where(self.untouched > 0, self.untouched, float("nan"))[:, None]
        return FaithfulnessCurves(self.deletion / score, self.insertion / score)

    def areas(self) -> dict[str, Tensor]:
        """(R,) areas under the curves by the trapezoid rule over [0, 1]: of the normalised ones, and of the raw ones.

        ``overall`` (OA) is the insertion's less the deletion's [+]; deletion [-], insertion [+].
        """
        curves = {"": self.normalised(), "raw_": self}
        areas: dict[str, Tensor] = {}
        for prefix, curve in curves.items():
            deletion, insertion = (_area(c) for c in (curve.deletion, curve.insertion))
            areas |= {f"{prefix}deletion": deletion, f"{prefix}insertion": insertion}
            areas[f"{prefix}overall"] = insertion - deletion
        return areas


def pixel_order(heat: Tensor) -> Tensor:
    """(R, h * w) int64: the pixels of (R, h, w) maps in falling order of heat; of equal ones the earlier first."""
    return heat.flatten(1).argsort(dim=1, descending=True, stable=True)


def pixels_at_steps(boxes: Tensor, height: int, width: int, steps: Sequence[int] = SCORED_STEPS) -> Tensor:
    """(R, S) int64: how many pixels have changed at each scored step, for XYXY boxes (R, 4) in model-input pixels."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    scored = torch.tensor(steps, device=boxes.device)
    return torch.ceil(area[:, None] * STEP_SHARE * scored).long().clamp(max=height * width)


def replace_pixels(image: Tensor, other: Tensor, order: Tensor, count: int) -> Tensor:
    """(3, h, w): `image` with the first `count` pixels of an (h * w,) order taken from `other`."""
    mixed = image.flatten(1).clone()
    chosen = order[:count]
    mixed[:, chosen] = other.flatten(1)[:, chosen]
    return mixed.view_as(image)


def faithfulness_curves(
    score: ScoreObjects,
    image: Tensor,
    heat: Tensor,
    classes: Tensor,
    boxes: Tensor,
    batch_size: int = 8,
    seed: int = 0,
    steps: Sequence[int] = SCORED_STEPS,
) -> FaithfulnessCurves:
    """Deletion and insertion curves of the objects of one image.

    Maps without an order keep the first score of each curve: normalised, an area of 1 under deletion's, and the empty
    image's score over the untouched one's under insertion's.

    Images of several objects and steps go through the detector together, and each gets the score it gets alone, to
    rounding. Images that are the same go through once: the untouched and the empty one serve all objects.

    Args:
        score: asks the detector.
        image: (3, h, w) float32 in the detector's own pixel values.
        heat: (R, h, w) maps at model-input size.
        classes: (R,) int64.
        boxes: (R, 4) XYXY of the objects in model-input pixels.
        batch_size: M.
        seed: of the uniform noise in [0, 255) that deletion puts in the place of pixels; one noise for an image.
        steps: S numbers of steps at which objects are scored, rising evenly to the last step.

    Raises:
        ValueError: if heat and image have different sizes.
    """
    if heat.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"`heat` must be (R, h, w) at the image's size {tuple(image.shape[1:])}; got {tuple(heat.shape)}: use "
            "HeatMaps.to_image with `size`"
        )
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)).to(image) * 255.0
    empty = torch.zeros_like(image)
    order, counts = pixel_order(heat), pixels_at_steps(boxes, image.shape[1], image.shape[2], steps)
    counts = torch.where(_has_order(heat)[:, None], counts, 0)
    # Deletion goes from the image to noise, insertion from nothing to the image.
    ways = ((image, noise), (empty, image))
    jobs = list(_images_to_show(counts, image[0].numel()).items())
    scores = boxes.new_zeros(2, len(boxes), counts.shape[1] + 1)
    for begin in range(0, len(jobs), batch_size):
        part = jobs[begin : begin + batch_size]
        images = torch.stack([replace_pixels(*ways[way], order[r], count) for (way, r, count), _ in part])
        cells = [(number, *cell) for number, (_, asked) in enumerate(part) for cell in asked]
        where, way, r, step = torch.tensor(cells, device=boxes.device).T
        scores[way, r, step] = score(images, classes[r], boxes[r], where).to(scores)
    return FaithfulnessCurves(scores[0], scores[1])


def _has_order(heat: Tensor) -> Tensor:
    """(R,) bool: whether any two pixels of a map differ."""
    flat = heat.flatten(1)
    return flat.amax(1) > flat.amin(1)


def _images_to_show(counts: Tensor, pixels: int) -> dict[tuple[int, int, int], list[tuple[int, int, int]]]:
    """Every different image, with all that is to be read off it.

    Args:
        counts: (R, S) int64, pixels that have changed at each step.
        pixels: of an image.

    Returns:
        (way, object whose order it is, pixels changed) -> [(way, object to score, step), ...]; way 0 is deletion.
    """
    shown: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    for way in (0, 1):
        for r, row in enumerate(counts.tolist()):
            for step, count in enumerate([0, *row]):
                # Before the first pixel and after the last, the order doesn't matter.
                key = (way, r if 0 < count < pixels else 0, count)
                # Insertion ends where deletion begins.
                key = (0, 0, 0) if key == (1, 0, pixels) else key
                shown.setdefault(key, []).append((way, r, step))
    return shown


def _area(curves: Tensor) -> Tensor:
    """(R,) trapezoid rule over [0, 1]."""
    return torch.trapezoid(curves, dx=1.0 / (curves.shape[1] - 1), dim=1)
