"""Scores detections of people in crowds, in Detectron2's manner."""

import json
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from ...utils.files import atomic_write, safe_name, write_json
from .objects import CrowdObjects, xywh
from .protocol import DEFAULT_PROTOCOL, find_protocol
from .table import crowd_table

FIGURES = ("AP", "recall", "MR", "JI")
_PERSON = 0  # detections of other classes are not looked at


class CrowdHumanEvaluator(DatasetEvaluator):
    """AP, recall, MR^-2 and JI at IoU .5, for everybody and for those who are hidden or stand close.

    Results are gathered from all processes; they don't depend on how many there are.

    Args:
        dataset_name: a data set in Detectron2's catalogs whose annotations have ``full_box`` and ``visible_box``:
            CrowdHuman, what :func:`odam_d2.data.crowdhuman.register_crowdhuman` enters, a synthetic crowd.
        output_dir: gets ``<dataset_name>_detections.odgt``, a line of JSON an image with ``ID``, ``height``,
            ``width`` and ``dtboxes`` (``box`` as x, y, width, height in pixels, ``score``, ``tag`` 1), and
            ``<dataset_name>_metrics.json``, the table; None to write nothing.
        box: which boxes are to be found, "full" or "visible"; None for what the data set's metadata say under ``box``,
            or "full".
        max_dets_per_image: the best so many of an image count; None for all that the detector gives, which
            ``TEST.DETECTIONS_PER_IMAGE`` bounds.
        protocol: the rules: "toolkit", CrowdHuman's own, whose figures compare with published ones, or "strict";
            docs/metrics.md has both in words.

    Raises:
        ValueError: if `max_dets_per_image` is below 1 or the protocol is unknown.

    Attributes:
        table: after :meth:`evaluate`, in the main process, see :func:`odam_d2.evaluation.crowd.table`.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        box: str | None = None,
        max_dets_per_image: int | None = None,
        protocol: str = DEFAULT_PROTOCOL,
    ):
        find_protocol(protocol)  # an unknown one shows here, not after the inference
        if max_dets_per_image is not None and max_dets_per_image < 1:
            raise ValueError(
                f"`max_dets_per_image` must be at least 1; got {max_dets_per_image}: leave it out for no bound"
            )
        self.dataset_name = dataset_name
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.box = box or MetadataCatalog.get(dataset_name).get("box", "full")
        self.max_dets_per_image, self.protocol = max_dets_per_image, protocol
        self.records = {record["image_id"]: record for record in DatasetCatalog.get(dataset_name)}
        self.reset()

    def reset(self) -> None:
        """Forgets what was processed."""
        self.table: dict[str, dict[str, Any]] = {}
        self._detections: dict[Any, tuple[np.ndarray, np.ndarray]] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Takes the people that were detected in some images.

        Args:
            inputs: entries of the data loader, with ``image_id``.
            outputs: of the detector, each with ``instances`` in the frame of the original image.
        """
        for entry, output in zip(inputs, outputs, strict=True):
            people = output["instances"].to("cpu")
            people = people[people.pred_classes == _PERSON]
            people = people[people.scores.argsort(descending=True, stable=True)[: self.max_dets_per_image]]
            boxes, scores = people.pred_boxes.tensor.detach(), people.scores.detach()
            self._detections[entry["image_id"]] = (boxes.double().numpy(), scores.double().numpy())

    def evaluate(self) -> Mapping[str, dict[str, float]]:
        """Gathers, writes and prints.

        Returns:
            ``{"crowd": {"AP", "recall", "MR", "JI", "AP-bare", ...}}`` in percent, NaN for subsets without people;
            empty in other processes than the main one, and where no image was processed.
        """
        logger = logging.getLogger(__name__)
        parts = comm.gather(self._detections)
        if not comm.is_main_process():
            return {}
        gathered = {image_id: found for part in parts for image_id, found in part.items()}
        # The order of the data set: whoever processed what, the figures come out the same to the last digit.
        detections = {image_id: gathered[image_id] for image_id in self.records if image_id in gathered}
        if not detections:
            logger.warning(f"No image of {self.dataset_name!r} was processed, so there is nothing to evaluate")
            return {}
        if len(detections) < len(self.records):
            logger.warning(f"Figures are of the {len(detections)} processed images out of {len(self.records)}")
        objects = [CrowdObjects.of(self.records[image_id], self.box) for image_id in detections]
        self.table = crowd_table(detections.values(), objects, protocol=self.protocol)
        if self.output_dir is not None:
            self._write(self.output_dir, detections)
        logger.info(
            f"CrowdHuman results on {self.dataset_name}, {self.box} boxes, protocol {self.protocol!r}, "
            f"{len(detections)} images:\n" + format_table(self.table)
        )
        return OrderedDict(crowd=_flat(self.table))

    def _write(self, folder: Path, detections: Mapping[Any, tuple[np.ndarray, np.ndarray]]) -> None:
        name = safe_name(self.dataset_name)
        with atomic_write(folder / f"{name}_detections.odgt") as file:
            for image_id, (boxes, scores) in detections.items():
                record = self.records[image_id]
                people = [
                    {"box": box, "score": score, "tag": 1}
                    for box, score in zip(xywh(boxes).tolist(), scores.tolist(), strict=True)
                ]
                line = {"ID": image_id, "height": record["height"], "width": record["width"], "dtboxes": people}
                file.write(json.dumps(line) + "\n")
        plain = {
            name: {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
            for name, row in self.table.items()
        }
        about = {
            "dataset": self.dataset_name, "box": self.box, "protocol": self.protocol, "images": len(detections),
        }  # fmt: skip
        write_json(folder / f"{name}_metrics.json", {**about, "percent": plain})


def format_table(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of :func:`odam_d2.evaluation.crowd.table` as text; a dash where a subset is empty."""
    rows = []
    for name, row in table.items():
        figures = ["-" if math.isnan(row[figure]) else f"{row[figure]:.3f}" for figure in FIGURES]
        rows.append([name, row["objects"], *figures, "-" if row["JI_score"] is None else row["JI_score"]])
    headers = ["people", "number", "AP", "recall", "MR^-2", "JI", "JI at score"]
    return tabulate(rows, headers=headers, tablefmt="pipe", numalign="right", stralign="right", disable_numparse=True)


def _flat(table: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Figures of everybody first, then ``AP-heavy`` and so on, whose dash keeps them out of Detectron2's short list."""
    return {
        figure if name == "all" else f"{figure}-{name}": row[figure]
        for name, row in table.items()
        for figure in FIGURES
    }
