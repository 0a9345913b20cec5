"""One self-contained ``report.html`` of a run: images, boxes, heat maps and what draws them, in a single file.

An image's heat maps travel as their windows in 8 bits, scaled by each map's maximum; the page brings them to the
image by the rule of :meth:`HeatMaps.to_image`. Nothing is fetched from anywhere.
"""

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from detectron2.structures import Instances
from markupsafe import Markup
from PIL import Image

from ..structures import COMBINED_PARTS, HeatMaps
from ..utils.files import write_text
from .encoding import eight_bit_maps
from .ground_truth import Annotation, judge_detections
from .overlay import COLORMAP, OPAQUE_FROM, color_table, instance_color
from .storage import class_name

TEMPLATES = Path(__file__).parent / "templates"
_COLORMAPS = (COLORMAP, "inferno", "viridis")
_IMAGE_SIDE, _IMAGE_QUALITY = 1280, 85  # longest side in pixels, JPEG quality
_THUMBNAIL_SIDE, _THUMBNAIL_QUALITY = 128, 70


def image_entry(
    name: str,
    image: np.ndarray,
    instances: Instances,
    class_names: Sequence[str] = (),
    annotations: Sequence[Annotation] | None = None,
    judge: bool = True,
) -> dict[str, Any]:
    """What the report holds of one image; the image itself needn't be kept.

    Args:
        name: what to call it.
        image: (h, w, 3) uint8 RGB, the original image.
        instances: R detections with ``pred_boxes``, ``scores``, ``pred_classes`` and ``heatmaps``, in its frame.
        class_names: the name of each class, by its number.
        annotations: its annotated objects, if known.
        judge: whether to say of each detection which annotated object it finds; pointless where the annotated boxes
            themselves are explained.

    Returns:
        A dict that JSON can hold.
    """
    height, width = image.shape[:2]
    heatmaps = instances.heatmaps.to("cpu")
    boxes = instances.pred_boxes.tensor.tolist()
    labels = [class_name(c, class_names) for c in instances.pred_classes.tolist()]
    detections = [
        {
            "label": label,
            "score": round(score, 6),
            "box": [round(v, 2) for v in box],
            "color": "#" + "".join(f"{round(255 * c):02x}" for c in instance_color(k)),
            **_encode_maps(heatmaps[k]),
        }
        for k, (label, score, box) in enumerate(zip(labels, instances.scores.tolist(), boxes, strict=True))
    ]
    if annotations is not None and judge:
        for detection, truth in zip(detections, judge_detections(instances, annotations, class_names), strict=True):
            detection["truth"] = truth
    return {
        "name": name,
        "size": [width, height],
        "input": list(heatmaps.image_size),
        "image": jpeg_uri(image, _IMAGE_SIDE, _IMAGE_QUALITY),
        "thumb": jpeg_uri(image, _THUMBNAIL_SIDE, _THUMBNAIL_QUALITY),
        "detections": detections,
        "annotations": None
        if annotations is None
        else [{"label": a.label, "box": [round(v, 2) for v in a.box], "crowd": a.crowd} for a in annotations],
    }


def failure_entry(name: str, reason: str) -> dict[str, Any]:
    """What the report holds of an image that could not be explained."""
    return {"name": name, "error": reason, "detections": [], "annotations": None}


def write_report(
    path: str | os.PathLike,
    entries: Sequence[Mapping[str, Any]],
    attributes: Sequence[str],
    run: Mapping[str, Any],
    title: str = "ODAM report",
    noun: str = "detection",
    empty: str = "No detections in this run.",
) -> None:
    """Writes the report, whole or not at all.

    Args:
        path: the html file.
        entries: what :func:`image_entry` and :func:`failure_entry` gave, in the order to show.
        attributes: the stored attributes of the heat maps, in their order; ``combined`` follows by itself where its
            parts are among them.
        run: what to tell of the run: texts, numbers and lists by name, or dicts of these as sections.
        title: heading of the page.
        noun: what one explained box is called, singular.
        empty: what to say if there is not a single detection.
    """
    attributes = [name for name in attributes if name != "combined"]
    combined = list(COMBINED_PARTS) if set(COMBINED_PARTS) <= set(attributes) else None
    data = {
        "attributes": attributes,
        "names": attributes + (["combined"] if combined else []),
        "combined": combined,
        "opaque_from": OPAQUE_FROM,
        "luts": {name: _base64(color_table(name).tobytes()) for name in _COLORMAPS},
        "run": run,
        "noun": noun,
        "empty": empty,
        "images": list(entries),
    }
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    parts = {
        name.replace(".", "_"): Markup((TEMPLATES / name).read_text(encoding="utf-8"))
        for name in ("heat.js", "view.js", "report.js")
    }
    page = environment.get_template("report.html").render(
        title=title, data=script_json(data), css=style_sheet("report.css"), **parts
    )
    write_text(path, page)


def style_sheet(name: str) -> Markup:
    """A style sheet of the templates behind the palette that all pages share."""
    return Markup("".join((TEMPLATES / part).read_text(encoding="utf-8") for part in ("palette.css", name)))


def script_json(value: Any) -> Markup:
    """JSON that may stand inside a script element: no text in it can end the element or start a comment.

    Raises:
        ValueError: if it holds NaN or an infinity, which JSON doesn't know.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: other characters become \\u escapes
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _encode_maps(one: HeatMaps) -> dict[str, Any]:
    """One detection's windows in 8 bits, with the maximum of each raw map."""
    one = one.on_one_grid()
    window, peaks, maps = eight_bit_maps(one)
    return {
        "window": window,
        "grid": one.grids[0].tolist(),
        "stride": one.strides[0].tolist(),
        "peaks": peaks.tolist(),
        "maps": [_base64(image.tobytes()) for image in maps],
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def jpeg_uri(image: np.ndarray, side: int, quality: int) -> str:
    """The image as a JPEG data URI, at most `side` pixels long."""
    small = Image.fromarray(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{_base64(buffer.getvalue())}"
