"""What the page knows of one image: boxes, annotated objects and heat maps, as JSON can hold them.

Heat maps travel as their windows in 8 bits, scaled by each map's maximum; the page brings them to the image by the rule
of :meth:`HeatMaps.to_image`.
"""

import math
from typing import Any

from ...store import AnnotationRow, DetectionRow, StoredImage
from ...structures import HeatMaps
from ...utils.words import visible
from ..encoding import eight_bit_maps
from ..overlay import instance_color
from ..pages import base64_text
from .figures import ROLES, flat_figures, shown_value


def image_record(stored: StoredImage, address: str | None, gone: str | None = None) -> dict[str, Any]:
    """The record of an image.

    A row's figures are shown by their names, see :func:`flat_figures`. ``figures["roles"]`` says of maps with a role
    what they are of: role -> ``box`` (XYXY), ``label``, ``row`` of a detection, ``attribute`` that is telling; all of
    them may be missing.

    Args:
        stored: the image with its maps.
        address: of the JPEG, relative to the page, or a data URI; None if there is none.
        gone: why there is none.
    """
    image = stored.image
    maps: list[dict[str, dict[str, Any]]] = [{} for _ in stored.detections]
    for (method, role), (rows, heatmaps) in stored.maps.items():
        for row, encoded in zip(rows, encode_maps(heatmaps), strict=True):
            maps[row].setdefault(method, {})[role] = encoded
    return {
        "name": visible(image.name),
        "size": None if image.size is None else [image.size[1], image.size[0]],
        "input": None if image.input_size is None else list(image.input_size),
        "image": address,
        "gone": gone and visible(gone),
        "error": image.failure and visible(image.failure),
        "annotations": None if stored.annotations is None else [_annotation(one) for one in stored.annotations],
        "detections": [
            {**_detection(one, row), "maps": found}
            for row, (one, found) in enumerate(zip(stored.detections, maps, strict=True))
        ],
    }


def encode_maps(heatmaps: HeatMaps) -> list[dict[str, Any]]:
    """The maps of each detection, its windows merged to one, in 8 bits, with the maximum of each raw map."""
    merged = heatmaps.to("cpu").on_one_grid()
    return [
        {
            "attributes": list(merged.attributes),
            "window": window,
            "grid": grid,
            "stride": stride,
            "peaks": peaks.tolist(),
            "maps": [base64_text(image.tobytes()) for image in maps],
        }
        for (window, peaks, maps), grid, stride in zip(
            eight_bit_maps(merged), merged.grids.tolist(), merged.strides.tolist(), strict=True
        )
    ]


def verdict_of(one: DetectionRow) -> str | None:
    """What a row is counted as: its verdict, or "missed"."""
    return "missed" if one.verdict is None and one.kind == "missed" else one.verdict


def _annotation(one: AnnotationRow) -> dict[str, Any]:
    return {"label": visible(one.label), "box": _box(one.box), "crowd": one.crowd}


def _detection(one: DetectionRow, row: int) -> dict[str, Any]:
    verdict = verdict_of(one)
    return {
        "label": visible(one.label),
        "score": _number(one.score),
        "box": _box(one.box),
        "color": "#" + "".join(f"{round(255 * c):02x}" for c in instance_color(row)),
        "kind": visible(one.kind),
        "annotation": one.annotation,
        "iou": _number(one.iou),
        "occlusion": _number(one.occlusion),
        "verdict": verdict and visible(verdict),
        "mechanism": one.mechanism and visible(one.mechanism),
        "outside": _number(one.outside),
        "sentence": one.sentence and visible(one.sentence),
        "figures": flat_figures(one.figures, one.verdict),
        "roles": shown_value(one.figures.get(ROLES, {})),
    }


def _box(box: tuple[float, ...]) -> list[float]:
    return [round(side, 2) for side in box]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)
