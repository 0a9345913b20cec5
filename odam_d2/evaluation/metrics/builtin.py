"""The metrics by name: each pairs a function of this package with its direction.

Shape letters: R explained objects, G objects of the image, P pairs.
"""

import torch

from .discrimination import object_discrimination_index, pairs_of_objects
from .faithfulness import SCORED_STEPS, STEP_SHARE
from .localization import (
    VEA_THRESHOLDS,
    compactness,
    energy_inside,
    pointing_game,
    sparsity,
    visual_explanation_accuracy,
)
from .metric import METRICS, Metric, register_metric
from .stability import stability

__all__ = ["METRICS"]


@register_metric("pointing_box")
class PointingGame(Metric):
    """See :func:`pointing_game`."""

    def values(self, seen):
        """See :class:`Metric`."""
        return pointing_game(seen.heat, self.region(seen)[seen.objects])


@register_metric("pointing_mask")
class MaskPointingGame(PointingGame):
    """The pointing game with masks."""

    needs_masks = True


@register_metric("energy_box")
class EnergyPointingGame(Metric):
    """See :func:`energy_inside`."""

    def values(self, seen):
        """See :class:`Metric`."""
        return energy_inside(seen.heat, self.region(seen)[seen.objects])


@register_metric("energy_mask")
class MaskEnergyPointingGame(EnergyPointingGame):
    """The energy pointing game with masks."""

    needs_masks = True


@register_metric("compactness")
class Compactness(Metric):
    """See :func:`compactness`."""

    higher_is_better = False

    def values(self, seen):
        """See :class:`Metric`."""
        return compactness(seen.heat, seen.truth.boxes[seen.objects])


@register_metric("vea")
class VisualExplanationAccuracy(Metric):
    """See :func:`visual_explanation_accuracy`; the number is the mean over thresholds."""

    needs_masks = True
    axis = ("threshold of the heat", VEA_THRESHOLDS)

    def values(self, seen):
        """See :class:`Metric`."""
        return self.curves(seen).mean(1)

    def curves(self, seen):
        """See :class:`Metric`."""
        return visual_explanation_accuracy(seen.heat, self.region(seen)[seen.objects])


@register_metric("odi_box")
class ObjectDiscriminationIndex(Metric):
    """See :func:`object_discrimination_index`."""

    higher_is_better = False
    needs_neighbours = True

    def values(self, seen):
        """See :class:`Metric`."""
        return object_discrimination_index(seen.heat, seen.objects, self.region(seen))

    def pairs(self, seen):
        """See :class:`Metric`."""
        return pairs_of_objects(seen.heat, seen.objects, self.region(seen), seen.truth.boxes)


@register_metric("odi_mask")
class MaskObjectDiscriminationIndex(ObjectDiscriminationIndex):
    """The object discrimination index with masks; all objects of the image need one."""

    needs_masks = True


@register_metric("sparsity")
class Sparsity(Metric):
    """See :func:`sparsity`."""

    def values(self, seen):
        """See :class:`Metric`."""
        return sparsity(seen.heat)


@register_metric("stability")
class Stability(Metric):
    """See :func:`stability`."""

    needs_explainer = True

    def values(self, seen):
        """See :class:`Metric`."""
        if seen.around_noise is None:
            return torch.full((len(seen.objects),), float("nan"))
        return stability(*seen.around_noise, seen.attribute)


@register_metric("runtime")
class Runtime(Metric):
    """Seconds for an object, without detecting it. No other metric changes from run to run."""

    higher_is_better = False

    def values(self, seen):
        """See :class:`Metric`."""
        return torch.full((len(seen.objects),), float("nan") if seen.seconds is None else seen.seconds)


class _Faithfulness(Metric):
    """What :func:`faithfulness_curves` gives, over the score of the untouched image."""

    needs_detector = True

    def values(self, seen):
        """See :class:`Metric`."""
        return seen.faithfulness.areas()[self.name]


class _FaithfulnessCurve(_Faithfulness):
    axis = ("pixels changed, in areas of the box", (0.0, *(STEP_SHARE * step for step in SCORED_STEPS)))

    def curves(self, seen):
        """See :class:`Metric`."""
        return getattr(seen.faithfulness.normalised(), self.name)


@register_metric("deletion")
class Deletion(_FaithfulnessCurve):
    """Area under the deletion curve."""

    higher_is_better = False


@register_metric("insertion")
class Insertion(_FaithfulnessCurve):
    """Area under the insertion curve."""


@register_metric("overall")
class Overall(_Faithfulness):
    """OA, the insertion's area less the deletion's."""


@register_metric("untouched")
class Untouched(_Faithfulness):
    """The score of the object in the untouched image, which unnormalised areas follow; the same for all methods."""

    higher_is_better = None

    def values(self, seen):
        """See :class:`Metric`."""
        return seen.faithfulness.untouched
