"""From names to an explainer."""

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any
from weakref import WeakKeyDictionary

from detectron2.utils import comm
from torch import nn

from ..structures import DetectionTrace
from ..utils.untyped import UntypedModule
from ..utils.user_warnings import warn_user
from .adoption import as_traced
from .base import ENGINES, METHODS, Explainer, GradientEngine
from .checks import unwrap_detector
from .compare import MethodComparison
from .engines.autograd import AutogradEngine, find_layer
from .engines.dense_gradients import GROUP_NORMS
from .targets import expand_attributes

# What was said of a model, to be said once however many explainers are built for it.
_SAID: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()

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
    group_norm: str = "frozen",
    **options: Any,
) -> Explainer:
    """Builds what explains the detections of `model`.

    Args:
        model: a detector that keeps a trace, e.g. ``OdamRCNN``, with its weights loaded; also in a wrapper that
            :func:`odam_d2.explain.checks.unwrap_detector` takes off.
        method: a key of :data:`odam_d2.explain.METHODS`.
        attributes: what to explain of each detection; see :func:`odam_d2.explain.known_attributes`. None for the score
            and the four sides, or what of these the method explains.
        engine: ``auto`` takes the fast engine that recognises the detector and hands over to ``autograd``, with one
            warning, where none does, or the one that the model names as its ``default_engine``; or a key of
            :data:`odam_d2.explain.ENGINES`.
        layer: module path of the layer to explain on, e.g. ``backbone.bottom_up.res4`` (by ``autograd`` only); None
            for each detection's own feature level.
        smoothing: standard deviation of the Gaussian Phi as a fraction of the box's side; 0 for none. ODAM's own.
        group_norm: how the fast engine of dense heads takes group norm: ``frozen``, at its statistics, which is
            quick, but off by much on coarse grids (docs/benchmarks.md), or ``exact``, through the whole grid.
        options: the method's own, e.g. ``num_masks`` of ``drise``: the keyword-only arguments of its class.

    Returns:
        An explainer to be called with ``batched_inputs``.

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
    if not 0.0 <= smoothing < float("inf"):
        raise ValueError(f"`smoothing` must be a number >= 0; got {smoothing}: 0 leaves gradients as they are")
    if smoothing and not METHODS[method].smooths:
        smoothed = sorted(name for name, cls in METHODS.items() if cls.smooths)
        raise ValueError(f"`smoothing` must be 0 for method {method!r}; got {smoothing}: it is for {smoothed} alone")
    if not METHODS[method].uses_gradients and (layer or engine != "auto"):
        raise ValueError(
            f"`engine` and `layer` must be left out for method {method!r}, which uses no gradients; got {engine!r} and "
            f"{layer!r}: say engine='auto' and layer=None"
        )
    expanded = _attributes_for(method, attributes, model)
    _check_options(method, options)
    choose = _EngineChoice(model, engine, layer, group_norm, method, expanded)
    return METHODS[method](model, expanded, choose, smoothing, **options)


def build_comparison(
    model: nn.Module,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]],
    attributes: Sequence[str] | None = None,
    engine: str = "auto",
    layer: str | None = None,
    group_norm: str = "frozen",
) -> MethodComparison:
    """Builds what explains the same detections by several methods: traced once, differentiated once.

    Args:
        model: see :func:`build_explainer`.
        methods: names, or name -> the method's options as :func:`build_explainer` takes them, ``smoothing`` included,
            e.g. ``{"odam": {"smoothing": 0.1}, "drise": {"num_masks": 500}}``.
        attributes: see :func:`build_explainer`; None for those of the default that every method explains.
        engine: see :func:`build_explainer`; methods without gradients don't ask for it.
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
    # An engine that is right for a method that isn't linear is right for all.
    choosing = sorted(explainers.values(), key=lambda one: (not one.uses_gradients, one.linear))[0]
    return MethodComparison(model, choosing.attributes, choosing.choose_engine, explainers)


class _EngineChoice:
    """Picks the engine for a trace; says where a slower one must step in, or one is approximate."""

    def __init__(
        self,
        model: nn.Module,
        engine: str,
        layer: str | None,
        group_norm: str,
        method: str,
        attributes: Sequence[str],
    ):
        self.model = model
        self.fallback = AutogradEngine(model, layer)
        if engine == "auto":
            engine = getattr(model, "default_engine", engine)
        # A named layer is the plain engine's business from the start: nothing to warn of.
        names = [name for name in ENGINES if layer is None] if engine == "auto" else [engine]
        self.candidates = [ENGINES[name](model, layer, group_norm) for name in names if name != "autograd"]
        self.automatic = engine == "auto"
        self.method = method
        self.attributes = attributes

    def step_down(self) -> bool:
        """Leaves the fast engines out from now on; False where there is none to leave out, or one was asked for."""
        had = self.automatic and bool(self.candidates)
        self.candidates = [] if self.automatic else self.candidates
        return had

    def __call__(self, trace: DetectionTrace) -> GradientEngine:
        if self.automatic and hasattr(trace.head, "recorded"):
            return self.fallback  # the graph is all there is, and that was said of the model
        reasons = []
        for candidate in self.candidates:
            reason = candidate.unsupported(trace, self.attributes) or self._mixed(trace)
            if reason is None:
                if approximation := candidate.approximation(trace):
                    self._say(f"maps are approximate, since {approximation}; engine='autograd' is exact")
                return candidate
            reasons.append(reason)
        if reasons and not self.automatic:
            raise ValueError(f"`engine` must be able to explain this detector exactly; {reasons[0]}: say engine='auto'")
        if reasons:
            self._say(f"explaining by plain autograd, exact but slow, since {'; '.join(dict.fromkeys(reasons))}")
        return self.fallback

    def _mixed(self, trace: DetectionTrace) -> str | None:
        """Fast engines give one gradient a source; the plain one adds those of sources that share a level."""
        if not METHODS[self.method].linear and any(len(trace.sources_of(name)) > 1 for name in self.attributes):
            return f"several stages speak for a detection and {self.method} is not linear in their gradients"
        return None

    def _say(self, sentence: str) -> None:
        """Warns, once for each model and by the first of several processes."""
        said = _SAID.setdefault(self.model, set())
        if sentence not in said and comm.is_main_process():
            said.add(sentence)
            warn_user(sentence)


def _require_traced(model: UntypedModule) -> None:
    if not callable(getattr(model, "trace", None)):
        raise TypeError(
            f"`model` must be a detector; got {type(model).__name__}, which has no `backbone` to be explained on: name "
            "`layers` of a GraphDetector, or wrap it in a CallableDetector"
        )
    if hasattr(model, "require_traceable"):
        model.require_traceable()


def _check_engine(model: nn.Module, engine: str, layer: str | None) -> None:
    _require_known("engine", engine, ["auto", *ENGINES])
    if layer is not None:
        find_layer(model, layer)
        if engine not in ("auto", "autograd"):
            raise ValueError(f"`engine` must be autograd to explain on layer {layer!r}; got {engine!r}: say 'auto'")


def _attributes_for(method: str, attributes: Sequence[str] | None, model: nn.Module) -> tuple[str, ...]:
    """What the method computes, composed attributes expanded."""
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
    known = [p.name for p in signature(METHODS[method]).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    unknown = [name for name in options if name not in known]
    if unknown:
        has = f"be among {known}" if known else "be left out"
        raise ValueError(f"options of method {method!r} must {has}; got {unknown}: choose from what it has")


def _require_known(argument: str, name: str, known) -> None:
    if name not in known:
        raise ValueError(f"`{argument}` must be one of {sorted(known)}; got {name!r}: choose one of these")
