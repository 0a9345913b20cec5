"""Dense heads in AdelaiDet's manner, recorded in the detector's own pass: towers of convolutions, a scale a level.

Shape letters: D detections over the batch, N images, P locations of all levels, K classes, O outputs of a location.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..structures import DetectionTrace, Predictions
from ..utils.threads import in_this_thread
from ..utils.untyped import UntypedModule
from .dense import TracedDenseHead
from .recorded import UnmatchedError

PARTS = ("cls_tower", "bbox_tower", "cls_logits", "bbox_pred", "ctrness")
# From what a level's convolution says, times its scale, to distances in strides: FCOS's later and its first way.
DISTANCES: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "exp": torch.exp}


class TracedLocationHead(TracedDenseHead):
    """Outputs of a location: the class logit, four numbers that become distances to the sides, and centerness.

    Attributes:
        levels: what the head was given.
        distances: a key of :data:`DISTANCES`; chosen by whoever finds the detections.
        strides: pixels per cell of each level.
    """

    def __init__(self, head: UntypedModule, num_classes: int):
        self.head = head
        self.num_classes = num_classes
        self.levels: list[Tensor] = []
        self.strides: list[float] = []
        self.distances = "relu"
        self._given: dict[str, list[Tensor]] = {}
        super().__init__(head)

    def _layout(self) -> list[tuple[int, int, int | None]]:
        return [(0, self.num_classes, None), *((1, 4, side) for side in range(4)), (2, 1, 0)]

    @property
    def num_anchors(self) -> int:
        """One location a cell."""
        return 1

    @property
    def module(self) -> Callable[[Sequence[Tensor]], list[list[Tensor]]]:
        """From the features of all levels to what the three convolutions say of them."""
        return self._say

    def _say(self, levels: Sequence[Tensor]) -> list[list[Tensor]]:
        said: list[list[Tensor]] = [[], [], []]
        with self._listening(said):
            self.head(list(levels))
        return said

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keeps what the head is given and says, besides what :meth:`TracedDenseHead.recording` keeps."""
        self.maps = [[], [], []]
        with ExitStack() as stack:
            stack.enter_context(super().recording())
            stack.enter_context(self._listening(self.maps))
            keep = in_this_thread(lambda _module, inputs: self.levels.extend(inputs[0]))
            stack.callback(self.head.register_forward_pre_hook(keep).remove)
            for name in PARTS:
                part: nn.Module = getattr(self.head, name)
                stack.callback(part.register_forward_hook(in_this_thread(self._noted(name))).remove)
            yield

    def _noted(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
            self._given.setdefault(name, []).extend([inputs[0], output])

        return hook

    @contextmanager
    def _listening(self, said: list[list[Tensor]]) -> Iterator[None]:
        def listen(number: int) -> Callable[..., None]:
            # A copy: inference may take the sigmoid in place.
            return lambda _module, _inputs, output: said[number].append(output.clone())

        convs = (self.head.cls_logits, self.head.bbox_pred, self.head.ctrness)
        handles = [conv.register_forward_hook(in_this_thread(listen(k))) for k, conv in enumerate(convs)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _read(self) -> str | None:
        head, shared = self.head, getattr(self.head, "share_tower", None)
        if shared is not None and len(list(shared.children())):
            return "its branches share layers"
        convs = [head.cls_logits, head.bbox_pred, head.ctrness]
        if not all(isinstance(conv, nn.Conv2d) for conv in convs):
            return f"an output of the head {type(head).__name__} is no convolution"
        return self.read_branches([(head.cls_tower, convs[:1]), (head.bbox_tower, convs[1:])])

    def settle(self) -> None:
        """Checks what was recorded, and that the head's parts stand where the fast engine takes them to stand.

        Raises:
            UnmatchedError: if the head did not run once, on all levels alike.
        """
        count = len(self.levels)
        if not count or any(len(level) != count for level in self.maps):
            raise UnmatchedError("its head does not say classes, boxes and centerness once a level")
        if self.unreadable is None and not self._stands_as_read():
            self.unreadable = f"the parts of {type(self.head).__name__} are put together in another way"

    def _stands_as_read(self) -> bool:
        given = {name: self._given.get(name, [])[::2] for name in PARTS}
        came = {name: self._given.get(name, [])[1::2] for name in PARTS}
        wanted = (
            (given["cls_tower"], self.levels), (given["bbox_tower"], self.levels),
            (given["cls_logits"], came["cls_tower"]), (given["bbox_pred"], came["bbox_tower"]),
            (given["ctrness"], came["bbox_tower"]),
        )  # fmt: skip
        pairs = [pair for found, expected in wanted for pair in zip(found, expected, strict=False)]
        return len(pairs) == 5 * len(self.levels) and all(found is expected for found, expected in pairs)

    def factors(self, like: Tensor) -> Tensor:
        """(levels,): what each level's distances are multiplied by before they become pixels."""
        scales = getattr(self.head, "scales", None)
        if scales is None:
            return like.new_ones(len(self.strides))
        return torch.stack([next(iter(scale.parameters())).reshape(()) for scale in scales]).to(like)

    def boxes_of(self, outputs: Tensor, centres: Tensor, levels: Tensor) -> Tensor:
        """(..., 4) XYXY in model-input pixels from (..., 4) outputs of locations at (..., 2), of (...) levels."""
        outputs = outputs.float()  # as locations are
        factors, strides = self.factors(outputs), outputs.new_tensor(self.strides)
        pixels = DISTANCES[self.distances](outputs * factors[levels][..., None]) * strides[levels][..., None]
        return torch.cat([centres - pixels[..., :2], centres + pixels[..., 2:]], -1)

    def combine_scores(self, logits: Tensor, *others: Tensor) -> Tensor:
        """See :meth:`TracedDenseHead.combine_scores`; the root of class and centerness."""
        (centerness,) = others
        return (logits.sigmoid() * centerness.sigmoid()).sqrt()

    def decode(self, outputs: Tensor, trace: DetectionTrace) -> Predictions:
        """See :meth:`TracedDenseHead.decode`."""
        centres = (trace.references[:, :2] + trace.references[:, 2:]) / 2
        return Predictions(
            scores=self.combine_scores(outputs[:, 0], outputs[:, 5]),
            logits=outputs[:, 0],
            boxes=self.boxes_of(outputs[:, 1:5], centres, trace.level_index[:, 0]),
            extras={"centerness": outputs[:, 5].sigmoid()},
        )

    def class_probabilities(self) -> Tensor:
        """(N, P, K): what was said of all classes at all locations, centerness aside."""
        return torch.cat(self._by_anchor(self.maps)[0], 1).sigmoid()

    def all_locations(self, centres: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What was said at all P locations.

        Args:
            centres: for each level (H * W, 2) locations in model-input pixels.

        Returns:
            (N, P, 4) boxes and (N, P, K) scores.
        """
        logits, outputs, centerness = (torch.cat(levels, 1) for levels in self._by_anchor(self.maps))
        counts = [len(one) for one in centres]
        numbers = torch.arange(len(counts), device=logits.device)
        levels = numbers.repeat_interleave(torch.tensor(counts, device=logits.device))
        return self.boxes_of(outputs, torch.cat(list(centres)), levels), self.combine_scores(logits, centerness)
