"""What the architectures share that train by explanations."""

from detectron2.config import CfgNode

from ..training.explanation_losses import ExplanationLosses
from ..training.views import Views


def training_arguments(cfg: CfgNode) -> dict:
    """The argument ``odam_losses`` of our architectures from a yaml config; none where ``ODAM.TRAIN.WEIGHT`` is 0."""
    train = cfg.ODAM.TRAIN
    if train.WEIGHT == 0:
        return {}
    losses = ExplanationLosses(
        weight=train.WEIGHT,
        warmup_iters=train.WARMUP_ITERS,
        second_order=train.SECOND_ORDER,
        max_positives=train.MAX_POSITIVES,
        duplicate_iou=train.DUPLICATE_IOU,
        stride=train.STRIDE,
        loss=train.LOSS,
        temperature=train.TEMPERATURE,
        pairs=train.PAIRS,
        pair_iou=tuple(train.PAIR_IOU),
        views=Views(
            proposals=train.PROPOSALS,
            jittered=train.JITTERED,
            given=train.GIVEN,
            repool=train.REPOOL,
            owner=train.OWNER,
            attribute=train.ATTRIBUTE,
            learnable_gates=train.LEARNABLE_GATES,
        ),
    )
    return {"odam_losses": losses}
