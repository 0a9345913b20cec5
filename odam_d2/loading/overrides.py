"""Changes to a LazyConfig on a command line, in Hydra's grammar, as Detectron2's ``lazyconfig_train_net.py`` has it.

Detectron2 adds every key that isn't there. A misspelt one would then change nothing, in silence, so new keys are taken
only where something refuses those that it doesn't know: among the arguments of what is built, and below ``odam``.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from detectron2.config import LazyConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

# Read by Detectron2's set-up or by this package, so that they may be given where a config leaves them out.
_READ = tuple(
    f"train.{name}"
    for name in (
        "init_checkpoint", "device", "seed", "cudnn_benchmark", "output_dir", "max_iter", "eval_period", "log_period",
        "amp.enabled", "checkpointer.period", "checkpointer.max_to_keep",
    )
)  # fmt: skip


def apply_overrides(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Applies ``key=value`` pairs to a LazyConfig, in place; ``+key=value`` adds a key wherever it stands.

    Raises:
        ValueError: if one can't be parsed, its key isn't there, or it can't be changed.
    """
    for text in overrides:
        try:
            (parsed,) = OverridesParser.create().parse_overrides([text])
        except HydraException as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"options at the end must be key=value for a LazyConfig; got {text!r} ({reason}): write "
                "train.init_checkpoint=/path/to/weights.pth, with quotes around what has spaces or brackets"
            ) from error
        key = parsed.key_or_group
        if parsed.input_line is None or "=" not in text or parsed.is_delete():
            raise ValueError(f"options at the end must be key=value for a LazyConfig; got {text!r}: nothing is deleted")
        if not (parsed.is_add() or _may_be_set(cfg, key)):
            near = get_close_matches(key, _keys(cfg), n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(
                f"options at the end must name keys of the LazyConfig; there is no {key!r}: {hint}+{key}=... adds it"
            )
        try:
            LazyConfig.apply_overrides(cfg, [text])
        except (KeyError, NotImplementedError, HydraException, OmegaConfBaseException) as error:
            raise ValueError(f"the option {text!r} must change a key of the LazyConfig; it can't: {error}") from error


def _may_be_set(cfg: DictConfig, key: str) -> bool:
    if key in _READ or key == "odam" or key.startswith("odam."):
        return True
    node: Any = cfg
    parts = key.split(".")
    for number, part in enumerate(parts):
        if not OmegaConf.is_config(node):
            return False
        if isinstance(node, DictConfig):
            if part not in node:
                # An argument that isn't spelt out, of a call that is.
                return "_target_" in node and number == len(parts) - 1
            node = None if OmegaConf.is_missing(node, part) else node[part]
        else:
            if not part.isdecimal() or int(part) >= len(node):
                return False
            node = node[int(part)]
    return True


def _keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    found: list[str] = []
    names: list[Any] = list(cfg)
    for name in names:
        found.append(f"{prefix}{name}")
        if not OmegaConf.is_missing(cfg, name) and not OmegaConf.is_interpolation(cfg, name):
            value = cfg[name]
            found += _keys(value, f"{prefix}{name}.") if isinstance(value, DictConfig) else []
    return found
