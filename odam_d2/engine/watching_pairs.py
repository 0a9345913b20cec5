"""Measures again and again, while a detector learns, whether its maps tell duplicates from neighbours."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase

from ..data.inputs import ImageInputs, InputMaker
from ..data.registration import judged_dataset
from ..evaluation.ground_truth import TrueObjects
from ..evaluation.nms_tuning.candidates import Candidates
from ..evaluation.nms_tuning.hard_pairs import HardPairs, find_hard_pairs, summarize_hard_pairs
from ..postprocess import ONE_STAGE, TWO_STAGE, OdamNMS
from ..utils.untyped import UntypedModule
from .hooks import bare_model


class WatchHardPairs(HookBase):
    """Every few iterations, the AUC on hard pairs of candidates goes to the event storage.

    Args:
        records: of the images, with ``annotations``.
        inputs: the images, as the detector takes them.
        period: iterations between two looks; there is one at the end, too.
        options: of the Odam-NMS whose candidates and maps are measured; thresholds don't matter.
    """

    def __init__(self, records: Sequence[dict], inputs: ImageInputs, period: int, options: dict[str, Any]):
        self.truths = [TrueObjects.of(record) for record in records]
        self.inputs, self.period, self.options = inputs, period, options

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "WatchHardPairs":
        """Watches the first images with objects of the first test set; boxes are repooled as often as in training."""
        train = cfg.ODAM.TRAIN
        records = (record for record in judged_dataset(cfg.DATASETS.TEST[0]) if record["annotations"])
        chosen = list(islice(records, train.WATCH_IMAGES))
        inputs = ImageInputs(chosen, InputMaker.from_config(cfg))
        options = {"stride": train.STRIDE, "repool": train.REPOOL, "group_norm": cfg.ODAM.NMS.GROUP_NORM}
        return cls(chosen, inputs, train.WATCH_PERIOD, options)

    def after_step(self) -> None:
        """See :class:`HookBase`."""
        done = self.trainer.iter + 1
        if done % self.period == 0 or done == self.trainer.max_iter:
            self.look(bare_model(self.trainer.model))

    def look(self, model: UntypedModule) -> dict[str, float]:
        """Measures now, and writes the figures.

        Args:
            model: the detector, in whatever mode; it is left as it was.

        Returns:
            What was written, by name; nothing where there is no pair of either kind.
        """
        found = summarize_hard_pairs(self.pairs(model), resamplings=0)
        written = {f"odam/AUC_{judge}": value for judge, value in found.get("auc", {}).items()}
        self.trainer.storage.put_scalars(**written, smoothing_hint=False)
        return written

    def pairs(self, model: UntypedModule) -> list[HardPairs]:
        """The hard pairs of each image."""
        found = []
        with _with_odam_nms(model, self.options):
            for entry, truth in zip(self.inputs, self.truths, strict=True):
                if "image" not in entry:
                    continue
                trace = model.candidate_trace([entry])
                (similarity,) = model.odam_nms.similarities(model, trace)
                candidates = Candidates.of(trace.instances[0], similarity, (entry["height"], entry["width"]))
                found.append(find_hard_pairs(candidates, truth))
        return found


@contextmanager
def _with_odam_nms(model: UntypedModule, options: dict[str, Any]) -> Iterator[None]:
    """Inside, the detector is in eval mode and has Odam-NMS."""
    published = TWO_STAGE if hasattr(model, "roi_heads") else ONE_STAGE
    before, training = model.odam_nms, model.training
    model.odam_nms = OdamNMS(**{**published, **options})
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        model.train(training)
        model.odam_nms = before
