"""What all questions have in common."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from detectron2.structures import Instances

from ...evaluation.runs.stored_rows import detection_rows
from ...store import DetectionRow
from ...utils.registry import NamedRegistry
from ..answers import Answers, Maps
from ..detector import ServedDetector
from ..found import FoundBefore
from ..held_images import HeldImage
from ..requests import OfImage

Body = TypeVar("Body", bound=OfImage)

#: Questions by what a body calls them in ``ask``.
ASKS: NamedRegistry[type["Question"]] = NamedRegistry("questions")


class Question(ABC, Generic[Body]):
    """A question about an image.

    What can be told without the detector is checked when it is made, in any thread; the detector's thread answers.

    Args:
        asked: the body.
        detector: who is asked.
        image: about what.
        answers: keeps the answer.
        before: what was found before.

    Raises:
        RefusedError: if the question can't be answered.
    """

    def __init__(self, asked: Body, detector: ServedDetector, image: HeldImage, answers: Answers, before: FoundBefore):
        self.asked, self.detector, self.image = asked, detector, image
        self.answers, self.before = answers, before
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raises RefusedError where the question can't be answered."""

    @abstractmethod
    def answer(self) -> dict[str, Any]:
        """The answer, as JSON can hold it.

        Raises:
            ValueError: if the detector can't tell.
        """

    def rows(self, found: Instances, kind: str = "detection") -> list[DetectionRow]:
        """The rows of explained boxes."""
        return detection_rows(found, self.detector.class_names, kind)

    def record(self, rows: list[DetectionRow], maps: Maps, input_size: tuple[int, int] | None) -> dict[str, Any]:
        """The record of the image with its boxes and maps."""
        return self.answers.record(self.image, rows, maps, input_size)
