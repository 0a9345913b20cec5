"""The verdicts on one image: everything that the figures of a data set are summed from.

Shape letters: R detections, G objects, I regions of one image that are to be ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .verdicts import Verdict


@dataclass
class ImageErrors:
    """The verdicts on the detections and objects of one image. It needs nothing but the image.

    Attributes:
        scores: (R,) float64, the detections in the order in which they were given.
        classes: (R,) int64.
        kinds: (R,) int8 numbers of :class:`Verdict`; of detections in ignored regions what they would be elsewhere.
        ignored: (R,) bool, whether the detection lies in a region that is to be ignored.
        objects: (R,) int64 the object that the detection is judged against: the one it took, missed by too little,
            named wrongly or found again; of the background the nearest by IoU; -1 where there is none.
        regions: (R,) int64 the ignored region that the detection lies in, -1 for none.
        iou: (R,) float64, the overlap with that object; 0 for none.
        region_share: (R,) float64, how much of the detection lies in the region of its class that covers it most.
        mends: (R,) bool, of errors of class or place: whether the detection would find its object if the error was
            mended. Of several on one object this is the best; none on an object that is found.
        found_by: (G,) int64 the detection that took each object, -1 for none.
        missed: (G,) bool, objects that no detection found and that no error of class or place explains.
        object_classes: (G,) int64.
        object_ids: G ids of the annotations.
        region_ids: I ids of the annotations of ignored regions.
    """

    scores: np.ndarray
    classes: np.ndarray
    kinds: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray
    regions: np.ndarray
    iou: np.ndarray
    region_share: np.ndarray
    mends: np.ndarray
    found_by: np.ndarray
    missed: np.ndarray
    object_classes: np.ndarray
    object_ids: list[Any]
    region_ids: list[Any]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def verdicts(self) -> list[Verdict]:
        """R verdicts."""
        return [Verdict.IGNORED if out else Verdict(k) for k, out in zip(self.kinds.tolist(), self.ignored.tolist())]

    @property
    def rivals(self) -> np.ndarray:
        """(R,) int64, of duplicates the detection that took the object, else -1."""
        taken = (self.kinds == Verdict.DUPLICATE) & ~self.ignored
        rivals = np.full(len(self), -1, dtype=np.int64)
        rivals[taken] = self.found_by[self.objects[taken]]
        return rivals

    @property
    def falling(self) -> np.ndarray:
        """The detections that count, by falling score; of equal scores the first comes first."""
        order = np.argsort(-self.scores, kind="stable")
        return order[self.kinds[order] != Verdict.NOT_COUNTED]

    def detection_rows(self) -> list[dict[str, Any]]:
        """R dicts as JSON can hold them, from which :meth:`from_rows` makes the same again.

        ``verdict`` and ``kind``, the words of :attr:`verdicts` and :attr:`kinds`; ``annotation_id`` of the object and
        ``iou``; ``region_id`` and ``region_share``; ``rival``, of duplicates the number of the detection that took the
        object; ``mends``. None stands for "none".
        """
        columns = (
            self.verdicts, self.kinds.tolist(), self.objects.tolist(), self.iou.tolist(), self.regions.tolist(),
            self.region_share.tolist(), self.rivals.tolist(), self.mends.tolist(),
        )  # fmt: skip
        return [
            {
                "verdict": verdict.word,
                "kind": Verdict(kind).word,
                "annotation_id": None if number < 0 else self.object_ids[number],
                "iou": iou,
                "region_id": None if region < 0 else self.region_ids[region],
                "region_share": share,
                "rival": None if rival < 0 else rival,
                "mends": mends,
            }
            for verdict, kind, number, iou, region, share, rival, mends in zip(*columns)
        ]

    def object_rows(self) -> list[dict[str, Any]]:
        """G dicts as JSON can hold them: ``annotation_id``, ``class``, ``found_by`` (None for none) and ``missed``."""
        columns = (self.object_ids, self.object_classes.tolist(), self.found_by.tolist(), self.missed.tolist())
        return [
            {"annotation_id": name, "class": label, "found_by": None if row < 0 else row, "missed": missed}
            for name, label, row, missed in zip(*columns)
        ]

    @classmethod
    def from_rows(
        cls,
        scores: Sequence[float],
        classes: Sequence[int],
        detections: Sequence[Mapping[str, Any]],
        objects: Sequence[Mapping[str, Any]],
    ) -> "ImageErrors":
        """The errors that rows were made of.

        Args:
            scores: R, of the detections.
            classes: R, of the detections.
            detections: R rows of :meth:`detection_rows`.
            objects: G rows of :meth:`object_rows`.
        """
        object_ids = [row["annotation_id"] for row in objects]
        region_ids = list(dict.fromkeys(row["region_id"] for row in detections if row["region_id"] is not None))
        numbers, regions = ({None: -1, **{name: k for k, name in enumerate(ids)}} for ids in (object_ids, region_ids))
        found_by = [-1 if row["found_by"] is None else row["found_by"] for row in objects]
        return cls(
            scores=np.array(scores, dtype=np.float64),
            classes=np.array(classes, dtype=np.int64),
            kinds=np.array([Verdict[row["kind"].upper()] for row in detections], dtype=np.int8),
            ignored=np.array([row["region_id"] is not None for row in detections], dtype=bool),
            objects=np.array([numbers[row["annotation_id"]] for row in detections], dtype=np.int64),
            regions=np.array([regions[row["region_id"]] for row in detections], dtype=np.int64),
            iou=np.array([row["iou"] for row in detections], dtype=np.float64),
            region_share=np.array([row["region_share"] for row in detections], dtype=np.float64),
            mends=np.array([row["mends"] for row in detections], dtype=bool),
            found_by=np.array(found_by, dtype=np.int64),
            missed=np.array([row["missed"] for row in objects], dtype=bool),
            object_classes=np.array([row["class"] for row in objects], dtype=np.int64),
            object_ids=object_ids,
            region_ids=region_ids,
        )
