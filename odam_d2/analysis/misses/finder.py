"""From a detector and the objects that it missed to the mechanism of each miss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from ...evaluation.ground_truth import TrueObjects
from ...explain import Explainer, build_explainer
from ...explain.adoption import as_traced
from ...explain.checks import unwrap_detector, without_inference_tensors
from ...utils.devices import device_of
from ...utils.threads import model_lock
from ...utils.untyped import UntypedModule
from . import words
from .likeness import map_similarities
from .mechanisms import MECHANISMS, UNKNOWN, Found
from .miss import Evidence, Miss
from .replay import Replayed, ReplayedImage, replay
from .seen import MissRules, SeenImage, SeenObject, nearest_detection

# Detections differ by more, in parts of the image's longer side and in score, or are the same but for rounding.
SAME = 1e-5


class MissFinder:
    """Tells by which mechanism a detector missed annotated objects.

    It runs the detector once more, with the very operators of its inference, keeps what became of every candidate, and
    takes the first of :data:`MECHANISMS` that holds. Of detectors that show no candidates nothing is guessed: the
    mechanism is ``unknown``.

    Args:
        model: a detector as :func:`odam_d2.build_explainer` takes it.
        rules: thresholds; default the usual ones.
        class_names: by class number, for sentences.
        compare_maps: whether suppressed boxes and what suppressed them are explained, all of a batch together, to tell
            how alike their score maps are. Costs about as much as explaining as many detections.
        explainer: makes these maps, of this model and with the attribute ``score``; default ODAM with default options.

    Examples:
        ::

            finder = MissFinder(model, class_names=names)
            replayed = finder.replay(batched_inputs)
            found = [image.detections for image in replayed.images]      # what the detector detects, to be judged
            misses = finder.find(replayed, objects, missed)              # N lists of Miss
            explainer(batched_inputs, [given_boxes(one, size) for one, size in zip(misses, sizes)])
    """

    def __init__(
        self,
        model: nn.Module,
        rules: MissRules | None = None,
        class_names: Sequence[str] = (),
        compare_maps: bool = True,
        explainer: Explainer | None = None,
    ):
        self.model: UntypedModule = as_traced(unwrap_detector(model))
        self.rules = rules or MissRules()
        self.class_names = tuple(class_names)
        self.compare_maps = compare_maps
        self._explainer = explainer
        nms = getattr(self.model, "odam_nms", None)
        if nms is not None and nms.decays:
            raise ValueError(
                "`model` must keep or drop each candidate for a miss to have a reason; got one with ODAM.NMS.METHOD "
                "'soft', whose scores decay: set it to 'hard'"
            )

    def __call__(
        self,
        batched_inputs: list[dict],
        objects: Sequence[TrueObjects],
        missed: Sequence[Iterable[int]],
        detections: Sequence[Instances] | None = None,
    ) -> list[list[Miss]]:
        """:meth:`find` on what :meth:`replay` gives."""
        return self.find(self.replay(batched_inputs), objects, missed, detections)

    def replay(self, batched_inputs: list[dict]) -> Replayed:
        """Runs the detector, and keeps what became of every candidate; its detections are those of inference.

        Works under ``no_grad`` and ``inference_mode``; a caller's autocast is off inside.

        Args:
            batched_inputs: what the detector takes.

        Raises:
            RuntimeError: if the detector is in training mode.
        """
        if self.model.training:
            raise RuntimeError("the detector must be in eval mode to be replayed; got training mode: call model.eval()")
        if not batched_inputs:
            return Replayed([])
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.autocast(device_of(self.model).type, enabled=False))
            stack.enter_context(model_lock(self.model))
            return replay(self.model, without_inference_tensors(batched_inputs))

    def find(
        self,
        replayed: Replayed,
        objects: Sequence[TrueObjects],
        missed: Sequence[Iterable[int]],
        detections: Sequence[Instances] | None = None,
    ) -> list[list[Miss]]:
        """The mechanism of each miss.

        Args:
            replayed: what the detector did with N images.
            objects: of each image, all that are annotated, with boxes in the original frame and the detector's classes.
            missed: of each image, rows of the objects that the detector missed.
            detections: of each image, which of the detector's detections count, in the original frame and any order;
                None for all. Evidence and sentences number detections by their places there.

        Returns:
            N lists with a Miss for each of `missed`, in their order.

        Raises:
            ValueError: if these are not of one batch, an object's box is empty, a row is none of the objects', or a
                detection is none of the detector's.
        """
        rows = [[int(row) for row in one] for one in missed]
        _check(replayed.images, objects, rows, detections)
        numbers: list[Tensor | None] = [None] * len(rows)
        if detections is not None:
            handed = enumerate(zip(replayed.images, detections, strict=True))
            numbers = [_numbers(image.detections, given, number) for number, (image, given) in handed]
        images = zip(replayed.images, numbers, strict=True)
        seen = [SeenImage(image, self.rules, self.class_names, own) for image, own in images]
        parts = zip(seen, objects, rows, strict=True)
        found = [[self._mechanism(image, truth, row) for row in own] for image, truth, own in parts]
        similar = self._similarities(replayed, [[one for _, one in image] for image in found])
        return [
            [
                _miss(truth, row, name, one, alike.get(place))
                for place, (row, (name, one)) in enumerate(zip(own, image, strict=True))
            ]
            for truth, own, image, alike in zip(objects, rows, found, similar, strict=True)
        ]

    def _mechanism(self, seen: SeenImage, truth: TrueObjects, row: int) -> tuple[str, Found]:
        image, candidates = seen.image, seen.candidates
        boxes = image.to_input(truth.boxes)
        labels = truth.classes.to(boxes.device)
        if image.classless:
            labels = torch.zeros_like(labels)
        label, reason = int(labels[row]), image.unknown
        if candidates is not None and not 0 <= label < candidates.scores.shape[1]:
            reason = "the detector has no such class"
        if candidates is None or reason:
            evidence = Evidence(self.rules.iou_threshold, **nearest_detection(seen, boxes[row]))
            return UNKNOWN, Found(UNKNOWN, evidence, words.unknown(reason, evidence, seen))
        rest = torch.arange(len(boxes), device=boxes.device) != row
        one = SeenObject(seen, boxes[row], label, boxes[rest], labels[rest])
        for name, mechanism in MECHANISMS.items():
            found = mechanism(one)
            if found is not None:
                return name, replace(found, sentence=found.sentence + words.beside(found.evidence))
        raise AssertionError("the last mechanism always holds")

    def _similarities(self, replayed: Replayed, found: list[list[Found]]) -> list[dict[int, float]]:
        if not self.compare_maps:
            return [{} for _ in found]
        if self._explainer is None:
            self._explainer = build_explainer(self.model, attributes=("score",))
        with torch.inference_mode(False), model_lock(self.model):
            return map_similarities(self._explainer, replayed, found)


def _miss(truth: TrueObjects, row: int, mechanism: str, found: Found, similarity: float | None) -> Miss:
    x1, y1, x2, y2 = truth.boxes[row].tolist()
    evidence, sentence = found.evidence, found.sentence
    if similarity is not None:
        evidence, sentence = replace(evidence, map_similarity=similarity), sentence + words.alike(similarity)
    return Miss(truth.ids[row], (x1, y1, x2, y2), int(truth.classes[row]), mechanism, found.stage, evidence, sentence)


def _numbers(own: Instances, handed: Instances, number: int) -> Tensor:
    """(D,) int64: the place of each of a detector's detections among those that were handed over, -1 for none."""
    places = torch.full_like(own.pred_classes, -1)
    boxes, scores, classes = (
        value.to(places.device) for value in (handed.pred_boxes.tensor, handed.scores, handed.pred_classes)
    )
    for place in range(len(handed)):
        apart = (own.pred_boxes.tensor - boxes[place]).abs().amax(1) / max(own.image_size)
        apart = torch.maximum(apart, (own.scores - scores[place]).abs())
        # One for one, also where several are the same.
        apart = torch.where((own.pred_classes == classes[place]) & (places < 0), apart, torch.inf)
        if not len(apart) or not float(apart.min()) <= SAME:
            raise ValueError(
                f"`detections[{number}]` must be detections of the replayed detector; got class {int(classes[place])} "
                f"with score {float(scores[place]):.4g}, number {place}, which it does not make: hand over its own"
            )
        places[apart.argmin()] = place
    return places


