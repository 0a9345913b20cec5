"""Measures explanations of a data set, in Detectron2's manner."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

from ...data.matching import Matches
from ...explain import MethodComparison
from ...store import ImageRow, RunWriter, StoredImage
from .measuring import Measuring
from .stored_rows import measured_rows
from .summary import summarise

# Called with (number of the image, its result, its matches, entry, output), before the result is kept.
Watcher = Callable[[int, dict, Matches, dict, dict], None]


# Documents with what :meth:`Measuring.measure` says of an image.
RESULTS = "results"


def image_key(image_id: int | str) -> str:
    """What a run on disk knows an image by."""
    return json.dumps(image_id)


class ExplanationEvaluator(DatasetEvaluator):
    """Measures what a comparison of methods says of each image, all methods on the same objects.

    For Detectron2's ``inference_on_dataset(comparison, data_loader, evaluator)``, with
    :func:`odam_d2.explain.build_comparison`'s comparison or a :class:`GuardedComparison` of it. Results are gathered
    from all processes; they don't depend on how many there are, as long as images go through one at a time.

    Args:
        records: the data set, see :mod:`odam_d2.evaluation.ground_truth`.
        methods: what the comparison explains by, in the order of the table.
        measuring: what is measured.
        writer: keeps the rows of finished images, and their results as documents of :data:`RESULTS`; None to keep
            them in memory alone.
        class_names: by the detector's numbers, for the rows.
        finished: results that are there already, by image id.
        watch: see :data:`Watcher`.

    Attributes:
        results: after :meth:`evaluate`, in the main process: of all images, in the order of the data set.
        failures: likewise, of images that could not be measured: ``image_id``, ``file_name``, ``error``, and whether
            the image is ``missing``.
        summary: likewise, see :func:`summarise`.
    """

    def __init__(
        self,
        records: Sequence[dict],
        methods: Sequence[str],
        measuring: Measuring,
        writer: RunWriter | None = None,
        class_names: Sequence[str] = (),
        finished: Mapping[int | str, dict] | None = None,
        watch: Watcher | None = None,
    ):
        self.records = {record["image_id"]: record for record in records}
        self.numbers = {image_id: number for number, image_id in enumerate(self.records)}
        self.methods, self.measuring, self.watch = list(methods), measuring, watch
        self.writer, self.class_names = writer, class_names
        self.finished = dict(finished or {})
        self.reset()

    def reset(self) -> None:
        """Forgets what was processed, but for what was finished before."""
        self.results: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self._done = dict(self.finished)
        self._failed: list[dict[str, Any]] = []

    def wants(self, entry: dict, found: Instances) -> bool:
        """Whether maps of an image's detections will be measured; for :attr:`MethodComparison.wanted`.

        Args:
            entry: of the data loader, with ``image_id``.
            found: the detections.
        """
        return self.measuring.matches_any(self.records[entry["image_id"]], found)

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Measures images.

        Args:
            inputs: entries of the data loader, with ``image`` and ``image_id``.
            outputs: of the comparison, one for each; ``{"failure": ...}`` for an image that could not be explained.
        """
        for entry, output in zip(inputs, outputs, strict=True):
            record = self.records[entry["image_id"]]
            about = {"image_id": record["image_id"], "file_name": record["file_name"]}
            try:
                if "failure" in output:
                    raise ValueError(output["failure"])
                result, matches = self.measuring.measure(record, entry["image"], output)
            except ValueError as error:
                self._failed.append({**about, "error": str(error), "missing": bool(output.get("missing"))})
                if self.writer is not None:
                    self.writer.write(StoredImage(self._row(record, failure=str(error))))
                continue
            if self.watch is not None:
                self.watch(self.numbers[record["image_id"]], result, matches, entry, output)
            if self.writer is not None:
                row = self._row(record, size=(record["height"], record["width"]),
                                input_size=tuple(entry["image"].shape[-2:]))  # fmt: skip
                self.writer.write(measured_rows(row, result, self.class_names), {(RESULTS, row.key): result})
            self._done[record["image_id"]] = result

    def _row(self, record: dict, **values: Any) -> ImageRow:
        path = os.path.abspath(record["file_name"])
        number, key = self.numbers[record["image_id"]], image_key(record["image_id"])
        return ImageRow(number, key, Path(path).name, path, facts={"image_id": record["image_id"]}, **values)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Gathers and sums up.

        Returns:
            Method -> metric -> mean, metrics without a value left out; empty in other processes than the main one.
        """
        parts = comm.gather((self._done, self._failed))
        if not comm.is_main_process():
            return {}
        done = {image_id: result for part, _ in parts for image_id, result in part.items()}
        # The order of the data set: sums come out the same to the last digit, whoever measured what.
        self.results = [done[image_id] for image_id in self.records if image_id in done]
        failed = (one for _, part in parts for one in part)
        self.failures = sorted(failed, key=lambda one: self.numbers[one["image_id"]])
        self.summary = summarise(self.results, self.methods, self.measuring.metrics, self.measuring.seed)
        rows = self.summary["metrics"].items()
        return {
            method: {name: row["methods"][method]["mean"] for name, row in rows if row["methods"]}
            for method in self.methods
        }


class GuardedComparison:
    """A comparison that continues when an image can't be explained: it wraps one and is none itself.

    Args:
        comparison: what explains.
    """

    def __init__(self, comparison: MethodComparison):
        self.comparison = comparison

    def __call__(self, batched_inputs: list[dict]) -> list[dict]:
        """Explains images one at a time.

        Args:
            batched_inputs: entries as the detector takes them, or with ``failure`` in place of ``image``.

        Returns:
            What the comparison gives; ``{"failure": reason}`` for an image that could not be read or explained.
        """
        return [self._one(entry) for entry in batched_inputs]

    def _one(self, entry: dict) -> dict:
        if "failure" in entry:
            return {"failure": entry["failure"], "missing": entry.get("missing", False)}
        try:
            return self.comparison([entry])[0]
        except (ValueError, FloatingPointError) as error:
            return {"failure": str(error)}
