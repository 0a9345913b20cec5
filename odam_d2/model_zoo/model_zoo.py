"""Configs and trained weights that come with the package.

A name is the path of a yaml below ``configs`` without its suffix; its weights, where bundled, lie under the same path
below this folder's ``weights``, packed: they are read by their address (:mod:`odam_d2.model_zoo.addresses`).
"""

import os
from pathlib import Path

import torch
from detectron2.config import CfgNode, LazyConfig, get_cfg, instantiate
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager
from omegaconf import DictConfig, OmegaConf

from ..config import add_odam_config
from ..data import register_datasets
from ..utils.checkpoint import OdamCheckpointer
from .addresses import BUNDLED, PREFIX
from .relative import find_beside

_HERE = Path(__file__).resolve().parent


def _configs() -> Path:
    """The yamls: inside an installed package, or beside the package in a checkout."""
    installed = _HERE / "configs"
    return installed if installed.is_dir() else _HERE.parent.parent / "configs"


def available() -> list[str]:
    """Names of the bundled detectors with trained weights, sorted."""
    return [name.removesuffix(".pth") for name in BUNDLED.names()]


def get_config_file(name: str) -> str:
    """Path of the yaml called `name`, or of the LazyConfig if it ends in ``.py``.

    Raises:
        ValueError: if there is none; lists the known names.
    """
    path = _configs() / (name if name.endswith(".py") else f"{name.removesuffix('.yaml')}.yaml")
    if not path.is_file():
        found = (p.relative_to(_configs()) for p in _configs().rglob("*") if p.suffix in (".yaml", ".py"))
        known = sorted(p.as_posix().removesuffix(".yaml") for p in found)
        raise ValueError(
            f"`name` must be a config of the model zoo, of Detectron2's, or a yaml file; got {name!r}: choose one of "
            f"{known}"
        )
    return str(path)


def get_checkpoint_url(name: str) -> str:
    """Address of the trained weights called `name`, for ``MODEL.WEIGHTS`` and Detectron2's checkpointers.

    Raises:
        ValueError: if none are bundled; lists those that are.
    """
    name = name.removesuffix(".yaml")
    if name not in available():
        raise ValueError(
            f"`name` must be a bundled detector; got {name!r}: choose one of {available()}, or train it with odam train"
        )
    return f"{PREFIX}{name}.pth"


def find(name: str | os.PathLike) -> tuple[str, str | None]:
    """What a config is called by: a file, a name of this model zoo, or a name of Detectron2's.

    Where both zoos have the name, it is Detectron2's if it ends in ``.yaml``, as names end there, and else this one's.
    A name that ends in ``.py`` is that of a LazyConfig; without an ending it is one where there is no yaml.

    Args:
        name: e.g. ``my.yaml``, ``synthetic/faster_rcnn_compact_FPN``, ``COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml``,
            ``COCO-Detection/fcos_R_50_FPN_1x.py``.

    Returns:
        Path of the yaml or ``.py``, and the address of its trained weights. They are the bundled ones, or else
        those that Detectron2 has under the same name, also for the file of a bundled config; None where neither has
        any.

    Raises:
        ValueError: if there is no such config; lists the names of this zoo.
    """
    name = os.fspath(name)
    if os.path.isfile(name):
        same = [one for one in available() if os.path.samefile(name, get_config_file(one))]
        return name, get_checkpoint_url(same[0]) if same else None
    if name.endswith(".py"):
        theirs, trained = _of_detectron2(name)
        return theirs or get_config_file(name), trained
    stem = name.removesuffix(".yaml")
    if stem in available():
        return get_config_file(stem), get_checkpoint_url(stem)
    theirs, trained = _of_detectron2(f"{stem}.yaml")
    if not theirs and not name.endswith(".yaml") and not (_configs() / f"{stem}.yaml").is_file():
        theirs, trained = _of_detectron2(f"{stem}.py")
    if theirs and (name.endswith(".yaml") or not (_configs() / f"{stem}.yaml").is_file()):
        return theirs, trained
    return get_config_file(name), trained


def _of_detectron2(name: str) -> tuple[str | None, str | None]:
    """Config and weights of this name in Detectron2's zoo, None for what it doesn't have."""
    # Here, since it brings setuptools along, and the bundled detectors don't need it.
    from detectron2 import model_zoo as detectron2_zoo

    found: list[str | None] = []
    for ask in (detectron2_zoo.get_config_file, detectron2_zoo.get_checkpoint_url):
        try:
            found.append(ask(name))
        except RuntimeError:
            found.append(None)
    return found[0], found[1]


def get_checkpoint_path(name: str) -> str:
    """Path of a plain checkpoint with the trained weights called `name`, which ``torch.load`` can read too.

    It lies in a cache folder: keep the address (:func:`get_checkpoint_url`) rather than the path.

    Raises:
        ValueError: if none are bundled; lists those that are.
    """
    return PathManager.get_local_path(get_checkpoint_url(name))


def get_config(name: str, trained: bool = True) -> CfgNode | DictConfig:
    """The config called `name`, not frozen, on a GPU if there is one; the data sets that it may name are registered.

    Args:
        name: see :func:`find`.
        trained: also point ``MODEL.WEIGHTS``, or a LazyConfig's ``train.init_checkpoint``, at the trained weights. What
            a config itself names there is a path from the working folder, or else from the config's: see
            :func:`odam_d2.model_zoo.relative.find_beside`.

    Raises:
        ValueError: if there is no such config, or none of its trained weights.
    """
    file, weights = find(name)
    register_datasets()
    weights = (weights or get_checkpoint_url(name)) if trained else None
    if file.endswith(".py"):
        lazy = LazyConfig.load(file)
        if weights:
            OmegaConf.update(lazy, "train.init_checkpoint", weights, force_add=True)
        if not torch.cuda.is_available():
            OmegaConf.update(lazy, "train.device", "cpu", force_add=True)
        return lazy
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.merge_from_file(file)
    cfg.MODEL.WEIGHTS = weights or find_beside(cfg.MODEL.WEIGHTS, file)
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def get(name: str, trained: bool = True, device: str | None = None) -> torch.nn.Module:
    """The detector called `name`, in eval mode.

    Args:
        name: e.g. ``synthetic/faster_rcnn_compact_FPN``.
        trained: with the bundled weights; else initialised at random.
        device: where to put it; default a GPU if there is one.
    """
    cfg = get_config(name, trained)
    if isinstance(cfg, DictConfig):
        model, weights = instantiate(cfg.model).to(device or cfg.train.device), cfg.train.init_checkpoint
    else:
        if device is not None:
            cfg.MODEL.DEVICE = device
        model, weights = build_model(cfg), cfg.MODEL.WEIGHTS
    if trained:
        OdamCheckpointer(model).load(weights)
    return model.eval()
