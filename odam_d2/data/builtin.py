"""The data sets that configs of this project name.

- `synthetic_scene_train`, `_val` and `_demo`, scored as COCO is; `synthetic_crowd_train`, `_val` and `_demo`, scored as
  CrowdHuman is as well;
- `synthetic_crowd_train_odgt`, `synthetic_crowd_val_odgt`, the same images read from their CrowdHuman file and scored
  as CrowdHuman is, and `synthetic_crowd_visible_train_odgt`, `synthetic_crowd_visible_val_odgt`, what is visible alone;
- `crowdhuman_train`, `crowdhuman_val` (whole bodies) and `crowdhuman_visible_train`, `crowdhuman_visible_val` in
  `$DETECTRON2_DATASETS/crowdhuman`.
"""

import os

from detectron2.data import DatasetCatalog

from .crowdhuman import register_crowdhuman
from .synthetic.catalog import register_all_synthetic


def register_datasets(root: str | os.PathLike | None = None) -> None:
    """Registers the project's data sets in Detectron2's catalogs; they are read or rendered on first use.

    Names that are already registered are left as they are. The commands and the
    model zoo call it; scripts that name one of these data sets call it themselves.

    Args:
        root: folder that holds `synthetic/` and `crowdhuman/`; None for `$DETECTRON2_DATASETS`, or else `datasets`.
    """
    root = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets") if root is None else os.fspath(root))
    register_all_synthetic(root)
    register_all_crowdhuman(root)


def register_all_crowdhuman(root: str) -> None:
    """Registers CrowdHuman's train and val below `root`/crowdhuman, with whole bodies and with what is visible."""
    folder = os.path.join(root, "crowdhuman")
    for split in ("train", "val"):
        odgt, images = os.path.join(folder, f"annotation_{split}.odgt"), os.path.join(folder, "Images")
        for name, box in ((f"crowdhuman_{split}", "full"), (f"crowdhuman_visible_{split}", "visible")):
            if name not in DatasetCatalog:
                register_crowdhuman(name, odgt, images, box=box)
