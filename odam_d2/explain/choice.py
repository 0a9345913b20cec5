"""Which engine explains a trace."""

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from detectron2.utils import comm
from torch import nn

from ..structures import DetectionTrace
from ..utils.user_warnings import warn_user
from .base import ENGINES, METHODS, GradientEngine, options_of
from .engines.autograd import AutogradEngine

# What was said of a model, so that it is said once, however many explainers are built for it.
_SAID: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


class EngineChoice:
    """Chooses the engine for a trace; warns where a slower one has to step in, and where one is approximate.

    Args:
        model: the detector.
        engine: a key of :data:`ENGINES`, or ``auto``.
        layer: module path of the layer to explain on; None for each detection's own level.
        options: of engines; each engine is given those that it has.
        methods: keys of :data:`METHODS`: what the gradients are for.
        attributes: the attributes to explain.
        smoothing: the largest width of Phi that gradients will be asked for; 0 for none.
    """

    def __init__(
        self,
        model: nn.Module,
        engine: str,
        layer: str | None,
        options: Mapping[str, Any],
        methods: Sequence[str],
        attributes: Sequence[str],
        smoothing: float,
    ):
        self.model = model
        self.fallback = AutogradEngine(model, layer)
        if engine == "auto":
            engine = getattr(model, "default_engine", engine)
        # Only the plain engine explains on a named layer, so it is no step back there and nothing to warn of.
        names = [name for name in ENGINES if layer is None] if engine == "auto" else [engine]
        self.candidates = [_built(ENGINES[name], model, layer, options) for name in names if name != "autograd"]
        self.automatic = engine == "auto"
        self.not_linear = next((name for name in methods if not METHODS[name].linear), None)
        self.attributes = attributes
        self.smoothing = smoothing

    def step_down(self) -> bool:
        """Leaves the fast engines out from now on; False where there is none to leave out, or one was asked for."""
        had = self.automatic and bool(self.candidates)
        self.candidates = [] if self.automatic else self.candidates
        return had

    def __call__(self, trace: DetectionTrace) -> GradientEngine:
        """The first engine that can explain the trace exactly, or else the plain one.

        Raises:
            ValueError: if the engine that was asked for by name can't.
        """
        if self.automatic and hasattr(trace.head, "recorded"):
            return self.fallback  # the graph is all there is, and that was said of the model
        reasons: list[str] = []
        own: list[str] = []  # of engines for this kind of detector
        for candidate in self.candidates:
            reason = (
                candidate.unsupported(trace, self.attributes) or self._not_smoothed(candidate) or self._mixed(trace)
            )
            if reason is None:
                if approximation := candidate.approximation(trace):
                    self._say(f"maps are approximate, since {approximation}; engine='autograd' is exact")
                return candidate
            reasons.append(reason)
            own += [reason] if candidate.recognises(trace) else []
        if reasons and not self.automatic:
            raise ValueError(f"`engine` must be able to explain this detector exactly; {reasons[0]}: say engine='auto'")
        if reasons:
            self._say(f"explaining by plain autograd, exact but slow, since {'; '.join(dict.fromkeys(own or reasons))}")
        return self.fallback

    def _not_smoothed(self, candidate: GradientEngine) -> str | None:
        if self.smoothing and not candidate.smooths:
            return f"{type(candidate).__name__} does not smooth gradients"
        return None

    def _mixed(self, trace: DetectionTrace) -> str | None:
        """Fast engines give one gradient a source; the plain one adds those of sources that share a level."""
        if self.not_linear is not None and any(len(trace.sources_of(name)) > 1 for name in self.attributes):
            return f"several stages speak for a detection and {self.not_linear} is not linear in their gradients"
        return None

    def _say(self, sentence: str) -> None:
        """Warns, once for each model and by the first of several processes."""
        said = _SAID.setdefault(self.model, set())
        if sentence not in said and comm.is_main_process():
            said.add(sentence)
            warn_user(sentence)


def _built(
    cls: type[GradientEngine], model: nn.Module, layer: str | None, options: Mapping[str, Any]
) -> GradientEngine:
    own = options_of(cls)
    return cls(model, layer, **{name: value for name, value in options.items() if name in own})
