"""Explainers and gradient engines: what they promise, and where they are registered.

Shape letters: D detections over the batch, n of them in a chunk, N images, K attributes, (H, W) the grid of a level,
h x w the largest window of a chunk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import Parameter, signature
from typing import TypeVar

from detectron2.structures import Instances
from torch import Tensor, nn

from ..ops.cam import gradient_times_features
from ..structures import DetectionTrace, HeatMaps
from ..utils.registry import NamedRegistry
from .finite import require_finite_maps
from .guarded import GuardedExplainer
from .windows import GradientWindows, MapWindows, assemble

AnyExplainer = TypeVar("AnyExplainer", bound="Explainer")
AnyEngine = TypeVar("AnyEngine", bound="GradientEngine")

METHODS: NamedRegistry[type[Explainer]] = NamedRegistry("METHODS")
ENGINES: NamedRegistry[type[GradientEngine]] = NamedRegistry("ENGINES")


def register_method(name: str) -> Callable[[type[AnyExplainer]], type[AnyExplainer]]:
    """Class decorator: makes an :class:`Explainer` reachable as ``build_explainer(model, method=name)``.

    Raises:
        AssertionError: if the name is taken.
    """
    return METHODS.register_as(name)


def register_engine(name: str) -> Callable[[type[AnyEngine]], type[AnyEngine]]:
    """Class decorator: makes a :class:`GradientEngine` reachable as ``build_explainer(model, engine=name)``.

    Raises:
        AssertionError: if the name is taken.
    """
    return ENGINES.register_as(name)


def options_of(cls: type[Explainer] | type[GradientEngine]) -> list[str]:
    """The options of a method or an engine: the keyword-only arguments of its constructor."""
    return [one.name for one in signature(cls).parameters.values() if one.kind is Parameter.KEYWORD_ONLY]


class GradientEngine(ABC):
    """A way to the gradients of a trace. Engines give the same maps, except for what :meth:`approximation` names.

    They differ in which detectors they support, and in speed. An engine of your own needs no more than this
    constructor, :meth:`unsupported` and :meth:`gradient_windows`. Options of its own are keyword-only arguments of its
    constructor.

    Args:
        model: the detector.
        layer: module path of the layer to explain on; None for each detection's own feature level.

    Attributes:
        smooths: whether it can smooth gradients by Phi, see :class:`SmoothingEngine`. Others are never asked to.
    """

    smooths = False

    def __init__(self, model: nn.Module, layer: str | None = None):
        self.model = model
        self.layer = layer

    @abstractmethod
    def unsupported(self, trace: DetectionTrace, attributes: Sequence[str] = ()) -> str | None:
        """Why this engine can't explain these attributes of the trace, in a few words; None if it can."""

    def recognises(self, trace: DetectionTrace) -> bool:
        """Whether the trace is of the kind of detector that the engine is for; else nobody is told what it lacks."""
        del trace
        return True

    def approximation(self, trace: DetectionTrace) -> str | None:
        """What is not exact in this engine's maps of the trace, in a few words; None if all is."""
        del trace
        return None

    @abstractmethod
    def gradient_windows(self, trace: DetectionTrace, attributes: Sequence[str]) -> Iterator[GradientWindows]:
        """Gradients of all traced detections, a few at a time, so that memory is bounded.

        Args:
            trace: what the detector remembers.
            attributes: K keys of :data:`odam_d2.explain.targets.TARGETS`.

        Yields:
            Each detection once for each of its sources that one of the attributes depends on.
        """

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str]) -> list[HeatMaps]:
        """ODAM maps of all traced detections: gradient times features.

        An engine that can do without the gradients themselves overrides this with something faster.

        Args:
            trace: what the detector remembers.
            attributes: K keys of :data:`odam_d2.explain.targets.TARGETS`.

        Returns:
            N HeatMaps, raw, in the order of the trace.
        """
        return _gradients_times_features(trace, self.gradient_windows(trace, attributes), attributes)


