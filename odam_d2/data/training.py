"""Training data of the catalog, without annotations that would end a training or spoil it."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.data.build import filter_images_with_only_crowd_annotations, get_detection_dataset_dicts

from .account import Account
from .records import judged_records
from .registration import log_account, with_masks


def training_records(cfg: CfgNode) -> Any:
    """The training data that the config names, as Detectron2 gives them, without annotations that can't be used.

    Returns:
        Records; where the data set is none of records, the data set.
    """
    keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0
    found = get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=keypoints,
        proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
    )
    if not isinstance(found, list):
        return found
    account = Account(", ".join(cfg.DATASETS.TRAIN))
    records = judged_records(found, account)
    if cfg.MODEL.MASK_ON:
        records = with_masks(records, account)
    log_account(account)
    if account.left_out and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        records = filter_images_with_only_crowd_annotations(records)
    return records
