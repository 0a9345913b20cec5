"""From names to an explainer."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..utils.untyped import UntypedModule
from .adoption import as_traced
from .base import ENGINES, METHODS, Explainer, options_of
from .checks import unwrap_detector
from .choice import EngineChoice
from .compare import MethodComparison
from .engines.autograd import find_layer
from .engines.dense import GROUP_NORMS
from .targets import expand_attributes

DEFAULT_ATTRIBUTES = ("score", "left", "top", "right", "bottom")
# Arguments of a comparison that its methods share: gradients are computed once for all of them.
SHARED = ("attributes", "engine", "layer", "group_norm")


def build_explainer(
    model: nn.Module,
    method: str = "odam",
    attributes: Sequence[str] | None = None,
    engine: str = "auto",
    layer: str | None = None,
    smoothing: float = 0.0,
    group_norm: str = "carried",
    **options: Any,
) -> Explainer:
    """Builds what explains the detections of `model`.

    Args:
        model: a detector that keeps a trace, e.g. ``OdamRCNN``, with its weights loaded; also in a wrapper that
            :func:`odam_d2.explain.checks.unwrap_detector` takes off.
        method: a key of :data:`odam_d2.explain.METHODS`.
        attributes: what to explain of each detection; see :func:`odam_d2.explain.known_attributes`. None for the score
            and the four sides, as far as the method explains them.
        engine: a key of :data:`odam_d2.explain.ENGINES`, or ``auto``: the model's ``default_engine`` if it names one,
            else the fast engine that recognises the detector, else ``autograd``, with one warning.
        layer: module path of the layer to explain on, e.g. ``backbone.bottom_up.res4`` (by ``autograd`` only); None
            for each detection's own feature level.
        smoothing: standard deviation of the Gaussian Phi as a fraction of the box's side; 0 for none. For methods
            with an option of this name, which is ODAM alone.
        group_norm: how engines with an option of this name (``dense``) take group norm, whose statistics couple all
            cells of a level: ``carried``, which takes this along to within some hundredths; ``frozen``, with constant
            statistics, a little faster but far off on coarse grids (docs/research/exactness.md); or ``exact``, by
            autograd through the whole grid, which is slow. Other engines ignore it.
        options: the method's own, e.g. ``num_masks`` of ``drise``, ``center_prior`` of ``odam``: the keyword-only
            arguments of its class.

    Returns:
        An explainer; call it with ``batched_inputs``.

    Raises:
        ValueError: if a name is unknown, or the method can't do what is asked; the message lists what there is.
        TypeError: if the model keeps no trace.
    """
    model = as_traced(unwrap_detector(model))
    _require_traced(model)
    _require_known("method", method, METHODS)
    layer = layer or None
    _check_engine(model, engine, layer)
    _require_known("group_norm", group_norm, GROUP_NORMS)
    if "smoothing" in options_of(METHODS[method]):
        options["smoothing"] = smoothing
    elif smoothing:
        smoothed = sorted(name for name, cls in METHODS.items() if "smoothing" in options_of(cls))
        raise ValueError(f"`smoothing` must be 0 for method {method!r}; got {smoothing}: it is for {smoothed} alone")
    if not METHODS[method].uses_gradients and (layer or engine != "auto"):
        raise ValueError(
            f"`engine` and `layer` must be left out for method {method!r}, which uses no gradients; got {engine!r} and "
            f"{layer!r}: say engine='auto' and layer=None"
        )
    expanded = _attributes_for(method, attributes, model)
    _check_options(method, options)
    if layer and options.get("center_prior"):
        raise ValueError(
            f"`center_prior` must be False on a named layer; got {options['center_prior']} with layer {layer!r}: it is "
            "measured on each detection's own level, so leave one of them out"
        )
    choose = EngineChoice(model, engine, layer, {"group_norm": group_norm}, [method], expanded, smoothing)
    return METHODS[method](model, expanded, choose, **options)


def build_comparison(
    model: nn.Module,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]],
    attributes: Sequence[str] | None = None,
    engine: str = "auto",
    layer: str | None = None,
    group_norm: str = "carried",
) -> MethodComparison:
    """Builds what explains the same detections by several methods, with one trace and one pass of gradients.

    Args:
        model: see :func:`build_explainer`.
        methods: names, or name -> the method's options as :func:`build_explainer` takes them, ``smoothing`` included,
            e.g. ``{"odam": {"smoothing": 0.1}, "drise": {"num_masks": 500}}``.
        attributes: see :func:`build_explainer`; None for those of the default that every method explains.
        engine: see :func:`build_explainer`; methods without gradients ignore it.
        layer: as `engine`.
        group_norm: as `engine`.

    Returns:
        An explainer whose results hold the maps of every method; see :class:`MethodComparison`.

    Raises:
        ValueError: if there is no method, or as :func:`build_explainer`.
        TypeError: as :func:`build_explainer`.
    """
    layer, model = layer or None, as_traced(unwrap_detector(model))
    _require_traced(model)
    _check_engine(model, engine, layer)
    chosen = dict(methods) if isinstance(methods, Mapping) else {name: {} for name in methods}
    if isinstance(methods, str) or not chosen:
        raise ValueError(f"`methods` must be a sequence of names; got {methods!r}: choose among {sorted(METHODS)}")
    for name, options in chosen.items():
        _require_known("methods", name, METHODS)
        shared = [option for option in options if option in SHARED]
        if shared:
            raise ValueError(
                f"options of method {name!r} must be its own; got {shared}, which all methods share: give them to "
                "build_comparison itself"
            )
    if attributes is None:
        limits = [cls.explains for cls in (METHODS[name] for name in chosen) if cls.explains is not None]
        attributes = [attribute for attribute in DEFAULT_ATTRIBUTES if all(attribute in limit for limit in limits)]
    explainers = {}
    for name, options in chosen.items():
        place: dict[str, Any] = (
            {"engine": engine, "layer": layer, "group_norm": group_norm} if METHODS[name].uses_gradients else {}
        )
        explainers[name] = build_explainer(model, name, attributes, **place, **options)
    by_gradients = {name: one for name, one in explainers.items() if one.uses_gradients}
    smoothing = max((one.smoothing for one in by_gradients.values()), default=0.0)
    expanded = next(iter(explainers.values())).attributes
    choose = EngineChoice(model, engine, layer, {"group_norm": group_norm}, list(by_gradients), expanded, smoothing)
    return MethodComparison(model, expanded, choose, explainers)


def _require_traced(model: UntypedModule) -> None:
    if not callable(getattr(model, "trace", None)):
        held = [name for name, part in getattr(model, "_modules", {}).items() if _is_detector(part)]
        held += [name for name in ("model", "predictor") if _is_detector(getattr(model, "__dict__", {}).get(name))]
        if held:
            raise TypeError(
                f"`model` must be a detector; got {type(model).__name__}, which holds {held}: hand over one of these"
            )
        raise TypeError(
            f"`model` must be a detector; got {type(model).__name__}, which has no `backbone` to be explained on: name "
            "`layers` of a GraphDetector, or wrap it in a CallableDetector"
        )
    if hasattr(model, "require_traceable"):
        model.require_traceable()


def _is_detector(part: Any) -> bool:
    """Whether an attribute of a wrapper is a detector, or Detectron2's predictor of one."""
    return callable(getattr(as_traced(unwrap_detector(part)), "trace", None))