class SmoothingEngine(GradientEngine):
    """An engine that can smooth gradients by Phi, a Gaussian whose width follows the box."""

    smooths = True

    @abstractmethod
    def gradient_windows(
        self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float = 0.0
    ) -> Iterator[GradientWindows]:
        """See :meth:`GradientEngine.gradient_windows`.

        Args:
            trace: see there.
            attributes: see there.
            smoothing: standard deviation of Phi as a fraction of the box's side on the grid; 0 for none.
        """

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float = 0.0) -> list[HeatMaps]:
        """See :meth:`GradientEngine.odam_maps`; `smoothing` as for :meth:`gradient_windows`."""
        return _gradients_times_features(trace, self.gradient_windows(trace, attributes, smoothing), attributes)


class Explainer(GuardedExplainer[HeatMaps]):
    """Explains every detection of a batch, or every box that the caller gives, by one method.

    Build one with :func:`odam_d2.explain.build_explainer`. A subclass is a method: it overrides :meth:`combine`, or,
    where it needs no gradients, :meth:`explain`. Its options are keyword-only arguments of its constructor.

    Args:
        model: a detector with ``trace(batched_inputs, instances)``.
        attributes: the K attributes to compute, composed ones expanded.
        choose_engine: from a trace to the engine that explains it.

    Attributes:
        whole_level: whether :meth:`combine` gives maps on the whole level, not on the chunk's windows.
        linear: whether the map of a sum of gradients is the sum of their maps. Where it isn't, the gradients of
            sources that share a level have to be added first.
        uses_gradients: whether there is a :meth:`combine`, and an engine and a layer to choose.
        explains: the attributes that it is limited to; None for all of the detector's.
        slow: whether the detector runs many times an image, so that it takes minutes rather than seconds.
        smoothing: width of Phi that engines are asked for, see :class:`SmoothingEngine`; 0 for methods that have no
            such option.
    """

    whole_level = False
    linear = False
    explains: tuple[str, ...] | None = None
    slow = False
    smoothing: float = 0.0

    def __init__(
        self,
        model: nn.Module,
        attributes: tuple[str, ...],
        choose_engine: Callable[[DetectionTrace], GradientEngine],
    ):
        super().__init__(model, attributes)
        self.choose_engine = choose_engine

    def combine(self, chunk: GradientWindows) -> Tensor:
        """What a gradient method makes of gradients and features, *before* the ReLU.

        Returns:
            (n, K, h, w) signed maps on the chunk's windows, or (n, K, H, W) on the whole level.
        """
        raise NotImplementedError

    def map_windows(self, chunk: GradientWindows) -> MapWindows:
        """What :meth:`combine` gives, with its place on the level."""
        return MapWindows.of(chunk, self.combine(chunk), self.whole_level)

    def heat_maps(self, trace: DetectionTrace) -> list[HeatMaps]:
        """N HeatMaps of the traced detections, from their gradients."""
        chunks = self.choose_engine(trace).gradient_windows(trace, self.attributes, **smoothing_option(self.smoothing))
        return assemble(trace, (self.map_windows(chunk) for chunk in chunks), self.attributes)

    def explain(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> list[HeatMaps]:
        """N HeatMaps of the traced detections; a method without gradients overrides this.

        See :meth:`GuardedExplainer.explain`.
        """
        del batched_inputs, instances
        return self.heat_maps(trace)

    def step_down(self) -> bool:
        """See :meth:`GuardedExplainer.step_down`; first the choice of engines leaves the fast ones out."""
        step = getattr(self.choose_engine, "step_down", None)
        return (step is not None and step()) or super().step_down()

    def result(self, found: Instances, explanation: HeatMaps, number: int) -> dict:
        """``{"instances": found}`` with one more field, ``heatmaps``; see :meth:`GuardedExplainer.result`."""
        require_finite_maps(explanation, number)
        found.set("heatmaps", explanation)
        return {"instances": found}


def _gradients_times_features(
    trace: DetectionTrace, chunks: Iterable[GradientWindows], attributes: Sequence[str]
) -> list[HeatMaps]:
    parts = (MapWindows.of(c, gradient_times_features(c.gradients, c.activations()[:, None])) for c in chunks)
    return assemble(trace, parts, attributes)


def smoothing_option(smoothing: float) -> dict[str, float]:
    """What an engine is asked with besides: nothing unless gradients are to be smoothed, which not every engine can."""
    return {"smoothing": smoothing} if smoothing else {}
