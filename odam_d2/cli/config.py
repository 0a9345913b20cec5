"""What ``--config-file`` and the options behind it mean, the same for all commands."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode

from ..data.coco import category_names
from ..loading import DetectorConfig, read_detector_config
from ..loading.yaml_config import YamlConfig
from ..model_zoo.addresses import PREFIX
from ..utils.calibration import calibrate_frozen_norms
from ..utils.untyped import UntypedModule


def read_config(args: argparse.Namespace, trained: bool = False, traced: bool = True) -> DetectorConfig:
    """The config that a command line describes: the file, then this machine's device, then the options.

    Args:
        args: of :func:`odam_d2.cli.arguments.add_config`.
        trained: whether to take the trained weights, if a model zoo has some for this config. By default they stay
            those that training begins with. An option overrides both.
        traced: whether to replace Detectron2's architectures by those that keep a trace.

    Returns:
        The config, on a GPU if there is one. The project's data sets are registered.

    Raises:
        ImportError: if an import fails.
        ValueError: if there is no such config, or it can't be read, or an option is unknown.
    """
    # Behind an option that takes several words, the options at the end begin after a `--`.
    opts = args.opts[1:] if args.opts[:1] == ["--"] else args.opts
    names = None if args.class_names is None else read_class_names(args.class_names)
    return read_detector_config(args.config_file, opts, args.imports, args.config_hooks, trained, traced, names)


def read_class_names(given: Sequence[str]) -> tuple[str, ...]:
    """The names that ``--class-names`` gives: themselves, or the lines of a text file, or a COCO file's categories.

    Raises:
        ValueError: if there are none, two classes share a name, or a file can't be read.
    """
    names = tuple(given)
    if len(given) == 1 and (file := Path(given[0])).suffix.lower() in (".txt", ".names", ".json"):
        if file.suffix.lower() == ".json":
            names = category_names(file)
        else:
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"`--class-names` must be names or a readable file; got {given[0]!r}: {error}"
                ) from error
            names = tuple(line.strip() for line in lines if line.strip())
        if not names:
            raise ValueError(
                f"`--class-names` must be names, a text file with one a line, or a COCO file; got {given[0]!r} without "
                "any: check the file"
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"`--class-names` must be different names; got {twice} more than once: name classes apart")
    return names


def read_run_config(args: argparse.Namespace, score_threshold: float, max_detections: int) -> DetectorConfig:
    """The config of a trained detector that is run on images; on the CPU where several processes share one.

    Args:
        args: see :func:`read_config`; ``num_processes`` where the command has it.
        score_threshold: lowest score of a detection, in [0, 1].
        max_detections: most detections of an image.

    Raises:
        ImportError: if an import fails.
        ValueError: if there is no such config, an option is unknown, or no weights are named.
    """
    read = read_config(args, trained=True)
    read.require_weights()
    read.limit(score_threshold, max_detections)
    if torch.cuda.is_available() and getattr(args, "num_processes", 1) > 1:
        read.device = "cpu"
    return read


def require_yaml(read: DetectorConfig) -> CfgNode:
    """The node of a yaml config.

    Raises:
        ValueError: if it is a LazyConfig.
    """
    if not isinstance(read, YamlConfig):
        raise ValueError("`--config-file` must be a yaml config here; got a LazyConfig: this works on yaml keys")
    return read.node


def build_bundled_or_random(read: DetectorConfig, batched_inputs: list[dict]) -> UntypedModule:
    """The detector with its bundled weights, or else with random ones: for what doesn't depend on training.

    Args:
        read: of :func:`read_config` with `trained`; weights are loaded where they are bundled with the package.
        batched_inputs: images on which the frozen norms of random weights are calibrated, so that outputs are finite.

    Raises:
        ValueError: if it can't be built, or the bundled weights don't fit the options.
    """
    model = read.build()
    if read.weights.startswith(PREFIX):
        read.load_weights(model)
    else:
        calibrate_frozen_norms(model, batched_inputs)
    return model
