"""Ways to explain a detector that is already built; a registry, so that a project can add one of its own."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from detectron2.structures import Instances
from torch import nn

from ..structures import DetectionTrace
from ..utils.registry import NamedRegistry
from ..utils.untyped import UntypedModule
from .graph import GraphDetector
from .locations import LocationDetector, why_no_locations
from .matched import MatchedRCNN, why_not_matched
from .queries import QueryDetector, why_no_queries
from .views import as_ours, why_not_ours


class Adapter(Protocol):
    """A class whose objects keep a trace of a built detector, which stays as it is.

    Its objects may name ``extra_attributes`` and ``missing_attributes``, as detectors do. A trace that finds the
    detector to work in another way than the adapter knows raises
    :class:`odam_d2.modeling.recorded.UnmatchedError`; the next adapter is tried then.

    Attributes:
        how: in a few words, how detections are explained, for the log.
    """

    how: ClassVar[str]

    def __init__(self, model: UntypedModule) -> None: ...

    @staticmethod
    def why_not(model: UntypedModule) -> str | None:
        """In a few words, why a detector is none that this adapter knows; None if it is one. Runs nothing."""
        ...

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or takes boxes that the caller gives, and keeps what an explanation needs.

        See the ``trace`` of :class:`odam_d2.meta_arch.OdamRCNN`.
        """
        ...


#: Adapters by name; the latest registered one is asked first.
ADAPTERS: NamedRegistry[Any] = NamedRegistry("adapters of built detectors")
# The name of the one that fits everything.
LAST = "graph"


def register_adapter(name: str):
    """Class decorator that registers an :class:`Adapter`, which is asked before all that were registered before it.

    Args:
        name: for error messages.

    Raises:
        AssertionError: if the name is taken.
    """
    return ADAPTERS.register_as(name)


@register_adapter(LAST)
class ByGraph(GraphDetector):
    """Any detector whose forward pass leaves a graph; the last that is asked."""

    how = ""

    @staticmethod
    def why_not(model: UntypedModule) -> str | None:
        """None: what isn't explained by anything else is explained so, or an error says where the graph ends."""
        del model
        return None


@register_adapter("matched")
class ByMatching(MatchedRCNN):
    """Two-stage detectors with heads of their own."""

    how = "which finds its detections again"
    why_not = staticmethod(why_not_matched)


@register_adapter("queries")
class ByQueries(QueryDetector):
    """Query detectors whose ``inference`` chooses among what all queries say."""

    how = "through its queries"
    why_not = staticmethod(why_no_queries)


@register_adapter("locations")
class ByLocations(LocationDetector):
    """One-stage detectors with a head like that of AdelaiDet's FCOS."""

    how = "through the locations of its FCOS"
    why_not = staticmethod(why_no_locations)


@register_adapter("stock")
class AsOurs:
    """Stock classes, and subclasses that override nothing of what ours replace, seen as ours."""

    how = "as the stock class that it is"
    why_not = staticmethod(why_not_ours)

    def __new__(cls, model: nn.Module) -> Any:
        """One of this package's own detectors, on the state of `model`."""
        return as_ours(model)
