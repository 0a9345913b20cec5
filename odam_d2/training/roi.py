"""The explained positives of two-stage detectors: sampled proposals that lie on an object.

Shape letters: P positives over the batch, S box stages, N images, C channels, B x B pooled cells.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..explain.engines.roi import RoIEngine
from ..modeling.pooled import BoxStage, PooledStage, TracedRoIHead, assign_levels
from ..modeling.provenance import image_index_of
from ..ops.gates import learnable_gates
from ..structures import DetectionTrace, HeatMaps
from ..utils.untyped import UntypedModule
from .explained import ExplainedPositives
from .pairing import Positives
from .views import Views, owners


class GivenGradients(RoIEngine):
    """The engine of RoI heads, with gradients on the pooled features that are there already.

    Args:
        model: the detector.
        gradients: S times (D, C, B, B), of the only attribute, with a graph or without.
    """

    def __init__(self, model: nn.Module, gradients: Sequence[Tensor]):
        super().__init__(model)
        self.gradients = gradients

    def pooled_gradients(
        self, trace: DetectionTrace, attributes: Sequence[str], sources: Sequence[int]
    ) -> list[Tensor]:
        """See :meth:`RoIEngine.pooled_gradients`."""
        del trace, attributes
        return [self.gradients[source][:, None] for source in sources]


class RoIPositives(ExplainedPositives):
    """Runs the box stages again, on the positives alone, and differentiates the logits of all in one backward pass.

    RoIs don't see each other in the heads, so the gradient of the sum holds each one's own. Of a cascade, positives are
    those of its first stage, the logit is the mean over the stages, and the predicted box the last stage's.

    Args:
        model: the detector; its RoI heads keep a trace.
        features: level name -> (N, C, H, W), with their graph, in single precision at least.
        samples: N Instances with ``proposal_boxes``, ``gt_classes`` and, where the image has objects, ``gt_boxes``.
        padded_size: (h, w) of the batch with padding.
        second_order: whether gradients keep a graph of their own.
        views: what is explained of the samples; the published choice where left out.
        targets: N Instances with ``gt_boxes`` and ``gt_classes``, all annotated objects; for views that look for the
            object of a predicted box.

    Raises:
        TypeError: if the heads are not known to treat each RoI on its own, or pool otherwise than by RoIAlign.
    """

    weigh = True

    def __init__(
        self,
        model: UntypedModule,
        features: Mapping[str, Tensor],
        samples: Sequence[Instances],
        padded_size: tuple[int, int],
        second_order: bool,
        views: Views | None = None,
        targets: Sequence[Instances] = (),
    ):
        self.model, self.padded_size, heads = model, padded_size, model.roi_heads
        self.views = views or Views()
        self.names = tuple(heads.box_in_features)
        # What is frozen below the heads has no gradient, but is differentiated by all the same.
        self.features = {
            k: features[k] if features[k].requires_grad else features[k].detach().requires_grad_() for k in self.names
        }
        self.nothing = self.features[self.names[0]].flatten()[:0].sum()
        self.image_sizes = [one.image_size for one in samples]
        chosen = [(one.gt_classes >= 0) & (one.gt_classes < heads.num_classes) for one in samples]
        proposals = [
            Instances(one.image_size, proposal_boxes=one.proposal_boxes[rows])
            for one, rows in zip(samples, chosen, strict=True)
        ]
        classes = torch.cat([one.gt_classes[rows] for one, rows in zip(samples, chosen, strict=True)])
        # Images without objects have no `gt_boxes`.
        truths = [one.get("gt_boxes" if one.has("gt_boxes") else "proposal_boxes").tensor for one in samples]
        truth = torch.cat([one[rows] for one, rows in zip(truths, chosen, strict=True)])
        image_index = image_index_of([len(one) for one in proposals], classes.device)
        everyone = Positives(truth[:0], truth, classes, image_index)
        self.stages: list[BoxStage] = []
        self.gradients: list[Tensor] = []
        everyone.boxes = self._run(proposals, everyone, second_order) if len(classes) else truth[:0]
        # Rows of what the heads were run on that are positives.
        self.rows = torch.arange(len(classes), device=classes.device)
        if self.views.owner == "predicted" and len(classes):
            self.rows = self._find_owners(everyone, targets)
        self.positives = everyone[self.rows]

    def _run(self, proposals: list[Instances], everyone: Positives, second_order: bool) -> Tensor:
        """Runs the heads and differentiates; returns (P, 4) XYXY boxes that the proposals' run predicts."""
        heads, classes = self.model.roi_heads, everyone.classes
        # An annotated box that is explained as a given one is its own prediction, and stays where it is.
        given = torch.cat([one.proposal_boxes.tensor for one in proposals])
        fixed = (given == everyone.truths).all(1, keepdim=True) if self.views.given else torch.zeros_like(given[:, :1])
        gates = learnable_gates(heads.modules_on_rois()) if self.views.learnable_gates else nullcontext()
        counts, first = [len(one) for one in proposals], None
        with torch.enable_grad(), gates:
            for repeat in range(self.views.repool + 1):
                # Only the last run is explained.
                with torch.set_grad_enabled(repeat == self.views.repool):
                    self.stages = heads.run_box_stages(self.features, proposals)
                predicted = torch.where(fixed > 0, given, self._predicted(classes))
                first = predicted if first is None else first
                proposals = [Instances(size, proposal_boxes=Boxes(box.clone()))
                             for size, box in zip(self.image_sizes, predicted.split(counts), strict=True)]  # fmt: skip
                for one in proposals:
                    one.proposal_boxes.clip(one.image_size)
            self.gradients = self._differentiate(classes, second_order)
        assert first is not None  # there is a first run
        return first

    def _differentiate(self, classes: Tensor, second_order: bool) -> list[Tensor]:
        """S times (P, C, B, B): what is explained of the objects' classes by the pooled features of each stage."""
        rows = torch.arange(len(classes), device=classes.device)
        logits = torch.stack([self._explained(stage.outputs[0])[rows, classes] for stage in self.stages]).mean(0)
        pooled = [stage.pooled for stage in self.stages]
        return list(torch.autograd.grad(logits.sum(), pooled, create_graph=second_order))

    def _explained(self, logits: Tensor) -> Tensor:
        """(P, K + 1) logits, or log odds."""
        if self.views.attribute == "logit":
            return logits
        others = [logits[:, [k for k in range(logits.shape[1]) if k != one]] for one in range(logits.shape[1])]
        return logits - torch.stack([other.logsumexp(1) for other in others], 1)

    def _find_owners(self, everyone: Positives, targets: Sequence[Instances]) -> Tensor:
        """Gives each prediction the object that its box overlaps; (Q,) int64 rows of those with one."""
        truths, found = everyone.truths.clone(), torch.zeros_like(everyone.classes, dtype=torch.bool)
        for number, target in enumerate(targets):
            mine = (everyone.image_index == number).nonzero()[:, 0]
            owner, found[mine] = owners(everyone.boxes[mine], everyone.classes[mine], target)
            if len(target):
                truths[mine] = target.gt_boxes.tensor[owner]
        everyone.truths = truths
        return found.nonzero()[:, 0]

    @torch.no_grad()
    def _predicted(self, classes: Tensor) -> Tensor:
        """(P, 4) XYXY boxes that the last stage predicts for the objects' classes."""
        last: BoxStage = self.stages[-1]
        boxes = torch.cat(list(last.predictor.predict_boxes(last.outputs, last.proposals)))
        boxes = boxes.view(len(boxes), -1, 4)
        which = classes if boxes.shape[1] > 1 else torch.zeros_like(classes)
        return boxes[torch.arange(len(boxes), device=boxes.device), which]

    def heat_maps(self, rows: Tensor) -> list[HeatMaps]:
        """See :meth:`ExplainedPositives.heat_maps`."""
        if len(rows) == 0:
            return [HeatMaps.empty(("logit",), size, size, rows.device) for size in self.image_sizes]
        kept, strides, rows = self.positives[rows], self.model.backbone.output_shape(), self.rows[rows]
        stages = [self._stage(stage, rows, kept.image_index) for stage in self.stages]
        levels = [assign_levels(stage.pooler, stage.boxes) for stage in stages]
        trace = DetectionTrace(
            instances=[],
            features=self.features,
            strides={name: float(strides[name].stride) for name in self.names},
            image_index=kept.image_index,
            level_index=torch.stack(levels, 1),
            references=stages[0].boxes,
            boxes=kept.boxes,
            rows=rows,
            classes=kept.classes,
            level_names=self.names,
            image_sizes=self.image_sizes,
            padded_size=self.padded_size,
            output_sizes=self.image_sizes,
            head=TracedRoIHead(self.model.roi_heads, stages, len(stages), None),
            compute_features=lambda: self.features,
        )
        engine = GivenGradients(self.model, [gradient[rows] for gradient in self.gradients])
        reason = engine.unsupported(trace)
        if reason:
            raise TypeError(
                f"`roi_heads` must be ones that train by explanations; got {type(self.model.roi_heads).__name__}, and "
                f"{reason}: call register_instance_wise for a head that treats each RoI on its own, or set "
                "ODAM.TRAIN.WEIGHT to 0"
            )
        return engine.odam_maps(trace, ("logit",), 0.0)

    def _stage(self, stage: BoxStage, rows: Tensor, image_index: Tensor) -> PooledStage:
        """Of a box stage, some rows."""
        # Boxes are always in single precision; RoIAlign samples in that of the features.
        boxes = torch.cat([one.proposal_boxes.tensor for one in stage.proposals])[rows].to(stage.pooled.dtype)
        split = boxes.split(torch.bincount(image_index, minlength=len(self.image_sizes)).tolist())
        pool = partial(self.model.roi_heads.pool, self.features, pooler=stage.pooler)
        return PooledStage(stage.pooler, list(split), pool)
