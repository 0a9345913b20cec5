"""The people of an image as a crowd's figures need them, and how much each is hidden.

Shape letters: G people, I ignore regions of one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BOX_FIELDS = {"full": "full_box", "visible": "visible_box"}
# Least visible ratio of a person who counts as bare, and as partly hidden: occluded by at most 10 %, at most 35 %, as
# in Wang et al., "Repulsion Loss", CVPR 2018 (arXiv 1711.07752), which divides CityPersons so.
BARE_VISIBLE, PARTIAL_VISIBLE = 0.9, 0.65
# Largest crowd IoU that counts as bare, and as partial. Above .5 NMS at IoU .5 loses one of two people even if all are
# detected perfectly; Chu et al., "Detection in Crowded Scenes", CVPR 2020 (arXiv 2003.09163), call that crowded.
BARE_CROWD, PARTIAL_CROWD = 0.3, 0.5


def xywh(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) XYXY -> (N, 4) x, y, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def areas(boxes: np.ndarray) -> np.ndarray:
    """(N,) area of (N, 4) XYXY boxes; 0 for one without a size."""
    return np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)


def overlaps(boxes: np.ndarray, others: np.ndarray, of_box: bool = False) -> np.ndarray:
    """(N, M) float64: intersection over union, or over the area of `boxes` when `of_box`; both are (N or M, 4) XYXY.

    0 where there is no area to divide by. From corners, not from widths as pycocotools has it, whose rounding could
    decide where an overlap is exactly a threshold.
    """
    low, high = np.maximum(boxes[:, None, :2], others[None, :, :2]), np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    own = areas(boxes)[:, None]
    whole = np.broadcast_to(own, common.shape) if of_box else own + areas(others)[None] - common
    return np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)


@dataclass
class CrowdObjects:
    """People and ignore regions of one image, in its frame, as annotated: also beyond the image.

    Attributes:
        size: (h, w) of the image.
        boxes: (G, 4) float64 XYXY.
        ignored: (I, 4) float64 XYXY of the ignore regions.
        visible: (G,) float64, visible ratio in [0, 1]: area of the visible box over that of the full box.
        crowding: (G,) float64, crowd IoU: the largest IoU of the full box with another person's.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    ignored: np.ndarray
    visible: np.ndarray
    crowding: np.ndarray

    @classmethod
    def of(cls, record: dict, box: str = "full") -> "CrowdObjects":
        """The people of a record.

        Args:
            record: a Detectron2 dict whose annotations have ``iscrowd``, ``full_box`` and ``visible_box`` (XYXY), as
                :mod:`odam_d2.data.crowdhuman` and the synthetic data sets give it.
            box: which of the two is to be found, "full" or "visible".

        Raises:
            ValueError: if `box` is neither of the two.
        """
        if box not in BOX_FIELDS:
            raise ValueError(f"`box` must be one of {sorted(BOX_FIELDS)}; got {box!r}: choose one")
        size, annotations = (record["height"], record["width"]), record["annotations"]
        people = [item for item in annotations if not item["iscrowd"]]
        full, visible = _boxes(people, "full_box"), _boxes(people, "visible_box")
        among = overlaps(full, full)
        np.fill_diagonal(among, 0)
        ratio = np.minimum(areas(visible) / np.maximum(areas(full), np.finfo(float).tiny), 1)
        boxes = _boxes(people, BOX_FIELDS[box])
        ignored = _boxes([item for item in annotations if item["iscrowd"]], BOX_FIELDS[box])
        return cls(size, boxes, ignored, ratio, among.max(axis=1, initial=0))

    def __len__(self) -> int:
        return len(self.boxes)

    def subsets(self) -> dict[str, np.ndarray]:
        """Who belongs to which subset: (G,) bool by name.

        ``all``; by the visible ratio v ``bare`` (v >= .9), ``partial`` (.65 <= v < .9), ``heavy`` (v < .65); by the
        crowd IoU c ``crowd_bare`` (c <= .3), ``crowd_partial`` (.3 < c <= .5), ``crowd_heavy`` (c > .5).
        """
        bare, partial = self.visible >= BARE_VISIBLE, self.visible >= PARTIAL_VISIBLE
        crowd_bare, crowd_partial = self.crowding <= BARE_CROWD, self.crowding <= PARTIAL_CROWD
        return {
            "all": np.ones(len(self), dtype=bool),
            "bare": bare,
            "partial": partial & ~bare,
            "heavy": ~partial,
            "crowd_bare": crowd_bare,
            "crowd_partial": crowd_partial & ~crowd_bare,
            "crowd_heavy": ~crowd_partial,
        }


def _boxes(annotations: Sequence[dict], field: str) -> np.ndarray:
    return np.array([item[field] for item in annotations], dtype=np.float64).reshape(-1, 4)
