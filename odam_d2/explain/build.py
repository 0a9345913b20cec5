"""From names to an explainer."""

import warnings
from collections.abc import Sequence

from torch import nn

from ..config import TRACED_META_ARCHITECTURES
from ..structures import DetectionTrace
from .autograd import AutogradEngine, find_layer
from .base import ENGINES, METHODS, Explainer, GradientEngine
from .targets import expand_attributes

DEFAULT_ATTRIBUTES = ("score", "left", "top", "right", "bottom")


def build_explainer(
    model: nn.Module,
    method: str = "odam",
    attributes: Sequence[str] = DEFAULT_ATTRIBUTES,
    engine: str = "auto",
    layer: str | None = None,
    smoothing: float = 0.0,
) -> Explainer:
    """Builds what explains the detections of `model`.

    Args:
        model: a detector that keeps a trace, e.g. ``OdamRCNN``, with its weights loaded.
        method: a key of :data:`odam_d2.explain.METHODS`.
        attributes: what to explain of each detection; see :func:`odam_d2.explain.known_attributes`.
        engine: ``auto`` takes the fast engine that recognises the detector and hands over to ``autograd``, with one
            warning, where none does; or a key of :data:`odam_d2.explain.ENGINES`.
        layer: module path of the layer to explain on, e.g. ``backbone.bottom_up.res4`` (by ``autograd`` only); None
            for each detection's own feature level.
        smoothing: standard deviation of the Gaussian Phi as a fraction of the box's side; 0 for none.

    Returns:
        An explainer to be called with ``batched_inputs``.

    Raises:
        ValueError: if a name is unknown; the message lists the known ones.
        TypeError: if the model keeps no trace.
    """
    if not callable(getattr(model, "trace", None)):
        raise TypeError(
            f"`model` must keep a trace of its detections; got {type(model).__name__}: use_traced_architectures(cfg) "
            f"before the model is built, which knows {sorted(TRACED_META_ARCHITECTURES)}"
        )
    if hasattr(model, "require_traceable"):
        model.require_traceable()
    _require_known("method", method, METHODS)
    _require_known("engine", engine, ["auto", *ENGINES])
    expanded = expand_attributes(attributes, model)
    if not 0.0 <= smoothing < float("inf"):
        raise ValueError(f"`smoothing` must be a number >= 0; got {smoothing}: 0 leaves gradients as they are")
    layer = layer or None
    if layer is not None:
        find_layer(model, layer)
        if engine not in ("auto", "autograd"):
            raise ValueError(f"`engine` must be autograd to explain on layer {layer!r}; got {engine!r}: say 'auto'")
    choose = _EngineChoice(model, engine, layer)
    return METHODS[method](model, expanded, choose, smoothing)


class _EngineChoice:
    """Picks the engine for a trace; says once where a slower one must step in."""

    def __init__(self, model: nn.Module, engine: str, layer: str | None):
        self.fallback = AutogradEngine(model, layer)
        # A named layer is the plain engine's business from the start: nothing to warn of.
        names = [name for name in ENGINES if layer is None] if engine == "auto" else [engine]
        self.candidates = [ENGINES[name](model, layer) for name in names if name != "autograd"]
        self.automatic = engine == "auto"
        self.warned = False

    def __call__(self, trace: DetectionTrace) -> GradientEngine:
        if self.automatic and getattr(trace.head, "engine", None) == "autograd":
            return self.fallback
        reasons = []
        for candidate in self.candidates:
            reason = candidate.unsupported(trace)
            if reason is None:
                self._say(candidate.approximation(trace))
                return candidate
            reasons.append(reason)
        if reasons and not self.automatic:
            raise ValueError(f"`engine` must be able to explain this detector exactly; {reasons[0]}: say engine='auto'")
        if reasons and not self.warned:
            self.warned = True
            warnings.warn(f"explaining by plain autograd, exact but slow, since {'; '.join(reasons)}", stacklevel=4)
        return self.fallback

    def _say(self, approximation: str | None) -> None:
        if approximation and not self.warned:
            self.warned = True
            warnings.warn(f"maps are near, not exact, since {approximation}; engine='autograd' is exact", stacklevel=5)


def _require_known(argument: str, name: str, known) -> None:
    if name not in known:
        raise ValueError(f"`{argument}` must be one of {sorted(known)}; got {name!r}: choose one of these")
