"""One self-contained page that shows how several detectors explain the same objects, side by side.

Each image has a table: a row for each annotated object that at least one detector found, a column for each detector,
and in it the part of the image around the object with that detector's heat map. Images are (h, w, 3) uint8 RGB;
boxes are XYXY in their pixels.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import tensor

from ..utils.files import write_text
from .crops import QUALITY, crop_uri, region_around
from .ground_truth import Annotation, match_objects
from .overlay import draw_boxes, fit_size, instance_color, resize_image
from .pages import jpeg_uri, render_page

_OVERVIEW_SIDE = 720  # longest side of the image with all objects
_TRUTH = (0.49, 1.0, 0.61)  # colour of annotated boxes, as in the report


@dataclass(frozen=True)
class Findings:
    """What one detector found in one image.

    Attributes:
        instances: R detections with ``pred_boxes``, ``scores``, ``pred_classes`` and ``heatmaps``.
        class_names: the name of each class, by its number.
        link: address of a detection in the detector's own report, encoded as addresses are, with ``{}`` in place of its
            number.
    """

    instances: Instances
    class_names: Sequence[str]
    link: str


def comparison_entry(
    name: str,
    image: np.ndarray,
    annotations: Sequence[Annotation],
    findings: Sequence[Findings | None],
    attributes: Sequence[str],
) -> dict[str, Any]:
    """Makes the entry of one image for :func:`write_comparison`.

    Args:
        name: the image's name on the page.
        image: (h, w, 3) uint8 RGB.
        annotations: its annotated objects; crowds are left out.
        findings: those of each detector; None where it did not explain the image.
        attributes: the maps to draw, among those that the heat maps have.

    Returns:
        A dict for :func:`write_comparison`: ``found`` is the number of objects that each detector found; ``rows`` holds
        the objects that are shown, from the largest to the smallest.
    """
    objects = [annotation for annotation in annotations if not annotation.crowd]
    matches = [
        {} if one is None else {o: k for k, o in match_objects(one.instances, objects, one.class_names).items()}
        for one in findings
    ]
    shown = sorted((o for o in range(len(objects)) if any(o in match for match in matches)), key=_area_of(objects))
    rows = []
    for number, o in enumerate(shown, 1):
        region = region_around(np.array(objects[o].box), *image.shape[:2])
        cells = [
            {"state": "absent"} if one is None
            else {"state": "missed", "crop": crop_uri(image, region, objects[o].box)} if o not in match
            else _cell(image, region, objects[o], one, match[o], attributes)
            for one, match in zip(findings, matches, strict=True)
        ]  # fmt: skip
        plain = crop_uri(image, region, objects[o].box, color=_TRUTH)
        rows.append({"number": number, "label": objects[o].label, "crop": plain, "cells": cells})
    boxes = np.array([objects[o].box for o in shown]).reshape(-1, 4)
    height, width = image.shape[:2]
    overview, factors = resize_image(image, *fit_size(height, width, _OVERVIEW_SIDE / max(height, width)))
    labels = [str(row["number"]) for row in rows]
    overview = draw_boxes(overview, boxes * factors, labels, [instance_color(k) for k in range(len(rows))])
    return {
        "name": name,
        "overview": jpeg_uri(overview, _OVERVIEW_SIDE, QUALITY),
        "size": [overview.shape[1], overview.shape[0]],
        "objects": len(objects),
        "found": [len(match) for match in matches],
        "rows": rows,
    }


def write_comparison(
    path: str | os.PathLike,
    entries: Sequence[Mapping[str, Any]],
    detectors: Sequence[Mapping[str, str]],
    attributes: Sequence[str],
    title: str = "Detectors side by side",
    account: Mapping[str, Any] | None = None,
) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: the html file.
        entries: results of :func:`comparison_entry`, in the order to show.
        detectors: for each its ``name``, a short ``detail``, and ``link``, the address of its report.
        attributes: the maps that were drawn; the first is shown first.
        title: heading of the page.
        account: what became of the annotations: texts, or lists of sentences, by heading.
    """
    total = [sum(entry["found"][number] for entry in entries) for number in range(len(detectors))]
    page = render_page(
        "comparison.html",
        title=title,
        entries=entries,
        detectors=detectors,
        attributes=attributes,
        total=total,
        objects=sum(entry["objects"] for entry in entries),
        account=account or {},
    )
    write_text(path, page)


def _area_of(objects: Sequence[Annotation]):
    def key(number: int) -> float:
        x1, y1, x2, y2 = objects[number].box
        return -(x2 - x1) * (y2 - y1)

    return key


def _cell(image, region, annotation: Annotation, one: Findings, k: int, attributes: Sequence[str]) -> dict[str, Any]:
    """A detector's detection `k` of an object: a crop for each attribute, its score and its IoU with the object."""
    box = one.instances.pred_boxes.tensor[k]
    iou = float(pairwise_iou(Boxes(box[None].cpu()), Boxes(tensor([annotation.box])))[0, 0])
    crops = {}
    for name in attributes:
        heat = one.instances.heatmaps[k].to_image(name, size=image.shape[:2])[0].cpu().numpy().clip(0.0, 1.0)
        crops[name] = crop_uri(image, region, box.cpu().numpy(), heat)
    score = float(one.instances.scores[k])
    return {"state": "found", "crops": crops, "score": score, "iou": iou, "link": one.link.format(k)}
