"""What the maps say of the mistakes in one image.

Shape letters: R detections of one image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..evaluation.ground_truth import TrueObjects
from ..explain.base import Explainer
from ..explain.reachable import reachable_rows
from ..modeling.provenance import UnreachedBoxError
from ..postprocess import ONE_STAGE, TWO_STAGE, OdamNMS
from .context import ObjectRegions
from .image_errors import ImageErrors
from .mistake_kinds import KINDS
from .mistakes import Answer, Mistake, Scene


def explain_mistakes(
    found: Instances,
    errors: ImageErrors,
    record: dict,
    explainer: Explainer,
    entry: dict,
    nms: OdamNMS | None = None,
    class_names: Sequence[str] = (),
    rows: Sequence[int] | None = None,
    regions: ObjectRegions | None = None,
) -> list[Mistake]:
    """Looks at the mistakes of one image, see :data:`odam_d2.analysis.mistake_kinds.KINDS`.

    All boxes and classes that further maps are wanted of go to the explainer in one call. Where the detector has no
    prediction for some of them, which only dense and query detectors lack, it takes a few calls to find which.

    Args:
        found: R detections in the original frame with ``pred_boxes``, ``pred_classes``, ``scores`` and ``heatmaps``.
        errors: the verdicts on them.
        record: the image's, with its annotations.
        explainer: explains given boxes, with the attributes of the maps of `found`.
        entry: the image as the detector takes it.
        nms: Odam-NMS as it would be used; default the detector's own, or else with the published thresholds.
        class_names: the name of each class, by its number; default those that the heat maps carry.
        rows: which detections are looked at; default all mistakes.
        regions: the record's objects, where the caller has them already.

    Returns:
        A record for each of `rows` that is a mistake, in their order.

    Raises:
        ValueError: if there are not as many verdicts as detections.
    """
    if len(errors) != len(found):
        raise ValueError(
            f"`errors` must be of the {len(found)} detections; got {len(errors)}: judge these with label_errors"
        )
    on_cpu = Instances(found.image_size, **{k: found.get(k) for k in ("pred_boxes", "pred_classes", "scores")})
    on_cpu = on_cpu.to("cpu")
    scene = Scene(
        on_cpu.pred_boxes.tensor.detach(),
        on_cpu.pred_classes,
        on_cpu.scores.detach(),
        found.heatmaps,
        errors,
        regions or ObjectRegions(TrueObjects.of(record)),
        nms or nms_of(explainer.model),
        tuple(class_names) or found.heatmaps.class_names,
    )
    verdicts = errors.verdicts
    chosen = [row for row in (range(len(found)) if rows is None else rows) if verdicts[row] in KINDS]
    asked = {row: KINDS[verdicts[row]].asks(scene, row) for row in chosen}
    answers = _explained(asked, found.image_size, explainer, entry)
    return [KINDS[verdicts[row]].tell(scene, row, answers.get(row, {})) for row in chosen]


def _explained(
    asked: Mapping[int, Mapping[str, tuple[Tensor, int]]], size: tuple[int, int], explainer: Explainer, entry: dict
) -> dict[int, dict[str, Answer]]:
    """Detection -> role -> the answer; each box and class is explained once, whoever asks for it."""
    wanted: dict[tuple[Any, ...], int] = {}
    for roles in asked.values():
        for box, label in roles.values():
            wanted.setdefault((*box.tolist(), label), len(wanted))
    if not wanted:
        return {}
    boxes = Instances(
        size,
        pred_boxes=Boxes(torch.tensor([key[:4] for key in wanted], dtype=torch.float32)),
        pred_classes=torch.tensor([key[4] for key in wanted], dtype=torch.int64),
    )
    rows = list(range(len(boxes)))
    try:
        (result,) = explainer([entry], [boxes])
    except UnreachedBoxError:
        rows = reachable_rows(explainer, entry, boxes)
        if not rows:
            return {}
        (result,) = explainer([entry], [boxes[rows]])
    place = {row: k for k, row in enumerate(rows)}
    answers: dict[int, dict[str, Answer]] = {}
    for detection, roles in asked.items():
        for role, (box, label) in roles.items():
            number = wanted[(*box.tolist(), label)]
            if number in place:
                instances, k = result["instances"], place[number]
                answer = Answer(instances.heatmaps[k], float(instances.scores[k]))
                answers.setdefault(detection, {})[role] = answer
    return answers


def nms_of(model: Any) -> OdamNMS:
    """Odam-NMS as a detector uses it, or with the thresholds that were published for its kind."""
    own = getattr(model, "odam_nms", None)
    if own is not None:
        return own
    return OdamNMS(**(TWO_STAGE if hasattr(model, "roi_heads") else ONE_STAGE))
