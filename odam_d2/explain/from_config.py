"""From a config to an explainer, in the same way for every tool and every script."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from omegaconf import DictConfig
from torch import nn

from ..config import odam_node
from .base import METHODS, Explainer, options_of
from .build import build_comparison, build_explainer
from .compare import MethodComparison

# Keys of ODAM that are options of some methods -> their names there.
OF_METHODS = {"SMOOTHING": "smoothing", "CENTER_PRIOR": "center_prior"}


def explainer_options(cfg: CfgNode | DictConfig, **given: Any) -> dict[str, Any]:
    """Arguments of :func:`build_explainer`: those given, and the config's for the rest.

    The config is for all methods, so what does not apply to the method is left out: smoothing and center prior for a
    method without them, engine and layer for one without gradients, attributes that it doesn't explain. What is given
    is never left out; the method refuses what it can't do.

    Args:
        cfg: a config with the node ``ODAM``, or a LazyConfig, see :func:`odam_d2.config.odam_node`.
        given: arguments of :func:`build_explainer`, options of the method included; None for what the config says.
    """
    given = {name: value for name, value in given.items() if value is not None}
    odam = odam_node(cfg)
    options: dict[str, Any] = {"method": odam.METHOD, "attributes": tuple(odam.ATTRIBUTES)}
    options |= {"engine": odam.ENGINE, "layer": odam.LAYER, "group_norm": odam.GROUP_NORM}
    options |= {name: odam[key] for key, name in OF_METHODS.items()}
    method = given.get("method", odam.METHOD)
    if method in METHODS:
        kind = METHODS[method]
        if kind.explains is not None:
            options["attributes"] = tuple(name for name in options["attributes"] if name in kind.explains)
        left_out = set() if kind.uses_gradients else {"engine", "layer"}
        left_out |= set(OF_METHODS.values()) - set(options_of(kind))
        options = {name: value for name, value in options.items() if name not in left_out}
    return options | given


def explainer_from_config(model: nn.Module, cfg: CfgNode | DictConfig, **given: Any) -> Explainer:
    """Builds what explains the detections of `model` as ``cfg.ODAM`` says.

    Args:
        model: see :func:`build_explainer`.
        cfg: a config with the node ``ODAM``, or a LazyConfig: METHOD, ATTRIBUTES, ENGINE, LAYER, GROUP_NORM, SMOOTHING,
            CENTER_PRIOR.
        given: arguments of :func:`build_explainer` that override the config's; None for what the config says.

    Raises:
        ValueError: as :func:`build_explainer`.
        TypeError: as :func:`build_explainer`.
    """
    return build_explainer(model, **explainer_options(cfg, **given))


def comparison_from_config(
    model: nn.Module,
    cfg: CfgNode | DictConfig,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]],
    attributes: Sequence[str] | None = None,
) -> MethodComparison:
    """Builds what explains the same detections by several methods as ``cfg.ODAM`` says.

    Args:
        model: see :func:`build_explainer`.
        cfg: a config with the node ``ODAM``, or a LazyConfig: ENGINE, LAYER, GROUP_NORM, and SMOOTHING and
            CENTER_PRIOR for methods that have them.
        methods: see :func:`build_comparison`; a method's own options override the config's.
        attributes: see :func:`build_comparison`.

    Raises:
        ValueError: as :func:`build_comparison`.
        TypeError: as :func:`build_comparison`.
    """
    odam = odam_node(cfg)
    chosen = dict(methods) if isinstance(methods, Mapping) else {name: {} for name in methods}
    for name, options in chosen.items():
        known = options_of(METHODS[name]) if name in METHODS else []
        chosen[name] = {own: odam[key] for key, own in OF_METHODS.items() if own in known} | dict(options)
    return build_comparison(model, chosen, attributes, odam.ENGINE, odam.LAYER, odam.GROUP_NORM)
