"""All that is found out about one image: verdicts, contexts, mistakes, misses, and their rows in a run on disk."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from ..evaluation.ground_truth import TrueObjects
from ..evaluation.runs.stored_rows import annotation_rows, detection_rows
from ..explain.base import Explainer
from ..explain.reachable import reachable_rows
from ..modeling.provenance import UnreachedBoxError
from ..store import DetectionRow, ImageRow, StoredImage
from ..structures import HeatMaps
from ..visualize.ground_truth import annotations_of
from ..visualize.storage import class_name
from .context import HeatContext, ObjectRegions, own_objects
from .errors import label_errors
from .image_errors import ImageErrors
from .maps_of_mistakes import explain_mistakes
from .misses import ROLES, Miss, MissFinder, given_boxes
from .mistakes import Mistake
from .stored_verdicts import with_verdicts
from .verdicts import ErrorRules

# Roles of maps whose box or class isn't the row's own, by what mistakes and misses call them.
_MISTAKE_ROLES = {"true": "true class", "annotated": "annotated box", "rival": "rival"}
_MISS_ROLES = {"object": "", "preferred": "preferred class", "neighbour": "neighbour"}


@dataclass
class ImageAnalysis:
    """What was found out about an image.

    Attributes:
        found: its detections with their maps, on the CPU, in the original frame.
        errors: the verdicts on them; None without annotations.
        context: where their heat lies; without annotations, how much of it lies outside of their boxes.
        mistakes: what the maps say of wrong detections.
        misses: why objects were missed.
        miss_maps: (number of the miss, role of :data:`ROLES`) -> maps of one box, and its score. Boxes that no
            prediction of the detector stands for have none.
        others: method -> maps of the detections by further methods.
    """

    found: Instances
    errors: ImageErrors | None = None
    context: HeatContext | None = None
    mistakes: Sequence[Mistake] = ()
    misses: Sequence[Miss] = ()
    miss_maps: Mapping[tuple[int, str], tuple[HeatMaps, float]] = field(default_factory=dict)
    others: Mapping[str, HeatMaps] = field(default_factory=dict)


class ImageAnalyst:
    """Analyses images one at a time.

    Args:
        explainers: method -> what explains by it; the first explains mistakes and misses too.
        finder: of misses; None where the detector can't be replayed.
        class_names: by the detector's numbers.
        rules: of errors.
        attribute: whose maps tell where heat lies.
        score_threshold: lowest score of a detection that is analysed.
        most: the most detections of an image.
        classes: numbers of the classes that are looked at; None for all.
    """

    def __init__(
        self,
        explainers: Mapping[str, Explainer],
        finder: MissFinder | None,
        class_names: Sequence[str],
        rules: ErrorRules,
        attribute: str = "score",
        score_threshold: float = 0.05,
        most: int = 100,
        classes: Collection[int] | None = None,
    ):
        self.explainers, self.finder, self.class_names = dict(explainers), finder, class_names
        self.rules, self.attribute, self.score_threshold, self.most = rules, attribute, score_threshold, most
        self.method = next(iter(self.explainers))
        self.classes = classes

    def __call__(self, entry: dict, record: dict | None) -> ImageAnalysis:
        """Analyses one image.

        Args:
            entry: the image as the detector takes it.
            record: its annotations; None where they aren't known.

        Raises:
            ValueError: if it can't be explained.
        """
        explain = self.explainers[self.method]
        found = explain([entry], None)[0]["instances"]
        kept = self._kept(found)
        found = found[kept].to("cpu")
        others = {name: self._by(name, entry, kept, found) for name in self.explainers if name != self.method}
        boxes, (height, width) = found.pred_boxes.tensor, found.image_size
        if record is None:
            nothing = ObjectRegions(TrueObjects.of({"height": height, "width": width}))
            context = nothing.context(found.heatmaps, boxes, [-1] * len(found), self.attribute)
            return ImageAnalysis(found, context=context, others=others)
        errors = label_errors(found, record, self.rules)
        truth = TrueObjects.of(record)
        regions = ObjectRegions(truth)
        context = regions.context(found.heatmaps, boxes, own_objects(errors), self.attribute)
        mistakes = explain_mistakes(
            found, errors, record, explain, entry, class_names=self.class_names, regions=regions
        )
        misses: list[Miss] = []
        if self.finder is not None and errors.missed.any():
            (misses,) = self.finder([entry], [truth], [np.flatnonzero(errors.missed).tolist()], [found])
        maps = self._explain_misses(entry, misses, found.image_size)
        return ImageAnalysis(found, errors, context, mistakes, misses, maps, others)

    def _kept(self, found: Instances) -> torch.Tensor:
        """Rows of the detections that are analysed, rising."""
        wanted = found.scores >= self.score_threshold
        if self.classes is not None:
            wanted &= torch.isin(found.pred_classes, found.pred_classes.new_tensor(sorted(self.classes)))
        rows = wanted.nonzero()[:, 0]
        best = found.scores[rows].argsort(descending=True, stable=True)[: self.most]
        return rows[best].sort().values

    def _by(self, method: str, entry: dict, kept: torch.Tensor, found: Instances) -> HeatMaps:
        """Maps of the same detections by another method: as given boxes they would be other predictions."""
        again = self.explainers[method]([entry], None)[0]["instances"].to("cpu")
        rows = kept.to("cpu")
        if len(rows) and (len(again) <= int(rows[-1]) or not torch.equal(again.pred_classes[rows], found.pred_classes)):
            raise ValueError(
                f"the detector must detect the same whenever it is asked; got other detections for {method!r}: set it "
                "to be deterministic, or leave the method out"
            )
        return again[rows].heatmaps

    def _explain_misses(self, entry, misses, size) -> dict[tuple[int, str], tuple[HeatMaps, float]]:
        if not misses:
            return {}
        explain, given = self.explainers[self.method], given_boxes(misses, size)
        asked = Instances(size, pred_boxes=given.pred_boxes, pred_classes=given.pred_classes)
        rows = list(range(len(asked)))
        try:
            (result,) = explain([entry], [asked])
        except UnreachedBoxError:
            rows = reachable_rows(explain, entry, asked)
            if not rows:
                return {}
            (result,) = explain([entry], [asked[rows]])
        told = result["instances"].to("cpu")
        return {
            (int(given.miss[row]), ROLES[int(given.role[row])]): (told.heatmaps[k], float(told.scores[k]))
            for k, row in enumerate(rows)
        }

    def stored(self, image: ImageRow, analysis: ImageAnalysis, record: dict | None) -> StoredImage:
        """The rows of an image that was analysed: its detections, then the objects that were missed.

        Args:
            image: the image, without its sizes.
            analysis: what was found out.
            record: its annotations; None where they aren't known.
        """
        found = analysis.found
        annotations = None if record is None else annotation_rows(annotations_of(record, self.class_names))
        rows = detection_rows(found, self.class_names)
        if analysis.errors is not None and analysis.context is not None:
            rows = with_verdicts(rows, analysis.errors, annotations or ())
            labels = {one.id: one.label for one in annotations or ()}
            rows = [replace(row, outside=about["outside"], figures=_heat(about, labels))
                    for row, about in zip(rows, analysis.context.rows(), strict=True)]  # fmt: skip
        elif analysis.context is not None:
            shares = analysis.context.rows()
            rows = [replace(row, outside=about["outside"]) for row, about in zip(rows, shares, strict=True)]
        extra = _Maps()
        for mistake in analysis.mistakes:
            k = mistake.detection
            roles = {}
            for role, maps in mistake.maps.items():
                if role in _MISTAKE_ROLES:
                    extra.add(self.method, _MISTAKE_ROLES[role], k, maps)
                    roles[_MISTAKE_ROLES[role]] = _role(mistake, role, rows, annotations or ())
            figures = {**rows[k].figures, mistake.verdict.word: mistake.figures, "roles": roles}
            rows[k] = replace(rows[k], sentence=mistake.sentence, figures=figures)
        places = {one.id: place for place, one in enumerate(annotations or ())}
        for number, miss in enumerate(analysis.misses):
            place = places.get(miss.object_id)
            hidden = None if place is None or annotations is None else annotations[place].occlusion
            about = self._missed(len(rows), number, miss, analysis, extra)
            rows.append(replace(about, annotation=place, occlusion=hidden))
        own, own_rows = found.heatmaps, list(range(len(found)))
        # Missed objects have maps of their own boxes beside those of the detections.
        for row, one in extra.own:
            own, own_rows = HeatMaps.cat([own, one]), [*own_rows, row]
        joined = extra.joined()
        if len(own):
            joined[self.method, ""] = (own_rows, own)
        joined.update({(name, ""): (range(len(found)), one) for name, one in analysis.others.items() if len(one)})
        sizes = {"size": found.image_size, "input_size": found.heatmaps.image_size}
        return StoredImage(replace(image, **sizes), annotations, rows, joined)

    def _missed(self, row, number, miss: Miss, analysis, extra: "_Maps") -> DetectionRow:
        score: float | None = None
        roles: dict[str, dict[str, Any]] = {}
        for role, named in _MISS_ROLES.items():
            if (number, role) not in analysis.miss_maps:
                continue
            maps, own = analysis.miss_maps[number, role]
            if role == "object":
                score = own
                extra.own.append((row, maps))
                continue
            extra.add(self.method, named, row, maps)
            number_of_class = miss.evidence.preferred_class if role == "preferred" else miss.evidence.neighbour_class
            box = miss.box if role == "preferred" else miss.evidence.neighbour_box
            roles[named] = {"box": list(box or ()), "label": class_name(int(number_of_class or 0), self.class_names)}
            if role == "neighbour" and miss.evidence.neighbour is not None:
                roles[named]["row"] = miss.evidence.neighbour
        called = class_name(miss.label, self.class_names)
        evidence = {name: value for name, value in asdict(miss.evidence).items() if value not in (None, (), {})}
        return DetectionRow(
            miss.box, miss.label, called, score, "missed", verdict="missed", mechanism=miss.mechanism,
            sentence=f"{called} #{miss.object_id} was missed. {miss.sentence}",
            figures={"stage": miss.stage, **evidence, "roles": roles},
        )  # fmt: skip


class _Maps:
    """Maps of rows by method and role, collected one by one."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], list[tuple[int, HeatMaps]]] = {}
        self.own: list[tuple[int, HeatMaps]] = []

    def add(self, method: str, role: str, row: int, maps: HeatMaps) -> None:
        self._parts.setdefault((method, role), []).append((row, maps.to("cpu")))

    def joined(self) -> dict[tuple[str, str], tuple[Sequence[int], HeatMaps]]:
        return {
            which: ([row for row, _ in sorted(parts, key=_row)], HeatMaps.cat([m for _, m in sorted(parts, key=_row)]))
            for which, parts in self._parts.items()
        }


