"""A stock detector seen as one of ours: a second object on the same state, of another class.

Both objects have one ``__dict__``: parameters, buffers, submodules, settings, hooks, mode. Whatever becomes of the
detector afterwards - training, ``to(device)``, another threshold, another submodule - is so in both, and the detector's
own class, forward pass and threads see nothing of it. A ``with`` that changes classes and back would be seen by all
three; a copy would grow stale.
"""

from __future__ import annotations

from types import new_class
from typing import Any

from detectron2.modeling import GeneralizedRCNN, PanopticFPN, ProposalNetwork, RetinaNet
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from torch import nn

from ..modeling import OdamCascadeROIHeads, OdamRes5ROIHeads, OdamRPN, OdamStandardROIHeads
from ..utils.untyped import UntypedModule
from .fcos import OdamFCOS
from .panoptic_fpn import OdamPanopticFPN
from .proposal_network import OdamProposalNetwork
from .rcnn import OdamRCNN
from .retinanet import OdamRetinaNet

_DENSE = (
    "forward", "forward_inference", "inference_single_image", "_decode_per_level_predictions",
    "_decode_multi_level_predictions", "_transpose_dense_predictions",
)  # fmt: skip
# Stock class -> ours; the methods of the stock class that ours does without, so that none may be overridden; the
# submodules that have to be seen as ours too.
_OURS: dict[type[nn.Module], tuple[type[nn.Module], tuple[str, ...], tuple[str, ...]]] = {
    GeneralizedRCNN: (OdamRCNN, ("forward", "inference", "_postprocess"), ("roi_heads",)),
    PanopticFPN: (OdamPanopticFPN, ("forward", "inference", "_postprocess"), ("roi_heads",)),
    ProposalNetwork: (OdamProposalNetwork, ("forward",), ("proposal_generator",)),
    RetinaNet: (OdamRetinaNet, _DENSE, ()),
    FCOS: (OdamFCOS, _DENSE, ()),
    StandardROIHeads: (OdamStandardROIHeads, ("forward", "_forward_box"), ()),
    CascadeROIHeads: (
        OdamCascadeROIHeads,
        ("forward", "_forward_box", "_run_stage", "_create_proposals_from_boxes"),
        (),
    ),
    Res5ROIHeads: (OdamRes5ROIHeads, ("forward", "_shared_roi_transform"), ()),
    RPN: (OdamRPN, ("forward", "predict_proposals"), ()),
}
# What ours add to the state of a detector that is built by their own constructors.
_DEFAULTS = {"odam_nms": None, "odam_losses": None, "keypoint_names": ()}
_VIEW_CLASSES: dict[type, type] = {}


def same_state(module: nn.Module, kind: type[nn.Module]) -> Any:
    """A second object of class `kind` on the state of `module`."""
    view = object.__new__(kind)
    object.__setattr__(view, "__dict__", vars(module))
    return view


def why_not_ours(module: nn.Module) -> str | None:
    """In a few words, why a stock module or a subclass can't be seen as one of ours; None if it can."""
    if is_ours(module):
        return None
    stock = _stock_class(type(module))
    if stock is None:
        return f"{type(module).__name__} is none of Detectron2's"
    ours, replaced, parts = _OURS[stock]
    for name in replaced:
        known = (getattr(stock, name, None), getattr(ours, name, None))
        if getattr(type(module), name, None) not in known or name in vars(module):
            return f"{type(module).__name__} overrides `{name}`"
    reasons = (why_not_ours(getattr(module, part)) for part in parts)
    return next((reason for reason in reasons if reason), None)


def as_ours(module: nn.Module) -> Any:
    """A stock module, or a subclass that :func:`why_not_ours` has nothing against, seen as one of ours."""
    return module if is_ours(module) else same_state(module, _view_class(type(module)))


def is_ours(module: nn.Module) -> bool:
    """Whether a module and its parts are of ours already, and trace what they do in inference."""
    stock = _stock_class(type(module))
    if stock is None or not isinstance(module, _OURS[stock][0]):
        return False
    own: UntypedModule = module
    if hasattr(own, "require_traceable"):
        try:
            own.require_traceable()
        except TypeError:
            return False
    elif own.why_not_traced() is not None:
        return False
    return all(is_ours(getattr(own, part)) for part in _OURS[stock][2])


def _stock_class(kind: type) -> type[nn.Module] | None:
    return next((base for base in kind.__mro__ if base in _OURS), None)


def _view_class(kind: type) -> type:
    """Our class in front of a stock one or a subclass of it; submodules that must be ours too are seen so."""
    if kind not in _VIEW_CLASSES:
        _VIEW_CLASSES[kind] = _make_view_class(kind)
    return _VIEW_CLASSES[kind]


def _make_view_class(kind: type) -> type:
    stock = _stock_class(kind)
    assert stock is not None  # why_not_ours says so
    ours, _, parts = _OURS[stock]
    members: dict[str, Any] = {**_DEFAULTS, "__module__": kind.__module__}
    for part in parts:
        members[part] = property(_seen_as_ours(part))
    bases = (ours,) if kind is stock else (kind,) if issubclass(kind, ours) else (ours, kind)
    return new_class(f"Odam{kind.__name__}", bases, {}, lambda namespace: namespace.update(members))


def _seen_as_ours(part: str):
    def get(self: UntypedModule) -> Any:
        module = vars(self)["_modules"][part]
        return module if module is None else as_ours(module)

    return get
