"""The two-stage detector that remembers where its detections came from."""

from functools import partial

import torch
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, Instances

from ..modeling.provenance import ROW_FIELD, given_boxes, image_index_of
from ..modeling.roi_heads import assign_levels
from ..structures import DetectionTrace


@META_ARCH_REGISTRY.register()
class OdamRCNN(GeneralizedRCNN):
    """``GeneralizedRCNN`` with the same weights and the same detections, and :meth:`trace` beside :meth:`inference`."""

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or takes the boxes that the caller gives, and keeps what an explanation needs.

        Args:
            batched_inputs: as for the stock detector: dicts with ``image`` (3, H, W) and, for the original size,
                ``height`` and ``width``.
            instances: boxes and classes to explain in place of the detections, one Instances a picture, in the
                original frame; see :func:`odam_d2.modeling.provenance.given_boxes`. They become the RoIs themselves.

        Returns:
            The trace; its ``instances`` are bit for bit what the stock detector returns, or, for given boxes, these
            boxes with the detector's ``scores`` for their classes.

        Raises:
            TypeError: if the RoI heads keep no trace.
            ValueError: if the given boxes are not usable.
            RuntimeError: if the detector is in training mode.
        """
        if self.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        if not hasattr(self.roi_heads, "traced_head"):
            raise TypeError(
                f"`roi_heads` must keep a trace, as OdamStandardROIHeads does; got {type(self.roi_heads).__name__}: "
                "set MODEL.ROI_HEADS.NAME to a traced class, or call odam_d2.config.use_traced_architectures(cfg) first"
            )
        with torch.no_grad():
            images = self.preprocess_image(batched_inputs)
            features = self.backbone(images.tensor)
            image_sizes = [(int(h), int(w)) for h, w in images.image_sizes]
            output_sizes = [
                (int(x.get("height", size[0])), int(x.get("width", size[1])))
                for x, size in zip(batched_inputs, image_sizes, strict=True)
            ]
            if instances is None:
                proposals = self._propose(batched_inputs, images, features)
                results = self.roi_heads.detect(features, proposals)
                results = [r["instances"] for r in self._postprocess(results, batched_inputs, image_sizes)]
                rows = [result.get(ROW_FIELD) for result in results]
                for result in results:
                    result.remove(ROW_FIELD)
                boxes = [p.proposal_boxes.tensor[row] for p, row in zip(proposals, rows, strict=True)]
                classes = [result.pred_classes for result in results]
            else:
                proposals = None
                num_classes = self.roi_heads.num_classes
                boxes, classes = given_boxes(instances, image_sizes, output_sizes, num_classes, self.device)
                rows = [torch.full_like(label, -1) for label in classes]
                results = [_as_results(g, c, s) for g, c, s in zip(instances, classes, output_sizes, strict=True)]

            in_features = tuple(self.roi_heads.box_in_features)
            references = torch.cat(boxes)
            shapes = self.backbone.output_shape()
            trace = DetectionTrace(
                instances=results,
                features={name: features[name] for name in in_features},
                strides={name: float(shapes[name].stride) for name in in_features},
                image_index=image_index_of([len(b) for b in boxes], self.device),
                level_index=assign_levels(self.roi_heads.box_pooler, references),
                references=references,
                rows=torch.cat(rows),
                classes=torch.cat(classes),
                level_names=in_features,
                image_sizes=image_sizes,
                padded_size=tuple(images.tensor.shape[-2:]),
                output_sizes=output_sizes,
                head=self.roi_heads.traced_head(proposals),
                compute_features=partial(self.backbone, images.tensor),
            )
            if instances is not None:
                self._score(trace)
        return trace

    def _propose(self, batched_inputs, images, features) -> list[Instances]:
        if self.proposal_generator is None:
            return [x["proposals"].to(self.device) for x in batched_inputs]
        return self.proposal_generator(images, features, None)[0]

    @staticmethod
    def _score(trace: DetectionTrace) -> None:
        """Writes the detector's scores for the given boxes into the trace's results."""
        scores = trace.head.predict(trace.features, trace).scores
        counts = [len(result) for result in trace.instances]
        for result, score in zip(trace.instances, scores.split(counts), strict=True):
            result.scores = score


def _as_results(given: Instances, classes: torch.Tensor, output_size: tuple[int, int]) -> Instances:
    """Given boxes in the form of detections."""
    boxes = given.pred_boxes if given.has("pred_boxes") else given.gt_boxes
    return Instances(output_size, pred_boxes=Boxes(boxes.tensor.to(classes.device).clone()), pred_classes=classes)
