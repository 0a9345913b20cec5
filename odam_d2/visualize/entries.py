"""One self-contained ``report.html`` of a run: images, boxes, heat maps and the code that draws them, in one file.

An image's heat maps travel as their windows in 8 bits, scaled by each map's maximum; the page brings them to the
image by the rule of :meth:`HeatMaps.to_image`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detectron2.structures import Instances

from ..data.images import ImageLike
from ..structures import COMBINED_PARTS, HeatMaps
from ..utils.files import atomic_write
from ..utils.words import visible
from .encoding import eight_bit_maps
from .ground_truth import Annotation, judge_detections
from .overlay import COLORMAP, OPAQUE_FROM, color_table, instance_color
from .pages import base64_text, jpeg_uri, render_page, script_json
from .pixels import fitting_rgb
from .storage import class_name, known_names

_COLORMAPS = (COLORMAP, "inferno", "viridis")
_ENTRIES = "the entries of images"  # stands for them in a page that is written in pieces
_IMAGE_SIDE, _IMAGE_QUALITY = 1280, 85  # longest side in pixels, JPEG quality
_THUMBNAIL_SIDE, _THUMBNAIL_QUALITY = 128, 70


def image_entry(
    name: str,
    image: ImageLike,
    instances: Instances,
    class_names: Sequence[str] = (),
    annotations: Sequence[Annotation] | None = None,
    judge: bool = True,
    *,
    rgb: bool = False,
) -> dict[str, Any]:
    """Makes the entry of one image for :func:`write_report`; the image itself needn't be kept.

    Args:
        name: the image's name in the report.
        image: the original image: (h, w, 3) uint8 BGR, a path, or a Pillow image.
        instances: R detections with ``pred_boxes``, ``pred_classes``, ``heatmaps`` and, if they have one, ``scores``,
            in the original image's frame.
        class_names: the name of each class, by its number; default those that the heat maps carry.
        annotations: the image's annotated objects, if known.
        judge: whether to say of each detection which annotated object it finds; pointless where the annotated boxes
            themselves are explained.
        rgb: whether an array is RGB.

    Returns:
        A dict that JSON can hold.

    Raises:
        ValueError: if the image can't be read, or has another size than the instances say.
    """
    pixels = fitting_rgb(image, instances, rgb)
    height, width = pixels.shape[:2]
    class_names = known_names(instances, class_names)
    heatmaps = instances.heatmaps.to("cpu")
    boxes = instances.pred_boxes.tensor.tolist()
    scores = instances.scores.tolist() if instances.has("scores") else [None] * len(boxes)
    labels = [class_name(c, class_names) for c in instances.pred_classes.tolist()]
    detections = [
        {
            "label": visible(label),
            "score": None if score is None else round(score, 6),
            "box": [round(v, 2) for v in box],
            "color": "#" + "".join(f"{round(255 * c):02x}" for c in instance_color(k)),
            **_encode_maps(heatmaps[k]),
        }
        for k, (label, score, box) in enumerate(zip(labels, scores, boxes, strict=True))
    ]
    if annotations is not None and judge:
        for detection, truth in zip(detections, judge_detections(instances, annotations, class_names), strict=True):
            detection["truth"] = truth
    return {
        "name": visible(name),
        "size": [width, height],
        "input": list(heatmaps.image_size),
        "image": jpeg_uri(pixels, _IMAGE_SIDE, _IMAGE_QUALITY),
        "thumb": jpeg_uri(pixels, _THUMBNAIL_SIDE, _THUMBNAIL_QUALITY),
        "detections": detections,
        "annotations": None
        if annotations is None
        else [{"label": visible(a.label), "box": [round(v, 2) for v in a.box], "crowd": a.crowd} for a in annotations],
    }


def failure_entry(name: str, reason: str) -> dict[str, Any]:
    """Makes the report's entry of an image that could not be explained."""
    return {"name": visible(name), "error": visible(reason), "detections": [], "annotations": None}


def write_report(
    path: str | os.PathLike,
    entries: Iterable[Mapping[str, Any]],
    attributes: Sequence[str],
    run: Mapping[str, Any] | None = None,
    title: str = "ODAM report",
    noun: str = "detection",
    empty: str = "No detections in this run.",
) -> None:
    """Writes the report, whole or not at all.

    Args:
        path: the html file.
        entries: results of :func:`image_entry` and :func:`failure_entry`, in the order to show. They are taken one at a
            time, so that they needn't all be in memory.
        attributes: the stored attributes of the heat maps, in their order (``heatmaps.attributes``); ``combined`` is
            added where its parts are among them.
        run: facts about the run: texts, numbers and lists by name, or dicts of these as sections.
        title: heading of the page.
        noun: what one explained box is called, singular.
        empty: the message if there is not a single detection.
    """
    place: Any = _ENTRIES
    page = render_report([place], attributes, run, title, noun, empty)
    head, _, tail = page.partition(script_json(_ENTRIES))
    with atomic_write(path) as file:
        file.write(head)
        for k, entry in enumerate(entries):
            file.write(("," if k else "") + script_json(entry))
        file.write(tail)


def render_report(
    entries: Sequence[Mapping[str, Any]],
    attributes: Sequence[str],
    run: Mapping[str, Any] | None = None,
    title: str = "ODAM report",
    noun: str = "detection",
    empty: str = "No detections in this run.",
    names: Sequence[str] | None = None,
    single: bool = False,
) -> str:
    """The page of :func:`write_report` as text.

    Args:
        entries: see :func:`write_report`, as the next five.
        attributes: the stored attributes.
        run: facts about the run.
        title: heading of the page.
        noun: what one explained box is called.
        empty: the message if there is no detection.
        names: the attributes to choose from, in the order to show; default all stored ones and ``combined``.
        single: whether the page is about one image alone: without a list of images and facts about a run, and in a
            frame without a heading.
    """
    attributes = [name for name in attributes if name != "combined"]
    combined = list(COMBINED_PARTS) if set(COMBINED_PARTS) <= set(attributes) else None
    data = {
        "attributes": attributes,
        "names": attributes + (["combined"] if combined else []) if names is None else list(names),
        "combined": combined,
        "opaque_from": OPAQUE_FROM,
        "luts": {name: base64_text(color_table(name).tobytes()) for name in _COLORMAPS},
        "run": run or {},
        "noun": noun,
        "empty": empty,
        "images": list(entries),
        "single": single,
    }
    return render_page("old_report.html", title=title, data=script_json(data), single=single)


def _encode_maps(one: HeatMaps) -> dict[str, Any]:
    """One detection's windows in 8 bits, with the maximum of each raw map."""
    one = one.on_one_grid()
    window, peaks, maps = eight_bit_maps(one)
    return {
        "window": window,
        "grid": one.grids[0].tolist(),
        "stride": one.strides[0].tolist(),
        "peaks": peaks.tolist(),
        "maps": [base64_text(image.tobytes()) for image in maps],
    }
