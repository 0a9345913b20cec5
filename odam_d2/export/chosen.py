"""The images of a run with the boxes that a filter leaves, a page of the run at a time."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..store import DetectionRow, ImageRow, RunReader
from ..store.filters import Filter
from ..utils.files import safe_name

# Images that are read together.
_PAGE = 200


@dataclass(frozen=True)
class ChosenImage:
    """An image and those of its explained boxes that are asked for.

    Attributes:
        image: the image.
        boxes: (row, box) of each, by rising row.
    """

    image: ImageRow
    boxes: Sequence[tuple[int, DetectionRow]] = ()


def chosen_images(reader: RunReader, chosen: Filter) -> Iterator[ChosenImage]:
    """All images in the order of the run, also those without chosen boxes and those that failed."""
    start = 0
    while images := reader.images(start, _PAGE):
        start += len(images)
        numbers = [one.number for one in images]
        if chosen.image is not None:
            numbers = sorted(set(numbers) & set(chosen.image))
        found: defaultdict[int, list[tuple[int, DetectionRow]]] = defaultdict(list)
        for number, row, box in reader.detections(replace(chosen, image=numbers)):
            found[number].append((row, box))
        for image in images:
            yield ChosenImage(image, found.get(image.number, ()))


def file_name(image: ImageRow) -> str:
    """What files of an image are called, without an ending; no other image of the run has the same."""
    return f"{image.number:07d}-{safe_name(Path(image.name).stem, 60)}"
