"""What a run says of one image, as rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..structures import HeatMaps

Box = tuple[float, float, float, float]
# What an explained box can be; see DetectionRow.
KINDS = ("detection", "annotation", "missed")


@dataclass(frozen=True)
class ImageRow:
    """An image.

    Attributes:
        number: its place in the run, from 0 on. A run with :class:`~odam_d2.store.run_folder.RunFolder` says itself
            which it is; what is written here counts for runs without.
        key: what the run knows it by; no other image has it.
        name: what people call it.
        path: its file.
        size: (h, w) of the original image; None if it could not be read.
        input_size: (h, w) of the model input without padding; None if it didn't come to that.
        failure: why it could not be read or explained; None if it was.
        facts: what else is kept, as JSON can hold it.
    """

    number: int
    key: str
    name: str
    path: str
    size: tuple[int, int] | None = None
    input_size: tuple[int, int] | None = None
    failure: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AnnotationRow:
    """An annotated object.

    Attributes:
        box: XYXY in the original image's pixels.
        class_id: the detector's number of the class, -1 if the detector doesn't know it.
        label: name of the class in the annotations.
        crowd: whether it is no object to find.
        id: its id in the annotations' file.
        occlusion: how much of it others hide, in [0, 1]; None if it isn't known.
    """

    box: Box
    class_id: int
    label: str
    crowd: bool = False
    id: int | str | None = None
    occlusion: float | None = None


@dataclass(frozen=True)
class DetectionRow:
    """A box that was explained: a detection, an annotated box, or a missed object.

    Attributes:
        box: XYXY in the original image's pixels.
        class_id: the detector's number of the class.
        label: name of the class.
        score: in [0, 1]; None for a box that has none.
        kind: "detection", "annotation" or "missed".
        annotation: row of the annotated object that it is judged against.
        iou: overlap with that object.
        occlusion: how much of that object others hide, in [0, 1].
        verdict: "correct", or what kind of error it is; None where it isn't judged.
        mechanism: of a missed object, by which mechanism it was missed.
        outside: share of the score map outside the box, in [0, 1].
        sentence: what it is, in words.
        figures: what else is known, as JSON can hold it.
    """

    box: Box
    class_id: int
    label: str
    score: float | None = None
    kind: str = "detection"
    annotation: int | None = None
    iou: float | None = None
    occlusion: float | None = None
    verdict: str | None = None
    mechanism: str | None = None
    outside: float | None = None
    sentence: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredImage:
    """All rows of one image.

    See :meth:`~odam_d2.store.writer.RunWriter.write` and :meth:`~odam_d2.store.reader.RunReader.image`.

    Attributes:
        image: the image.
        annotations: its annotated objects; None if it isn't known which there are.
        detections: what was explained.
        maps: (method, role) -> maps of detections: their rows, rising, and as many HeatMaps. Role "" is the map of the
            detection itself.
    """

    image: ImageRow
    annotations: Sequence[AnnotationRow] | None = None
    detections: Sequence[DetectionRow] = ()
    maps: Mapping[tuple[str, str], tuple[Sequence[int], HeatMaps]] = field(default_factory=dict)
