"""Ways to remove duplicates held against each other on the same candidates of a crowd, with error bars.

Shape letters: P images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from ...utils.words import markdown_text
from ..crowd.differences import FIGURES, CrowdSample, crowd_differences, sample_crowd
from ..crowd.matching import match_crowd
from ..crowd.objects import CrowdObjects
from .candidates import Candidates
from .suppression import SUPPRESSIONS, suppress
from .tuning import Setting

# What is compared, and for whom.
SUBSETS = {"all": FIGURES, "heavy": ("recall", "JI"), "crowd_heavy": ("recall", "JI")}
_PERSON = 0  # as CrowdHumanEvaluator, which looks at no other class


def compare_settings(
    settings: Sequence[Setting],
    candidates: Sequence[Candidates],
    objects: Sequence[CrowdObjects],
    most: int,
    protocol: str,
    resamplings: int = 1000,
) -> list[dict[str, Any]]:
    """Ways by maps less each way without, where the thresholds of both have one origin.

    Args:
        settings: what to compare.
        candidates: of P images.
        objects: of the same images.
        most: detections of an image that count.
        protocol: by whose rules people are matched.
        resamplings: draws of images for the intervals.

    Returns:
        A row for each pair: ``way``, ``rival``, ``origin`` and ``differences``, one dict for each subset and figure
        with ``subset``, ``figure``, ``value`` and ``interval`` in percent points and ``verdict``.
    """
    origins = {one.origin for one in settings if SUPPRESSIONS[one.way].by_maps}
    involved = [one for one in settings if one.origin in origins]
    samples = [
        _sample(one, candidates, objects, most, protocol, resamplings)
        for one in tqdm(involved, desc="intervals", unit="setting")
    ]
    rows = []
    for own, mine in zip(involved, samples, strict=True):
        for rival, theirs in zip(involved, samples, strict=True):
            if rival.origin != own.origin or SUPPRESSIONS[rival.way].by_maps or not SUPPRESSIONS[own.way].by_maps:
                continue
            found = [one for pair in zip(mine, theirs, strict=True) for one in crowd_differences(*pair)]
            told = [{**asdict(one), "verdict": one.verdict} for one in found]
            rows.append({"way": own.way, "rival": rival.way, "origin": own.origin, "differences": told})
    return rows


def differences_in_words(images: int) -> str:
    """What the table of differences shows, as a sentence."""
    return (
        f"Differences in percent points, with 95 % intervals over {images} images (bootstrap); bold where zero is "
        "outside:"
    )


def differences_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of :func:`compare_settings` as Markdown: each difference with its interval, bold where zero is outside."""
    names = [f"{figure}-{subset}".removesuffix("-all") for subset, figures in SUBSETS.items() for figure in figures]
    body = [[row["way"], row["rival"], row["origin"], *map(_cell, row["differences"])] for row in rows]
    return tabulate(body, ["way", "less", "thresholds", *map(markdown_text, names)], tablefmt="github")


def _cell(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    text = f"{one['value']:+.2f} [{low:+.2f}, {high:+.2f}]"
    return text if one["verdict"] == "open" else f"**{text}**"


def _sample(
    setting: Setting,
    candidates: Sequence[Candidates],
    objects: Sequence[CrowdObjects],
    most: int,
    protocol: str,
    resamplings: int,
) -> list[CrowdSample]:
    """What a way keeps, matched, for each of SUBSETS."""
    matches = []
    for one, people in zip(candidates, objects, strict=True):
        kept = suppress(one, setting.way, setting.thresholds, most)
        kept = kept[kept.pred_classes == _PERSON]
        boxes, scores = kept.pred_boxes.tensor.double().numpy(), kept.scores.double().numpy()
        matches.append(match_crowd(boxes, scores, people, protocol=protocol))
    members = [one.subsets() for one in objects]
    return [
        sample_crowd(
            matches, [one[name] & match.counted for one, match in zip(members, matches, strict=True)], name, protocol,
            figures, resamplings,
        )
        for name, figures in SUBSETS.items()
    ]  # fmt: skip
