"""Explainers and gradient engines: what they promise, and where they are registered.

Shape letters: D detections over the batch, n of them in a chunk, N images, K attributes, (H, W) the grid of a level,
h x w the largest window of a chunk.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from ..modeling.instance_wise import why_norm_not_fixed
from ..ops.cam import gradient_times_features
from ..structures import DetectionTrace, HeatMaps
from ..utils.registry import NamedRegistry
from ..utils.threads import model_lock
from ..utils.untyped import UntypedModule
from .agreement import ScoresDifferError
from .checks import require_ordinary_tensors, without_inference_tensors
from .finite import cause_in, require_finite_maps, require_finite_trace
from .memory import Halving
from .windows import GradientWindows, MapWindows, assemble

logger = logging.getLogger(__name__)
AnyExplainer = TypeVar("AnyExplainer", bound="Explainer")
AnyEngine = TypeVar("AnyEngine", bound="GradientEngine")

# Modules that are held in eval mode, by how many calls, and the mode that each was in before.
_own_modes: WeakKeyDictionary[nn.Module, tuple[int, bool]] = WeakKeyDictionary()
_changing_modes = threading.Lock()

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


class GradientEngine(ABC):
    """A way to the maps of a trace. Engines give the same maps, but for what :meth:`approximation` names.

    They differ in what they can do, and in time.

    Args:
        model: the detector.
        layer: module path of the layer to explain on; None for each detection's own feature level.
        group_norm: how an engine that goes through windows takes group norm: ``frozen`` or ``exact``.
    """

    def __init__(self, model: nn.Module, layer: str | None = None, group_norm: str = "frozen"):
        self.model = model
        self.layer = layer
        self.group_norm = group_norm
        self.halving = Halving()

    @abstractmethod
    def unsupported(self, trace: DetectionTrace, attributes: Sequence[str] = ()) -> str | None:
        """Why this engine can't explain these attributes of the trace, in a few words; None if it can."""

    def approximation(self, trace: DetectionTrace) -> str | None:
        """What this engine takes less than exactly in the trace, in a few words; None if nothing."""
        del trace
        return None

    @abstractmethod
    def gradient_windows(
        self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float
    ) -> Iterator[GradientWindows]:
        """Gradients of every traced detection, some at a time: bounded memory, whatever their number.

        Args:
            trace: what the detector remembers.
            attributes: K keys of :data:`odam_d2.explain.targets.TARGETS`.
            smoothing: standard deviation of Phi as a fraction of the box's side on the grid; 0 for none.

        Yields:
            Each detection once for each of its sources that one of the attributes depends on.
        """

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> list[HeatMaps]:
        """ODAM maps of every traced detection: gradient times features.

        An engine that can do without the gradients themselves overrides this with something quicker.

        Args:
            trace: what the detector remembers.
            attributes: K keys of :data:`odam_d2.explain.targets.TARGETS`.
            smoothing: standard deviation of Phi as a fraction of the box's side on the grid; 0 for none.

        Returns:
            N HeatMaps, raw, in the order of the trace.
        """
        chunks = self.gradient_windows(trace, attributes, smoothing)
        parts = (MapWindows.of(c, gradient_times_features(c.gradients, c.activations()[:, None])) for c in chunks)
        return assemble(trace, parts, attributes)


