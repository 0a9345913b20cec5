"""The losses of Odam-Train for a training step, from the positives of a detector of any kind."""

import torch
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor

from ..ops.losses import both_losses, pair_similarities, ranking_loss, unit_vectors
from .explained import ExplainedPositives
from .pairing import Pairs, pair_positives
from .views import Views

LOSSES = ("log", "ranking")
PAIRS = ("anchor", "every")


class ExplanationLosses:
    """Consistency and separation of the heat maps of class logits.

    Args:
        weight: of both losses, lambda in the paper; greater than 0.
        warmup_iters: iterations over which the weight rises in equal steps; 0 for none.
        second_order: whether learning flows through the gradients in the maps too, or, as published, through the
            features alone.
        max_positives: how many positives of an image are explained at most, those with the highest IoU.
        duplicate_iou: see :func:`odam_d2.training.pairing.pair_positives`.
        stride: model-input pixels per cell of the grid on which maps are compared.
        loss: ``log``: the published logarithms of similarities; ``ranking``: that pairs of one object are more alike
            than pairs of two, see :func:`odam_d2.ops.losses.ranking_loss`. It compares the pairs of one process.
        temperature: of the latter.
        pairs: ``anchor``: each positive with the anchors, as published; ``every``: every two positives.
        pair_iou: see :func:`odam_d2.training.pairing.pair_positives`.
        views: what two-stage detectors explain.
    """

    def __init__(
        self,
        weight: float,
        warmup_iters: int = 0,
        second_order: bool = False,
        max_positives: int = 300,
        duplicate_iou: float = 1.0,
        stride: float = 8.0,
        loss: str = "log",
        temperature: float = 0.1,
        pairs: str = "anchor",
        pair_iou: tuple[float, float] = (0.0, 1.0),
        views: Views | None = None,
    ):
        for name, value, good, expected in (
            ("WEIGHT", weight, weight > 0, "greater than 0"),
            ("WARMUP_ITERS", warmup_iters, warmup_iters >= 0, "0 or more"),
            ("MAX_POSITIVES", max_positives, max_positives > 0, "greater than 0"),
            ("DUPLICATE_IOU", duplicate_iou, 0 <= duplicate_iou <= 1, "in [0, 1]"),
            ("STRIDE", stride, stride > 0, "greater than 0"),
            ("LOSS", loss, loss in LOSSES, f"one of {LOSSES}"),
            ("TEMPERATURE", temperature, temperature > 0, "greater than 0"),
            ("PAIRS", pairs, pairs in PAIRS, f"one of {PAIRS}"),
            ("PAIR_IOU", pair_iou, 0 <= pair_iou[0] < pair_iou[1] <= 1, "two rising numbers in [0, 1]"),
        ):
            if not good:
                raise ValueError(f"`ODAM.TRAIN.{name}` must be {expected}; got {value}: change it in the config")
        if views is not None and views.learnable_gates and not second_order:
            raise ValueError(
                "`ODAM.TRAIN.LEARNABLE_GATES` must be False in first order, where gradients are constants; got True: "
                "set ODAM.TRAIN.SECOND_ORDER to True"
            )
        self.weight, self.warmup_iters, self.second_order = weight, warmup_iters, second_order
        self.max_positives, self.duplicate_iou, self.stride = max_positives, duplicate_iou, stride
        self.loss, self.temperature, self.pairs, self.pair_iou = loss, temperature, pairs, pair_iou
        self.views = views or Views()

    def weight_at(self, iteration: int) -> float:
        """The weight in an iteration, counted from 0; a resumed run goes on where it was."""
        return self.weight * min(1.0, (iteration + 1) / self.warmup_iters) if self.warmup_iters else self.weight

    def __call__(self, explained: ExplainedPositives) -> dict[str, Tensor]:
        """The weighted losses of a step; both as they are, and what they rest on, go to the event storage.

        They are divided by the number of pairs of all processes of a training, and multiplied by the number of
        processes, over which gradients are averaged: so they are those of one process with all images.
        """
        maps, pairs = self.pair(explained)
        ranks = self.loss == "ranking"
        found, similarities = (self._rank if ranks else self._logarithms)(maps, pairs, explained.nothing)
        storage = get_event_storage()
        weight = self.weight_at(storage.iter)
        storage.put_scalars(
            **_statistics(pairs, similarities),
            smoothing_hint=False,
            **{"odam/maps": sum(len(vectors) for vectors in maps), "odam/weight": weight},
            **{f"odam/{name}": loss.detach() for name, loss in found.items()},
        )
        scale = weight * (1 if ranks else comm.get_world_size())
        return {f"loss_odam_{name}": scale * loss for name, loss in found.items()}

    def _logarithms(
        self, maps: list[Tensor], pairs: list[Pairs], nothing: Tensor
    ) -> tuple[dict[str, Tensor], list[tuple[Tensor, ...]]]:
        """The published losses, and of each image the similarities of both kinds of pairs."""
        total = _sum_over_processes(sum(len(one) for one in pairs), nothing.device)
        same = other = nothing.to(torch.promote_types(nothing.dtype, torch.float32))
        similarities = []
        for vectors, one in zip(maps, pairs, strict=True):
            consistency, separation, found = both_losses(vectors, one.same, one.other, total, one.weights)
            same, other = same + consistency, other + separation
            similarities.append(found.detach().split([len(one.same), len(one.other)]))
        return {"consistency": same, "separation": other}, similarities

    def _rank(
        self, maps: list[Tensor], pairs: list[Pairs], nothing: Tensor
    ) -> tuple[dict[str, Tensor], list[tuple[Tensor, ...]]]:
        """The ranking of all pairs of this process, and the same similarities."""
        found = [
            tuple(pair_similarities(vectors, rows) for rows in (one.same, one.other))
            for vectors, one in zip(maps, pairs, strict=True)
        ]
        same, other = (torch.cat(kind) for kind in zip(*found, strict=True))
        loss = nothing.to(same.dtype) + ranking_loss(same, other, self.temperature)
        return {"ranking": loss}, [tuple(part.detach() for part in one) for one in found]

    def pair(self, explained: ExplainedPositives) -> tuple[list[Tensor], list[Pairs]]:
        """For each image (R, T) unit vectors of its maps, with their graph, and the pairs among them."""
        rows = explained.positives.keep_best(self.max_positives)
        positives = explained.positives[rows]
        maps = explained.heat_maps(rows)
        vectors = [unit_vectors(one.on_common_grid("logit", self.stride)) for one in maps]
        pairs = [
            pair_positives(
                positives[positives.image_index == number],
                explained.weigh,
                self.duplicate_iou,
                self.pairs == "every",
                self.pair_iou,
            )
            for number in range(len(maps))
        ]
        return vectors, pairs


def _sum_over_processes(count: int, device: torch.device) -> Tensor:
    total = torch.tensor(count, dtype=torch.int64, device=device)
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(total)
    return total


def _statistics(pairs: list[Pairs], similarities: list[tuple[Tensor, ...]]) -> dict[str, float]:
    """How many pairs there are in this process, and how alike their maps are on average."""
    found: dict[str, float] = {"odam/pairs_dropped": sum(one.dropped for one in pairs)}
    for kind, parts in zip(("same", "other"), zip(*similarities, strict=True), strict=True):
        found[f"odam/pairs_{kind}"] = count = sum(len(one) for one in parts)
        if count:
            found[f"odam/similarity_{kind}"] = float(torch.cat(parts).mean())
    return found
