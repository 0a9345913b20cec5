"""What query detectors said by every query: DETR and its relatives. Nothing is suppressed there.

Shape letters: N images, Q queries, K classes, T tokens of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from detectron2.structures import ImageList, Instances
from torch import Tensor

from ...meta_arch import OdamDETR, QueryDetector
from ...meta_arch.detr import pixel_mask
from ...modeling.provenance import ROW_FIELD, input_and_output_sizes, take_field
from .choice import ChoiceStage, Kept, ScoreFilter, UnknownChoice
from .replay import Candidates, Replayed, ReplayedImage, replay
from .steps import BoxStep


@replay.register
def _of_detr(detector: OdamDETR, batched_inputs: list[dict]) -> Replayed:
    architecture = detector.architecture
    with torch.no_grad():
        batch = detector.preprocess_image(batched_inputs)
        output = detector.network(pixel_values=batch.tensor, pixel_mask=pixel_mask(batch))
        decoded = detector.decode(output.pred_boxes, batch)
        sizes = input_and_output_sizes(batched_inputs, batch)
        results = detector.detections(output.logits, decoded, *sizes)
        earlier = {name: detector.decode(box, batch) for name, box in architecture.earlier_boxes(output).items()}
        tokens = architecture.tokens(output)
        images = []
        for number, (found, rows, size) in enumerate(
            zip(results, take_field(results, ROW_FIELD), sizes[0], strict=True)
        ):
            logits = output.logits[number]
            scores = architecture.probabilities(logits)
            candidates = Candidates(
                noun="query",
                steps=[BoxStep.clipped(name, box[number], size) for name, box in earlier.items()],
                last=BoxStep.clipped(f"decoder_layer_{len(earlier)}" if earlier else "queries", decoded[number], size),
                scores=scores,
                choice=_choice(detector, logits, scores),
                background=architecture.background(logits),
                before=None if tokens is None else _before(detector, batch, tokens, number, size),
            )
            images.append(ReplayedImage(found, rows, size, candidates))
    return Replayed(images)


def _choice(detector: OdamDETR, logits: Tensor, scores: Tensor) -> list[ChoiceStage]:
    """A query in one of its classes, where the network says one alone; the best of all; what scores enough."""
    select: Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]] = detector.architecture.select
    _, *able = select(logits, scores.numel())
    stages: list[ChoiceStage] = [Kept("class_choice", None, *able)] if len(able[0]) < scores.numel() else []
    most = detector.max_detections
    stages.append(Kept("max_detections", float(most), *select(logits, most)[1:]))
    return [*stages, ScoreFilter("score_filter", float(detector.score_threshold), scores)]


def _before(
    detector: OdamDETR, batch: ImageList, tokens: tuple[Tensor, Tensor, Tensor], number: int, size: tuple[int, int]
) -> Candidates:
    """What the queries of an image were chosen among."""
    boxes, scores, chosen = tokens
    row = chosen[number]
    # A token speaks for whatever it is: its best class decides.
    objectness = scores[number].max(1, keepdim=True).values
    decoded = detector.decode(boxes, batch)[number]
    choice = [Kept("query_selection", float(len(row)), row, torch.zeros_like(row))]
    return Candidates("token", [], BoxStep.clipped("tokens", decoded, size), objectness, choice)


@replay.register
def _of_queries(detector: QueryDetector, batched_inputs: list[dict]) -> Replayed:
    with torch.no_grad():
        own, said, results, rule, rows = detector.run_queries(batched_inputs)
        decoded, scores = rule.decode(said.boxes), rule.scores(said.logits)
        # The last class of a softmax is that there is no object.
        softmax = rule.probabilities == "softmax"
        images = []
        for number, (found, row, size) in enumerate(zip(results, rows, own.image_sizes, strict=True)):
            plain = Instances(found.image_size, pred_boxes=found.pred_boxes, scores=found.scores)
            plain.pred_classes = found.pred_classes
            candidates = Candidates(
                noun="query",
                steps=[],
                last=BoxStep.clipped("queries", decoded[number], size),
                scores=scores[number],
                choice=_unsaid_choice(scores[number], row, found.pred_classes),
                background=said.logits[number].softmax(-1)[:, -1] if softmax else None,
            )
            images.append(ReplayedImage(plain, row, size, candidates))
    return Replayed(images)


def _unsaid_choice(scores: Tensor, rows: Tensor, labels: Tensor) -> Sequence[ChoiceStage]:
    """How an ``inference`` that shows no settings chooses, if its detections are the best of all pairs.

    Pairs are those of every query with every class or, where that does not explain the detections, with its likeliest
    class. What is not detected then scores at most as much as the best that is not: this is the threshold.

    Args:
        scores: (Q, K).
        rows, labels: (D,) int64, the pairs that were detected.
    """
    detected = torch.zeros_like(scores, dtype=torch.bool)
    detected[rows, labels] = True
    likeliest = torch.zeros_like(detected).scatter_(1, scores.argmax(1, keepdim=True), True)
    for able in (torch.ones_like(detected), likeliest):
        rest = scores[able & ~detected]
        best = float(rest.max()) if len(rest) else 0.0
        if bool((able | ~detected).all()) and bool((scores[detected] > best).all()):
            stages: list[ChoiceStage] = [] if bool(able.all()) else [Kept("class_choice", None, *able.nonzero().T)]
            return [*stages, ScoreFilter("score_filter", best, scores)]
    return [UnknownChoice("choice", None, rows, labels)]
