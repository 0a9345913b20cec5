"""Synthetic data sets by name, rendered on first use.

They are rendered into `$DETECTRON2_DATASETS/synthetic/<name>` (default `datasets/synthetic/<name>`); see
:func:`odam_d2.data.synthetic.folder.render_dataset`.
"""

import os

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode

from ..crowdhuman import load_crowdhuman, set_crowdhuman_metadata
from .profiles import PROFILES, SPLITS

EXTRA_FIELDS = ("full_box", "visible_box", "head_box", "visible_fraction")


def load_synthetic(
    name: str, profile: str, split: str, folder: str, num_images: int | None = None, seed: int = 0
) -> list[dict]:
    """Standard Detectron2 dicts of one synthetic data set; renders it first when it isn't there.

    Args:
        name: name in the catalogs.
        profile, split, num_images, seed: as for `SyntheticScenes`.
        folder: where the images live.

    Returns:
        list of dicts with `file_name`, `height`, `width`, `image_id` and `annotations` (see `SyntheticScenes`).
    """
    # Here, since drawing needs OpenCV, which nothing else of the package asks for when it is imported.
    from .folder import render_dataset
    from .scenes import SyntheticScenes

    render_dataset(SyntheticScenes(profile, split, num_images, seed), name, folder)
    records = load_coco_json(
        os.path.join(folder, "coco.json"),
        os.path.join(folder, "images"),
        name,
        extra_annotation_keys=list(EXTRA_FIELDS),
    )
    for record in records:
        for annotation in record["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"], annotation["bbox_mode"] = [x, y, x + w, y + h], BoxMode.XYXY_ABS
    return records


def register_synthetic(
    name: str, profile: str, split: str, folder: str, num_images: int | None = None, seed: int = 0
) -> None:
    """Enters one synthetic data set in Detectron2's catalogs; nothing is rendered before it is asked for.

    Args:
        name: name in the catalogs.
        profile, split, num_images, seed: as for `SyntheticScenes`.
        folder: where the images will live.
    """
    DatasetCatalog.register(name, lambda: load_synthetic(name, profile, split, folder, num_images, seed))
    classes = list(PROFILES[profile].thing_classes)
    MetadataCatalog.get(name).set(
        thing_classes=classes,
        thing_dataset_id_to_contiguous_id={k + 1: k for k in range(len(classes))},
        json_file=os.path.join(folder, "coco.json"),
        odgt_file=os.path.join(folder, "annotations.odgt"),
        image_root=os.path.join(folder, "images"),
        evaluator_type=PROFILES[profile].evaluator_type,
    )


def register_synthetic_odgt(name: str, source: str, box: str = "full") -> None:
    """Enters a synthetic data set once more in Detectron2's catalogs, as CrowdHuman's reader finds it.

    It has people only, knows no masks, and is scored as CrowdHuman is.

    Args:
        name: name in the catalogs.
        source: name under which :func:`register_synthetic` entered it.
        box: ``full`` bodies or what is ``visible``, see :func:`load_crowdhuman`.
    """
    metadata = MetadataCatalog.get(source)

    def load():
        DatasetCatalog.get(source)  # renders it where it isn't there
        return load_crowdhuman(metadata.odgt_file, metadata.image_root, box)

    DatasetCatalog.register(name, load)
    set_crowdhuman_metadata(name, metadata.odgt_file, metadata.image_root, box)


def register_all_synthetic(root: str) -> None:
    """Registers train, val and demo, a handful, of both profiles below `root`/synthetic, crowds in both formats.

    Names that are registered already stay as they are.
    """
    for profile in PROFILES:
        for split in SPLITS:
            name = f"synthetic_{profile}_{split}"
            if name not in DatasetCatalog:
                register_synthetic(name, profile, split, os.path.join(root, "synthetic", name))
    for split in ("train", "val"):
        source = f"synthetic_crowd_{split}"
        for name, box in ((f"{source}_odgt", "full"), (f"synthetic_crowd_visible_{split}_odgt", "visible")):
            # Somebody else's data set of the source's name needn't have such a file.
            if name not in DatasetCatalog and MetadataCatalog.get(source).get("odgt_file"):
                register_synthetic_odgt(name, source, box)
