"""Every config of Detectron2's zoo, further folders of configs, and their detectors; zoo.py and tests share it.

A case is a file, or a file with changes that this project wrote: options of a yaml, or a function that changes what was
read.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2 import model_zoo
from detectron2.config import CfgNode, LazyConfig, instantiate
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from omegaconf import DictConfig
from torch import nn

from odam_d2.config import use_traced_architectures
from odam_d2.loading.hooks import base_config

# Further folders of configs, separated as in PATH.
FOLDERS = "ODAM_ZOO_CONFIGS"
# What adds a project's keys to the configs there, as --config-hook takes it, separated by spaces.
HOOKS = "ODAM_ZOO_HOOKS"
# Detectron2's own projects: a file with an unknown key is read again with each.
_PROJECTS = (
    "detectron2.projects.point_rend:add_pointrend_config",
    "detectron2.projects.deeplab:add_deeplab_config",
    "detectron2.projects.panoptic_deeplab:add_panoptic_deeplab_config",
)


@dataclass(frozen=True)
class Case:
    """A detector of the zoo.

    Attributes:
        name: path below its folder; for a variant, what it is called.
        file: the config.
        options: keys and values in turn for a yaml.
        change: changes what was read, in place, before it is built.
    """

    name: str
    file: Path
    options: tuple = ()
    change: Callable[[Any], None] | None = None

    def read(self) -> CfgNode | DictConfig:
        """The config on the CPU without weights, as Detectron2 reads it.

        Raises:
            KeyError: if it has keys that neither Detectron2 nor its own projects know, or is no config of a model.
        """
        if self.file.suffix == ".py":
            cfg = LazyConfig.load(str(self.file))
            if "model" not in cfg:
                raise KeyError(f"{self.name} describes no model")
            cfg = cfg.model
        else:
            cfg = _read_yaml(self.file, self.options)
            cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
        if self.change is not None:
            self.change(cfg)
        return cfg

    def build(self, traced: bool) -> nn.Module:
        """Detectron2's own detector, or, if `traced`, what our configs put in its place, with random weights."""
        cfg = self.read()
        if traced:
            use_traced_architectures(cfg)
        torch.manual_seed(0)
        return (instantiate(cfg) if isinstance(cfg, DictConfig) else build_model(cfg)).eval()

    @cached_property
    def description(self) -> str:
        """All that decides what is built, as text: two cases of one description are one detector."""
        try:
            cfg = self.read()
        except Exception as error:
            return f"{self.name}: {error}"
        text = str(cfg) if isinstance(cfg, DictConfig) else f"{_deciding(cfg.MODEL)} {cfg.TEST.DETECTIONS_PER_IMAGE}"
        return re.sub(r" at 0x[0-9a-f]+|'freeze_at': \d,?", "", text)

    @cached_property
    def takes_proposals(self) -> bool:
        """Whether images come with proposals, as for Fast R-CNN."""
        cfg = self.read()
        return isinstance(cfg, CfgNode) and cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals"

    def inputs(self, size: tuple[int, int] = (96, 128)) -> list[dict]:
        """Two images of different sizes, of which the first was twice as large; the second is padded."""
        height, width = size
        made = []
        for number, (h, w, scale) in enumerate(((height, width, 2), (height * 3 // 4, width * 4 // 5, 1))):
            generator = torch.Generator().manual_seed(number)
            coarse = torch.rand(1, 3, h // 16 + 2, w // 16 + 2, generator=generator)
            image = nn.functional.interpolate(coarse, (h, w), mode="bilinear")[0] * 255
            made.append({"image": image, "height": scale * h, "width": scale * w})
            if self.takes_proposals:
                corners = torch.rand(30, 2, 2, generator=generator) * torch.tensor([w, h])
                boxes = torch.cat([corners.amin(1), corners.amax(1) + 8], 1)
                made[-1]["proposals"] = Instances((h, w), proposal_boxes=Boxes(boxes))
                made[-1]["proposals"].objectness_logits = torch.linspace(2, -2, 30)
        return made


def zoo_folder() -> Path:
    """Where Detectron2 keeps its configs."""
    return Path(model_zoo.get_config_file("Base-RCNN-FPN.yaml")).parent


def cases_in(folder: Path, prefix: str = "") -> list[Case]:
    """A case for each config below a folder, in the order of their names; parts that configs share are left out."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".py"))
    return [Case(prefix + path.relative_to(folder).as_posix(), path) for path in files if _is_model(path)]


def all_files() -> Iterator[Case]:
    """Detectron2's configs, then those of the folders that the environment names."""
    yield from cases_in(zoo_folder())
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise ValueError(f"{FOLDERS} must name folders; got {folder!r}: separate several by {os.pathsep!r}")
        yield from cases_in(Path(folder), f"{Path(folder).name}/")


def _is_model(path: Path) -> bool:
    if path.suffix == ".yaml":
        return True
    text = path.read_text(encoding="utf-8")
    return path.parent.name == "models" or "model" in text and "train" in text and "optimizer" in text


def _deciding(node: CfgNode) -> dict[str, Any]:
    """What inference depends on: all but the keys of training."""
    training = re.compile("^WEIGHTS$|FREEZE|LOSS|TRAIN|BATCH_SIZE|FRACTION|IOU_THRESHOLDS|IOU_LABELS|GT_LABEL")
    kept = {key: value for key, value in node.items() if not training.search(key)}
    return {key: _deciding(value) if isinstance(value, CfgNode) else value for key, value in kept.items()}


def _read_yaml(file: Path, options: tuple) -> CfgNode:
    given = os.environ.get(HOOKS, "").split()
    unknown: Exception | None = None
    for hooks in ([], *([project] for project in _PROJECTS), *([given] if given else [])):
        try:
            # A project can need packages that are not here, and then has no detectors either.
            cfg = base_config(hooks)
            cfg.merge_from_file(str(file))
            cfg.merge_from_list(list(options))
            return cfg
        except (KeyError, AssertionError, ImportError, ValueError) as error:
            unknown = error if unknown is None or hooks == given else unknown
    assert unknown is not None  # there was a first try
    raise unknown
