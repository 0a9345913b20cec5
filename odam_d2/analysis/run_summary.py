"""A data set's figures, summed up from the rows of a run on disk: the same whoever wrote them, and in which order."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..store import RunReader
from ..visualize.storage import class_name
from .atlas import Atlas, MeanMaps
from .context_matrix import ContextMatrix, ContextSummary
from .error_weights import ERROR_TYPES, SPECIAL_TYPES, ErrorSummary, ErrorTally
from .image_analysis import ImageAnalysis
from .image_errors import ImageErrors

# Documents of a run with what the sums need of an image.
ANALYSIS = "analysis"


def analysis_document(image: int, analysis: ImageAnalysis, num_classes: int) -> dict[str, Any] | None:
    """What :func:`summarise_run` needs of an image, as JSON can hold it; None without annotations.

    Args:
        image: any number.
        analysis: of the image.
        num_classes: of the detector.
    """
    errors, context = analysis.errors, analysis.context
    if errors is None or context is None:
        return None
    matrix = ContextMatrix(num_classes)
    matrix.add(image, errors.classes, context, errors.object_classes)
    return {
        "scores": errors.scores.tolist(),
        "classes": errors.classes.tolist(),
        "detections": errors.detection_rows(),
        "objects": errors.object_rows(),
        "context": matrix.rows_of(image),
    }


@dataclass
class RunSummary:
    """The figures of a data set.

    Attributes:
        images: how many were analysed.
        detections: in all of them.
        objects: annotated, in all of them.
        errors: see :class:`ErrorSummary`; None without annotations, as the next two.
        mechanisms: mechanism -> class -> how many objects were missed by it.
        context: whose heat lies on whom.
        atlas: class -> mean maps; its attributes are those that all maps have.
        class_names: by the detector's numbers.
    """

    images: int
    detections: int
    objects: int
    errors: ErrorSummary | None
    mechanisms: dict[str, dict[str, int]]
    context: ContextSummary | None
    atlas: dict[int, MeanMaps]
    class_names: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Everything but the mean maps, as JSON can hold it."""
        atlas = {
            class_name(label, self.class_names): {
                name: {"detections": int(one.detections[k]), "images": int(one.images[k])}
                for k, name in enumerate(one.attributes)
            }
            for label, one in self.atlas.items()
        }
        counts = {"images": self.images, "detections": self.detections, "objects": self.objects}
        if self.errors is None or self.context is None:
            return {"counts": counts, "atlas": atlas}
        return {
            "counts": counts,
            "errors": errors_json(self.errors, self.class_names),
            "mechanisms": self.mechanisms,
            "context": {"classes": [class_name(label, self.class_names) for label in range(len(self.context.share))],
                        **{name: _plain(getattr(self.context, name))
                           for name in ("counts", "images", "share", "low", "high", "even")}},
            "atlas": atlas,
        }  # fmt: skip

    def text(self) -> str:
        """The main figures, for a terminal."""
        lines = [f"{self.images} images, {self.detections} detections, {self.objects} annotated objects"]
        if self.errors is not None:
            lines += [f"AP at IoU .5 (TIDE): {self.errors.ap:.2f}", f"{'error':<18}{'count':>8}{'dAP':>8}"]
            lines += [
                f"{name.replace('_', ' '):<18}{self.errors.counts[name]:>8}{self.errors.weights[name]:>8.2f}"
                for name in (*ERROR_TYPES, *SPECIAL_TYPES)
            ]
        total = sum(sum(one.values()) for one in self.mechanisms.values())
        if total:
            lines.append(f"{total} missed objects by mechanism:")
            lines += [f"  {name:<22}{sum(one.values()):>6}" for name, one in self.mechanisms.items()]
        return "\n".join(lines)


def errors_json(errors: ErrorSummary, class_names: Sequence[str]) -> dict[str, Any]:
    """An :class:`ErrorSummary` as JSON can hold it, null for NaN."""
    names = [class_name(int(label), class_names) for label in errors.classes]
    types = (*ERROR_TYPES, *SPECIAL_TYPES)
    return {
        "ap": _plain(errors.ap),
        "types": {
            name: {"count": int(errors.counts[name]), "ignored": int(errors.ignored.get(name, 0)),
                   "dAP": _plain(errors.weights[name])}
            for name in types
        },
        "classes": {
            label: {
                "ap": _plain(errors.class_ap[k]),
                **{name: {"count": int(errors.class_counts[name][k]), "dAP": _plain(errors.class_weights[name][k])}
                   for name in types},
            }
            for k, label in enumerate(names)
        },
    }  # fmt: skip


def summarise_run(reader: RunReader, num_classes: int, method: str, quiet: bool = False) -> RunSummary:
    """Sums up a run of ``odam analyze``.

    Mean maps are those of the stored maps, in 8 bits.

    Args:
        reader: the run.
        num_classes: of the detector.
        method: whose maps the atlas is of.
        quiet: whether to show no progress.
    """
    tally, matrix, atlas = ErrorTally(), ContextMatrix(num_classes), None
    is_annotated = False
    mechanisms: dict[str, Counter[str]] = {}
    images = detections = objects = 0
    for image in tqdm(reader.images(), desc="summing up", unit="image", disable=quiet, delay=1):
        if image.failure is not None:
            continue
        images += 1
        stored = reader.image(image.number)
        known = reader.document(ANALYSIS, image.key)
        if known is not None:
            is_annotated = True
            tally.add(image.number, ImageErrors.from_rows(*(known[name] for name in _ERRORS)))
            matrix.add_rows(image.number, known["context"])
            objects += len(known["objects"])
        for row in stored.detections:
            detections += row.kind == "detection"
            if row.mechanism is not None:
                mechanisms.setdefault(row.mechanism, Counter())[row.label] += 1
        rows, heatmaps = stored.maps.get((method, ""), ((), None))
        own = [place for place, row in enumerate(rows) if stored.detections[row].kind == "detection"]
        if heatmaps is not None and own:
            atlas = atlas or Atlas(heatmaps.names)
            chosen = [stored.detections[rows[place]] for place in own]
            boxes = torch.tensor([one.box for one in chosen])
            atlas.add([one.class_id for one in chosen], boxes, heatmaps[own])
    return RunSummary(
        images,
        detections,
        objects,
        tally.summary() if is_annotated else None,
        {name: dict(sorted(one.items())) for name, one in sorted(mechanisms.items())},
        matrix.summary() if is_annotated else None,
        atlas.summary() if atlas else {},
        reader.class_names,
    )


_ERRORS = ("scores", "classes", "detections", "objects")


def _plain(value: Any) -> Any:
    """Arrays as lists, NaN as None."""
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
