"""Several methods on the same detections, for the price of one trace and one pass of gradients."""

from collections.abc import Callable, Mapping, Sequence

from detectron2.structures import Instances
from torch import nn

from ..structures import DetectionTrace, HeatMaps
from .base import Explainer, GradientEngine, with_boxes
from .finite import require_finite_maps
from .windows import MapWindows, assemble


class MethodComparison(Explainer):
    """Explains the same detections by several methods.

    The detector is traced once, and every chunk of gradients is given to all methods that use gradients before the
    next one is computed; those that smooth them have a pass of their own for each width. The others (``drise``,
    ``random``) explain the same trace on their own. Build one with :func:`odam_d2.explain.build_comparison`.

    Args:
        model: see :class:`Explainer`.
        attributes: see :class:`Explainer`; the same for all methods.
        choose_engine: see :class:`Explainer`; the engine that all gradient methods share.
        explainers: method -> what explains by it.

    Attributes:
        wanted: says of an image's entry and its detections whether anybody will look at their maps; None where all
            are wanted. A batch without a wanted image gets None for maps, at the price of detection; in one that
            holds a wanted image all are explained. Given boxes always are.
    """

    wanted: Callable[[dict, Instances], bool] | None = None

    def __init__(
        self,
        model: nn.Module,
        attributes: tuple[str, ...],
        choose_engine: Callable[[DetectionTrace], GradientEngine],
        explainers: Mapping[str, Explainer],
    ):
        super().__init__(model, attributes, choose_engine)
        self.explainers = dict(explainers)
        self.uses_gradients = any(one.uses_gradients for one in self.explainers.values())

    def explain(  # type: ignore[override]  # an image has the maps of several methods
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> Sequence[Mapping[str, HeatMaps | None]]:
        """N times method -> HeatMaps of the traced detections; None in their place if no image is wanted."""
        if self.wanted is not None and instances is None:
            images = zip(batched_inputs, trace.instances, strict=True)
            if not any(self.wanted(entry, found) for entry, found in images):
                return [dict.fromkeys(self.explainers) for _ in batched_inputs]
        return self.explain_wanted(trace, batched_inputs, instances)

    def explain_wanted(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> list[dict[str, HeatMaps]]:
        """N times method -> HeatMaps of the traced detections."""
        parts: dict[str, list[MapWindows]] = {n: [] for n, one in self.explainers.items() if one.uses_gradients}
        for smoothing in dict.fromkeys(self.explainers[name].smoothing for name in parts):
            alike = [name for name in parts if self.explainers[name].smoothing == smoothing]
            chunks = self.choose_engine(trace).gradient_windows(trace, self.attributes, smoothing)
            for chunk in with_boxes(chunks, trace):
                for name in alike:
                    parts[name].append(self.explainers[name].map_windows(chunk))
        maps = {
            name: assemble(trace, parts[name], self.attributes)
            if name in parts
            else one.explain(trace, batched_inputs, instances)
            for name, one in self.explainers.items()
        }
        return [dict(zip(maps, image, strict=True)) for image in zip(*maps.values(), strict=True)]

    def result(  # type: ignore[override]  # as above
        self, found: Instances, heatmaps: Mapping[str, HeatMaps | None], number: int
    ) -> dict:
        """``instances`` with the first method's maps, and beside them ``heatmaps``: method -> HeatMaps, or None."""
        made = [one for one in heatmaps.values() if one is not None]
        for one in made:
            require_finite_maps(one, number)
        if made:
            found.set("heatmaps", made[0])
        return {"instances": found, "heatmaps": heatmaps}
