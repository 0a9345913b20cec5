"""A folder of synthetic images, rendered whole or not at all.

A folder counts as complete when its `manifest.json` says exactly what would be rendered now. It is rendered beside its
place and moved there at once, so that a rendering that was interrupted leaves nothing that looks complete.
"""

import json
import os
import shutil
import tempfile

import cv2
import torch
from detectron2.data.build import trivial_batch_collator
from iopath.common.file_io import file_lock
from tqdm import tqdm

from ...utils.files import safe_name
from .profiles import GENERATOR_VERSION
from .writers import encode_jpeg, write_images

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
