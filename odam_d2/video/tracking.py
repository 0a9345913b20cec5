"""Which detections of several frames are one object: Detectron2's tracker, with what people who pass each other need.

Shape letters: R detections of a frame, P objects that were followed up to it.
"""

from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.tracking import IOUWeightedHungarianBBoxIOUTracker
from detectron2.tracking.utils import LARGE_COST_VALUE
from torch import Tensor

# A detection is an object's if their boxes, one of them expected, overlap by this IoU.
IOU_THRESHOLD = 0.3
_NEW_PACE = 0.3  # share of the latest step in an object's pace; the sides of boxes tremble


class CrowdTracker(IOUWeightedHungarianBBoxIOUTracker):
    """Detectron2's tracker, which assigns boxes to objects so that the sum of IoUs is largest, but for three things.

    - An object is expected where its pace takes it, also while it isn't detected, and looked for there. It keeps its
      class.
    - Boxes that don't overlap stay apart. Detectron2's tracker gives each box some object as long as there are any, and
      so the number of one who leaves to one who comes.
    - IoUs count. Detectron2's are cut to whole numbers, so that all pairs above the threshold are as good.
    """

    _pace: dict[int, Tensor]
    _cost: np.ndarray
    _near: np.ndarray

    def update(self, instances: Instances) -> Instances:
        """The detections of the next frame with their ``ID``; behind them, objects that aren't detected in it.

        Args:
            instances: R detections with ``pred_boxes``, ``pred_classes`` and ``scores``, on the CPU.
        """
        if self._prev_instances is None:
            self._pace, before = {}, {}
        else:
            before = dict(zip(self._prev_instances.ID, self._prev_instances.pred_boxes.get_centers()))
            self._move_on()
        number = len(instances)
        found = super().update(instances)
        for track, center in zip(found.ID[:number], found.pred_boxes.get_centers()[:number]):
            if track in before:
                step = center - before[track]
                pace = self._pace.get(track)
                self._pace[track] = step if pace is None else (1 - _NEW_PACE) * pace + _NEW_PACE * step
        self._pace = {track: self._pace[track] for track in found.ID if track in self._pace}
        return found

    def _move_on(self) -> None:
        """Puts the objects of the latest frame where they are expected in the next."""
        known = self._prev_instances
        steps = [self._pace.get(track, torch.zeros(2)) for track in known.ID]
        if steps:
            known.pred_boxes = Boxes(known.pred_boxes.tensor + torch.stack(steps).repeat(1, 2))

    def build_cost_matrix(self, instances: Instances, prev_instances: Instances) -> np.ndarray:
        """(R, P) float64: -IoU of a detection and an object; large where they can't be one."""
        iou = pairwise_iou(instances.pred_boxes, prev_instances.pred_boxes).double().numpy()
        same_class = (instances.pred_classes[:, None] == prev_instances.pred_classes[None]).numpy()
        self._cost = np.where(same_class & (iou >= self._track_iou_threshold), -iou, LARGE_COST_VALUE)
        return self._cost

    def _process_matched_idx(self, instances: Instances, matched_idx: Any, matched_prev_idx: Any) -> Instances:
        self._near = self._cost[matched_idx, matched_prev_idx] < 0
        return super()._process_matched_idx(instances, matched_idx[self._near], matched_prev_idx[self._near])

    def _process_unmatched_idx(self, instances: Instances, matched_idx: Any) -> Instances:
        return super()._process_unmatched_idx(instances, matched_idx[self._near])

    def _process_unmatched_prev_idx(self, instances: Instances, matched_prev_idx: Any) -> Instances:
        return super()._process_unmatched_prev_idx(instances, matched_prev_idx[self._near])


class Tracks:
    """Numbers the objects of a video, frame by frame.

    Args:
        size: (h, w) of a frame.
        rate: frames a second, of those that are given; an object that isn't detected for a second is gone.
    """

    def __init__(self, size: tuple[int, int], rate: float):
        self._tracker = CrowdTracker(
            video_height=size[0],
            video_width=size[1],
            max_lost_frame_count=max(5, round(rate)),
            # Small boxes are objects, too.
            min_box_rel_dim=0.0,
            track_iou_threshold=IOU_THRESHOLD,
        )

    def update(self, boxes: Tensor, classes: Tensor, scores: Tensor) -> np.ndarray:
        """(R,) int64, the object of each detection of the next frame: numbers from 0 on.

        Args:
            boxes: (R, 4) XYXY.
            classes: (R,) integers.
            scores: (R,).
        """
        # The tracker changes what it is given; it knows nothing of heat maps.
        known = Instances(
            (self._tracker._video_height, self._tracker._video_width),
            pred_boxes=Boxes(boxes.detach().cpu().float().clone()),
            pred_classes=classes.detach().cpu().long().clone(),
            scores=scores.detach().cpu().float().clone(),
        )
        return np.array(self._tracker.update(known).ID[: len(boxes)], dtype=np.int64)
