"""A detector that is already built, made explainable as it is, by the quickest way that its classes allow.

Adapters (:mod:`odam_d2.meta_arch.adapters`) are asked in turn, those of projects first, then:

1. Stock classes, and subclasses that override nothing of what ours replace, are seen as ours: the fast engines.
2. Two-stage detectors with heads of their own detect as they do; their detections are found again among what the
   predictor said meanwhile: the fast engine where each RoI stands on its own, else autograd.
3. Anything else is explained by the graph that its own forward pass leaves, on all maps of its backbone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import new_class
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, ref

import torch
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import nn

from ..explain import DenseEngine, RoIEngine
from ..explain.adoption import register_adopter
from ..modeling.leaves import find_backbone
from ..modeling.recorded import UnmatchedError
from ..modeling.rotated import refuse_rotated_boxes
from ..structures import DetectionTrace
from .adapters import ADAPTERS, LAST
from .proposal_network import OdamProposalNetwork
from .views import same_state, why_not_ours

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class _State:
    """What is known of a built detector besides its own state, which stays untouched.

    Attributes:
        kind: the class that this holds for.
        refused: names of adapters that have turned out not to fit, and why.
        told: whether the way was told.
    """

    def __init__(self, kind: type | None = None) -> None:
        self.kind = kind
        self.refused: dict[str, str] = {}
        self.told = False


# By detector and by view of it, since a view does not hold the detector itself.
_KNOWN: WeakKeyDictionary[nn.Module, _State] = WeakKeyDictionary()
_STATES: WeakKeyDictionary[nn.Module, _State] = WeakKeyDictionary()
_BUILT_CLASSES: dict[type, type] = {}
# Built detector -> the one view that all its explainers share, and with it a lock.
_VIEWS: WeakKeyDictionary[nn.Module, ref] = WeakKeyDictionary()


class BuiltDetector(nn.Module):
    """A view of a built detector (:mod:`odam_d2.meta_arch.views`) that keeps a trace; made by :func:`adopt`."""

    built_as: type[nn.Module]

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or takes boxes that the caller gives, and keeps what an explanation needs.

        See the ``trace`` of :class:`odam_d2.meta_arch.adapters.Adapter`.
        """
        trace = self.ask(lambda form: form.trace(batched_inputs, instances))
        self._tell(trace)
        return trace

    def ask(self, question: Callable[[Any], Answer]) -> Answer:
        """What the detector answers in the form of the first adapter that fits; see :meth:`form`.

        Args:
            question: from a form to an answer; it raises UnmatchedError where the form turns out not to fit.

        Raises:
            UnmatchedError: if the last form does not fit either.
        """
        while True:
            try:
                return question(self.form())
            except UnmatchedError as error:
                if self.way() == LAST:
                    raise
                self._refuse(str(error))

    def form(self) -> Any:
        """The detector as what explains it: what the first adapter that fits makes of it."""
        return ADAPTERS[self.way()](same_state(self, self.built_as))

    def way(self) -> str:
        """The name of the adapter that explains it."""
        own, refused = same_state(self, self.built_as), self._state().refused
        names = (name for name in reversed(list(ADAPTERS)) if name not in refused)
        return next(name for name in names if ADAPTERS[name].why_not(own) is None)

    def step_down(self) -> bool:
        """Explains by the next adapter that fits from now on; False where there is none."""
        if self.way() == LAST:
            return False
        self._refuse("parts of it say other scores than they reported when they are asked again")
        return True

    def _state(self) -> _State:
        # A copy of the view, for whoever asks it many times over, begins anew.
        return _STATES.setdefault(self, _State(self.built_as))

    def _refuse(self, reason: str) -> None:
        state = self._state()
        state.refused[self.way()] = reason
        state.told = False

    def require_traceable(self) -> None:
        """Raises TypeError where the detector can't be explained in any way."""
        refuse_rotated_boxes(self)
        form = self.form()
        if hasattr(form, "require_traceable"):
            form.require_traceable()

    @property
    def extra_attributes(self) -> tuple[str, ...]:
        """What it can be asked for besides what every detector can."""
        return tuple(getattr(self.form(), "extra_attributes", ()))

    @property
    def refused_attributes(self) -> dict[str, str]:
        """See :attr:`odam_d2.meta_arch.OdamRCNN.refused_attributes`."""
        return dict(getattr(self.form(), "refused_attributes", {}))

    @property
    def missing_attributes(self) -> tuple[str, ...]:
        """What other detectors can be asked for, and this one can't."""
        return tuple(getattr(self.form(), "missing_attributes", ()))

    @property
    def candidates(self) -> Any:
        """What gives all that it chooses among, see :meth:`odam_d2.meta_arch.OdamRCNN.candidates`; not of every one."""
        return self.form().candidates

    def _tell(self, trace: DetectionTrace) -> None:
        """Says once how the detector is explained."""
        state = self._state()
        if state.told or not comm.is_main_process():
            return
        state.told = True
        own, how = same_state(self, self.built_as), ADAPTERS[self.way()].how
        reason = next(reversed(state.refused.values()), None) or why_not_ours(own) or ""
        if hasattr(trace.head, "recorded"):
            way = f"by autograd on maps {', '.join(trace.level_names)}"
        else:
            fast = {"RoI": RoIEngine, "dense": DenseEngine}
            known = [name for name, engine in fast.items() if engine(self).unsupported(trace) is None]
            way = f"with the {known[0]} engine" if known else "with autograd"
        parts = (f"{self.built_as.__name__} {way}", how, f"since {reason}" if reason else "")
        logger.info("explaining %s", ", ".join(part for part in parts if part))


@register_adopter
def adopt(model: Any) -> BuiltDetector | None:
    """A view of a built detector that keeps a trace; None for what is no detector.

    Args:
        model: a module; it and its class stay as they are, and everything of its state is shared.
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule | BuiltDetector):
        return None
    if isinstance(model, OdamProposalNetwork) and why_not_ours(model) is not None:
        return None  # proposals are made without a graph, so that there is no other way
    runs = type(model).forward is not nn.Module.forward  # what has none only holds detectors, as a teacher and student
    if not runs or (why_not_ours(model) is not None and find_backbone(model) is None):
        return None
    known = _VIEWS.get(model)
    view = None if known is None else known()
    if view is None or view.built_as is not type(model):
        view = same_state(model, _built_class(type(model)))
        if _KNOWN.get(model, _State()).kind is not type(model):
            _KNOWN[model] = _State(type(model))
        _STATES[view] = _KNOWN[model]
        _VIEWS[model] = ref(view)
    return view


def _built_class(kind: type) -> type:
    if kind not in _BUILT_CLASSES:
        members = {"built_as": kind, "__module__": kind.__module__}
        bases = (BuiltDetector, kind)
        _BUILT_CLASSES[kind] = new_class(f"Built{kind.__name__}", bases, {}, lambda space: space.update(members))
    return _BUILT_CLASSES[kind]
