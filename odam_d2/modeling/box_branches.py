"""The branches of RoI heads that read detected boxes, masks and keypoints: further sources of what can be explained.

Shape letters: D detections over the batch, K classes, J keypoints, C channels, P pooled cells, S x S cells of a mask or
of a keypoint's heat map.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import (
    BaseKeypointRCNNHead,
    BaseMaskRCNNHead,
    KRCNNConvDeconvUpsampleHead,
    MaskRCNNConvUpsampleHead,
    Res5ROIHeads,
    StandardROIHeads,
)
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..utils.untyped import UntypedModule
from .instance_wise import unknown_types

# Ways from pooled features to logits that treat each RoI on its own, as long as the head's parts do.
_KNOWN_LAYERS = (MaskRCNNConvUpsampleHead.layers, KRCNNConvDeconvUpsampleHead.layers)


@dataclass(frozen=True)
class BoxBranch(ABC):
    """A branch that pools detected boxes.

    Attributes:
        pooler: between the levels that boxes are pooled from, too, and the branch.
        head: with ``layers`` from (D, C, P, P) to logits.
        before: what pooled features go through first; None for nothing.
    """

    pooler: ROIPooler
    head: UntypedModule
    before: nn.Module | None = None

    @property
    @abstractmethod
    def attributes(self) -> tuple[str, ...]:
        """What can be explained of a detection by the branch."""

    @abstractmethod
    def scalars(self, logits: Callable[[], Tensor], boxes: Tensor, classes: Tensor) -> dict[str, Callable[[], Tensor]]:
        """Attribute -> what computes its (D,) scalars.

        Args:
            logits: computes what the head's layers give for the detections.
            boxes: (D, 4) XYXY RoIs of the branch, in model-input pixels.
            classes: (D,) int64.
        """

    def logits(self, pooled: Tensor) -> Tensor:
        """What the head's layers give for (D, C, P, P) pooled features."""
        return self.head.layers(pooled if self.before is None else self.before(pooled))

    def why_not_instance_wise(self) -> str | None:
        """In a few words, why one RoI's logits may depend on others; None if they don't."""
        inside: list[nn.Module] = [self.head]
        if getattr(type(self.head), "layers", None) in _KNOWN_LAYERS:  # losses and inference are of no account here
            inside = list(self.head.children())
        opaque, composed = unknown_types(inside)
        unknown = [*opaque, *composed]
        return f"{unknown[0]} is not known to treat each RoI on its own" if unknown else None


