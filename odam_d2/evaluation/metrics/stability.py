"""Whether maps stay as they are when the image changes by what no one sees.

Shape letters: R objects, (h, w) the model input.
"""

from collections.abc import Callable

import torch
from detectron2.structures import Instances
from torch import Tensor

from ...modeling.provenance import UnreachedBoxError
from ...structures import HeatMaps
from .correlation import maps_on_cells, rank_correlation

# Standard deviation of the noise, as a share of the pixels' range.
NOISE_SHARE = 0.01
PIXEL_RANGE = 255.0

# ([entry as the detector takes it], [boxes and classes to explain in it]) -> [{"heatmaps": method -> HeatMaps}], as
# odam_d2.explain.MethodComparison does.
ExplainBoxes = Callable[[list[dict], list[Instances]], list[dict]]


def noisy_image(image: Tensor, seed: int = 0) -> Tensor:
    """(3, h, w) float32: an image with pixels in [0, 255] and Gaussian noise of 1 % of that range, within it.

    Args:
        image: (3, h, w), any dtype.
        seed: of the noise.
    """
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)).to(image.device)
    return (image.float() + noise * NOISE_SHARE * PIXEL_RANGE).clamp(0.0, PIXEL_RANGE)


def explain_with_noise(
    explain: ExplainBoxes, image: Tensor, boxes: Instances, seed: int = 0
) -> tuple[dict[str, HeatMaps], dict[str, HeatMaps]] | None:
    """Maps of the same boxes and classes in an image and in the noisy one.

    Boxes are given both times, so that what differs is the map and not the box.

    Args:
        explain: see :data:`ExplainBoxes`.
        image: (3, h, w) the model input.
        boxes: R boxes with ``pred_boxes`` and ``pred_classes``, in the original frame, whose size it holds.
        seed: of the noise.

    Returns:
        Method -> R maps in the image, and in the noisy one; None if the detector has nothing left there that could
        explain these boxes (a query detector's queries can leave a box).
    """
    height, width = boxes.image_size
    asked = Instances(boxes.image_size, pred_boxes=boxes.pred_boxes, pred_classes=boxes.pred_classes)
    entries = [{"image": one, "height": height, "width": width} for one in (image, noisy_image(image, seed))]
    before = explain(entries[:1], [asked])[0]["heatmaps"]
    try:
        after = explain(entries[1:], [asked])[0]["heatmaps"]
    except UnreachedBoxError:
        return None
    return before, after


def stability(before: HeatMaps, after: HeatMaps, attribute: str) -> Tensor:
    """Rank correlation of R maps with R maps of the same objects in the noisy image [+].

    Returns:
        (R,) float32 in [-1, 1], 1 for the same order of all cells; 0 where a map is zero everywhere. See
        :func:`odam_d2.evaluation.metrics.correlation.rank_correlation`.
    """
    pairs = zip(maps_on_cells(before, attribute), maps_on_cells(after, attribute), strict=True)
    return torch.tensor([float(rank_correlation(*pair)) for pair in pairs])
