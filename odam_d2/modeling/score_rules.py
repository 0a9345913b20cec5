"""How RoI heads make the score that they report of what their box stages say; a registry, for heads of one's own.

Shape letters: r proposals of an image, K classes.
"""

from __future__ import annotations

from typing import Protocol

import torch
from detectron2.structures import Instances
from torch import Tensor

from ..utils.registry import NamedRegistry
from ..utils.untyped import UntypedModule


class ScoreRule(Protocol):
    """A rule; it must be differentiable, and treat each proposal on its own."""

    @staticmethod
    def applies(roi_heads: UntypedModule, proposals: Instances) -> bool:
        """Whether these heads, with their settings, follow the rule for such proposals."""
        ...

    @staticmethod
    def scores(mean: Tensor, proposals: Instances) -> Tensor:
        """(r, K + 1) scores that are reported, from (r, K + 1), the mean of all stages, and the heads' proposals."""
        ...


#: Rules by name; the first that applies is taken, the latest registered one before the others.
SCORE_RULES: NamedRegistry[type[ScoreRule]] = NamedRegistry("score rules of RoI heads")


def find_score_rule(roi_heads: UntypedModule, proposals: list[Instances]) -> type[ScoreRule]:
    """The rule that some heads follow."""
    rules = [SCORE_RULES[name] for name in reversed(list(SCORE_RULES))]
    return next(rule for rule in rules if all(rule.applies(roi_heads, one) for one in proposals))


@SCORE_RULES.register_as("mean")
class MeanScore:
    """Detectron2's: the mean of the stages, which is the score itself where there is one."""

    @staticmethod
    def applies(roi_heads: UntypedModule, proposals: Instances) -> bool:
        """Always."""
        del roi_heads, proposals
        return True

    @staticmethod
    def scores(mean: Tensor, proposals: Instances) -> Tensor:
        """See :class:`ScoreRule`."""
        del proposals
        return mean


@SCORE_RULES.register_as("proposal")
class ProposalScore:
    """The root of the mean times the score of the proposal, for heads with ``mult_proposal_score`` (CenterNet2, Detic).

    The proposal's score, in ``scores`` or ``objectness_logits``, is taken as it is, like the proposal's box.
    """

    @staticmethod
    def applies(roi_heads: UntypedModule, proposals: Instances) -> bool:
        """Where the heads or their predictors say ``mult_proposal_score``."""
        asked = any(getattr(module, "mult_proposal_score", False) for module in roi_heads.modules())
        return asked and (proposals.has("scores") or proposals.has("objectness_logits"))

    @staticmethod
    def scores(mean: Tensor, proposals: Instances) -> Tensor:
        """See :class:`ScoreRule`."""
        of_proposal = proposals.get("scores" if proposals.has("scores") else "objectness_logits").detach()
        # At zero the slope of a root is infinite, and zero times infinity is NaN for the classes that nobody asks for.
        return (mean * of_proposal[:, None]).clamp(min=torch.finfo(mean.dtype).tiny).sqrt()