class Explainer:
    """Explains every detection of a batch, or every box that the caller gives.

    Build one with :func:`odam_d2.explain.build_explainer`. A subclass is a method: it overrides :meth:`combine`, or,
    where it needs no gradients, :meth:`explain`. Its options are keyword-only arguments of its constructor.

    Args:
        model: a detector with ``trace(batched_inputs, instances)``.
        attributes: the K attributes to compute, composed ones expanded.
        choose_engine: from a trace to the engine that explains it.
        smoothing: width of Phi, see :meth:`GradientEngine.odam_maps`.

    Attributes:
        whole_level: whether :meth:`combine` gives maps on the whole level, not on the chunk's windows.
        linear: whether the map of a sum of gradients is the sum of their maps. Where it isn't, the gradients of
            sources that share a level have to be added first.
        smooths: whether the method knows Phi.
        uses_gradients: whether there is a :meth:`combine`, and an engine and a layer to choose.
        explains: the attributes that it is limited to; None for all of the detector's.
    """

    whole_level = False
    linear = False
    smooths = False
    uses_gradients = True
    explains: tuple[str, ...] | None = None

    def __init__(
        self,
        model: nn.Module,
        attributes: tuple[str, ...],
        choose_engine: Callable[[DetectionTrace], GradientEngine],
        smoothing: float = 0.0,
    ):
        self.model: UntypedModule = model
        self.attributes = attributes
        self.choose_engine = choose_engine
        self.smoothing = smoothing

    def combine(self, chunk: GradientWindows) -> Tensor:
        """What a gradient method makes of gradients and features, *before* the ReLU.

        Returns:
            (n, K, h, w) signed maps on the chunk's windows, or (n, K, H, W) on the whole level.
        """
        raise NotImplementedError

    def map_windows(self, chunk: GradientWindows) -> MapWindows:
        """What :meth:`combine` gives, with its place."""
        return MapWindows.of(chunk, self.combine(chunk), self.whole_level)

    def heat_maps(self, trace: DetectionTrace) -> list[HeatMaps]:
        """N HeatMaps of the traced detections, from their gradients."""
        chunks = self.choose_engine(trace).gradient_windows(trace, self.attributes, self.smoothing)
        return assemble(trace, (self.map_windows(chunk) for chunk in with_boxes(chunks, trace)), self.attributes)

    def explain(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> list[HeatMaps]:
        """N HeatMaps of the traced detections. What isn't made of gradients overrides this.

        Args:
            trace: of the images.
            batched_inputs: the images.
            instances: the boxes that the caller gave; None where detections are explained.
        """
        del batched_inputs, instances
        return self.heat_maps(trace)

    def result(self, found: Instances, heatmaps: HeatMaps, number: int) -> dict:
        """What the caller gets of image `number`."""
        require_finite_maps(heatmaps, number)
        found.set("heatmaps", heatmaps)
        return {"instances": found}

    def __call__(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> list[dict]:
        """Explains a batch. Works under ``no_grad`` and ``inference_mode`` and leaves the model as it was.

        Threads may share a detector: a second call waits for the first, and detecting meanwhile disturbs neither.

        Everything runs in the precision of the model's weights: a caller's autocast is off inside, since gradients
        of scores underflow in half precision.

        Args:
            batched_inputs: what the detector takes: dicts with ``image`` (3, H, W) and, for the original size,
                ``height`` and ``width``.
            instances: boxes and classes to explain in place of the detections (ground truth, a missed object, another
                class): one Instances an image in the original frame with ``pred_boxes`` and ``pred_classes``, or
                ``gt_boxes`` and ``gt_classes``; boxes as Boxes, tensor, array or lists of XYXY pixels.

        Returns:
            N dicts as the detector gives them: ``{"instances": Instances}`` in the original frame, with one more
            field, ``heatmaps``. For given boxes ``scores`` holds the detector's score for the given class.
            No images give an empty list.

        Raises:
            ValueError: if given boxes or classes can't be used, a batch norm lets images or boxes see each other, or
                the model was built under ``inference_mode``.
            FloatingPointError: if weights, features or maps are not finite.
        """
        if len(batched_inputs) == 0:
            return []
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.autocast(next(self.model.parameters()).device.type, enabled=False))
            stack.enter_context(model_lock(self.model))
            stack.enter_context(_evaluating(self.model))
            _check_independent(self.model)
            if self.uses_gradients:
                require_ordinary_tensors(self.model)
            batched_inputs, instances = without_inference_tensors((batched_inputs, instances))
            trace, maps = self._trace_and_explain(batched_inputs, instances)
        others = trace.others or [{}] * len(trace.instances)
        triples = enumerate(zip(trace.instances, maps, others, strict=True))
        return [{**other, **self.result(found, heatmaps, number)} for number, (found, heatmaps, other) in triples]

    def _trace_and_explain(
        self, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> tuple[DetectionTrace, Sequence[HeatMaps]]:
        """The trace and its maps; where other scores would be explained than were reported, in a plainer way."""
        while True:
            # A detector whose own graph is explained keeps it only where somebody asks for gradients.
            with torch.set_grad_enabled(self.uses_gradients):
                trace = self.model.trace(batched_inputs, instances)
            require_finite_trace(trace, self.model)
            try:
                return trace, self.explain(trace, batched_inputs, instances)
            except FloatingPointError as error:
                raise FloatingPointError(f"{error} while {cause_in(self.model)}: check MODEL.WEIGHTS") from error
            except ScoresDifferError as error:
                plainer = (getattr(one, "step_down", None) for one in (self.choose_engine, self.model))
                if not any(step() for step in plainer if step is not None):
                    raise
                logger.info("explaining in a plainer way, since %s", error)


def with_boxes(chunks: Iterable[GradientWindows], trace: DetectionTrace) -> Iterator[GradientWindows]:
    """Chunks of an engine, with the boxes of their detections written in."""
    for chunk in chunks:
        chunk.boxes = trace.boxes[chunk.detections]
        yield chunk


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, every module's own mode again outside, also after an error.

    Detectors can share modules (a proposal network has those of its detector): the last to leave gives a module its
    mode back.
    """
    modules = list(model.modules())
    with _changing_modes:
        for module in modules:
            users, mode = _own_modes.get(module, (0, module.training))
            _own_modes[module] = (users + 1, mode)
        model.eval()
    try:
        yield
    finally:
        with _changing_modes:
            for module in modules:
                users, mode = _own_modes.pop(module)
                if users > 1:
                    _own_modes[module] = (users - 1, mode)
                else:
                    module.training = mode


def _check_independent(model: nn.Module) -> None:
    """Raises where a batch norm takes its statistics from the batch in spite of eval mode."""
    for name, module in model.named_modules():
        # The common base of all of torch's, and of Detectron2's own.
        why = why_norm_not_fixed(module) if isinstance(module, nn.modules.batchnorm._BatchNorm) else None
        if why:
            raise ValueError(
                "`model` must normalise with fixed statistics, or one object shows in the map of another; got "
                f"{name!r}, a {type(module).__name__} that {why}: let eval() reach it, set track_running_stats=True, "
                "or put FrozenBatchNorm2d in its place"
            )