def _heat(about: Mapping[str, Any], labels: Mapping[Any, str]) -> dict[str, Any]:
    """Shares of a detection's heat, as :meth:`HeatContext.rows` gives them; other objects by class and id."""
    # A list: each name would be a column of a table.
    others = [f"{labels[one['annotation_id']]} #{one['annotation_id']}: {one['share']:.3f}" for one in about["others"]]
    return {"heat_on_own_object": about["own"], "heat_on_background": about["background"], "heat_on_others": others}


def _row(part: tuple[int, HeatMaps]) -> int:
    return part[0]


def _role(mistake: Mistake, role: str, rows: Sequence[DetectionRow], annotations: Sequence) -> dict[str, Any]:
    """What a map of a role is of, see :func:`odam_d2.visualize.report.records.image_record`."""
    about: dict[str, Any] = {"attribute": mistake.attribute}
    own = rows[mistake.detection]
    truth = None if own.annotation is None else annotations[own.annotation]
    if role == "rival" and mistake.figures.get("rival") is not None:
        rival = rows[mistake.figures["rival"]]
        return {**about, "row": mistake.figures["rival"], "box": list(rival.box), "label": rival.label}
    if truth is None:
        return about
    if role == "annotated":
        return {**about, "box": list(truth.box), "label": own.label}
    return {**about, "box": list(own.box), "label": truth.label}
