"""The part of a query detector behind a stage, as a function from that stage's maps to predictions.

The network itself is run; the stages up to the chosen one give what they are told to give, at no cost.

Shape letters: D detections over the batch, N images, Q queries, K classes, C channels, (H, W) a feature grid.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..structures import DetectionTrace, Predictions
from ..utils.threads import in_this_thread
from .graph_modes import WholeGraph
from .query_architecture import STAGES, QueryArchitecture

# Held while modules have answers in the place of their `forward`, which one thread at a time puts there and takes away.
_ANSWERING = threading.RLock()


@dataclass
class StageRecord:
    """What the stages of a network gave in one forward pass.

    Attributes:
        backbone: [(map (N, C, H, W), mask (N, H, W)), ...], fine to coarse.
        projected: the maps behind the projection.
        encoder: the encoder's output, of transformers' own type.
    """

    backbone: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    projected: list[Tensor] = field(default_factory=list)
    encoder: Any = None

    def maps(self, stage: str, architecture: QueryArchitecture) -> list[Tensor]:
        """The maps (N, C, H, W) that came out of a stage, those that the next stage reads."""
        if stage == STAGES[0]:
            return [feature for feature, _ in self.backbone[-architecture.backbone_maps :]]
        if stage == STAGES[1]:
            return self.projected
        return architecture.encoder_maps(self.encoder, self.projected)

    def answers(
        self, network: nn.Module, architecture: QueryArchitecture, stage: str, maps: list[Tensor]
    ) -> list[tuple[nn.Module, Any]]:
        """Modules, each with what to give in place of running, such that the network goes on from `maps`."""
        backbone: list[tuple[Tensor, Tensor]] = self.backbone
        projected: list[Tensor] | None = None
        encoder = None
        if stage == STAGES[0]:
            masks = [mask for _, mask in backbone[-len(maps) :]]
            backbone = backbone[: -len(maps)] + list(zip(maps, masks, strict=True))
        else:
            projected = maps if stage == STAGES[1] else self.projected
        if stage == STAGES[2]:
            encoder = architecture.encoder_output(self.encoder, maps)
        answers: list[tuple[nn.Module, Any]] = [(architecture.backbone(network), backbone)]
        if projected is not None:
            answers += list(zip(architecture.projections(network), projected, strict=True))
        if encoder is not None:
            answers.append((architecture.encoder(network), encoder))
        return answers


@contextmanager
def recording(network: nn.Module, architecture: QueryArchitecture) -> Iterator[StageRecord]:
    """Keeps what the stages give while the network runs in the block; the hooks go when it ends."""
    record = StageRecord()
    hooks = [
        (architecture.backbone(network), lambda _m, _i, out: record.backbone.extend(out)),
        *((module, lambda _m, _i, out: record.projected.append(out)) for module in architecture.projections(network)),
        (architecture.encoder(network), lambda _m, _i, out: setattr(record, "encoder", out)),
    ]
    handles = [module.register_forward_hook(in_this_thread(hook)) for module, hook in hooks]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def answering(answers: Sequence[tuple[nn.Module, Any]]) -> Iterator[None]:
    """Lets modules give what they are told to in place of running, in this thread, as long as the block lasts.

    In other threads they run as ever; another thread's block waits.
    """
    with _ANSWERING:
        own = [(module, module.__dict__.get("forward")) for module, _ in answers]
        try:
            for module, answer in answers:
                module.forward = _answer_here(answer, module.forward)
            yield
        finally:
            for module, forward in own:
                del module.forward
                if forward is not None:
                    module.forward = forward


def _answer_here(answer: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
    """What gives `answer` in this thread, and runs `forward` in any other."""
    owner = threading.get_ident()

    def give(*args: Any, **kwargs: Any) -> Any:
        return answer if threading.get_ident() == owner else forward(*args, **kwargs)

    return give


@contextmanager
def outputs_fixed(modules: Sequence[nn.Module]) -> Iterator[None]:
    """What modules give in the block, in this thread, is a constant: no gradient goes through it."""

    def fixed(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.data  # detach() has no effect within WholeGraph

    handles = [module.register_forward_hook(in_this_thread(fixed)) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class TracedQueryHead:
    """Re-computes the predictions of the traced queries.

    Attributes:
        network, architecture: the detector and what is particular about it.
        stage: one of :data:`STAGES`; the maps that come out of it are what :meth:`predict` takes.
        record: what the stages gave in detection.
        pixels: (N, 3, H, W) and their mask (N, H, W): only their shape and padding matter now.
        decode: from boxes (N, Q, 4) as fractions to XYXY in model-input pixels.
    """

    def __init__(
        self,
        network: nn.Module,
        architecture: QueryArchitecture,
        stage: str,
        record: StageRecord,
        pixels: tuple[Tensor, Tensor],
        decode: Callable[[Tensor], Tensor],
    ):
        self.network = network
        self.architecture = architecture
        self.stage = stage
        self.record = record
        self.pixels = pixels
        self.decode = decode

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """Predictions of the traced queries from the stage's (N, C, H, W) maps, with a graph back to them.

        Where a network cuts its graph for the sake of training (RT-DETR makes queries and first boxes of the encoder's
        output, and boxes of earlier ones, and detaches them all), it is left whole here: derivatives are those of what
        the network computes.
        """
        maps = [features[name] for name in trace.level_names]
        with WholeGraph(), answering(self.record.answers(self.network, self.architecture, self.stage, maps)):
            output = self.network(pixel_values=self.pixels[0], pixel_mask=self.pixels[1])
        return self.of_rows(output.logits, self.decode(output.pred_boxes), trace)

    def of_rows(self, logits: Tensor, boxes: Tensor, trace: DetectionTrace) -> Predictions:
        """What all logits (N, Q, ...) and boxes (N, Q, 4) say of the traced queries and their classes."""
        logits = logits[trace.image_index, trace.rows]
        classes = trace.classes[:, None]
        return Predictions(
            scores=self.architecture.probabilities(logits).gather(1, classes)[:, 0],
            logits=self.architecture.of_classes(logits).gather(1, classes)[:, 0],
            boxes=boxes[trace.image_index, trace.rows],
        )


class OwnQueryHead(TracedQueryHead):
    """Predictions whose graph reaches the features through the traced queries alone.

    In the decoder queries read each other, so that what an object's neighbours see is in its gradient, too. Here all
    keys and values of the decoder's self-attention are constants, also those that a query makes of itself: derivatives
    are those of the network with these held fast, and what is predicted is the same.
    """

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """See :meth:`TracedQueryHead.predict`."""
        with outputs_fixed(self.architecture.keys_and_values(self.network)):
            return super().predict(features, trace)


# What ODAM.DETR.LAYER can be: the stage whose maps are explained, and what predicts from them.
LAYERS: dict[str, tuple[str, type[TracedQueryHead]]] = {
    **{stage: (stage, TracedQueryHead) for stage in STAGES},
    **{f"{stage}_own_query": (stage, OwnQueryHead) for stage in STAGES},
}
