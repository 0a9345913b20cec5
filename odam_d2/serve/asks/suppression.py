"""What non-max suppression removes, and what Odam-NMS would, with the likeness of the maps that decides.

Shape letters: R candidates, by falling score.
"""

from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.ops import batched_nms

from ...analysis.maps_of_mistakes import nms_of
from ...analysis.misses import Replayed
from ...analysis.misses.choice import Entrants, OdamSuppression, Suppression
from ...explain import build_explainer
from ...loading.limits import detecting_from
from ...modeling.provenance import ROW_FIELD
from ...ops.nms import class_overlaps, duplicates, odam_nms
from ...postprocess import OdamNMS
from ...utils.threads import model_lock
from ..refusals import RefusedError
from ..requests import SuppressionAsked
from .base import ASKS, Question

MOST = 200  # candidates that are compared, the best ones
_DEFAULT_IOU = 0.5


@ASKS.register_as("suppression")
class SuppressionsCompared(Question[SuppressionAsked]):
    """The candidates before non-max suppression, and which of them are left by either rule."""

    def check(self) -> None:
        """See :class:`Question`."""
        if not self.detector.abilities.odam_nms:
            raise RefusedError(
                422, f"{self.detector.name!r} removes no duplicates by their overlap, or doesn't show its candidates: "
                "ask a detector with non-max suppression"
            )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        """See :class:`Question`."""
        model = self.detector.finder(0.0).model
        nms = nms_of(model)
        with detecting_from(self.detector.model, self.asked.threshold):
            replayed = self.detector.replay(self.image.pixels)
            image = replayed.images[0]
            assert image.candidates is not None  # the detector shows them
            stage = next(one for one in image.candidates.choice if isinstance(one, Suppression))
            found, chosen, left_out = _best(stage.entrants, image.image_size)
            maps = self._maps(model, replayed, found, nms)
        iou_threshold = _threshold_of(model, stage)
        boxes, scores, classes = found.pred_boxes.tensor.cpu(), found.scores.cpu(), found.pred_classes.cpu()
        if isinstance(stage, OdamSuppression):  # the detector's own, of maps after as many passes as it makes
            alike = stage.similarity[chosen[:, None], chosen].detach().cpu()
        else:
            alike = maps.similarity(nms.attribute, nms.stride).detach().cpu()
        iou, same = class_overlaps(boxes, classes)
        iou = torch.where(same, iou, 0.0).nan_to_num(0.0)
        by_overlap = batched_nms(boxes, scores, classes, iou_threshold).sort().values
        by_maps = odam_nms(boxes, scores, classes, alike, *nms.thresholds).sort().values
        pairs = _pairs(by_overlap, (iou.double() > iou_threshold) & same, iou, "nms")
        pairs |= _pairs(by_maps, duplicates(iou, alike, *nms.thresholds) & same, alike, "odam_nms", pairs)
        shown = Instances(image.output_size, scores=scores, pred_classes=classes)
        shown.pred_boxes = Boxes(torch.tensor([image.to_output(box) for box in boxes]).view(-1, 4))
        rows = self.rows(shown)
        return {
            "nms": {"kept": by_overlap.tolist(), "iou_threshold": iou_threshold},
            "odam_nms": {
                "kept": by_maps.tolist(),
                **dict(zip(("iou_threshold", "low", "high"), nms.thresholds, strict=True)),
                "attribute": nms.attribute,
            },
            "candidates": [
                {"box": [round(side, 2) for side in one.box], "label": one.label, "score": one.score} for one in rows
            ],
            "pairs": [
                {"kept": kept, "removed": removed, "by": by, "iou": round(float(iou[kept, removed]), 4),
                 "similarity": round(float(alike[kept, removed]), 4)}
                for (kept, removed), by in sorted(pairs.items(), key=lambda pair: (pair[0][1], pair[0][0]))
            ],
            "left_out": left_out,
            "record": self.record(rows, {("odam", ""): (range(len(rows)), maps)}, image.image_size),
        }  # fmt: skip

    def _maps(self, model: Any, replayed: Replayed, found: Instances, nms: OdamNMS):
        """The candidates' maps, as Odam-NMS compares them."""
        assert replayed.trace_of is not None  # the detector shows them
        attributes = tuple(dict.fromkeys(("score", nms.attribute)))
        explainer = build_explainer(model, attributes=attributes, engine=nms.engine, group_norm=nms.group_norm)
        with torch.inference_mode(False), model_lock(model), torch.enable_grad():
            (maps,) = explainer.heat_maps(replayed.trace_of([found]))
        return maps.to("cpu")


def _best(entrants: Entrants, size: tuple[int, int]) -> tuple[Instances, Tensor, int]:
    """The best of what enters: R Instances by falling score in model-input pixels, their rows, and how many others."""
    order = entrants.scores.sort(descending=True, stable=True).indices
    chosen = order[:MOST]
    found = Instances(size, pred_boxes=Boxes(entrants.boxes[chosen]), scores=entrants.scores[chosen])
    found.pred_classes = entrants.labels[chosen]
    found.set(ROW_FIELD, entrants.rows[chosen])
    return found, chosen, len(order) - len(chosen)


def _threshold_of(model: Any, stage: Suppression) -> float:
    """The IoU above which plain non-max suppression removes, also where Odam-NMS stands in its place."""
    if type(stage) is Suppression and stage.limit is not None:
        return float(stage.limit)
    for module in model.modules():
        if isinstance(getattr(module, "test_nms_thresh", None), float):
            return module.test_nms_thresh
    return _DEFAULT_IOU


def _pairs(
    kept: Tensor, removes: Tensor, strength: Tensor, by: str, others: dict[tuple[int, int], str] | None = None
) -> dict[tuple[int, int], str]:
    """For each candidate that is removed the kept one that does so most clearly.

    Args:
        kept: rows of the kept ones.
        removes: (R, R) bool, whether the better one of two removes the other.
        strength: (R, R) by which the kept ones are compared.
        by: which rule.
        others: the pairs of another rule; what is in both is by both.
    """
    found = {}
    for row in sorted(set(range(len(removes))) - set(kept.tolist())):
        able = kept[(kept < row) & removes[kept, row]]
        pair = (int(able[strength[able, row].argmax()]), row)
        found[pair] = "both" if others and pair in others else by
    return found
