"""The call that every explainer shares: it guards the model, traces it once, and looks for numbers that aren't finite.

Shape letters: N images, K attributes, (H, W) the model input.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from detectron2.structures import Instances
from torch import nn

from ..modeling.instance_wise import why_norm_not_fixed
from ..structures import DetectionTrace
from ..utils.devices import device_of
from ..utils.progress import tell_progress
from ..utils.threads import model_lock
from ..utils.untyped import UntypedModule
from .adoption import adopted
from .agreement import ScoresDifferError
from .checks import require_ordinary_tensors, without_inference_tensors
from .finite import cause_in, require_finite_trace
from .targets import require_attributes

logger = logging.getLogger(__name__)

# What is explained of one image: one method's maps, or those of several methods.
Explanation = TypeVar("Explanation")

# Modules held in eval mode: by how many calls, and the mode that each was in before.
_own_modes: WeakKeyDictionary[nn.Module, tuple[int, bool]] = WeakKeyDictionary()
_changing_modes = threading.Lock()


class GuardedExplainer(ABC, Generic[Explanation]):
    """Explains every detection of a batch, or every box that the caller gives, and leaves the model as it was.

    A subclass says in :meth:`explain` how traced detections are explained, and in :meth:`result` what the caller gets.

    Args:
        model: a detector with ``trace(batched_inputs, instances)``.
        attributes: the K attributes to compute, composed ones expanded.

    Attributes:
        uses_gradients: whether gradients are taken, so that the model's tensors must be able to enter a graph.
    """

    uses_gradients = True

    def __init__(self, model: nn.Module, attributes: tuple[str, ...]):
        self.model: UntypedModule = model
        self.attributes = attributes

    @abstractmethod
    def explain(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> Sequence[Explanation]:
        """Explanations of the traced detections of N images.

        Args:
            trace: of the images.
            batched_inputs: the images.
            instances: the boxes that the caller gave; None where detections are explained.
        """

    @abstractmethod
    def result(self, found: Instances, explanation: Explanation, number: int) -> dict:
        """What the caller gets for image `number`.

        Args:
            found: its detections, or the boxes that the caller gave.
            explanation: what :meth:`explain` gave for it.
            number: its place in the batch.

        Raises:
            FloatingPointError: if the explanation is not finite.
        """

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
            N dicts as the detector gives them, in the original frame: ``{"instances": Instances}`` with one more
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
            stack.enter_context(torch.autocast(device_of(self.model).type, enabled=False))
            stack.enter_context(model_lock(self.model))
            stack.enter_context(_evaluating(self.model))
            _check_independent(self.model)
            if self.uses_gradients:
                require_ordinary_tensors(self.model)
            batched_inputs, instances = without_inference_tensors((batched_inputs, instances))
            trace, explanations = self._trace_and_explain(batched_inputs, instances)
        others = trace.others or [{}] * len(trace.instances)
        triples = enumerate(zip(trace.instances, explanations, others, strict=True))
        return [{**other, **self.result(found, one, number)} for number, (found, one, other) in triples]

    def step_down(self) -> bool:
        """Turns to a plainer way to explain, after other scores would have been explained than were reported.

        Returns:
            False where there is no plainer way.
        """
        step = getattr(self.model, "step_down", None)
        if step is not None:
            return step()
        # Odam-NMS detects without a graph, so that there is nothing below it.
        plainer = adopted(self.model) if getattr(self.model, "odam_nms", None) is None else None
        if plainer is None:
            return False
        self.model = plainer
        return True

    def _trace_and_explain(
        self, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> tuple[DetectionTrace, Sequence[Explanation]]:
        """The trace and its explanations, in a plainer way if other scores would be explained than were reported."""
        while True:
            # A detector whose own graph is explained keeps it only where somebody asks for gradients.
            with torch.set_grad_enabled(self.uses_gradients):
                trace = self.model.trace(batched_inputs, instances)
            require_finite_trace(trace, self.model)
            tell_progress()
            if self.uses_gradients and hasattr(trace.head, "recorded"):
                require_attributes(self.attributes, self.model)
            try:
                return trace, self.explain(trace, batched_inputs, instances)
            except FloatingPointError as error:
                raise FloatingPointError(f"{error} while {cause_in(self.model)}: check MODEL.WEIGHTS") from error
            except ScoresDifferError as error:
                if not self.step_down():
                    raise
                logger.info("explaining in a plainer way, since %s", error)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every module is in its own mode again, also after an error.

    Detectors can share modules (a proposal network has those of its detector): the last call to leave gives a module
    its mode back.
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
    """Raises ValueError where a batch norm takes its statistics from the batch in spite of eval mode."""
    for name, module in model.named_modules():
        # The common base of all of torch's, and of Detectron2's own.
        why = why_norm_not_fixed(module) if isinstance(module, nn.modules.batchnorm._BatchNorm) else None
        if why:
            raise ValueError(
                "`model` must normalise with fixed statistics, or one object shows in the map of another; got "
                f"{name!r}, a {type(module).__name__} that {why}: let eval() reach it, set track_running_stats=True, "
                "or put FrozenBatchNorm2d in its place"
            )
