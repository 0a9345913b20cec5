"""Which rows of a run are asked for, and in which order: the part of an SQL statement behind ``FROM``."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from .schema import DETECTION_COLUMNS, IMAGE_COLUMNS

# What rows can be sorted by, as SQL.
_AREA = "(x2 - x1) * (y2 - y1)"
SORTED_BY = {
    "place": "image, row",
    **{name: name for name in ("score", "iou", "occlusion", "outside", "label", "verdict", "mechanism")},
    "area": _AREA,
}
ORDERS = tuple(SORTED_BY)
Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Filter:
    """Which explained boxes are asked for; every attribute that is given must hold.

    Among words None stands for boxes that have none.

    Attributes:
        kind: any of these, see :class:`~odam_d2.store.records.DetectionRow`, as the next four.
        label: names of classes.
        verdict: "correct" or types of errors.
        mechanism: of missed objects.
        image: numbers of images.
        score: from the first to the second value, both included; None is no bound. Likewise the next four.
        iou: overlap with the annotated object.
        occlusion: of the annotated object.
        outside: share of heat outside the box.
        area: of the box, in the original image's pixels.
        judged: True for boxes that are judged against an annotated object, False for the others.
    """

    kind: Sequence[str | None] | None = None
    label: Sequence[str | None] | None = None
    verdict: Sequence[str | None] | None = None
    mechanism: Sequence[str | None] | None = None
    image: Sequence[int] | None = None
    score: Range | None = None
    iou: Range | None = None
    occlusion: Range | None = None
    outside: Range | None = None
    area: Range | None = None
    judged: bool | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The condition as SQL, beginning with ``WHERE`` unless it is empty, and the values for its marks."""
        terms, values = [], []
        for one in fields(self):
            asked = getattr(self, one.name)
            if asked is None:
                continue
            if one.name == "judged":
                terms.append(f"annotation IS {'NOT ' if asked else ''}NULL")
            elif one.name in ("score", "iou", "occlusion", "outside", "area"):
                column = SORTED_BY[one.name]
                for sign, bound in zip((">=", "<="), asked, strict=True):
                    if bound is not None:
                        terms.append(f"{column} {sign} ?")
                        values.append(bound)
            else:
                named = [value for value in asked if value is not None]
                term = f"{one.name} IN ({', '.join('?' * len(named))})"
                terms.append(term if len(named) == len(asked) else f"({term} OR {one.name} IS NULL)")
                values += named
        return f"WHERE {' AND '.join(terms)}" if terms else "", values


def order_clause(by: str, descending: bool) -> str:
    """``ORDER BY`` as SQL; rows without a value come last, equals in the order of the run.

    Raises:
        ValueError: if `by` is not one of :data:`ORDERS`.
    """
    if by not in SORTED_BY:
        raise ValueError(f"`order_by` must be one of {list(ORDERS)}; got {by!r}: choose one of these")
    way = "DESC" if descending else "ASC"
    if by == "place":
        return f"ORDER BY image {way}, row {way}"
    return f"ORDER BY {SORTED_BY[by]} {way} NULLS LAST, image, row"


def columns_of(table: dict[str, str]) -> str:
    """The columns of a table, for ``SELECT``."""
    return ", ".join(table)


DETECTION_SELECT = columns_of(DETECTION_COLUMNS)
IMAGE_SELECT = columns_of(IMAGE_COLUMNS)
