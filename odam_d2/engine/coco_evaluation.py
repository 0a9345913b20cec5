"""COCO's figures of data sets as people have them: without what would mislead its evaluation or end the process."""

import json
import os
from collections.abc import Sequence

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator

from ..data.coco import CocoFile
from ..data.coco_writer import coco_content
from ..data.registration import log_account
from ..data.values import identity
from ..utils.compiled import is_compiled
from ..utils.files import write_text
from .coco_evaluator import WholeCOCOEvaluator


def build_coco_evaluator(dataset_name: str, output_dir: str) -> COCOEvaluator:
    """COCO's evaluator of a registered data set, by Detectron2's compiled evaluation where it has one.

    A file that is used as it is goes to it as it is. Of any other, what is left of it is written to `output_dir` and
    evaluated, with new ids of annotations; see :func:`odam_d2.data.coco_writer.coco_content`.

    Args:
        dataset_name: a name in Detectron2's catalogs.
        output_dir: where results go.
    """
    metadata = MetadataCatalog.get(dataset_name)
    json_file = metadata.get("json_file")
    if json_file is None or not os.path.isfile(json_file):
        return WholeCOCOEvaluator(dataset_name, output_dir=output_dir, use_fast_impl=is_compiled())
    file = CocoFile(json_file, metadata.get("thing_classes"))
    if file.sound:
        return WholeCOCOEvaluator(dataset_name, output_dir=output_dir, use_fast_impl=is_compiled())
    log_account(file.account)
    return RepairedCOCOEvaluator(dataset_name, file, output_dir)


class RepairedCOCOEvaluator(WholeCOCOEvaluator):
    """COCO's evaluator of what is left of a file.

    Args:
        dataset_name: what the written file is called.
        file: the annotations.
        output_dir: where the file and results go.
    """

    def __init__(self, dataset_name: str, file: CocoFile, output_dir: str):
        content = coco_content(file.known_records(sized=False), file.class_names)
        path = os.path.join(output_dir, f"{dataset_name}_as_read.json")
        write_text(path, json.dumps(content))
        private = f"{dataset_name} as read from {path}"
        if private in MetadataCatalog.list():
            MetadataCatalog.remove(private)
        MetadataCatalog.get(private).set(
            json_file=path,
            thing_classes=list(file.class_names),
            thing_dataset_id_to_contiguous_id={one["id"]: one["id"] - 1 for one in content["categories"]},
        )
        super().__init__(private, output_dir=output_dir, use_fast_impl=is_compiled())

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """See ``COCOEvaluator``; images are known by their ids as they were read."""
        super().process([{**one, "image_id": identity(one["image_id"])[0]} for one in inputs], outputs)

    def evaluate(self, img_ids: Sequence[int | str] | None = None) -> dict:
        """See ``COCOEvaluator``."""
        return super().evaluate(None if img_ids is None else [identity(one)[0] for one in img_ids])
