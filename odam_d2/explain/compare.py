"""Several methods on the same detections, for the price of one trace and one pass of gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from detectron2.structures import Instances
from torch import nn

from ..structures import DetectionTrace, HeatMaps
from .base import Explainer, GradientEngine, smoothing_option
from .finite import require_finite_maps
from .guarded import GuardedExplainer
from .windows import MapWindows, assemble


@dataclass(frozen=True)
class ComparedMaps:
    """What several methods say of one image.

    Attributes:
        maps: method -> HeatMaps; None where nobody wants them.
        seconds: method -> seconds for a detection, where they were measured.
    """

    maps: dict[str, HeatMaps | None]
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_images(
        cls, maps: Mapping[str, Sequence[HeatMaps]], seconds: Mapping[str, float] | None = None
    ) -> list[ComparedMaps]:
        """N of them from method -> N HeatMaps, and the seconds of all of them."""
        images = zip(*maps.values(), strict=True)
        return [cls(dict(zip(maps, image, strict=True)), dict(seconds or {})) for image in images]


class MethodComparison(GuardedExplainer[ComparedMaps]):
    """Explains the same detections by several methods.

    The detector is traced once, and every chunk of gradients is given to all methods that use gradients before the
    next one is computed; there is one pass for each width that gradients are smoothed with. The other methods
    (``drise``, ``random``) explain the same trace on their own. Build one with
    :func:`odam_d2.explain.build_comparison`.

    Args:
        model: see :class:`GuardedExplainer`.
        attributes: see :class:`GuardedExplainer`; the same for all methods.
        choose_engine: from a trace to the engine that all gradient methods share.
        explainers: method -> what explains by it.

    Attributes:
        wanted: says of an image's entry and its detections whether anybody will look at their maps; None where all
            are wanted. A batch without a wanted image costs no more than detection, and has None for maps; in a batch
            with a wanted image all are explained. Given boxes always are.
    """

    wanted: Callable[[dict, Instances], bool] | None = None

    def __init__(
        self,
        model: nn.Module,
        attributes: tuple[str, ...],
        choose_engine: Callable[[DetectionTrace], GradientEngine],
        explainers: Mapping[str, Explainer],
    ):
        super().__init__(model, attributes)
        self.choose_engine = choose_engine
        self.explainers = dict(explainers)
        self.uses_gradients = any(one.uses_gradients for one in self.explainers.values())

    def explain(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> list[ComparedMaps]:
        """The maps of all methods, or none if no image is wanted; see :meth:`GuardedExplainer.explain`."""
        if self.wanted is not None and instances is None:
            images = zip(batched_inputs, trace.instances, strict=True)
            if not any(self.wanted(entry, found) for entry, found in images):
                return [ComparedMaps(dict.fromkeys(self.explainers)) for _ in batched_inputs]
        return self.explain_wanted(trace, batched_inputs, instances)

    def explain_wanted(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> list[ComparedMaps]:
        """The maps of all methods; arguments as for :meth:`explain`."""
        parts: dict[str, list[MapWindows]] = {n: [] for n, one in self.explainers.items() if one.uses_gradients}
        for smoothing in dict.fromkeys(self.explainers[name].smoothing for name in parts):
            alike = [name for name in parts if self.explainers[name].smoothing == smoothing]
            engine = self.choose_engine(trace)
            for chunk in engine.gradient_windows(trace, self.attributes, **smoothing_option(smoothing)):
                for name in alike:
                    parts[name].append(self.explainers[name].map_windows(chunk))
        return ComparedMaps.of_images(
            {
                name: one.finished(trace, assemble(trace, parts[name], self.attributes))
                if name in parts
                else one.explain(trace, batched_inputs, instances)
                for name, one in self.explainers.items()
            }
        )

    def step_down(self) -> bool:
        """See :meth:`GuardedExplainer.step_down`; the shared choice of engines, and each method's own."""
        choices = [self.choose_engine, *(one.choose_engine for one in self.explainers.values())]
        steps = [getattr(choice, "step_down", None) for choice in choices]
        return any([step() for step in steps if step is not None]) or super().step_down()

    def result(self, found: Instances, explanation: ComparedMaps, number: int) -> dict:
        """``instances`` with the first method's maps, and beside them ``heatmaps``: method -> HeatMaps, or None.

        See :meth:`GuardedExplainer.result`.
        """
        made = [one for one in explanation.maps.values() if one is not None]
        for one in made:
            require_finite_maps(one, number)
        if made:
            found.set("heatmaps", made[0])
        return {"instances": found, "heatmaps": explanation.maps}
