"""What ``--config-file`` and the options behind it mean, the same for all commands."""

from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ..config import use_traced_architectures
from ..model_zoo import model_zoo
from ..model_zoo.addresses import PREFIX
from ..utils.calibration import calibrate_frozen_norms
from ..utils.checkpoint import load_checkpoint_strictly
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
        trained: whether to point MODEL.WEIGHTS at the trained weights, if a model zoo has some for this config. By
            default it stays at the weights that training begins with. An option overrides both.
        traced: whether to replace Detectron2's architectures by those that keep a trace.

    Returns:
        The config, not frozen, on a GPU if there is one. The project's data sets are registered.

    Raises:
        ImportError: if an import fails.
        ValueError: if there is no such config, or it can't be read, or an option is unknown.
    """
    for name in imports:
        import_file_or_module(name)
    file, weights = model_zoo.find(config_file)
    try:
        cfg = model_zoo.get_config(config_file, trained=trained and weights is not None)
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
    """The detector that the config describes, in eval mode, with random weights.

    Raises:
        ValueError: if it can't be built.
    """
    try:
        return build_model(cfg).eval()
    # A config can be wrong in many ways, and each part of a detector raises its own kind of error.
    except Exception as error:
        raise ValueError(f"the config must describe a detector; building it failed: {error}") from error


def build_bundled_or_random(cfg: CfgNode, batched_inputs: list[dict]) -> torch.nn.Module:
    """The detector with its bundled weights, or else with random ones: for what doesn't depend on training.

    Args:
        cfg: of :func:`read_config` with `trained`; weights are loaded where they are bundled with the package.
        batched_inputs: images on which the frozen norms of random weights are calibrated, so that outputs are finite.

    Raises:
        ValueError: if it can't be built, or the bundled weights don't fit the options.
    """
    model = build_detector(cfg)
    if cfg.MODEL.WEIGHTS.startswith(PREFIX):
        load_checkpoint_strictly(model, cfg.MODEL.WEIGHTS)
    else:
        calibrate_frozen_norms(model, batched_inputs)
    return model
