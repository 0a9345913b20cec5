"""Whether maps depend on what the detector learned: its layers are randomised, its classes exchanged.

A method whose maps stay the same when the detector has forgotten everything shows the image, not the detector. Two
maps of an object that are the same up to their scale count as a correlation of 1, also where a correlation says
nothing: maps of zeros, or of one value everywhere, never change.

Shape letters: R objects over all images, T cells, G groups of layers.
Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. Their other test, a detector trained on
permuted labels, needs a training of its own and is not here: the class that is asked for is exchanged instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from detectron2.structures import Instances
from tabulate import tabulate
from torch import Tensor
from tqdm import tqdm

from ...explain import MethodComparison
from ...explain.checks import require_ordinary_tensors
from ...modeling.provenance import UnreachedBoxError, given_prefix
from .correlation import cosine, maps_on_cells, rank_correlation, same_up_to_scale
from .randomise import layer_groups, shuffle_weights, weights_restored

# A mean rank correlation above it counts as "the maps do not change": 1 is the same order of all cells, unrelated maps
# are near 0; from .7 on two maps have half of their ranks' variance in common (.7 squared).
MAX_CORRELATION = 0.7
ALL_LAYERS, LABELS = "all layers randomised", "another class asked for"


@dataclass
class SanityReport:
    """How alike maps of the changed detector are to those of the detector as it is.

    Attributes:
        stages: names of the G groups; at each all groups before it are randomised too.
        rank: method -> stage, or :data:`LABELS`, -> (R,) Spearman correlations; 1 for maps that did not change.
        cosine: the same as cosines. Maps that cannot be negative are never far apart by it: it is shown, not judged.
        threshold: see :data:`MAX_CORRELATION`.
    """

    stages: list[str]
    rank: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    cosine: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    threshold: float = MAX_CORRELATION

    def rows(self) -> list[dict[str, Any]]:
        """A dict for each method and stage, ready for JSON: means over the objects, and their number."""
        return [
            {
                "method": method,
                "stage": stage,
                "rank_correlation": float(values.mean()) if len(values) else None,
                "cosine": float(self.cosine[method][stage].mean()) if len(values) else None,
                "objects": len(values),
            }
            for method, stages in self.rank.items()
            for stage, values in stages.items()
        ]

    def verdicts(self) -> dict[str, list[tuple[str, bool, str]]]:
        """Method -> (check, whether it is passed, the same in words) of each check that could be made."""
        checks = [(ALL_LAYERS, self.stages[-1])] if self.stages else []
        found: dict[str, list[tuple[str, bool, str]]] = {}
        for method, stages in self.rank.items():
            found[method] = []
            for check, stage in [*checks, (LABELS, LABELS)]:
                if stage not in stages or not len(stages[stage]):
                    continue
                mean = float(stages[stage].mean())
                passed = mean <= self.threshold
                words = "the maps change" if passed else "THE MAPS DO NOT CHANGE, they do not show what was learned"
                if check == LABELS and not passed:
                    words = "THE MAPS DO NOT CHANGE, they do not show the class"
                text = (
                    f"{method} {'passes' if passed else 'FAILS'} ({check}): {words}; rank correlation {mean:.2f}, "
                    f"at most {self.threshold:g}."
                )
                found[method].append((check, passed, text))
        return found

    def curves(self) -> dict[str, list[float]]:
        """Method -> mean rank correlation at each of the G stages, for an image; NaN without objects."""
        return {method: [float(stages[s].mean()) for s in self.stages] for method, stages in self.rank.items()}

    def text(self) -> str:
        """A table of stages and methods, and the verdicts below."""
        methods = list(self.rank)
        names = [*self.stages, *([LABELS] if any(LABELS in stages for stages in self.rank.values()) else [])]
        body = [
            [name, *(f"{self.rank[m][name].mean():.2f} ({self.cosine[m][name].mean():.2f})" for m in methods)]
            for name in names
        ]
        table = tabulate(body, ["randomised so far: rank correlation (cosine)", *methods], tablefmt="github")
        sentences = [text for verdicts in self.verdicts().values() for _, _, text in verdicts]
        counts = {name: len(self.rank[methods[0]][name]) for name in names} if methods else {}
        if len(set(counts.values())) > 1:
            numbers = ", ".join(f"{name} {count}" for name, count in counts.items())
            sentences.append(f"Objects whose box the changed detector could still explain: {numbers}.")
        if LABELS not in names:
            sentences.append("The detector knows a single class: there is no other to ask for.")
        return "\n".join([table, "", *sentences])


def sanity_checks(
    explainer: MethodComparison,
    subjects: Sequence[tuple[dict, Instances]],
    num_classes: int,
    attribute: str = "score",
    threshold: float = MAX_CORRELATION,
    seed: int = 0,
    progress: bool = False,
) -> SanityReport:
    """Explains the same boxes again and again, while the detector forgets layer by layer, from the heads down.

    Boxes are given, since a detector that has forgotten finds others. The detector's weights are bit for bit as they
    were afterwards, also after an error.

    Args:
        explainer: the methods on a detector in eval mode, see :func:`odam_d2.explain.build_comparison`.
        subjects: images as the detector takes them, each with the boxes and classes to explain in it, in the
            original frame.
        num_classes: that the detector knows; with one there is no other to ask for, and that check is left out.
        attribute: whose maps are compared.
        threshold: a mean rank correlation above it fails a check.
        seed: of the random orders.
        progress: shows a bar over the stages.

    A query detector explains a box through a query that overlaps it, and may have none there when its queries are
    random: such a box is left out at that stage, as the number of objects in :meth:`SanityReport.rows` tells.

    Raises:
        UnreachedBoxError: if the detector as it is can't explain a box.
    """

    def maps(shift: int = 0) -> list[dict[str, Tensor] | None]:
        asked = [(entry, _other_classes(boxes, shift, num_classes)) for entry, boxes in subjects]
        return [one for subject in asked for one in _explained(explainer, *subject, attribute)]

    model = explainer.model
    require_ordinary_tensors(model)
    original = [
        one for subject in subjects for one in _explained(explainer, *subject, attribute, leave_out_unreached=False)
    ]
    groups = layer_groups(model)
    report = SanityReport([group.name for group in groups], threshold=threshold)

    def compare(stage: str, changed: list[dict[str, Tensor] | None]) -> None:
        pairs_of_all = zip(original, changed, strict=True)
        both = [(before, after) for before, after in pairs_of_all if before is not None and after is not None]
        for method in explainer.explainers:
            pairs = [(before[method], after[method]) for before, after in both]
            unchanged = torch.tensor([same_up_to_scale(*pair) for pair in pairs], dtype=torch.bool)
            for table, measure in ((report.rank, rank_correlation), (report.cosine, cosine)):
                values = torch.tensor([float(measure(*pair)) for pair in pairs])
                table.setdefault(method, {})[stage] = values.masked_fill(unchanged, 1.0)

    generator = torch.Generator().manual_seed(seed)
    with weights_restored(model):
        for group in tqdm(groups, desc="randomising", disable=not progress):
            shuffle_weights(group.parameters, generator)
            compare(group.name, maps())
    if num_classes > 1:
        compare(LABELS, maps(shift=1))
    return report


def _explained(
    explainer: MethodComparison, entry: dict, boxes: Instances, attribute: str, leave_out_unreached: bool = True
) -> list[dict[str, Tensor] | None]:
    """For each of the boxes of an image: method -> (T,) map on cells; None where a box can't be explained."""
    try:
        (result,) = explainer([entry], [boxes])
    except UnreachedBoxError:
        if not leave_out_unreached:
            raise
        if len(boxes) == 1:
            return [None]
        return [one for k in range(len(boxes)) for one in _explained(explainer, entry, boxes[k : k + 1], attribute)]
    columns = [maps_on_cells(heatmaps, attribute) for heatmaps in result["heatmaps"].values()]
    return [dict(zip(result["heatmaps"], values, strict=True)) for values in zip(*columns, strict=True)]


def _other_classes(boxes: Instances, shift: int, num_classes: int) -> Instances:
    """The same boxes with each class replaced by the one `shift` further."""
    prefix = given_prefix(boxes)
    classes = (torch.as_tensor(boxes.get(f"{prefix}_classes")) + shift) % num_classes
    return Instances(boxes.image_size, pred_boxes=boxes.get(f"{prefix}_boxes"), pred_classes=classes)
