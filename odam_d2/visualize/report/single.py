"""The report as one file: of a run with few images, and of one image as notebooks show it."""

import os
from collections.abc import Sequence

import numpy as np
from detectron2.structures import Instances

from ...store import DetectionRow, ImageRow, RunReader, StoredImage
from ...utils.files import write_text
from ..storage import class_name
from .images import ReadImage, data_uris, read_by_path
from .page import PageData, PageWords

MOST_IMAGES = 50  # of one file


def write_single_file(
    reader: RunReader,
    path: str | os.PathLike,
    words: PageWords | None = None,
    *,
    read_image: ReadImage = read_by_path,
) -> None:
    """Writes the report of a run as one html file that needs nothing else, whole or not at all.

    Args:
        reader: the run, of at most :data:`MOST_IMAGES` images.
        path: the html file.
        words: see :func:`~odam_d2.visualize.report.folder.write_report_folder`, as `read_image`.
        read_image: yields an image's pixels.

    Raises:
        ValueError: if the run has more images, or can't be read.
        OutputError: if the file can't be written.
    """
    if len(reader) > MOST_IMAGES:
        raise ValueError(
            f"a report in a single file must have at most {MOST_IMAGES} images; got {len(reader)}: write the report "
            "as a folder"
        )
    images = (reader.image(image.number) for image in reader.images())
    write_text(path, _render(images, words or PageWords(), read_image))


def render_instances(
    pixels: np.ndarray,
    instances: Instances,
    class_names: Sequence[str],
    names: Sequence[str],
    title: str,
) -> str:
    """The page about one image alone.

    Args:
        pixels: (h, w, 3) uint8 BGR.
        instances: R boxes with ``pred_boxes``, ``pred_classes``, ``heatmaps`` and, if they have one, ``scores``, in the
            image's frame.
        class_names: by class number.
        names: the attributes to choose from, in the order to show.
        title: what the image is called.
    """
    scores = instances.scores.tolist() if instances.has("scores") else [None] * len(instances)
    columns = (instances.pred_boxes.tensor.tolist(), instances.pred_classes.tolist(), scores)
    rows = [
        DetectionRow(tuple(box), number, class_name(number, class_names), score)
        for box, number, score in zip(*columns, strict=True)
    ]
    heatmaps = instances.heatmaps
    height, width = pixels.shape[:2]
    image = ImageRow(0, title, title, title, (height, width), heatmaps.image_size)
    stored = StoredImage(image, None, rows, {("", ""): (range(len(rows)), heatmaps)})
    words = PageWords(title=title, empty="No detections in this image.")
    return _render([stored], words, lambda _: pixels, names=names, single=True)


def render_stored(stored: StoredImage, pixels: np.ndarray, title: str) -> str:
    """The page about one image of a run, with all of its maps.

    Args:
        stored: the image.
        pixels: (h, w, 3) uint8 BGR.
        title: heading of the page.
    """
    return _render([stored], PageWords(title=title, empty="No boxes in this image."), lambda _: pixels)


def _render(images, words, read_image, **options) -> str:
    data, inline = PageData(), {}
    for stored in images:
        uris, gone = (None, None) if stored.image.failure else data_uris(stored.image, read_image)
        large, small = uris or (None, None)
        inline[f"image-{stored.image.number}"] = data.add(stored, large, small, gone)
    inline.update(data.chunks(last=True))
    return data.render(words, inline=inline, **options)
