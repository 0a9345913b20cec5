"""Keys that a project adds to Detectron2's yaml configs: its function ``add_x_config``, named on the command line."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from detectron2.config import CfgNode, get_cfg

from ..config import add_odam_config
from ..utils.imports import import_file_or_module

_ADDS = re.compile(r"add_\w*(config|cfg)s?")
_UNKNOWN = re.compile(r"Non-existent (?:config )?key: ([\w.]+)")
# Projects that Detectron2 itself brings along.
_BROUGHT_ALONG = ("point_rend", "deeplab", "panoptic_deeplab")


def base_config(hooks: Sequence[str]) -> CfgNode:
    """Detectron2's default config with the node ODAM, and what hooks add.

    Args:
        hooks: ``module:function`` or ``file.py:function`` in the order in which they are called: each with the config,
            which it adds keys to; or, if it takes no argument, for a config of its own, which keys are then added to.
            Without ``:function`` it is the only ``add_*_config`` of the module.

    Raises:
        ImportError: if a module can't be imported.
        ValueError: if it has no such function, or that fails.
    """
    cfg, calls = get_cfg(), [(name, _find(name)) for name in hooks]
    for name, add in calls:
        if not inspect.signature(add).parameters:
            cfg = _called(name, add)
            if not isinstance(cfg, CfgNode):
                raise ValueError(
                    f"`--config-hook` must name what takes a config, or returns one; got {name!r}, which returns a "
                    f"{type(cfg).__name__}"
                )
    add_odam_config(cfg)
    for name, add in calls:
        if inspect.signature(add).parameters:
            _called(name, add, cfg)
    return cfg


def _called(name: str, add: Callable, *args: CfgNode) -> CfgNode:
    try:
        return add(*args)
    # It is somebody else's.
    except Exception as error:
        raise ValueError(
            f"`--config-hook` must add its keys to a config; {name!r} fails with {type(error).__name__}: {error}"
        ) from error


def _find(name: str) -> Callable:
    place, colon, function = name.rpartition(":")
    # A drive of Windows is no module.
    if not colon or "/" in function or "\\" in function:
        place, function = name, ""
    module = import_file_or_module(place)
    known = _functions_of(module)
    if function:
        found = getattr(module, function, None)
        if not callable(found):
            raise ValueError(
                f"`--config-hook` must name a function; {place!r} has no {function!r}: it has {sorted(known) or 'none'}"
            )
        return found
    if len(known) != 1:
        raise ValueError(
            f"`--config-hook` must be MODULE:FUNCTION where the module hasn't one add_*_config; {place!r} has "
            f"{sorted(known) or 'none'}: name the function"
        )
    return next(iter(known.values()))


def _functions_of(module: ModuleType) -> dict[str, Callable]:
    return {name: value for name, value in vars(module).items() if _ADDS.fullmatch(name) and callable(value)}


def unknown_key(error: Exception) -> str | None:
    """The key that a config doesn't have, where that is what the error says."""
    found = _UNKNOWN.search(str(error))
    return found.group(1) if found else None


def remedy_for(key: str, imports: Sequence[str], hooks: Sequence[str]) -> str:
    """What to add to the command line for a key that a config doesn't have.

    Args:
        key: the unknown one, with dots.
        imports: files or modules that were imported; their packages are searched for functions that add the key.
        hooks: what was given.
    """
    found = {hook: add for hook, add in _candidates(imports) if hook not in hooks}
    adding = next((hook for hook, add in found.items() if _adds(add, key)), None)
    if adding is not None:
        return f"add --config-hook {adding}"
    named = [f"--config-hook {hook}" for hook in found if not hook.startswith("detectron2.")]
    if named:
        return f"if it is a project's, name the function that adds it: {' or '.join(named)}"
    return "check its spelling; if it is a project's, name the function that adds it: --config-hook MODULE:add_x_config"


def _adds(add: Callable, key: str) -> bool:
    cfg = get_cfg()
    try:
        add(cfg)
    except Exception:  # it may want what another one adds
        return False
    return _has(cfg, key)


def _candidates(imports: Sequence[str]) -> Iterator[tuple[str, Callable]]:
    """Functions ``add_*_config`` of what was imported, and of projects that come with Detectron2, as hooks."""
    modules: dict[str, ModuleType] = {}
    for name in imports:
        module = import_file_or_module(name)
        modules[name if name.endswith(".py") else module.__name__] = module
        package = module.__name__.partition(".")[0]
        inside = {n: m for n, m in list(sys.modules.items()) if n.partition(".")[0] == package and m is not None}
        modules |= inside if not module.__name__.startswith("odam_d2_import_") else {}
        modules |= _config_modules(module)
    for name in _BROUGHT_ALONG:
        try:
            module = importlib.import_module(f"detectron2.projects.{name}")
        except Exception:  # not every installation has all
            continue
        modules[f"detectron2.projects.{name}"] = module
    for place, module in modules.items():
        for function, add in _functions_of(module).items():
            yield f"{place}:{function}", add


def _config_modules(module: ModuleType) -> dict[str, ModuleType]:
    """The module ``config`` beside what was imported, where there is one."""
    package = module.__name__ if hasattr(module, "__path__") else module.__package__
    if not package:
        return {}
    try:
        return {f"{package}.config": importlib.import_module(f"{package}.config")}
    except Exception:
        return {}


def _has(cfg: CfgNode, key: str) -> bool:
    node = cfg
    for part in key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            return False
        node = node[part]
    return True
