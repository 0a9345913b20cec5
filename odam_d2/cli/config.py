"""The detector of a run: what a command line's ``--config-file`` and the options behind it stand for."""

import os
from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from ..config import add_odam_config, use_traced_architectures
from ..data import register_datasets
from ..model_zoo import model_zoo


def read_run_config(config_file: str, opts: Sequence[str], score_threshold: float, max_detections: int) -> CfgNode:
    """The config of a run: yaml or model zoo name, then options, then what this machine can do.

    Args:
        config_file: a file, or a name of the model zoo.
        opts: keys and values in turn.
        score_threshold: lowest score of a detection, in [0, 1].
        max_detections: most detections of an image.

    Raises:
        ValueError: if there is no such config, an option is unknown, or no weights are named.
    """
    register_datasets()
    cfg = get_cfg()
    add_odam_config(cfg)
    file = config_file if os.path.isfile(config_file) else model_zoo.get_config_file(config_file)
    try:
        cfg.merge_from_file(file)
        if not torch.cuda.is_available():
            cfg.MODEL.DEVICE = "cpu"
        cfg.merge_from_list(list(opts))
    except (KeyError, AssertionError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(
            f"the config must be Detectron2's with the node ODAM; {file!r} with {list(opts)}: {error}"
        ) from error
    # What a bundled detector's own yaml names are the weights that its training began with.
    for name in model_zoo.available() if "MODEL.WEIGHTS" not in opts else ():
        if os.path.samefile(file, model_zoo.get_config_file(name)):
            cfg.MODEL.WEIGHTS = model_zoo.get_checkpoint_url(name)
    if not cfg.MODEL.WEIGHTS:
        raise ValueError(
            f"MODEL.WEIGHTS must name a checkpoint; {file!r} names none: add MODEL.WEIGHTS PATH at the end"
        )
    if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
        raise ValueError(f"INPUT.FORMAT must be BGR or RGB; got {cfg.INPUT.FORMAT!r}: other formats can't be shown")
    for node in (cfg.MODEL.ROI_HEADS, cfg.MODEL.RETINANET, cfg.ODAM.FCOS, cfg.ODAM.DETR):
        node.SCORE_THRESH_TEST = score_threshold
    cfg.TEST.DETECTIONS_PER_IMAGE = min(cfg.TEST.DETECTIONS_PER_IMAGE, max_detections)
    use_traced_architectures(cfg)
    cfg.freeze()
    return cfg


def build_detector(cfg: CfgNode) -> torch.nn.Module:
    """The detector that the config describes, in eval mode, at its random start.

    Raises:
        ValueError: if it can't be built.
    """
    try:
        return build_model(cfg).eval()
    # A config can be wrong in about any way, and each part of a detector complains in its own.
    except Exception as error:
        raise ValueError(f"the config must describe a detector; building it failed: {error}") from error
