"""Which thresholds suit a way to remove duplicates: every one of a grid scored on the same candidates."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Protocol

from detectron2.evaluation import DatasetEvaluator
from tqdm import tqdm

from ..ground_truth import TrueObjects
from .bound import best_choice
from .candidates import Candidates
from .suppression import SUPPRESSIONS, suppress

# Of figures with these names less is better.
LESS_IS_BETTER = ("MR",)
# The name of the best choice that annotations allow, among the rows of ways.
BEST_POSSIBLE = "best_possible"
# Of evaluators' tasks, those about boxes; of figures with the same name the later one's counts.
TASKS = ("bbox", "crowd")


@dataclass(frozen=True)
class Setting:
    """One way to remove duplicates.

    Attributes:
        way: a key of :data:`odam_d2.evaluation.nms_tuning.suppression.SUPPRESSIONS`.
        thresholds: by name.
        origin: where the thresholds come from: ``grid``, ``published`` or ``chosen``.
    """

    way: str
    thresholds: Mapping[str, float]
    origin: str = "grid"

    def __post_init__(self):
        if self.way not in SUPPRESSIONS or set(self.thresholds) != set(SUPPRESSIONS[self.way].thresholds):
            known = {name: list(way.thresholds) for name, way in SUPPRESSIONS.items()}
            raise ValueError(
                f"`thresholds` must be those of a known way, one of {known}; got {dict(self.thresholds)} for "
                f"{self.way!r}: name each of them once"
            )


class Score(Protocol):
    """Says how good detections are."""

    def __call__(self, results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Figures by name, for an image's record (``image_id`` and so on) with ``instances`` in the original frame."""
        ...


class EvaluatorScore:
    """Scores by an evaluator of Detectron2's kind, quietly.

    Args:
        evaluator: its figures for boxes count. One that can be told which images to judge by ``img_ids``, as
            ``COCOEvaluator``, is told those that it was shown.
    """

    def __init__(self, evaluator: DatasetEvaluator):
        self.evaluator = evaluator

    def __call__(self, results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """See :class:`Score`; figures that are not finite are left out."""
        self.evaluator.reset()
        for result in results:
            self.evaluator.process([result], [{"instances": result["instances"]}])
        chosen = {}
        if "img_ids" in inspect.signature(self.evaluator.evaluate).parameters:
            chosen["img_ids"] = [result["image_id"] for result in results]
        with _quiet():
            found = self.evaluator.evaluate(**chosen)
        figures = {name: value for task in TASKS for name, value in found.get(task, {}).items()}
        return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def grid(ways: Iterable[str], values: Mapping[str, Sequence[float]]) -> list[Setting]:
    """Every combination of thresholds of each way, but for those with low > high.

    Args:
        ways: keys of :data:`SUPPRESSIONS`.
        values: for each name of a threshold, or ``way.name`` where a way has values of its own, what to try.
    """
    settings = []
    for way in ways:
        names = SUPPRESSIONS[way].thresholds
        for chosen in product(*(values.get(f"{way}.{name}", values.get(name, ())) for name in names)):
            thresholds = dict(zip(names, chosen, strict=True))
            if thresholds.get("low", 0.0) <= thresholds.get("high", 2.0):
                settings.append(Setting(way, thresholds))
    return settings


def score_settings(
    settings: Sequence[Setting],
    records: Sequence[Mapping[str, Any]],
    candidates: Sequence[Candidates],
    score: Score,
    most: int,
) -> list[dict[str, Any]]:
    """Scores every setting on the same candidates.

    Args:
        settings: what to try.
        records: of the images, with ``image_id``.
        candidates: of the images.
        score: what says how good detections are.
        most: detections of an image that count.

    Returns:
        A row for each setting: ``way``, ``thresholds``, ``origin`` and ``figures``.
    """
    rows = []
    for setting in tqdm(settings, desc="scoring", unit="setting"):
        results = [
            {**record, "instances": suppress(one, setting.way, setting.thresholds, most)}
            for record, one in zip(records, candidates, strict=True)
        ]
        rows.append({**asdict(setting), "thresholds": dict(setting.thresholds), "figures": score(results)})
    return rows


def score_best_choice(
    records: Sequence[Mapping[str, Any]],
    truths: Sequence[TrueObjects],
    candidates: Sequence[Candidates],
    score: Score,
    most: int,
) -> dict[str, Any]:
    """A row like those of :func:`score_settings`, of the best choice that annotations allow; see :mod:`.bound`."""
    results = [
        {**record, "instances": one.detections(*best_choice(one, truth, most))}
        for record, truth, one in zip(records, truths, candidates, strict=True)
    ]
    return {"way": BEST_POSSIBLE, "thresholds": {}, "origin": "annotations", "figures": score(results)}


def best_rows(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Mapping[str, Any]]:
    """Of each way the row with the best figure, the first of equals; ways without that figure are left out.

    The best choice by annotations is no way.
    """
    sign = -1.0 if metric.split("-")[0] in LESS_IS_BETTER else 1.0
    best: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        value = row["figures"].get(metric)
        if value is None or row["way"] == BEST_POSSIBLE:
            continue
        before = best.get(row["way"])
        if before is None or sign * value > sign * before["figures"][metric]:
            best[row["way"]] = row
    return best


@contextlib.contextmanager
def _quiet():
    """Without what evaluators print, log and show as progress, the same for every setting; errors come through."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
