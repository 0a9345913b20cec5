"""What may be asked: the bodies of requests, checked before anything is done with them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, RootModel

from .edits import How
from .limits import ServeLimits

_MOST = ServeLimits()
# Far beyond any image, and so that no sum of them overflows.
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
# A list of thousands of faults is told by the first: finding them all would take long.
Boxes = Annotated[list[Box], Field(min_length=1, max_length=_MOST.boxes), FailFast()]
Name = Annotated[str, Field(min_length=1, max_length=200)]
ImageId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Row = Annotated[int, Field(ge=0, le=10**6, strict=True)]


class Asked(BaseModel):
    """A body; what isn't known is refused, so that a misspelt name shows."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Stroke(Asked):
    """See :class:`odam_d2.serve.edits.Stroke`."""

    points: Annotated[list[tuple[Coordinate, Coordinate]], Field(min_length=1, max_length=_MOST.points), FailFast()]
    radius: Annotated[float, Field(gt=0.0, le=2000.0, allow_inf_nan=False)]
    how: How


class Edits(Asked):
    """Strokes on an image; the colour of ``mean`` is that of a detector."""

    image: ImageId
    detector: Name | None = None
    strokes: Annotated[list[Stroke], Field(min_length=1, max_length=_MOST.strokes), FailFast()]


class OfImage(Asked):
    """What all questions have: a detector and an image."""

    detector: Name
    image: ImageId
    threshold: Share = 0.5


class DetectionsAsked(OfImage):
    """What does the detector find, and what does it look at?"""

    ask: Literal["detections"]
    method: Name = "odam"


class BoxAsked(OfImage):
    """What does the detector say of given boxes in a class, and why?"""

    ask: Literal["box"]
    boxes: Boxes
    label: Name
    method: Name = "odam"


class ClassAsked(OfImage):
    """What speaks for another class of a detection?"""

    ask: Literal["class"]
    row: Row
    label: Name | None = None
    method: Name = "odam"


class MethodsAsked(OfImage):
    """What do several methods say of the same boxes?"""

    ask: Literal["methods"]
    boxes: Boxes
    label: Name
    methods: Annotated[list[Name], Field(min_length=1, max_length=32), FailFast()]


class SuppressionAsked(OfImage):
    """What do non-max suppression and Odam-NMS remove?"""

    ask: Literal["suppression"]


class Question(
    RootModel[
        Annotated[DetectionsAsked | BoxAsked | ClassAsked | MethodsAsked | SuppressionAsked, Field(discriminator="ask")]
    ]
):
    """One of them, told apart by ``ask``."""


class _Result(BaseModel):
    # The page sends all that it was answered; the server needs what it called it.
    model_config = ConfigDict(extra="ignore")

    key: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{16}|run-[0-9]{1,9})$")]


class PageAsked(Asked):
    """A result as a page of its own."""

    record: _Result
    title: Annotated[str, Field(max_length=200)] = ""