class MaskBranch(BoxBranch):
    """``mask``: the mean logit over the cells that the head takes for the object; over all where it takes none."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """See :attr:`BoxBranch.attributes`."""
        return ("mask",)

    def scalars(self, logits: Callable[[], Tensor], boxes: Tensor, classes: Tensor) -> dict[str, Callable[[], Tensor]]:
        """See :meth:`BoxBranch.scalars`."""
        del boxes
        return {"mask": lambda: _mean_inside(logits(), classes)}


@dataclass(frozen=True)
class KeypointBranch(BoxBranch):
    """``keypoint_NAME``: the keypoint's logit at the place that is reported.

    Attributes:
        names: of the J keypoints, as far as they are known.
    """

    names: Sequence[str] = ()

    @property
    def attributes(self) -> tuple[str, ...]:
        """See :attr:`BoxBranch.attributes`."""
        return keypoint_attributes(self.names, self.head.num_keypoints)

    def scalars(self, logits: Callable[[], Tensor], boxes: Tensor, classes: Tensor) -> dict[str, Callable[[], Tensor]]:
        """See :meth:`BoxBranch.scalars`."""
        del classes
        return {
            name: partial(lambda number: _at_the_place(logits()[:, number], boxes), number)
            for number, name in enumerate(self.attributes)
        }


def keypoint_attributes(names: Sequence[str], count: int) -> tuple[str, ...]:
    """The attribute of each keypoint: ``keypoint_left_eye`` where there is a name for each, else ``keypoint_0``, ...

    What is no letter, digit or underscore becomes an underscore, so that attributes can be words of a command line and
    parts of file names. Names that become the same so are left for numbers.
    """
    plain = [re.sub(r"\W+", "_", name) for name in names]
    if len(plain) != count or len(set(plain)) != count:
        plain = [str(number) for number in range(count)]
    return tuple(f"keypoint_{name}" for name in plain)


def box_branches(heads: UntypedModule, keypoint_names: Sequence[str] = ()) -> tuple[list[BoxBranch], dict[str, str]]:
    """The branches that can be explained.

    Args:
        heads: RoI heads, of ours, Detectron2's, or somebody's subclass of these.
        keypoint_names: of the keypoints, as far as they are known.

    Returns:
        The branches; and attribute -> why it can't be explained, for branches that are there in another form.
    """
    found: list[BoxBranch] = []
    reasons: dict[str, str] = {}
    kinds: tuple[tuple[str, type[nn.Module], Callable[..., BoxBranch]], ...] = (
        ("mask", BaseMaskRCNNHead, MaskBranch),
        ("keypoint", BaseKeypointRCNNHead, partial(KeypointBranch, names=keypoint_names)),
    )
    for name, base, kind in kinds:
        if not getattr(heads, f"{name}_on", False):
            continue
        reason = _why_another_form(heads, name, base)
        if reason is not None:
            reasons[name] = reason
        elif isinstance(heads, Res5ROIHeads):
            found.append(kind(heads.pooler, heads.mask_head, heads.res5))
        else:
            found.append(kind(getattr(heads, f"{name}_pooler"), getattr(heads, f"{name}_head")))
    return found, reasons


def branch_scalars(
    branches: Sequence[BoxBranch], first: int, pooled: Callable[[int], Tensor], boxes: Sequence[Tensor], classes: Tensor
) -> Mapping[str, Callable[[], Tensor]]:
    """All attributes of some branches, each with what computes its (D,) scalars; a head runs once for all of its.

    Args:
        branches: the branches.
        first: number of the first one's stage; the others follow.
        pooled: number of a stage -> (D, C, P, P).
        boxes: for each stage (D, 4) RoIs of the detections, in model-input pixels.
        classes: (D,) int64.
    """
    scalars: dict[str, Callable[[], Tensor]] = {}
    for number, (branch, box) in enumerate(zip(branches, boxes[first:], strict=False), first):
        logits = cache(partial(lambda one, stage: one.logits(pooled(stage)), branch, number))
        scalars |= branch.scalars(logits, box, classes)
    return scalars


def why_branch_not_instance_wise(branches: Sequence[BoxBranch], attributes: Collection[str]) -> str | None:
    """In a few words, why an attribute that is read from a branch may depend on other RoIs; None if none does."""
    asked = [branch for branch in branches if set(branch.attributes) & set(attributes)]
    return next((reason for reason in (branch.why_not_instance_wise() for branch in asked) if reason), None)


def branch_sources(branches: Sequence[BoxBranch], first: int) -> dict[str, tuple[int, ...]]:
    """Attribute of a branch -> its only source; `first` as for :func:`branch_scalars`."""
    return {name: (number,) for number, branch in enumerate(branches, first) for name in branch.attributes}


def _why_another_form(heads: UntypedModule, name: str, base: type[nn.Module]) -> str | None:
    """In a few words, why the branch does not pool and say as Detectron2's does; None if it does."""
    kind, head = type(heads), getattr(heads, f"{name}_head", None)
    if not isinstance(head, base):
        return f"{type(head).__name__} is no {base.__name__}"
    stock, replaced = StandardROIHeads, f"_forward_{name}"
    if isinstance(heads, Res5ROIHeads):
        stock, replaced = Res5ROIHeads, "_shared_roi_transform"
    if getattr(kind, replaced, None) is not getattr(stock, replaced):
        return f"{kind.__name__} overrides `{replaced}`"
    if stock is Res5ROIHeads:
        return None
    if not isinstance(getattr(heads, f"{name}_pooler"), ROIPooler):
        return f"{type(head).__name__} pools by itself"
    if list(getattr(heads, f"{name}_in_features")) != list(heads.box_in_features):
        return f"{type(head).__name__} reads other levels than the box head"
    return None


def _mean_inside(logits: Tensor, classes: Tensor) -> Tensor:
    """(D,) from (D, K or 1, S, S) logits of masks."""
    which = classes if logits.shape[1] > 1 else torch.zeros_like(classes)
    logits = logits[torch.arange(len(classes), device=classes.device), which].flatten(1)
    inside = logits.detach() > 0
    inside = inside | ~inside.any(1, keepdim=True)
    return (logits * inside).sum(1) / inside.sum(1)


def _at_the_place(logits: Tensor, boxes: Tensor) -> Tensor:
    """(D,) from (D, S, S) logits of a keypoint: at the maximum of the heat map in the size of its box."""
    with torch.no_grad():
        weights = [_place_weights(one, box) for one, box in zip(logits, boxes, strict=True)]
    if not weights:
        return logits.flatten()
    rows, columns = (torch.stack(one) for one in zip(*weights, strict=True))
    return torch.einsum("dy,dyx,dx->d", rows, logits, columns)


def _place_weights(logits: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """(S,) weights along y and x of the bicubic value at the maximum, where Detectron2 reports the keypoint."""
    width, height = (int(side) for side in (box[2:] - box[:2]).clamp(min=1).ceil())
    bicubic = partial(interpolate, mode="bicubic", align_corners=False)
    row, column = divmod(int(bicubic(logits[None, None], (height, width)).argmax()), width)
    # What one cell alone gives along an axis is its weight at each place.
    cells = torch.eye(len(logits), device=logits.device, dtype=logits.dtype)[None, :, :, None]
    along_y, along_x = (bicubic(cells, (size, 1))[0, :, :, 0] for size in (height, width))
    return along_y[:, row], along_x[:, column]
