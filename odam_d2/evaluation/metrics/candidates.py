"""What a detector says of given objects, read off its candidates before non-max suppression.

Shape letters: P candidates of an image, K classes, B objects, M images, (h, w) the model input.
"""

import math

import torch
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor

from ...explain.adoption import as_traced
from ...explain.checks import unwrap_detector
from ...utils.devices import device_of
from ...utils.precision import low_precision
from ...utils.threads import map_in_threads
from ...utils.untyped import UntypedModule
from .faithfulness import ScoreObjects

# A candidate speaks for an object that its box overlaps by more than this.
MIN_IOU = 0.5
# On a CPU more images at a time take longer each: what a layer leaves is out of the cache when the next comes.
_AT_ONCE_ON_CPU = 4


def object_scorer(model: UntypedModule, workers: int | None = None, amp: bool = False) -> ScoreObjects:
    """What asks a detector for its confidence in objects of perturbed images.

    Args:
        model: a detector in eval mode with ``candidates(batched_inputs)``: all of this project's, but for
            ``CallableDetector`` and ``GraphDetector``, which know only what is left after suppression; or one that is
            already built, and not explained by its graph. What
            :func:`odam_d2.modeling.inference_copy` gives of one answers sooner.
        workers: how many parts of a call's images go through the detector side by side; default as many as torch has
            threads on a CPU, one elsewhere. On a CPU a part has at most four images.
        amp: ask in mixed precision, see :func:`odam_d2.utils.precision.low_precision`, at about two thirds of the
            price on a CPU that knows bfloat16. Most scores move by thousandths; where a candidate's IoU is a hair from
            .5 the object's score jumps to that of another candidate, either way.

    Returns:
        See :data:`~odam_d2.evaluation.metrics.faithfulness.ScoreObjects`: for each object the best score of its class
        among the candidates whose box, clipped to the image, has an IoU above .5 with the object's; 0 where there is
        none. The detector's weights and mode stay as they are, and no graph is kept.

    Raises:
        TypeError: if the detector gives no candidates.
        ValueError: if `workers` is below 1.
    """
    model = as_traced(unwrap_detector(model))
    if not callable(getattr(model, "candidates", None)):
        raise TypeError(
            f"`model` must give its candidates before suppression; got {type(model).__name__}: build it with "
            "use_traced_architectures(cfg), or give it a method `candidates`"
        )
    device = device_of(model)
    if workers is None:
        workers = torch.get_num_threads() if device.type == "cpu" else 1
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1; got {workers}: 1 asks for one part after the other")

    def ask(images: Tensor) -> list[tuple[Tensor, Tensor]]:
        # Here and not around all of it: the modes are each thread's own.
        with torch.inference_mode(), low_precision(device, amp):
            found = model.candidates([{"image": image} for image in images])
        return [(boxes.float(), scores.float()) for boxes, scores in found] if amp else found

    def score(images: Tensor, classes: Tensor, boxes: Tensor, where: Tensor) -> Tensor:
        if model.training:
            raise RuntimeError("the detector must be in eval mode to be scored; got training mode: call model.eval()")
        at_once = max(1, math.ceil(len(images) / workers))
        at_once = min(at_once, _AT_ONCE_ON_CPU) if device.type == "cpu" else at_once
        parts = map_in_threads(ask, images.split(at_once) if len(images) else [], workers)
        found = [one for part in parts for one in part]
        scores, size = boxes.new_zeros(len(boxes)), (images.shape[-2], images.shape[-1])
        for row, (label, number) in enumerate(zip(classes.tolist(), where.tolist(), strict=True)):
            scores[row] = best_score(found[number][0], found[number][1], int(label), boxes[row], size)
        return scores

    return score


def best_score(boxes: Tensor, scores: Tensor, label: int, box: Tensor, size: tuple[int, int]) -> Tensor:
    """The best score of an object's class among the candidates on the object.

    Args:
        boxes: (P, 4) or (P, K, 4) XYXY of the candidates in model-input pixels.
        scores: (P, K); what is not finite does not count.
        label: the object's class, below K.
        box: (4,) XYXY of the object.
        size: (h, w), which candidates are clipped to: so is what a detector reports.

    Returns:
        () float; 0 where no candidate has an IoU above :data:`MIN_IOU`.
    """
    of_class = scores[:, label]
    of_label = boxes[:, label] if boxes.dim() == 3 else boxes
    usable = torch.isfinite(of_class) & torch.isfinite(of_label).all(1)
    clipped = Boxes(of_label.nan_to_num())
    clipped.clip(size)
    overlap = pairwise_iou(clipped, Boxes(box[None].to(of_label)))[:, 0]
    # Zero for the others: a maximum also over no candidate.
    return torch.where(usable & (overlap > MIN_IOU), of_class, 0.0).amax(0) if len(of_class) else of_class.sum()
