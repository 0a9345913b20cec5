"""Synthetic data sets by name, rendered on first use.

They are rendered into `$DETECTRON2_DATASETS/synthetic/<name>` (default `datasets/synthetic/<name>`). A folder counts as
complete when its `manifest.json` says exactly what would be rendered now; it is rendered beside its place and moved
there at once, so that a rendering that was interrupted leaves nothing that looks complete.
"""

import json
import os
import shutil
import tempfile

import cv2
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.build import trivial_batch_collator
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode
from iopath.common.file_io import file_lock
from tqdm import tqdm

from ...utils.files import safe_name
from ..crowdhuman import load_crowdhuman, set_crowdhuman_metadata
from .profiles import GENERATOR_VERSION, PROFILES, SPLITS
from .scenes import SyntheticScenes
from .writers import encode_jpeg, write_images

EXTRA_FIELDS = ("full_box", "visible_box", "head_box", "visible_fraction")
_WORKERS = 2


class _Encoded(torch.utils.data.Dataset):
    """Images of a `SyntheticScenes` as (JPEG bytes, record with a file name), for worker processes."""

    def __init__(self, scenes, name):
        self.scenes, self.name = scenes, safe_name(name)

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, index):
        image, record = self.scenes[index]
        return encode_jpeg(image), {"file_name": f"{self.name}_{index:06d}.jpg", **record}


def _one_thread(_worker):
    cv2.setNumThreads(0)


def render_dataset(scenes, name: str, folder: str) -> bool:
    """Makes sure that `folder` holds the images and annotations of `scenes`.

    Args:
        scenes: a `SyntheticScenes`.
        name: starts the file names.
        folder: gets `images/`, `coco.json`, `annotations.odgt` and `manifest.json`; what it held before is replaced
            when it isn't complete or comes from another generator version, seed or size.

    Returns:
        True when it was rendered now, False when it was there already.
    """
    folder = os.path.abspath(folder)
    manifest = {
        "name": name,
        "generator_version": GENERATOR_VERSION,
        "profile": scenes.profile,
        "split": scenes.split,
        "seed": scenes.seed,
        "num_images": len(scenes),
    }
    if _is_complete(folder, manifest):
        return False
    parent = os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    with file_lock(folder):  # several processes of one training may ask at the same time; one renders
        if _is_complete(folder, manifest):
            return False
        prefix = f".{os.path.basename(folder)}."
        for left_over in (entry for entry in os.listdir(parent) if entry.startswith(prefix)):
            shutil.rmtree(os.path.join(parent, left_over), ignore_errors=True)  # of a process that was killed
        aside = tempfile.mkdtemp(prefix=prefix, dir=parent)
        try:
            loader = torch.utils.data.DataLoader(
                _Encoded(scenes, name),
                batch_size=None,
                num_workers=_WORKERS,
                collate_fn=trivial_batch_collator,
                worker_init_fn=_one_thread,
            )
            write_images(tqdm(loader, desc=f"rendering {name}", unit="image"), aside, scenes.thing_classes)
            with open(os.path.join(aside, "manifest.json"), "w", encoding="utf-8") as file:
                json.dump(manifest, file)
            os.chmod(aside, 0o755)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return True


def _is_complete(folder: str, manifest: dict) -> bool:
    try:
        with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
            return json.load(file) == manifest
    except (OSError, ValueError):
        return False


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


def register_synthetic_odgt(name: str, source: str) -> None:
    """Enters a synthetic data set once more in Detectron2's catalogs, as CrowdHuman's reader finds it.

    It has people only, knows no masks, and is scored as CrowdHuman is.

    Args:
        name: name in the catalogs.
        source: name under which :func:`register_synthetic` entered it.
    """
    metadata = MetadataCatalog.get(source)

    def load():
        DatasetCatalog.get(source)  # renders it where it isn't there
        return load_crowdhuman(metadata.odgt_file, metadata.image_root)

    DatasetCatalog.register(name, load)
    set_crowdhuman_metadata(name, metadata.odgt_file, metadata.image_root)


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
        if f"synthetic_crowd_{split}_odgt" not in DatasetCatalog:
            register_synthetic_odgt(f"synthetic_crowd_{split}_odgt", f"synthetic_crowd_{split}")
