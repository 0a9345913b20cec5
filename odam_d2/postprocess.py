"""Odam-NMS inside a detector: its candidates' maps, how alike they are, and which candidates are kept.

Shape letters: N images, R candidates of an image, K of them kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import Tensor, nn

from .explain import Explainer, build_explainer
from .explain.checks import require_ordinary_tensors
from .ops.nms import check_thresholds, odam_nms
from .ops.soft_odam_nms import check_decay, soft_odam_nms
from .structures import DetectionTrace
from .utils.registry import NamedRegistry

# As published: of Faster R-CNN and of FCOS. The maps are of the class score; that of a sigmoid has the same map as its
# logit but for a factor, which the cosine doesn't see, and FCOS's confidence, unlike it, also holds centerness.
TWO_STAGE = {"iou_threshold": 0.6, "low": 0.3, "high": 0.7, "attribute": "score"}
ONE_STAGE = {"iou_threshold": 0.5, "low": 0.2, "high": 0.8, "attribute": "logit"}

# What ODAM.NMS.METHOD can name.
ODAM_NMS: NamedRegistry[type[OdamNMS]] = NamedRegistry("ODAM_NMS")


@ODAM_NMS.register_as("hard")
class OdamNMS:
    """Chooses among a detector's candidates by the overlap of their boxes and the likeness of their maps.

    The maps are those of :class:`odam_d2.explain.ODAM` by the fast engine that recognises the detector, else by plain
    autograd, which is exact but slow; a warning then says so. Works under ``no_grad``.

    Source: Zhao and Chan, ICLR 2023 (arXiv 2304.06354), section on Odam-NMS; the rule is
    :func:`odam_d2.ops.nms.odam_nms`. A map that is zero everywhere is like no other: its box stays beside any. The map
    of a softmax' score becomes so where single precision rounds the score to 1; that of the logit does not.

    Args:
        iou_threshold: T in the paper, in [0, 1].
        low: T_l, in [-1, 2], at most `high`.
        high: T_h, in [-1, 2].
        stride: model-input pixels per cell of the common grid that maps are compared on.
        max_candidates: most boxes of an image that are compared, the best ones.
        attribute: whose maps are compared.
        engine: see :func:`odam_d2.explain.build_explainer`.
        group_norm: as `engine`.
        repool: how many times a two-stage detector's candidates go through its heads again before their maps are taken.
            0, as published, gives maps of the proposals: heat lies under these, which may be far from the candidates.

    Raises:
        ValueError: if an argument is out of range.
    """

    # Whether detections are reported with other scores than the detector gave.
    decays = False

    @configurable
    def __init__(
        self,
        *,
        iou_threshold: float,
        low: float,
        high: float,
        stride: float = 8.0,
        max_candidates: int = 1000,
        attribute: str = "score",
        engine: str = "auto",
        group_norm: str = "frozen",
        repool: int = 0,
    ):
        check_thresholds(iou_threshold, low, high)
        if not 0.0 < stride < float("inf"):
            raise ValueError(f"`stride` must be a number > 0; got {stride}: 8 to 16 pixels are usual")
        if max_candidates < 1:
            raise ValueError(f"`max_candidates` must be at least 1; got {max_candidates}: 1000 is usual")
        if repool < 0:
            raise ValueError(f"`repool` must be at least 0; got {repool}: 0 is as published")
        self.thresholds = (float(iou_threshold), float(low), float(high))
        self.stride = float(stride)
        self.max_candidates = max_candidates
        self.attribute = attribute
        self.engine = engine
        self.group_norm = group_norm
        self.repool = repool
        self._explainer: Explainer | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode, published: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments from ``cfg.ODAM``; `published` are thresholds and attribute where it names none."""
        nms = cfg.ODAM.NMS
        asked = {"iou_threshold": nms.IOU_THRESH, "low": nms.LOW, "high": nms.HIGH, "attribute": nms.ATTRIBUTE}
        return {
            **published,
            **{name: value for name, value in asked.items() if value is not None},
            "stride": nms.STRIDE,
            "max_candidates": nms.MAX_CANDIDATES,
            "engine": cfg.ODAM.ENGINE,
            "group_norm": nms.GROUP_NORM,
            "repool": nms.REPOOL,
        }

    def best(self, candidates: list[Instances]) -> list[Instances]:
        """N Instances with ``scores``: of each image the `max_candidates` best, in the order in which they stood."""
        return [self._best(one) if len(one) > self.max_candidates else one for one in candidates]

    def _best(self, candidates: Instances) -> Instances:
        order = candidates.scores.sort(descending=True, stable=True).indices
        return candidates[order[: self.max_candidates].sort().values]

    def similarities(self, model: nn.Module, trace: DetectionTrace) -> list[Tensor]:
        """How alike the maps of every two candidates of an image are.

        Args:
            model: the detector.
            trace: of its candidates.

        Returns:
            N times (R, R) float32 cosines.
        """
        if self._explainer is None or self._explainer.model is not model:
            require_ordinary_tensors(model)
            self._explainer = build_explainer(
                model, attributes=(self.attribute,), engine=self.engine, group_norm=self.group_norm
            )
        with torch.enable_grad():
            maps = self._explainer.heat_maps(trace)
        return [one.similarity(self.attribute, self.stride).detach() for one in maps]

    def keep(self, model: nn.Module, trace: DetectionTrace) -> list[tuple[Tensor, Tensor]]:
        """Which candidates are detections.

        Args:
            model: the detector.
            trace: of its candidates, whose ``instances`` are in the model-input frame.

        Returns:
            N times (K,) int64 indices by falling score, and (K,) the scores that they are reported with.
        """
        return [
            self.choose(found, similarity)
            for found, similarity in zip(trace.instances, self.similarities(model, trace), strict=True)
        ]

    def choose(self, found: Instances, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """The same of one image.

        Args:
            found: R candidates with ``pred_boxes``, ``scores`` and ``pred_classes``.
            similarity: (R, R) how alike their maps are.
        """
        about = (found.pred_boxes.tensor, found.scores, found.pred_classes)
        kept = odam_nms(*about, similarity, *self.thresholds)
        return kept, found.scores[kept]

    def detections(self, model: nn.Module, trace: DetectionTrace, most: int) -> list[Instances]:
        """N Instances, the `most` best of what :meth:`keep` keeps; all of it where `most` is negative."""
        results = []
        for found, (rows, scores) in zip(trace.instances, self.keep(model, trace), strict=True):
            shown = slice(None if most < 0 else most)
            result = found[rows[shown]]
            result.scores = scores[shown]
            results.append(result)
        return results


@ODAM_NMS.register_as("soft")
class SoftOdamNMS(OdamNMS):
    """Drops no candidate outright: scores decay by overlap and likeness, see :func:`.ops.soft_odam_nms.soft_odam_nms`.

    Detections are reported with the decayed scores. Their heat maps explain the scores that the detector gave.

    Args:
        weight: of the likeness of maps beside the IoU, >= 0.
        sigma: how slowly scores decay, > 0.
        options: arguments of :class:`OdamNMS`, whose thresholds are not used.

    Raises:
        ValueError: if an argument is out of range.
    """

    decays = True

    @configurable
    def __init__(self, *, weight: float, sigma: float, **options: Any):
        super().__init__(**options)
        check_decay(weight, sigma)
        self.weight, self.sigma = float(weight), float(sigma)

    @classmethod
    def from_config(cls, cfg: CfgNode, published: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments from ``cfg.ODAM``; see :meth:`OdamNMS.from_config`."""
        nms = cfg.ODAM.NMS
        return {**super().from_config(cfg, published), "weight": nms.WEIGHT, "sigma": nms.SIGMA}

    def choose(self, found: Instances, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`OdamNMS.choose`."""
        about = (found.pred_boxes.tensor, found.scores, found.pred_classes)
        return soft_odam_nms(*about, similarity, self.weight, self.sigma)


def odam_nms_arguments(cfg: CfgNode, published: Mapping[str, Any]) -> dict[str, OdamNMS]:
    """The argument ``odam_nms`` of a detector, where a yaml config switches it on.

    Args:
        cfg: the config.
        published: thresholds and attribute for this kind of detector, where the config names none.
    """
    odam = cfg.get("ODAM")
    if odam is None or not odam.NMS.ENABLED:
        return {}
    if odam.NMS.METHOD not in ODAM_NMS:
        raise ValueError(
            f"`ODAM.NMS.METHOD` must be one of {sorted(ODAM_NMS)}; got {odam.NMS.METHOD!r}: change it in the config"
        )
    return {"odam_nms": ODAM_NMS[odam.NMS.METHOD](cfg, published=published)}


def require_heeded(odam: CfgNode, model: nn.Module) -> None:
    """Raises ValueError where a config asks for Odam-NMS and the detector that was built has no use for it.

    Args:
        odam: the node ``ODAM``.
        model: the detector.
    """
    if odam.NMS.ENABLED and getattr(model, "odam_nms", None) is None:
        raise ValueError(
            "ODAM.NMS.ENABLED must be of a detector that suppresses duplicates by their maps; got "
            f"{type(model).__name__}: name OdamRCNN, OdamPanopticFPN, OdamRetinaNet or OdamFCOS as "
            "MODEL.META_ARCHITECTURE, or set it to False"
        )


def require_odam_nms(model: nn.Module) -> None:
    """Raises RuntimeError where a detector has no candidates to show: without Odam-NMS, or in training mode."""
    if model.odam_nms is None:
        raise RuntimeError(
            "`odam_nms` must be set for candidates to be traced; got None: set ODAM.NMS.ENABLED to True before the "
            "detector is built"
        )
    if model.training:
        raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