def _check_engine(model: nn.Module, engine: str, layer: str | None) -> None:
    _require_known("engine", engine, ["auto", *ENGINES])
    if layer is not None:
        find_layer(model, layer)
        if engine not in ("auto", "autograd"):
            raise ValueError(f"`engine` must be autograd to explain on layer {layer!r}; got {engine!r}: say 'auto'")


def _attributes_for(method: str, attributes: Sequence[str] | None, model: nn.Module) -> tuple[str, ...]:
    """The attributes that the method computes, composed ones expanded."""
    limit = METHODS[method].explains
    if attributes is None:
        attributes = [name for name in DEFAULT_ATTRIBUTES if limit is None or name in limit]
    expanded = expand_attributes(attributes, model)
    if limit is not None and not set(expanded) <= set(limit):
        asked = [attributes] if isinstance(attributes, str) else list(attributes)
        raise ValueError(
            f"`attributes` must be among {list(limit)} for method {method!r}; got {asked}: it explains no other"
        )
    return expanded


def _check_options(method: str, options: Mapping[str, Any]) -> None:
    known = options_of(METHODS[method])
    unknown = [name for name in options if name not in known]
    if unknown:
        has = f"be among {known}" if known else "be left out"
        raise ValueError(f"options of method {method!r} must {has}; got {unknown}: choose from what it has")


def _require_known(argument: str, name: str, known) -> None:
    if name not in known:
        raise ValueError(f"`{argument}` must be one of {sorted(known)}; got {name!r}: choose one of these")
