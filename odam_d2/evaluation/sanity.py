"""Whether maps depend on what the detector learned: its layers are randomised, its classes exchanged.

A method whose maps stay the same when the detector has forgotten everything shows the picture, not the detector.

Shape letters: R objects over all pictures, T cells, G groups of layers.
Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. Their other test, a detector trained on
permuted labels, needs a training of its own and is not here: the class that is asked for is exchanged instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from detectron2.structures import Instances
from tabulate import tabulate
from torch import Tensor, nn

from ..explain import build_comparison
from ..structures import HeatMaps
from .randomise import layer_groups, shuffle_weights, weights_restored

# A mean rank correlation above it counts as "the maps do not change": 1 is the same order of all cells, unrelated maps
# are near 0; from .7 on two maps have half of their ranks' variance in common (.7 squared).
MAX_CORRELATION = 0.7
# Maps are compared on cells of so many pixels of the model input.
STRIDE = 8
ALL_LAYERS, LABELS = "all layers randomised", "another class asked for"


@dataclass
class SanityReport:
    """How alike maps of the changed detector are to those of the detector as it is.

    Attributes:
        stages: names of the G groups; at each all groups before it are randomised too.
        rank: method -> stage, or :data:`LABELS`, -> (R,) Spearman correlations.
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
        """Method -> mean rank correlation at each of the G stages, for a picture; NaN without objects."""
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
        if LABELS not in names:
            sentences.append("The detector knows a single class: there is no other to ask for.")
        return "\n".join([table, "", *sentences])


def sanity_checks(
    model: nn.Module,
    subjects: Sequence[tuple[dict, Instances]],
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]],
    num_classes: int,
    attribute: str = "score",
    threshold: float = MAX_CORRELATION,
    seed: int = 0,
) -> SanityReport:
    """Explains the same boxes again and again, while the detector forgets layer by layer, from the heads down.

    Boxes are given, since a detector that has forgotten finds others. The detector's weights are bit for bit as they
    were afterwards, also after an error.

    Args:
        model: a detector in eval mode that can be explained.
        subjects: pictures as the detector takes them, each with the boxes and classes to explain in it, in the
            original frame.
        methods: see :func:`odam_d2.explain.build_comparison`.
        num_classes: that the detector knows; with one there is no other to ask for, and that check is left out.
        attribute: whose maps are compared.
        threshold: a mean rank correlation above it fails a check.
        seed: of the random orders.

    Raises:
        ValueError: if a box can't be explained; a query detector explains a box through a query that overlaps it, and
            may have none left when its queries are random.
    """
    explainer = build_comparison(model, methods, attributes=(attribute,))

    def maps(shift: int = 0) -> dict[str, list[Tensor]]:
        found: dict[str, list[Tensor]] = {}
        for entry, boxes in subjects:
            (result,) = explainer([entry], [_other_classes(boxes, shift, num_classes)])
            for method, heatmaps in result["heatmaps"].items():
                found.setdefault(method, []).extend(_on_cells(heatmaps, attribute))
        return found

    original, groups = maps(), layer_groups(model)
    report = SanityReport([group.name for group in groups], threshold=threshold)

    def compare(stage: str, changed: dict[str, list[Tensor]]) -> None:
        for method, before in original.items():
            pairs = list(zip(before, changed[method], strict=True))
            for table, measure in ((report.rank, rank_correlation), (report.cosine, cosine)):
                values = [measure(*pair) for pair in pairs]
                table.setdefault(method, {})[stage] = torch.stack(values) if values else torch.zeros(0)

    generator = torch.Generator().manual_seed(seed)
    with weights_restored(model):
        for group in groups:
            shuffle_weights(group.parameters, generator)
            compare(group.name, maps())
    if num_classes > 1:
        compare(LABELS, maps(shift=1))
    return report


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of two maps (T,) on the cells where at least one of them is not zero; ties share a rank.

    Where both are zero, outside a box for example, they agree for no merit of their own.

    Returns:
        () float32 in [-1, 1]; 0 where a map is constant on these cells, and where there are none.
    """
    cells = (one != 0) | (other != 0)
    ranks = [_ranks(values[cells]) for values in (one, other)]
    ranks = [r - r.mean() if len(r) else r for r in ranks]
    size = (ranks[0].square().sum() * ranks[1].square().sum()).sqrt()
    return ((ranks[0] * ranks[1]).sum() / size if float(size) > 0 else size).float()


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Cosine of two maps (T,), () float32; 0 where one is zero everywhere."""
    size = one.double().norm() * other.double().norm()
    return (one.double() @ other.double() / size if float(size) > 0 else size).float()


def _ranks(values: Tensor) -> Tensor:
    """(n,) float64: place of each value by size, the mean place for equal ones."""
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[which]


def _on_cells(heatmaps: HeatMaps, attribute: str) -> list[Tensor]:
    """The raw maps of one picture, flattened, at :data:`STRIDE`."""
    height, width = (-(-side // STRIDE) for side in heatmaps.image_size)
    return list(heatmaps.to_image(attribute, normalize=False, size=(height, width)).flatten(1).cpu())


def _other_classes(boxes: Instances, shift: int, num_classes: int) -> Instances:
    """The same boxes with each class replaced by the one `shift` further."""
    prefix = "pred" if boxes.has("pred_boxes") else "gt"
    classes = (boxes.get(f"{prefix}_classes") + shift) % num_classes
    return Instances(boxes.image_size, pred_boxes=boxes.get(f"{prefix}_boxes"), pred_classes=classes)
