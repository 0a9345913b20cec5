"""What the detector says of given boxes in a class: with which score, what it prefers, and why it does not find them.

Shape letters: R boxes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor
from torchvision.ops import box_iou

from ...analysis.misses import Miss, Replayed
from ...analysis.misses.words import number
from ...evaluation.ground_truth import TrueObjects
from ...explain.reachable import reachable_rows
from ...loading.limits import detecting_from
from ...modeling.provenance import UnreachedBoxError
from ...store import DetectionRow
from ..detector import FITS
from ..requests import BoxAsked
from .base import ASKS, Question
from .given import UNREACHED, boxes_within

FOUND = "found"
# IoU below which a detection that fits may well be of a neighbour of what is asked about.
_CLOSE = 0.75
_MISS_FLOOR = 0.05  # the detector makes no detections below, whose fate would be told at length


@ASKS.register_as("box")
class GivenBoxes(Question[BoxAsked]):
    """The score and maps of given boxes, and for each why it is, or isn't, found."""

    def check(self) -> None:
        """See :class:`Question`."""
        self.label = self.detector.number_of(self.asked.label)
        self.detector.require_method(self.asked.method)
        self.boxes = boxes_within(self.asked.boxes, self.image.size)

    def answer(self) -> dict[str, Any]:
        """See :class:`Question`."""
        whys, misses = self._why()
        wanted = [(box, self.label, row, "") for row, box in enumerate(self.boxes)]
        for row, miss in misses.items():
            wanted += _others(miss, row)
        told, places = self._explain([(box, label) for box, label, *_ in wanted])
        rows, maps = self._rows(whys, misses), {}
        input_size = None
        if told is not None:
            input_size = told.heatmaps.image_size
            for role in dict.fromkeys(role for *_, role in wanted):
                chosen = [k for k, (*_, one) in enumerate(wanted) if one == role and k in places]
                if chosen:
                    kept = torch.tensor([places[k] for k in chosen])
                    maps[self.asked.method, role] = ([wanted[k][2] for k in chosen], told.heatmaps[kept])
            rows = [
                replace(one, score=float(told.scores[places[row]])) if row in places else one
                for row, one in enumerate(rows)
            ]
        record = self.record(rows, maps, input_size)
        classes = [[] for _ in rows] if told is None else self.detector.best_classes(told)
        for row, one in enumerate(record["detections"]):
            one["classes"] = classes[places[row]] if row in places else []
            if row not in places:
                whys[row]["unreached"] = UNREACHED
        words = whys[0]["sentence"]
        return {"record": record, "why": whys[0], "whys": whys, "words": words}

    def _why(self) -> tuple[list[dict[str, Any]], dict[int, Miss]]:
        """Why each box is or isn't found, and the misses among them by their rows."""
        threshold = self.asked.threshold
        finder = self.detector.finder(threshold)
        with detecting_from(self.detector.model, min(threshold, _MISS_FLOOR)):
            replayed = finder.replay([self.detector.make_input(self.image.pixels)])
            found, neighbours = self._found(replayed, threshold)
            asked = [row for row in range(len(self.boxes)) if row not in found or row in neighbours]
            objects = self._objects(list(neighbours.values()))
            misses = dict(zip(asked, finder.find(replayed, [objects], [asked])[0])) if asked else {}
        whys = []
        for row in range(len(self.boxes)):
            if row not in misses:
                whys.append(found[row])
                continue
            told = {**self._told(misses[row]), "threshold": threshold}
            if row in neighbours:
                told["sentence"] = f"{found[row]['sentence']} If that is its neighbour: {misses[row].sentence}"
                told["iou"] = found[row]["iou"]
            whys.append(told)
        return whys, misses

    def _found(self, replayed: Replayed, threshold: float) -> tuple[dict[int, dict[str, Any]], dict[int, list[float]]]:
        """Of each box that is found as its class by which detection, and of those that fit loosely the box."""
        every = replayed.images[0].detections.to("cpu")
        iou = box_iou(torch.tensor(self.boxes), every.pred_boxes.tensor)
        fits = (every.pred_classes == self.label) & (every.scores.double() >= threshold) & (iou >= FITS)
        told, neighbours = {}, {}
        for row in fits.any(1).nonzero()[:, 0].tolist():
            best = int(torch.where(fits[row], every.scores, -1.0).argmax())
            score, overlap = float(every.scores[best]), float(iou[row, best])
            told[row] = {
                "mechanism": FOUND,
                "stage": None,
                "sentence": f"It is found: a detection of {self.asked.label} that scores {number(score)} overlaps it "
                f"by {number(overlap)}.",
                "preferred": None,
                "score": round(score, 6),
                "iou": round(overlap, 6),
                "threshold": threshold,
            }  # fmt: skip
            if overlap < _CLOSE:
                neighbours[row] = every.pred_boxes.tensor[best].tolist()
        return told, neighbours

    def _objects(self, neighbours: list[list[float]]) -> TrueObjects:
        """The given boxes as if they were annotated, and beside them what may be their neighbours."""
        boxes = [*map(list, self.boxes), *neighbours]
        count = len(boxes)
        labels = torch.full((count,), self.label, dtype=torch.int64)
        ids, none = list(range(count)), {"crowd": 0, "ignored": 0, "empty": 0}
        return TrueObjects(self.image.size, torch.tensor(boxes), labels, ids, [None] * count, none)

    def _told(self, miss: Miss) -> dict[str, Any]:
        evidence, preferred = miss.evidence, None
        if evidence.preferred_class is not None:
            label = self.detector.class_names[evidence.preferred_class]
            preferred = {"label": label, "score": evidence.preferred_score}
        elif evidence.background_score is not None and miss.mechanism == "background":
            preferred = {"label": "background", "score": evidence.background_score}
        return {
            "mechanism": miss.mechanism,
            "stage": miss.stage,
            "sentence": f"It is not found as {self.asked.label}. {miss.sentence}",
            "preferred": preferred,
            "score": evidence.score,
            "evidence": {name: value for name, value in vars(evidence).items() if value not in (None, (), {})},
        }

    def _explain(self, wanted: list[tuple[Any, int]]) -> tuple[Instances | None, dict[int, int]]:
        """Boxes with their maps, and of each of `wanted` that could be explained its place among them."""
        boxes, labels = [list(box) for box, _ in wanted], [label for _, label in wanted]
        kept = list(range(len(wanted)))
        pixels, method = self.image.pixels, self.asked.method
        try:
            told = self.detector.explain(pixels, boxes, labels, method)
        except UnreachedBoxError:
            every = Instances(self.image.size, boxes=Tensor(boxes), labels=torch.tensor(labels))

            def explain(_: Sequence[dict], one: Sequence[Instances]) -> Instances:
                return self.detector.explain(pixels, one[0].boxes.tolist(), one[0].labels.tolist(), method)

            kept = reachable_rows(explain, {}, every)
            if not kept:
                return None, {}
            told = self.detector.explain(pixels, [boxes[k] for k in kept], [labels[k] for k in kept], method)
        return told, {k: place for place, k in enumerate(kept)}

    def _rows(self, whys: list[dict[str, Any]], misses: dict[int, Miss]) -> list[DetectionRow]:
        rows = []
        for row, (box, why) in enumerate(zip(self.boxes, whys, strict=True)):
            figures: dict[str, Any] = {}
            if row in misses:
                evidence = {name: value for name, value in why["evidence"].items() if name != "step_ious"}
                roles = {
                    role: {"box": list(other), "label": self.detector.class_names[label]}
                    for other, label, _, role in _others(misses[row], row)
                }
                figures = {"stage": why["stage"], **evidence, "roles": roles}
            rows.append(
                DetectionRow(
                    box,
                    self.label,
                    self.asked.label,
                    None,
                    "annotation",
                    sentence=why["sentence"],
                    figures=figures,
                    mechanism=misses[row].mechanism if row in misses else None,
                )  # fmt: skip
            )
        return rows


def _others(miss: Miss, row: int) -> list[tuple[Any, int, int, str]]:
    """What else is explained beside a miss: box, class, the miss's row, role."""
    evidence, others = miss.evidence, []
    if evidence.preferred_class is not None:
        others.append((miss.box, evidence.preferred_class, row, "preferred class"))
    if evidence.neighbour_box is not None and evidence.neighbour_class is not None:
        others.append((evidence.neighbour_box, evidence.neighbour_class, row, "neighbour"))
    return others
