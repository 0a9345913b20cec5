"""The best choice among candidates that annotations allow."""

import itertools

import torch

from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.evaluation.nms_tuning.bound import best_choice
from odam_d2.evaluation.nms_tuning.candidates import Candidates
from tests.ops.test_nms import plain_iou


def crowd(seed):
    """A few candidates and objects of two classes on a small field, in frames of which one is twice the other."""
    generator = torch.Generator().manual_seed(seed)
    count, objects = int(torch.randint(0, 7, (1,), generator=generator)), int(seed % 5)

    def boxes(number):
        corner = torch.rand(number, 2, generator=generator) * 6
        return torch.cat([corner, corner + 6 + torch.rand(number, 2, generator=generator) * 6], 1)

    scores = torch.rand(count, generator=generator).sort(descending=True).values
    classes = torch.randint(0, 2, (count,), generator=generator)
    found = Candidates(boxes(count), scores, classes, torch.zeros(count, count), (20, 20), (40, 40))
    labels = torch.randint(0, 2, (objects,), generator=generator)
    nothing = [None] * objects
    return found, TrueObjects((40, 40), boxes(objects) * 2, labels, nothing, nothing, {})


def plain_best(found, truth):
    """Objects found and sum of scores of the best assignment, by trying all."""
    fits = [
        [
            plain_iou(box, [side / 2 for side in other]) >= 0.5 and label == own
            for other, own in zip(truth.boxes.tolist(), truth.classes.tolist(), strict=True)
        ]
        for box, label in zip(found.boxes.tolist(), found.classes.tolist(), strict=True)
    ]
    best = (0, 0.0)
    for choice in itertools.product(range(-1, len(fits)), repeat=len(truth.boxes)):
        chosen = [(row, one) for one, row in enumerate(choice) if row >= 0]
        if len({row for row, _ in chosen}) == len(chosen) and all(fits[row][one] for row, one in chosen):
            best = max(best, (len(chosen), sum(float(found.scores[row]) for row, _ in chosen)))
    return best


def test_finds_as_many_objects_as_any_choice_and_the_surest_boxes_for_them():
    sizes = set()
    for seed in range(120):
        found, truth = crowd(seed)
        kept, scores = best_choice(found, truth, most=100)
        number, total = plain_best(found, truth)
        assert len(kept) == number, seed
        assert abs(float(scores.double().sum()) - total) < 1e-6, seed
        assert torch.equal(scores, found.scores[kept]) and kept.tolist() == sorted(set(kept.tolist()))
        assert torch.equal(best_choice(found, truth, most=1)[0], kept[:1])
        sizes.add(number)
    assert {0, 1, 2, 3} <= sizes
