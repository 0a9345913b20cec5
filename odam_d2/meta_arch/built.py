"""A detector that is already built, made explainable as it is, by the quickest way that its classes allow.

1. Stock classes, and subclasses that override nothing of what ours replace, are seen as ours: the fast engines.
2. Two-stage detectors with heads of their own detect as they do; their detections are found again among what the
   predictor said meanwhile: the fast engine where each RoI stands on its own, else autograd.
3. Anything else is explained by the graph that its own forward pass leaves, on all maps of its backbone.
"""

from __future__ import annotations

import logging
from types import new_class
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import nn

from ..explain import DenseEngine, RoIEngine
from ..explain.adoption import register_adopter
from ..modeling.recorded import UnmatchedError
from ..structures import DetectionTrace
from .graph import GraphDetector
from .matched import MatchedRCNN, why_not_matched
from .views import as_ours, same_state, why_not_ours

logger = logging.getLogger(__name__)


class _State:
    """What is known of a built detector besides its own state, which stays untouched.

    Attributes:
        kind: the class that this holds for.
        plain: why it is explained by its graph in spite of its classes; None if nothing speaks for that.
        told: whether the way was told.
    """

    def __init__(self, kind: type | None = None) -> None:
        self.kind = kind
        self.plain: str | None = None
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

        See the ``trace`` of ``OdamRCNN``, of the dense detectors and of ``GraphDetector``, of which it is one.
        """
        try:
            trace = self.form().trace(batched_inputs, instances)
        except UnmatchedError as error:
            self._leave_classes(str(error))
            trace = self.form().trace(batched_inputs, instances)
        self._tell(trace)
        return trace

    def form(self) -> Any:
        """The detector as what explains it: one of ours, a MatchedRCNN, or a GraphDetector."""
        own = same_state(self, self.built_as)
        if self.why_by_graph() is not None:
            return GraphDetector(own)
        return as_ours(own) if why_not_ours(own) is None else MatchedRCNN(own)

    def why_by_graph(self) -> str | None:
        """In a few words, why the fast engines have no part in it; None if they have."""
        own = same_state(self, self.built_as)
        if self._state().plain or why_not_ours(own) is None:
            return self._state().plain
        return why_not_ours(own) if why_not_matched(own) is not None else None

    def step_down(self) -> bool:
        """Explains by the graph from now on; False where that is so already."""
        if self.why_by_graph() is not None:
            return False
        self._leave_classes("parts of it say other scores than they reported when they are asked again")
        return True

    def _state(self) -> _State:
        # A copy of the view, for whoever asks it many times over, begins anew.
        return _STATES.setdefault(self, _State(self.built_as))

    def _leave_classes(self, reason: str) -> None:
        state = self._state()
        state.plain, state.told = reason, False

    def require_traceable(self) -> None:
        """Raises TypeError where the detector can't be explained in any way."""
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

    def _tell(self, trace: DetectionTrace) -> None:
        """Says once how the detector is explained."""
        state, reason = self._state(), self.why_by_graph()
        if state.told or not comm.is_main_process():
            return
        state.told = True
        if reason is not None:
            maps = ", ".join(trace.level_names)
            logger.info("explaining %s by autograd on maps %s, since %s", self.built_as.__name__, maps, reason)
            return
        fast = {"RoI": RoIEngine, "dense": DenseEngine}
        known = [name for name, engine in fast.items() if engine(self).unsupported(trace) is None]
        way = f"the {known[0]} engine" if known else "autograd"
        reason = why_not_ours(same_state(self, self.built_as))
        how = "as the stock class that it is" if reason is None else f"which finds its detections again, since {reason}"
        logger.info("explaining %s with %s, %s", self.built_as.__name__, way, how)


@register_adopter
def adopt(model: Any) -> BuiltDetector | None:
    """A view of a built detector that keeps a trace; None for what is no detector.

    Args:
        model: a module; it and its class stay as they are, and everything of its state is shared.
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        return None
    if why_not_ours(model) is not None and not isinstance(getattr(model, "backbone", None), nn.Module):
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
