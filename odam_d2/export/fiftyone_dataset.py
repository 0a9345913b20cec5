"""A folder that FiftyOne loads as a dataset: images, boxes with verdicts, annotated objects, heat maps.

``fiftyone.Dataset.from_dir(folder, fiftyone.types.FiftyOneDataset)`` loads it.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..store import AnnotationRow, DetectionRow, RunReader
from ..store.filters import Filter
from ..utils.folders import atomic_folder
from .base import Exporter, Watch, Written, register_exporter
from .chosen import ChosenImage
from .errors import error_of
from .fiftyone_fields import dataset_document
from .fiftyone_files import SampleFiles
from .fiftyone_labels import SAMPLE_FIELDS, TRUTH_FIELDS, Labels, detections_of, sample_of
from .heat import HeatSource, field_of

MEDIA = ("copy", "refer")
SAMPLES = ("image", "box")
# The field of each kind of boxes, where a sample is an image.
FIELDS = {"detection": "detections", "annotation": "annotations", "missed": "missed"}


@register_exporter("fiftyone")
class FiftyOneFolder(Exporter):
    """``metadata.json``, ``samples.json``, ``data/`` with the images and ``fields/`` with the maps as 8-bit PNG.

    A sample is an image: its boxes are in ``detections``, ``annotations`` (annotated boxes that were explained) and
    ``missed``; ``heatmap_ATTRIBUTE`` is the greatest value of all their maps at each pixel. Or a sample is one box,
    in ``box``, and the maps are its own. Annotated objects are in ``ground_truth``. Verdicts and mechanisms are fields
    and tags of boxes, types of errors tags of samples as well.

    Args:
        reader: see :class:`Exporter`, as `chosen`.
        chosen: which explained boxes.
        method: see :class:`~odam_d2.export.heat.HeatSource`, as `attributes`.
        attributes: which maps.
        media: "copy" copies images into the folder, "refer" leaves them where they are.
        samples: "image" or "box", what a sample is.

    Raises:
        ValueError: if `media` or `samples` is none of these.
    """

    marker = "samples.json"

    def __init__(
        self,
        reader: RunReader,
        chosen: Filter = Filter(),  # noqa: B008  it is frozen
        *,
        method: str | None = None,
        attributes: Sequence[str] | None = None,
        media: str = "copy",
        samples: str = "image",
    ):
        super().__init__(reader, chosen)
        for name, value, known in (("media", media, MEDIA), ("samples", samples, SAMPLES)):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {list(known)}; got {value!r}: choose one of these")
        self._heat = HeatSource(reader.run, method, attributes)
        self._copies, self._by_box = media == "copy", samples == "box"

    def export(self, path: Path, watch: Watch) -> Written:
        written, labels = Written(), Labels(self.figures())
        with atomic_folder(path) as folder:
            files, count = SampleFiles(folder, self._copies), 0
            with open(folder / self.marker, "w", encoding="utf-8") as file:
                file.write('{"samples": [')
                for one in self.images(watch):
                    written.images += 1
                    written.boxes += len(one.boxes)
                    for sample in self._samples_of(one, labels, files, written):
                        file.write((",\n" if count else "\n") + json.dumps(sample))
                        count += 1
                file.write("\n]}\n")
            (folder / "metadata.json").write_text(json.dumps(self._document(labels, files), indent=2) + "\n", "utf-8")
        if files.lacking:
            told = f"{files.lacking}, e.g. {files.example}"
            written.notes.append(f"Images that could not be copied stay where they are: {told}.")
        return written

    def _samples_of(
        self, one: ChosenImage, labels: Labels, files: SampleFiles, written: Written
    ) -> Iterator[dict[str, Any]]:
        """The samples of an image: one, or one for each box."""
        image, boxes = one.image, dict(one.boxes)
        stored = self.reader.image(image.number, maps=bool(boxes))
        annotations, heat = stored.annotations or (), self._heat.of(stored)
        written.without_maps += sum(heat is None or row not in heat for row in boxes)
        path = files.image(image) if boxes or not self._by_box else ""
        truth = [labels.truth(image, row, object_) for row, object_ in enumerate(annotations)]
        for rows in [[row] for row in boxes] if self._by_box else [list(boxes)]:
            alone = rows[0] if self._by_box else None
            errors = {error for row in rows if (error := error_of(boxes[row])) is not None}
            sample = sample_of(image, alone, path, sorted(errors))
            explained = {row: labels.box(image, row, boxes[row], _judged_by(boxes[row], annotations)) for row in rows}
            if alone is not None:
                sample["box"] = explained[alone]
            else:
                for kind, field in self._fields().items():
                    sample[field] = detections_of([explained[row] for row in rows if boxes[row].kind == kind])
            sample["ground_truth"] = detections_of(truth)
            for attribute in heat.attributes if heat else ():
                together = heat.together(attribute, rows) if heat else None
                if together is not None:
                    field = field_of(attribute)
                    sample[field] = labels.heatmap(image, field, alone, files.heatmap(image, field, alone, together))
            yield sample

    def _fields(self) -> dict[str, str]:
        """The field of each kind of boxes that is exported."""
        return {kind: field for kind, field in FIELDS.items() if kind in (self.chosen.kind or ())}

    def _document(self, labels: Labels, files: SampleFiles) -> dict[str, Any]:
        return dataset_document(
            Path(self.reader.folder).resolve().name,
            [] if self._by_box else list(self._fields().values()),
            ["box"] if self._by_box else [],
            labels.box_fields,
            TRUTH_FIELDS,
            sorted(files.heat_fields),
            SAMPLE_FIELDS,
            self.reader.class_names,
            {"run": str(self.reader.folder)},
        )


def _judged_by(box: DetectionRow, annotations: Sequence[AnnotationRow]) -> AnnotationRow | None:
    return None if box.annotation is None else annotations[box.annotation]
