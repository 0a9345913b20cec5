"""Panoptic FPN that remembers where its detections came from."""

from __future__ import annotations

from typing import Any

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, PanopticFPN
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import ImageList, Instances
from torch import Tensor

from ..modeling.without_graph import without_graph
from .rcnn import OdamRCNN


@META_ARCH_REGISTRY.register()
class OdamPanopticFPN(OdamRCNN, PanopticFPN):
    """``PanopticFPN`` with the same weights and the same results, :meth:`trace` beside them, Odam-NMS and Odam-Train.

    Detections are explained as those of ``OdamRCNN``; results also hold ``sem_seg`` and ``panoptic_seg``. For boxes
    that the caller gives they hold ``sem_seg`` alone, since the segments of the other are detections.

    Args:
        kwargs: those of ``PanopticFPN`` and of ``OdamRCNN``.
    """

    @configurable
    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def inference(self, batched_inputs: list[dict], do_postprocess: bool = True) -> Any:  # type: ignore[override]
        """The stock detector's; with Odam-NMS, its instances are those that :meth:`trace` traces, without a graph."""
        if self.odam_nms is None:
            return PanopticFPN.inference(self, batched_inputs, do_postprocess)
        with without_graph(self):
            images = self.preprocess_image(batched_inputs)
            features = self.backbone(images.tensor)
            results = self._detect_without_fields(batched_inputs, images, features)
            if not do_postprocess:
                return results, self.sem_seg_head(features, None)[0]
            found = [one["instances"] for one in self._postprocess(results, batched_inputs, images.image_sizes)]
            others = self.segments(batched_inputs, images, features, found)
        return [{"instances": one, **other} for one, other in zip(found, others, strict=True)]

    def segments(
        self,
        batched_inputs: list[dict],
        images: ImageList,
        features: dict[str, Tensor],
        instances: list[Instances] | None,
    ) -> list[dict]:
        """See :meth:`OdamRCNN.segments`: ``sem_seg`` and, where there are instances, ``panoptic_seg``."""
        if not self.roi_heads.mask_on:  # of a copy that is asked for boxes alone
            return []
        semantic, _ = self.sem_seg_head(features, None)
        found: list[dict] = []
        for number, (one, entry, size) in enumerate(zip(semantic, batched_inputs, images.image_sizes, strict=True)):
            height, width = entry.get("height", size[0]), entry.get("width", size[1])
            found.append({"sem_seg": sem_seg_postprocess(one, size, height, width)})
            if instances is not None:
                found[-1]["panoptic_seg"] = combine_semantic_and_instance_outputs(
                    instances[number],
                    found[-1]["sem_seg"].argmax(dim=0),
                    self.combine_overlap_thresh,
                    self.combine_stuff_area_thresh,
                    self.combine_instances_score_thresh,
                )
        return found
