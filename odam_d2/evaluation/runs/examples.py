"""Crops of the best and the worst objects of each metric, kept while a run goes on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...data.inputs import shown
from ...data.matching import Matches
from ...visualize.crops import crop_uri, region_around
from ...visualize.storage import class_name
from ...visualize.text import isolated
from .extremes import ExtremeObjects, find_extremes

_TRUTH = (0.49, 1.0, 0.61)  # colour of annotated boxes, as on other pages


class ExampleKeeper:
    """Draws objects that are among the extremes when they are seen; maps themselves needn't be kept.

    A :data:`~odam_d2.evaluation.runs.evaluator.Watcher` of an
    :class:`~odam_d2.evaluation.runs.evaluator.ExplanationEvaluator`.

    Args:
        put: gets the crops of each such image: their name, made of its number and object, and the crops.
        method: the method whose maps say which objects are extreme.
        metrics: see :class:`ExtremeObjects`.
        attribute: the maps to draw.
        input_format: of the model input, one of :data:`odam_d2.data.inputs.FORMATS`.
    """

    def __init__(
        self,
        put: Callable[[str, dict[str, str]], None],
        method: str,
        metrics: Sequence[str],
        attribute: str,
        input_format: str,
    ):
        self.put, self.method, self.attribute, self.input_format = put, method, attribute, input_format
        self.extremes = ExtremeObjects(metrics)

    def begin_with(self, finished: Mapping[int, dict]) -> None:
        """Counts images that an interrupted run has finished, by their numbers: objects must be ahead of theirs too."""
        for number in sorted(finished):
            self.extremes.offer(number, finished[number]["values"].get(self.method, {}))

    def __call__(self, number: int, result: dict, matches: Matches, entry: dict, output: dict) -> None:
        """Keeps what is worth it of image `number`."""
        rows = self.extremes.offer(number, result["values"].get(self.method, {}))
        if not rows:
            return
        image = shown(entry["image"], self.input_format)
        scale = np.array([image.shape[1] / entry["width"], image.shape[0] / entry["height"]] * 2)
        detected = output["instances"].pred_boxes.tensor.cpu().numpy()
        for row in sorted(rows):
            detection = int(matches.detections[row])
            truth, box = np.array(result["objects"][row]["box"]) * scale, detected[detection] * scale
            region = region_around(truth, *image.shape[:2])
            crops = {"": crop_uri(image, region, truth, color=_TRUTH)}
            for method, heatmaps in output["heatmaps"].items():
                heat = heatmaps[detection].to_image(self.attribute, size=image.shape[:2])[0]
                crops[method] = crop_uri(image, region, box, heat.cpu().numpy().clip(0.0, 1.0))
            self.put(f"{number}_{row}", crops)


def example_sections(
    results: Sequence[Mapping[str, Any]],
    numbers: Mapping[Any, int],
    read: Callable[[str], dict[str, str] | None],
    methods: Sequence[str],
    metrics: Sequence[str],
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """What the page of examples shows: a section for each metric, whose rows are its worst and best objects.

    Args:
        results: of all images.
        numbers: image id -> number of the image.
        read: gives what :class:`ExampleKeeper` kept under a name; None if there is nothing.
        methods: columns of the page; the maps of the first say which objects are extreme.
        metrics: sections, those without a direction left out.
        class_names: by the detector's numbers; may be too short.
    """
    by_number = {numbers[result["image_id"]]: result for result in results}
    sections = []
    for name, sides in find_extremes(results, numbers, methods[0], metrics).items():
        rows = []
        for side, places in sides.items():
            for number, row in places:
                result = by_number[number]
                one, crops = result["objects"][row], read(f"{number}_{row}") or {}
                label = class_name(one["class"], class_names)
                rows.append(
                    {
                        "side": side,
                        "label": f"{isolated(label)}, score {one['score']:.2f}",
                        "image": str(result["file_name"]).replace("\\", "/").rsplit("/", 1)[-1],
                        "crop": crops.get(""),
                        "cells": [
                            {"crop": crops.get(method), "value": result["values"][method][name][row]}
                            for method in methods
                        ],
                    }
                )
        sections.append({"metric": name, "rows": rows})
    return sections
