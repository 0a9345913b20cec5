"""What commands that read annotations share: ``--strict``, and the account on the terminal and in a run's files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.account import Account
from ..data.categories import describe_strangers, listed
from ..data.coco import UNKNOWN_CLASS, CocoFile
from ..data.images import read_image_size
from ..visualize.storage import class_name


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Adds ``--strict``."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="stop where something of the annotations is left out or not used, or they don't name an image; without "
        "it, this is told and the rest is used",
    )


def tell(account: Account, strict: bool) -> None:
    """Prints an account; raises ValueError where something is lost and `strict`."""
    print("\n".join(account.lines()))
    if strict:
        account.require_nothing_lost()


def known_categories(file: CocoFile, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The detector's classes with their ids in a file, as COCO's files have them: ``id`` and ``name``."""
    return [{"id": key, "name": class_name(number, class_names)} for key, number in file.numbers.items()]


class ImageAnnotations:
    """The annotations of the images of a run of ``odam explain``.

    Args:
        file: the annotations.
        paths: the images.
        strict: whether annotations that can't be used are an error.
        quiet: whether nothing is printed.

    Attributes:
        account: what became of the annotations.
        class_names: see :class:`odam_d2.data.coco.CocoFile`.
        knows_images: whether the file knows one of the images.

    Raises:
        ValueError: if it can't be told which image an entry means; where `strict`, if something is lost.
    """

    def __init__(self, file: CocoFile, paths: Sequence[Path], strict: bool, quiet: bool = False):
        self._file, self._strict = file, strict
        self.account, self.class_names = file.account, file.class_names
        self.knows_images = file.match(paths) > 0
        self._judge_by_sizes(paths, quiet)
        self._told = self.account.lost
        if quiet:
            return
        if file.strangers:
            unknown = describe_strangers(file.strangers, file.class_names)
            print(f"The detector has no class for {unknown}: shown, but not explained or matched", file=sys.stderr)
        tell(self.account, strict)

    def _judge_by_sizes(self, paths: Sequence[Path], quiet: bool) -> None:
        """Asks the images for their sizes, so that everything is told before the first is explained."""
        for path in tqdm(paths, desc="sizes of images", unit="image", delay=5, disable=quiet):
            try:
                size = read_image_size(path)
            except ValueError:  # it is told where the image is explained
                continue
            self._file.use(path, *size)

    def of(self, path: Path, height: int, width: int) -> dict | None:
        """The record of an image, see :meth:`odam_d2.data.coco.CocoFile.use`."""
        return self._file.use(path, height, width, self._strict)

    def categories(self) -> list[dict[str, Any]]:
        """The detector's classes with their ids in the file, as COCO's files have them."""
        return known_categories(self._file, self.class_names)

    def require_any(self, name: str) -> None:
        """Raises ValueError where the file knows no image of the run, so that there is no box to explain."""
        if not self.knows_images:
            raise ValueError(
                f"the annotations must know the image to explain its boxes; {name!r} isn't among them, nor is any "
                f"other of this run: give the file of these images, whose names are as {self._file.example()}"
            )

    def require_classes(self) -> None:
        """Raises ValueError where all annotated objects are of categories that the detector doesn't have."""
        items = [item for record in self._file.records for item in record["annotations"]]
        if items and all(item["category_id"] == UNKNOWN_CLASS for item in items):
            raise ValueError(
                "an annotated category must be a class of the detector to explain its boxes; got "
                f"{describe_strangers(self._file.strangers, self.class_names)}, and the detector has "
                f"{listed(self.class_names)}: rename the categories, or name the detector's classes in DATASETS.TEST"
            )

    def left_out_unreached(self, name: str, boxes: Sequence[Sequence[float]]) -> None:
        """Tells the account of boxes, XYXY, that no prediction stands for."""
        for box in boxes:
            self.account.unexplained(name, [round(side, 2) for side in box])

    def tell_rest(self) -> None:
        """Prints the account again where images have shown more than the file alone."""
        if self.account.lost != self._told:
            print("\n".join(self.account.lines()))


def for_page(account: Account | None) -> dict[str, Any]:
    """The section of a page about the annotations; empty without them."""
    return {} if account is None else {"Annotations": account.as_page()}


def for_json(account: Account | None) -> dict[str, Any]:
    """The part of a run's json file about the annotations; empty without them."""
    return {} if account is None else {"annotation_account": account.as_json()}
