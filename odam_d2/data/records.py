"""Records of Detectron2's catalog, with their values judged as those of files are."""

from collections.abc import Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from .account import ANNOTATIONS, IMAGES, MASKS, Account
from .boxes import check_corners, corners, four_numbers
from .categories import class_numbers, require_fitting_names, require_known_categories
from .segmentations import check_segmentation
from .values import UnusableError, flag

_ROTATED = 5  # numbers of a rotated box: centre, size, angle


def records_from_dataset(
    name: str, class_names: Sequence[str] | None, num_classes: int, account: Account | None = None
) -> list[dict]:
    """Records of a data set of Detectron2's catalog, in its order, all of classes that the detector knows.

    Args:
        name: in the catalog.
        class_names: of the detector, by number; None where they aren't known.
        num_classes: of the detector.
        account: is told what was repaired and left out.

    Raises:
        ValueError: if the data set isn't registered, or can't be read, or its classes can't be the detector's.
    """
    require_registered(name)
    require_fitting_names(class_names, num_classes)
    records = judged_records(load_dataset(name), account or Account(name))
    own = MetadataCatalog.get(name).get("thing_classes")
    if own is None:
        return records
    categories = dict(enumerate(own))
    annotated = {item["category_id"] for record in records for item in record.get("annotations", ())}
    numbers = class_numbers(categories, annotated, class_names, num_classes, name)
    require_known_categories(categories, numbers, annotated, class_names, name)
    return [
        {
            **record,
            "annotations": [
                {**item, "category_id": numbers[item["category_id"]]} for item in record.get("annotations", ())
            ],
        }
        for record in records
    ]


def require_registered(name: str) -> None:
    """Raises ValueError where a data set isn't in the catalog."""
    if name not in DatasetCatalog.list():
        raise ValueError(
            f"`dataset` must be registered; got {name!r}: choose one of {sorted(DatasetCatalog.list())}, import the "
            "file that registers it, or give annotations and images"
        )


def load_dataset(name: str) -> list[dict]:
    """What the catalog gives for a data set.

    Raises:
        ValueError: if it isn't registered, or can't be read.
    """
    require_registered(name)
    try:
        records = DatasetCatalog.get(name)
        return records if isinstance(records, list) else list(records)
    # Anyone can register a data set, and each fails in its own way; Detectron2's own asserts that nothing is ignored.
    except Exception as error:
        raise ValueError(
            f"`dataset` must be one that can be read; got {name!r}, which failed with {type(error).__name__}: {error}: "
            "register it by odam_d2.data.register_coco, which leaves out what can't be used, or give a COCO file by "
            "--annotations and --images"
        ) from error


class JudgedRecords(list):
    """Records that were judged when they were read, so that nobody needs to do it again.

    Args:
        records: of a data set.
        account: what became of its annotations.
        beyond: whether boxes may lie outside of their images, as in crowds, whose figures ask for such people.
    """

    def __init__(self, records: Sequence[dict], account: Account, beyond: bool = False):
        super().__init__(records)
        self.account, self.beyond = account, beyond


def judged_records(records: Sequence[dict], account: Account) -> list[dict]:
    """Records with only the annotations, and only the masks, that can be used; those given stay as they are.

    Args:
        records: Detectron2's standard dicts.
        account: is told what was repaired and left out.
    """
    if isinstance(records, JudgedRecords):
        account.take_over(records.account)
        return _inside(records, account) if records.beyond else records
    judged = []
    for number, record in enumerate(records):
        account.add(IMAGES, number, record.get("file_name"))
        if "annotations" in record:
            size = (record["height"], record["width"]) if {"height", "width"} <= record.keys() else None
            record = {**record, "annotations": _judged(record, number, size, account)}
        judged.append(record)
    return judged


def _inside(records: Sequence[dict], account: Account) -> list[dict]:
    """Records without the boxes that lie outside of their images, which nothing but figures of crowds asks for."""
    kept = [{**one, "annotations": [item for item in one["annotations"] if _lies_inside(item, one)]} for one in records]
    outside = sum(len(one["annotations"]) for one in records) - sum(len(one["annotations"]) for one in kept)
    if outside:
        account.notes.append(f"Not used, outside of their images: {outside} boxes; figures of crowds ask for them.")
    return kept


def _lies_inside(item: dict, record: dict) -> bool:
    try:
        check_corners(corners(item), (record["height"], record["width"]))
    except UnusableError:
        return False
    return True


def _judged(record: dict, number: int, size: tuple[int, int] | None, account: Account) -> list[dict]:
    kept, image = [], record.get("file_name")
    for place, item in enumerate(record["annotations"]):
        key, name = (number, place), item.get("id", f"number {place + 1} of its image")
        try:
            item, repairs = _judged_box(item, size)
        except UnusableError as error:
            account.leave_out(ANNOTATIONS, name, image, error)
            continue
        account.add(ANNOTATIONS, key, name, repairs)
        kept.append(without_bad_mask(item, size, key, name, image, account))
    return kept


def _judged_box(item: dict, size: tuple[int, int] | None) -> tuple[dict, list[str]]:
    if item.get("bbox") is None:
        raise UnusableError("`bbox` is missing")
    mode = item.get("bbox_mode", BoxMode.XYXY_ABS)
    box, repaired = four_numbers(item["bbox"], _ROTATED if mode == BoxMode.XYWHA_ABS else 4)
    changes: dict[str, Any] = {"bbox": box} if repaired else {}
    repairs = ["boxes of text"] if repaired else []
    for key in ("iscrowd", "ignore"):
        if key in item:
            try:
                value, changed = flag(item[key])
            except UnusableError as error:
                raise UnusableError(f"`{key}` {error.reason}", error.detail) from error
            if changed:
                changes[key] = value
                repairs.append(f"`{key}` as text, true, false or null")
    item = {**item, **changes} if changes else item
    if mode != BoxMode.XYWHA_ABS:
        check_corners(corners(item), size)
    return item, repairs


def without_bad_mask(
    item: dict, size: tuple[int, int] | None, key: Any, name: Any, image: Any, account: Account, counted: bool = False
) -> dict:
    """An annotation whose mask is repaired, or left out where it can't be used.

    Args:
        item: of a record.
        size: (h, w) of the image in pixels, where it is known.
        key: what the account knows the annotation by.
        name: its id.
        image: file name of its image.
        account: is told.
        counted: whether the account has counted the mask already.
    """
    if "segmentation" not in item:
        return item
    try:
        mask, repairs = check_segmentation(item["segmentation"], size)
    except UnusableError as error:
        if counted:
            account.take_back(MASKS, key, name, image, error)
        else:
            account.leave_out(MASKS, name, image, error)
        return {k: v for k, v in item.items() if k != "segmentation"}
    if mask is None:
        return item
    if not counted:
        account.add(MASKS, key, name, repairs)
    return {**item, "segmentation": mask} if repairs else item
