"""A detector's candidates, computed once and kept in files.

Shape letters: R candidates of an image, K of them kept.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ...ops.nms import class_overlaps
from ...utils.files import atomic_write


@dataclass
class Candidates:
    """What a detector chooses its detections of one image among, the best first, and how alike their maps are.

    Attributes:
        boxes: (R, 4) float32 XYXY in model-input pixels.
        scores: (R,) float32, falling.
        classes: (R,) int64.
        similarity: (R, R) float32 above the diagonal, for boxes of one class; anything elsewhere.
        image_size: (h, w) of the model input without padding.
        output_size: (h, w) of the original image.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    similarity: Tensor
    image_size: tuple[int, int]
    output_size: tuple[int, int]

    @classmethod
    def of(cls, found: Instances, similarity: Tensor, output_size: tuple[int, int]) -> Candidates:
        """From candidates in the model-input frame, as ``candidate_trace`` gives them, and (R, R) cosines."""
        order = found.scores.sort(descending=True, stable=True).indices
        size = (int(found.image_size[0]), int(found.image_size[1]))
        found, alike = found[order], similarity[order[:, None], order]
        boxes, scores, classes = found.pred_boxes.tensor.cpu(), found.scores.cpu(), found.pred_classes.cpu()
        return cls(boxes, scores, classes, alike.cpu(), size, output_size)

    @cached_property
    def overlaps(self) -> tuple[Tensor, Tensor]:
        """IoU of every two boxes, and which two are of one class; see :func:`odam_d2.ops.nms.class_overlaps`."""
        return class_overlaps(self.boxes, self.classes)

    def detections(self, kept: Tensor, scores: Tensor) -> Instances:
        """Some of the candidates as a detector reports them.

        Args:
            kept: (K,) int64 indices.
            scores: (K,) that they are reported with.

        Returns:
            Instances in the original frame.
        """
        result = Instances(self.image_size, pred_boxes=Boxes(self.boxes[kept].clone()), scores=scores)
        result.pred_classes = self.classes[kept]
        return detector_postprocess(result, *self.output_size)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it as numpy arrays; :meth:`from_arrays` is the way back. Cosines of different classes become zero."""
        alike = torch.where(self.classes[:, None] == self.classes, self.similarity, 0.0)
        return {
            "boxes": self.boxes.numpy(),
            "scores": self.scores.numpy(),
            "classes": self.classes.numpy(),
            "similarity": alike.numpy()[np.triu_indices(len(self.boxes), 1)],
            "sizes": np.array([self.image_size, self.output_size]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Candidates:
        """Candidates from what :meth:`to_arrays` gave."""
        boxes, scores, classes = (torch.from_numpy(np.asarray(arrays[k])) for k in ("boxes", "scores", "classes"))
        similarity = np.zeros((len(boxes), len(boxes)), np.float32)
        similarity[np.triu_indices(len(boxes), 1)] = arrays["similarity"]
        (in_h, in_w), (out_h, out_w) = arrays["sizes"].tolist()
        return cls(boxes, scores, classes, torch.from_numpy(similarity), (in_h, in_w), (out_h, out_w))


class CandidateStore:
    """A folder with a file of candidates for each image of a data set, by its number there.

    Args:
        folder: made when something is written.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def write(self, number: int, candidates: Candidates) -> None:
        """Keeps the candidates of an image, whole or not at all."""
        with atomic_write(self._path(number), "wb") as handle:
            arrays: dict[str, Any] = candidates.to_arrays()
            np.savez_compressed(handle, **arrays)

    def read(self, number: int) -> Candidates | None:
        """What was written for an image; None if it isn't there, or not all of it."""
        try:
            # Opened here: NumPy leaves a file open that it can't read.
            with self._path(number).open("rb") as file, np.load(file) as arrays:
                return Candidates.from_arrays(arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def clear(self) -> None:
        """Removes all that was written, also what a writer left that was killed."""
        for pattern in ("*.npz", ".*.tmp"):
            for old in self.folder.glob(pattern):
                old.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npz"
