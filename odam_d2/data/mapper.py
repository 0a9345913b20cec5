"""How a LazyConfig's test mapper makes a detector's input from an image."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T  # noqa: N812  Detectron2's own habit
from omegaconf import DictConfig, ListConfig, OmegaConf
from PIL import Image

from .inputs import InputMaker

logger = logging.getLogger(__name__)

# Where mappers keep what they do to images, and the format that they read them in: Detectron2's own, and those of
# projects that began with it.
_AUGMENTATIONS = ("augmentations", "augmentation", "tfm_gens", "aug")
_FORMATS = ("image_format", "img_format")
# Of the image that a project's mapper is tried on: wider than high, so that sides aren't taken for each other.
_TRIAL_SIZE = (48, 80)


def input_maker(cfg: DictConfig) -> InputMaker:
    """What a LazyConfig's ``dataloader.test.mapper`` makes of images.

    Where there is no mapper, images are resized as Detectron2 does by default, in the format that ``model`` names.

    Args:
        cfg: the LazyConfig.

    Raises:
        ValueError: if the mapper can't be built, isn't understood, or does what :class:`InputMaker` refuses.
    """
    node = OmegaConf.select(cfg, "dataloader.test.mapper", default=None)
    if node is None:
        input_format = mapper_format(cfg, "test")
        logger.warning("the config has no dataloader.test.mapper: images are resized to 800 .. 1333, %s", input_format)
        return InputMaker(input_format=input_format)
    try:
        mapper = instantiate(node)
    # A mapper can be wrong in many ways.
    except Exception as error:
        raise ValueError(
            f"`dataloader.test.mapper` must be a mapper of test images; building it failed with "
            f"{type(error).__name__}: {error}"
        ) from error
    return _maker_of(mapper)


def mapper_format(cfg: DictConfig, split: str) -> str:
    """The format in which the mapper of ``test`` or ``train`` reads images; that of ``model``, or BGR, by default."""
    places = [f"dataloader.{split}.mapper.{name}" for name in _FORMATS] + ["model.input_format"]
    named = (OmegaConf.select(cfg, place, default=None) for place in places)
    return next((name for name in named if name), "BGR")


def _maker_of(mapper: Any) -> InputMaker:
    found = [vars(mapper)[name] for name in _AUGMENTATIONS if name in getattr(mapper, "__dict__", {})]
    formats = [vars(mapper)[name] for name in _FORMATS if name in getattr(mapper, "__dict__", {})]
    if not found or not formats or getattr(mapper, "is_train", False):
        lacks = "is_train" if found and formats else "augmentations and an image_format"
        raise ValueError(
            f"`dataloader.test.mapper` must have augmentations, image_format and is_train=False; got a "
            f"{type(mapper).__name__}, whose {lacks} can't be used: name Detectron2's DatasetMapper there, which says "
            "how images are resized"
        )
    steps = found[0].augs if isinstance(found[0], T.AugmentationList) else found[0]
    several = isinstance(steps, list | tuple | ListConfig)
    maker = InputMaker(input_format=formats[0], augmentations=list(steps) if several else [steps])
    if type(mapper) is not DatasetMapper:
        _require_same_input(mapper, maker)
    return maker


def _require_same_input(mapper: Any, maker: InputMaker) -> None:
    """Raises ValueError where a project's own mapper makes something else of an image than it seems to."""
    height, width = _TRIAL_SIZE
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = maker(np.ascontiguousarray(pixels[:, :, ::-1]))["image"]
    with tempfile.TemporaryDirectory(prefix="odam_d2-") as folder:
        file = Path(folder) / "trial.png"
        Image.fromarray(pixels).save(file)
        record = {"file_name": str(file), "height": height, "width": width, "image_id": 0, "annotations": []}
        try:
            found = torch.as_tensor(mapper(record)["image"]).float()
        # It may want more of a record than an image has.
        except Exception as error:
            logger.warning(
                "%s couldn't be tried (%s: %s): its augmentations and format are taken at their word",
                type(mapper).__name__, type(error).__name__, error,
            )  # fmt: skip
            return
    if maker.padding is not None:
        found = found[:, : expected.shape[1], : expected.shape[2]]
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-4, atol=1e-2):
        raise ValueError(
            f"`dataloader.test.mapper` must make of an image what its augmentations and format say; got other pixels "
            f"from {type(mapper).__name__}, {tuple(found.shape)} beside {tuple(expected.shape)}: name Detectron2's "
            "DatasetMapper there"
        )
