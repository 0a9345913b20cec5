"""COCO's evaluator, with files that appear once they are complete."""

import os
import shutil
from collections.abc import Sequence
from typing import Any

from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm


class WholeCOCOEvaluator(COCOEvaluator):
    """``COCOEvaluator`` that writes its files aside: an evaluation that is killed leaves those of the one before."""

    def evaluate(self, img_ids: Sequence[Any] | None = None) -> dict[str, Any]:
        """See :class:`COCOEvaluator`."""
        folder: str | None = self._output_dir  # type: ignore[has-type]
        if not folder or "://" in folder or not comm.is_main_process():
            return super().evaluate(img_ids)
        aside = os.path.join(folder, ".unfinished")
        shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
        try:
            self._output_dir = aside
            results = super().evaluate(img_ids)
            for name in os.listdir(aside) if os.path.isdir(aside) else ():
                os.replace(os.path.join(aside, name), os.path.join(folder, name))
        finally:
            self._output_dir = folder
            shutil.rmtree(aside, ignore_errors=True)
        return results
