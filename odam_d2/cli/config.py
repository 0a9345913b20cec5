"""What ``--config-file`` and the options behind it mean, the same for all commands."""

from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from ..config import add_odam_config, use_traced_architectures
from ..data import register_datasets
from ..model_zoo import model_zoo
from ..utils.imports import import_file_or_module


def read_config(
    config_file: str,
    opts: Sequence[str] = (),
    imports: Sequence[str] = (),
    trained: bool = False,
    traced: bool = True,
) -> CfgNode:
    """The config that a command line describes: the file, then this machine's device, then the options.

    Args:
        config_file: a yaml file, or a name of either model zoo, see :func:`odam_d2.model_zoo.find`.
        opts: keys and values in turn.
        imports: files or modules to import first.
        trained: whether MODEL.WEIGHTS shall be those that the config was trained to, where a model zoo has them;
            otherwise they are those that its training begins with. Options come before either.
        traced: whether to put detectors that keep a trace in the place of Detectron2's.

    Returns:
        The config, not frozen, on a GPU if there is one. The project's data sets are registered.

    Raises:
        ImportError: if an import fails.
        ValueError: if there is no such config, or it can't be read, or an option is unknown.
    """
    for name in imports:
        import_file_or_module(name)
    register_datasets()
    cfg = get_cfg()
    add_odam_config(cfg)
    file, weights = model_zoo.find(config_file)
    try:
        cfg.merge_from_file(file)
        if trained and weights:
            cfg.MODEL.WEIGHTS = weights
        if not torch.cuda.is_available():
            cfg.MODEL.DEVICE = "cpu"
        cfg.merge_from_list(list(opts))
    except (KeyError, AssertionError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(
            f"the config must be Detectron2's with the node ODAM; {file!r} with {list(opts)}: {error}"
        ) from error
    if traced:
        use_traced_architectures(cfg)
    return cfg


def read_run_config(
    config_file: str,
    opts: Sequence[str],
    score_threshold: float,
    max_detections: int,
    imports: Sequence[str] = (),
) -> CfgNode:
    """The config of a trained detector that is run on images.

    Args:
        config_file: see :func:`read_config`, as the next.
        opts: keys and values in turn.
        score_threshold: lowest score of a detection, in [0, 1].
        max_detections: most detections of an image.
        imports: files or modules to import first.

    Returns:
        The config, frozen.

    Raises:
        ImportError: if an import fails.
        ValueError: if there is no such config, an option is unknown, or no weights are named.
    """
    cfg = read_config(config_file, opts, imports, trained=True)
    if not cfg.MODEL.WEIGHTS:
        raise ValueError(
            f"MODEL.WEIGHTS must name a checkpoint; {config_file!r} names none: add MODEL.WEIGHTS PATH at the end"
        )
    if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
        raise ValueError(f"INPUT.FORMAT must be BGR or RGB; got {cfg.INPUT.FORMAT!r}: other formats can't be shown")
    for node in (cfg.MODEL.ROI_HEADS, cfg.MODEL.RETINANET, cfg.ODAM.FCOS, cfg.ODAM.DETR):
        node.SCORE_THRESH_TEST = score_threshold
    cfg.TEST.DETECTIONS_PER_IMAGE = min(cfg.TEST.DETECTIONS_PER_IMAGE, max_detections)
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
