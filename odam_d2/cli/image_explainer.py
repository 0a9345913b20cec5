"""Explains an image, and writes its files and its rows of the run."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from detectron2.structures import Instances
from PIL import Image

from ..analysis import ImageErrors, label_errors
from ..analysis.stored_verdicts import with_verdicts
from ..data.image_files import DRAWINGS, HEATMAPS
from ..data.images import read_with_remarks
from ..data.inputs import InputMaker
from ..evaluation.runs.stored_rows import annotation_rows, detection_rows
from ..explain import Explainer
from ..explain.reachable import reachable_rows
from ..modeling.provenance import UnreachedBoxError
from ..store import ImageRow, StoredImage
from ..utils.files import atomic_write, safe_name
from ..visualize.drawing import draw_attribute_panel, draw_detections
from ..visualize.ground_truth import Annotation, annotations_of, to_instances
from ..visualize.report import ReportImages
from ..visualize.storage import class_name, save_heatmaps
from .annotated import ImageAnnotations
from .report_files import FOLDER

JPEG_QUALITY = 90
OUR_FILES = (*DRAWINGS[HEATMAPS], HEATMAPS)


@dataclass(frozen=True)
class Explained:
    """An image that was explained.

    Attributes:
        rgb: (h, w, 3) uint8.
        instances: the boxes that were explained, with their maps, on the CPU.
        annotations: its annotated objects, where they are known.
        errors: the verdicts on the detections, where annotations are known.
        image_id: of the annotations' file, where it knows the image.
        remarks: what reading it did that its owner may not expect.
        unreached: annotated boxes, XYXY, that should be explained and that no prediction stands for.
    """

    rgb: np.ndarray
    instances: Instances
    annotations: list[Annotation] | None
    errors: ImageErrors | None
    image_id: int | str | None
    remarks: list[str]
    unreached: list[list[float]]


class ImageExplainer:
    """Explains an image, and writes its files and rows.

    Args:
        explainer: what explains.
        method: how the explainer is called in the run.
        make_input: makes the detector's input of an image.
        annotations: the annotated boxes, if there are some.
        class_names: by the detector's numbers.
        args: the command line.
    """

    def __init__(
        self,
        explainer: Explainer,
        method: str,
        make_input: InputMaker,
        annotations: ImageAnnotations | None,
        class_names: Sequence[str],
        args: argparse.Namespace,
    ):
        self.explainer, self.annotations, self.class_names, self.args = explainer, annotations, class_names, args
        self.method, self.make_input = method, make_input

    def explain(self, path: Path) -> Explained:
        """Explains one image.

        Raises:
            ValueError: if it can't be read or explained.
        """
        image, remarks = read_with_remarks(path)
        height, width = image.shape[:2]
        record = self.annotations.of(path, height, width) if self.annotations else None
        truth = None if record is None else annotations_of(record, self.class_names)
        instances, unreached = self._explain(image, path, truth)
        image_id = None if record is None else record["image_id"]
        errors = None
        if record is not None and self.args.explain == "detections":
            errors = label_errors(instances, record)
        rgb = np.ascontiguousarray(image[:, :, ::-1])
        return Explained(rgb, instances, truth, errors, image_id, remarks, unreached)

    def write(self, found: Explained, row: ImageRow, folder: Path) -> StoredImage:
        """Writes the files of an image that was explained, and removes those that an earlier run wrote.

        Args:
            found: what was explained.
            row: the image, without its sizes and facts.
            folder: where its files go.

        Returns:
            Its rows. The facts of the image: names of the files that were ``written``, how
            many ``boxes`` were explained, and ``image_id``, ``remarks`` and ``unreached`` as in :class:`Explained`.

        Raises:
            OutputError: if they can't be written; those of an earlier run then stay.
        """
        rgb, instances, truth = found.rgb, found.instances, found.annotations
        written = [HEATMAPS, "overlay.jpg"]
        save_heatmaps(folder / HEATMAPS, instances, self.class_names, row.path)
        _save_jpeg(folder / "overlay.jpg", draw_detections(rgb, instances, self.class_names, rgb=True))
        best = instances.scores.argsort(descending=True, stable=True)[: self.args.strips]
        for k in sorted(best.tolist()):
            label, score = int(instances.pred_classes[k]), float(instances.scores[k])
            safe = safe_name(class_name(label, self.class_names)).replace(" ", "_")
            strip = draw_attribute_panel(rgb, instances, k, class_names=self.class_names, rgb=True)
            written.append(f"det_{k:03d}_{safe}_{score:.2f}.jpg")
            _save_jpeg(folder / written[-1], strip)
        remove_old_files(folder, written)
        facts = {"written": written, "boxes": len(instances), "image_id": found.image_id}
        facts |= {"remarks": found.remarks, "unreached": found.unreached}
        sizes = {"size": instances.heatmaps.output_size, "input_size": instances.heatmaps.image_size}
        annotations = None if truth is None else annotation_rows(truth)
        rows = detection_rows(instances, self.class_names, self.args.explain.removesuffix("s"))
        if found.errors is not None:
            rows = with_verdicts(rows, found.errors, annotations or ())
        stored = StoredImage(
            replace(row, facts=facts, **sizes),
            annotations,
            rows,
            {(self.method, ""): (range(len(instances)), instances.heatmaps)},
        )
        if not self.args.single_file:
            # While the image is in memory: the report needn't read it again.
            ReportImages(Path(self.args.output) / FOLDER).write(stored.image, rgb[:, :, ::-1])
        return stored

    def _explain(self, image, path, truth) -> tuple[Instances, list[list[float]]]:
        entry = self.make_input(image)
        if self.args.explain == "annotations":
            found, unreached = self._explain_annotated(entry, path, to_instances(truth or (), *image.shape[:2]))
            return found.to("cpu"), unreached
        return explained_detections(self.explainer, entry, self.args), []

    def _explain_annotated(self, entry: dict, path: Path, boxes: Instances) -> tuple[Instances, list[list[float]]]:
        assert self.annotations is not None  # the command line makes sure of it
        self.annotations.require_any(path.name)
        boxes, unreached = boxes[: self.args.max_detections], []
        try:
            (result,) = self.explainer([entry], [boxes])
        except UnreachedBoxError:
            if self.args.strict:
                raise
            rows = reachable_rows(self.explainer, entry, boxes)
            unreached = boxes.gt_boxes.tensor[[row for row in range(len(boxes)) if row not in rows]].tolist()
            (result,) = self.explainer([entry], [boxes[rows]])
        return result["instances"], unreached


def explained_detections(explainer: Explainer, entry: dict, args: argparse.Namespace) -> Instances:
    """The detections in an input that the command line asks for, on the CPU."""
    (result,) = explainer([entry], None)
    instances = result["instances"]
    return instances[instances.scores >= args.score_threshold][: args.max_detections].to("cpu")


def _save_jpeg(path: Path, image: np.ndarray) -> None:
    with atomic_write(path, "wb") as handle:
        Image.fromarray(image).save(handle, "JPEG", quality=JPEG_QUALITY)


def remove_old_files(folder: Path, but: Sequence[str] = ()) -> None:
    """Removes what an earlier run wrote for an image, and nothing else; the files called `but` stay."""
    for pattern in OUR_FILES:
        for old in folder.glob(pattern):
            if old.name not in but:
                old.unlink()
