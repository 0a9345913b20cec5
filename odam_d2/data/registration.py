"""Registers COCO files in Detectron2's catalogs, read as all others are, and checks that classes fit a detector."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from .account import ANNOTATIONS, Account
from .categories import listed
from .coco import CocoFile, category_names
from .records import JudgedRecords, judged_records, load_dataset
from .segmentations import pack_segmentation


def register_coco(
    name: str,
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    *,
    masks: bool = False,
    strict: bool = False,
) -> None:
    """Registers a COCO file for training and evaluation, as ``register_coco_instances``; it is read on first use.

    Args:
        name: in the catalogs.
        json_file: the annotations.
        image_root: folder of the images.
        class_names: the detector's classes by number; categories are found among them by name. Default: the file's
            categories by rising id, those left out that group others or stand for the background and have no objects.
        masks: whether to leave out objects without a usable mask, which training by masks can't use.
        strict: whether it is an error if something is left out or not used; see :class:`odam_d2.data.account.Account`.
    """
    DatasetCatalog.register(
        name, lambda: load_coco(json_file, image_root, class_names, name, masks=masks, strict=strict)
    )
    known = {"thing_classes": list(class_names)} if class_names is not None else {}
    MetadataCatalog.get(name).set(
        json_file=os.fspath(json_file), image_root=os.fspath(image_root), evaluator_type="coco", **known
    )


def load_coco(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    dataset_name: str | None = None,
    *,
    masks: bool = False,
    strict: bool = False,
) -> list[dict]:
    """Records of a COCO file as Detectron2's mappers take them; see :func:`register_coco`.

    What is marked with ``ignore`` becomes a crowd, and run lengths are packed. The account goes to the log.

    Args:
        json_file, image_root, class_names, masks, strict: see there.
        dataset_name: name in the catalogs, whose metadata get ``thing_classes`` and
            ``thing_dataset_id_to_contiguous_id``.

    Raises:
        ValueError: as :class:`odam_d2.data.coco.CocoFile`; where `strict`, if something is lost.
    """
    file = CocoFile(json_file, class_names, None, image_root, leave_out_groups=True)
    records = [
        {**record, "annotations": [_for_training(item) for item in record["annotations"]]}
        for record in file.known_records()
    ]
    if masks:
        records = with_masks(records, file.account)
    log_account(file.account)
    if strict:
        file.account.require_nothing_lost()
    if dataset_name is not None:
        metadata = MetadataCatalog.get(dataset_name)
        metadata.thing_classes = list(file.class_names)
        metadata.thing_dataset_id_to_contiguous_id = dict(file.numbers)
    return JudgedRecords(records, file.account)


def with_masks(records: Sequence[dict], account: Account) -> list[dict]:
    """Records without the objects that have no mask; crowds stay. The account is told how many were left out."""
    kept, without = [], 0
    if not any(item.get("segmentation") for record in records for item in record.get("annotations", ())):
        return list(records)  # it is no data set of masks, which Detectron2 says in its own way
    for record in records:
        items = record.get("annotations", [])
        usable = [item for item in items if item.get("segmentation") or item.get("iscrowd")]
        without += len(items) - len(usable)
        kept.append({**record, "annotations": usable} if len(usable) < len(items) else record)
    if without:
        account.notes.append(f"Left out of training by masks: {without} {ANNOTATIONS}s without a mask.")
    return kept


def judged_dataset(name: str) -> list[dict]:
    """Records of a registered data set, with what can't be used left out; the account goes to the log."""
    account = Account(name)
    records = judged_records(load_dataset(name), account)
    log_account(account)
    return records


def log_account(account: Account) -> None:
    """Writes an account to the log: as a warning where something is lost."""
    logger = logging.getLogger("odam_d2.data")
    logger.log(logging.WARNING if account.lost else logging.INFO, "\n".join(account.lines()))


def require_fitting_classes(key: str, split: str, names: Sequence[str], num_classes: int) -> None:
    """Raises ValueError where a registered data set has other classes than the detector.

    Args:
        key: of the config, where it names them.
        split: what they are for, ``train`` or ``test``.
        names: of the data sets; those that don't tell their classes pass, and for testing crowds, of which class 0
            alone counts.
        num_classes: of the detector.
    """
    for name in names:
        metadata = MetadataCatalog.get(name)
        if metadata.get("evaluator_type") == "crowdhuman" and split == "test":
            continue
        own = metadata.get("thing_classes") or category_names(metadata.get("json_file") or "", num_classes)
        if own and len(own) != num_classes:
            raise ValueError(
                f"`{key}` must name data sets of the detector's classes; got {name!r} with {len(own)} classes, "
                f"{listed(own)}, for a detector of {num_classes}: name another data set, or set NUM_CLASSES of the "
                "detector's head in the config"
            )


def _for_training(item: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in item.items() if key not in ("ignore", "area")}
    found["iscrowd"] = int(bool(item.get("iscrowd") or item.get("ignore")))
    if isinstance(item.get("segmentation"), dict):
        found["segmentation"] = pack_segmentation(item["segmentation"])
    return found