def _check(
    images: list[ReplayedImage],
    objects: Sequence[TrueObjects],
    missed: list[list[int]],
    detections: Sequence[Instances] | None,
) -> None:
    given = {"objects": objects, "missed": missed, "detections": images if detections is None else detections}
    for name, values in given.items():
        if len(values) != len(images):
            raise ValueError(
                f"`{name}` must hold something for each of the {len(images)} images; got {len(values)}: give an entry "
                "an image"
            )
    for number, (image, truth, own) in enumerate(zip(images, objects, missed, strict=True)):
        if tuple(truth.size) != image.output_size:
            raise ValueError(
                f"`objects[{number}]` must be of an image of {image.output_size[1]} x {image.output_size[0]}; got one "
                f"of {truth.size[1]} x {truth.size[0]}: give the objects of the replayed images, in their order"
            )
        wrong = [row for row in own if not 0 <= row < len(truth.boxes)]
        if wrong:
            raise ValueError(
                f"`missed[{number}]` must number the image's {len(truth.boxes)} objects from 0; got {wrong[0]}: give "
                "their rows"
            )
        empty = (truth.boxes[:, 2:] <= truth.boxes[:, :2]).any(1)
        named = [row for row in own if bool(empty[row])]
        if named:
            raise ValueError(
                f"boxes of `objects[{number}]` must have x1 < x2 and y1 < y2; got {truth.boxes[named[0]].tolist()}: "
                "leave it out"
            )
