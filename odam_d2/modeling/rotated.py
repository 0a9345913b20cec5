"""Rotated boxes, which are detected and not explained: their sides have no names among the attributes."""

from detectron2.modeling.anchor_generator import RotatedAnchorGenerator
from detectron2.modeling.proposal_generator.rrpn import RRPN
from detectron2.modeling.roi_heads.rotated_fast_rcnn import RROIHeads
from torch import nn

_ROTATED = (RRPN, RROIHeads, RotatedAnchorGenerator)


def refuse_rotated_boxes(model: nn.Module) -> None:
    """Raises TypeError where a detector, or a part of it, gives rotated boxes."""
    found = next((type(module).__name__ for module in model.modules() if isinstance(module, _ROTATED)), None)
    if found is not None:
        raise TypeError(rotated_message("model", found))


def rotated_message(argument: str, found: str) -> str:
    """The one sentence that refuses rotated boxes."""
    return (
        f"`{argument}` must give boxes whose sides lie along the image's to be explained; got {found}, whose rotated "
        "boxes have no explanation: take a detector of upright boxes"
    )
