"""How much AP each type of error costs a detector, over a data set.

Shape letters: n detections of all images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .average_precision import average_precisions
from .image_errors import ImageErrors
from .verdicts import Verdict

MISSED, FALSE_POSITIVES, FALSE_NEGATIVES = "missed", "false_positives", "false_negatives"
_ERRORS = (Verdict.CLASSIFICATION, Verdict.LOCALISATION, Verdict.BOTH, Verdict.DUPLICATE, Verdict.BACKGROUND)
# TIDE's six types, and its two special ones.
ERROR_TYPES = (*(kind.word for kind in _ERRORS), MISSED)
SPECIAL_TYPES = (FALSE_POSITIVES, FALSE_NEGATIVES)

_DETECTION = np.dtype(
    [("image", "i8"), ("class", "i4"), ("score", "f8"), ("kind", "i1"), ("object", "i4"), ("mends", "?"), ("out", "?")]
)
_OBJECT = np.dtype([("class", "i4"), ("found", "?"), ("missed", "?")])


@dataclass
class ErrorSummary:
    """Counts and weights of errors, in all and of each class.

    Attributes:
        classes: K numbers of the classes that have a detection or an object.
        ap: mean over the classes of AP at the one IoU, in [0, 100]; NaN without any.
        class_ap: (K,); NaN for a class whose detections all lie in ignored regions.
        counts: type -> how many detections, or objects for ``missed`` and ``false_negatives``. Those in ignored regions
            are among them, as with TIDE.
        class_counts: type -> (K,), by the class that the detection says, or by that of the object.
        ignored: type of a detection -> how many of its count lie in ignored regions, and are no errors.
        weights: type -> dAP, what `ap` gains when the errors of this type alone are mended.
        class_weights: type -> (K,) what each class' AP gains; NaN where nothing of the class is there before or after.
    """

    classes: np.ndarray
    ap: float
    class_ap: np.ndarray
    counts: dict[str, int]
    class_counts: dict[str, np.ndarray]
    ignored: dict[str, int]
    weights: dict[str, float]
    class_weights: dict[str, np.ndarray]


class ErrorTally:
    """Gathers the verdicts on images, in any order and from any number of processes, and sums them up.

    A detection takes 27 bytes here, an object 6, and about ten times as much while they are summed up.
    """

    def __init__(self) -> None:
        self._detections: list[np.ndarray] = []
        self._objects: list[np.ndarray] = []

    def add(self, image: int, errors: ImageErrors) -> None:
        """Adds an image.

        Args:
            image: its place in the data set, which decides between equal scores.
            errors: the verdicts on it.
        """
        rows = errors.falling
        chunk = np.empty(len(rows), dtype=_DETECTION)
        chunk["image"] = image
        at_object = errors.objects[rows] >= 0
        chunk["object"] = -1
        chunk["object"][at_object] = errors.object_classes[errors.objects[rows][at_object]]
        columns = (errors.classes, errors.scores, errors.kinds, errors.mends, errors.ignored)
        for name, values in zip(("class", "score", "kind", "mends", "out"), columns):
            chunk[name] = values[rows]
        self._detections.append(chunk)
        objects = np.empty(len(errors.object_classes), dtype=_OBJECT)
        objects["class"], objects["found"], objects["missed"] = (
            errors.object_classes,
            errors.found_by >= 0,
            errors.missed,
        )
        self._objects.append(objects)

    @property
    def nbytes(self) -> int:
        """Bytes that detections and objects take."""
        return sum(chunk.nbytes for chunk in self._detections + self._objects)

    def merge(self, other: ErrorTally) -> None:
        """Adds the images of another tally, which must be others."""
        self._detections.extend(other._detections)
        self._objects.extend(other._objects)

    def summary(self) -> ErrorSummary:
        """The figures of all images that were added.

        A type's weight is the AP after mending minus the AP before, and not below 0. Mending one type: detections of
        errors of class or place that :attr:`ImageErrors.mends` names become true positives of their object's class, the
        others of these types are removed; so are duplicates, those of the background and those that are both; objects
        that are missed are removed. ``false_positives`` moves all that is wrong behind all that is right;
        ``false_negatives`` removes all objects that aren't found; these two may be below 0.

        AP is that of TIDE, see :func:`odam_d2.analysis.average_precision.average_precisions`. It is COCO's AP50 but for
        four things: classes with detections and without objects count, with AP 0; an image has 100 detections in all,
        not 100 of each class; of objects that overlap a detection equally it takes the first, not the last; a detection
        that lies in a crowd by exactly half isn't ignored. Detections in ignored regions have no part in AP; but TIDE
        counts and mends their errors, and so does this.
        """
        return _Sums(self._detections, self._objects).summary()


class _Sums:
    def __init__(self, detections: Iterable[np.ndarray], objects: Iterable[np.ndarray]):
        rows = np.concatenate([*detections, np.empty(0, dtype=_DETECTION)])
        self.rows = rows[np.argsort(rows["image"], kind="stable")]
        truth = np.concatenate([*objects, np.empty(0, dtype=_OBJECT)])
        self.labels = np.union1d(self.rows["class"], truth["class"]).astype(np.int64)
        self.objects = self._by_class(truth["class"])
        self.found, self.missed = (self._by_class(truth["class"][truth[name]]) for name in ("found", "missed"))
        # Where errors are mended TIDE puts, of equal scores, wrong detections before right ones.
        wrong = self.rows["kind"] != Verdict.TRUE_POSITIVE
        self.wrong, self.right = self.rows[wrong], self.rows[~wrong]

    def summary(self) -> ErrorSummary:
        before = self._precisions(self.rows)
        ap = _mean(before)
        wrong = self.wrong
        mended = {kind.word: self._mended(kind) for kind in _ERRORS}
        mended[MISSED] = self._variant(wrong, self.objects - self.missed)
        behind = wrong.copy()
        behind["score"] = -np.inf
        mended[FALSE_POSITIVES] = self._variant(behind, self.objects)
        mended[FALSE_NEGATIVES] = self._variant(wrong, self.found)
        weights = {kind: _mean(after) - ap for kind, after in mended.items()}
        weights |= {kind: max(weights[kind], 0.0) for kind in ERROR_TYPES}
        class_counts = {kind.word: self._by_class(wrong["class"][wrong["kind"] == kind]) for kind in _ERRORS}
        class_counts[MISSED] = self.missed
        class_counts[FALSE_POSITIVES] = self._by_class(wrong["class"])
        class_counts[FALSE_NEGATIVES] = self.objects - self.found
        return ErrorSummary(
            classes=self.labels,
            ap=ap,
            class_ap=before,
            counts={kind: int(numbers.sum()) for kind, numbers in class_counts.items()},
            class_counts=class_counts,
            ignored={kind.word: int((wrong["out"] & (wrong["kind"] == kind)).sum()) for kind in _ERRORS},
            weights=weights,
            class_weights={kind: after - before for kind, after in mended.items()},
        )

    def _by_class(self, classes: np.ndarray) -> np.ndarray:
        """(K,) how many are of each class."""
        return np.bincount(np.searchsorted(self.labels, classes), minlength=len(self.labels))

    def _mended(self, kind: Verdict) -> np.ndarray:
        """(K,) AP with the errors of one type mended."""
        mine, mends = self.wrong["kind"] == kind, self.wrong["mends"]
        kept = self.wrong[~mine | mends].copy()
        now_right = (kept["kind"] == kind) & kept["mends"]
        kept["class"][now_right] = kept["object"][now_right]
        kept["kind"][now_right] = Verdict.TRUE_POSITIVE
        kept["out"][now_right] = False
        return self._variant(kept, self.objects)

    def _variant(self, wrong: np.ndarray, objects: np.ndarray) -> np.ndarray:
        return self._precisions(np.concatenate([wrong, self.right]), objects)

    def _precisions(self, rows: np.ndarray, objects: np.ndarray | None = None) -> np.ndarray:
        rows = rows[~rows["out"]]
        return average_precisions(
            np.searchsorted(self.labels, rows["class"]),
            rows["score"],
            rows["kind"] == Verdict.TRUE_POSITIVE,
            self.objects if objects is None else objects,
            len(self.labels),
        )


def _mean(values: np.ndarray) -> float:
    """Over the classes that have a value; NaN where none has."""
    valued: Any = values[~np.isnan(values)]
    return float(valued.mean()) if len(valued) else float("nan")
