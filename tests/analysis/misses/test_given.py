"""Missed objects as given boxes: which are made, and what the detector says of them, by plain loops."""

import pytest
import torch

from odam_d2.analysis.misses import ROLES, Evidence, Miss, MissFinder, ask_given, given_boxes
from odam_d2.evaluation import TrueObjects
from odam_d2.explain import build_explainer
from tests.families import QUERY_FAMILIES
from tests.helpers import compact_detector, random_input
from tests.wants import needs_package

INPUTS = [random_input(96, 128, 192, 256), random_input(80, 96, seed=1)]


def miss(box, label, **evidence):
    return Miss("a", tuple(box), label, "suppressed", "nms", Evidence(0.5, **evidence), "")


def test_boxes_and_their_roles():
    misses = [
        miss([1.0, 2, 3, 4], 0),
        miss([5.0, 6, 7, 8], 1, preferred_class=2),
        miss([5.0, 6, 9, 8], 1, neighbour_box=(0.0, 0.0, 4.0, 4.0), neighbour_class=1),
        # What suppressed a box of the proposal network is of no class.
        miss([1.0, 1, 9, 8], 1, neighbour_box=(0.0, 0.0, 4.0, 4.0)),
    ]
    given = given_boxes(misses, (10, 12))
    assert given.image_size == (10, 12)
    assert given.pred_boxes.tensor.tolist() == [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [5, 6, 7, 8],
        [5, 6, 9, 8],
        [0, 0, 4, 4],
        [1, 1, 9, 8],
    ]
    assert given.pred_classes.tolist() == [0, 1, 2, 1, 1, 1] and given.miss.tolist() == [0, 1, 1, 2, 2, 3]
    assert [ROLES[role] for role in given.role] == ["object", "object", "preferred", "object", "neighbour", "object"]
    nothing = given_boxes([], (10, 12))
    assert len(nothing) == 0 and nothing.pred_boxes.tensor.shape == (0, 4)


def found_misses(model):
    """Misses of a few places, in the original frames."""
    boxes = [torch.tensor([[20.0, 30, 120, 160], [100, 40, 230, 170]]), torch.tensor([[10.0, 10, 60, 70]])]
    sizes = [(192, 256), (80, 96)]
    truths = [
        TrueObjects(size, box, torch.arange(len(box)), list(range(len(box))), [None] * len(box), {})
        for size, box in zip(sizes, boxes, strict=True)
    ]
    misses = MissFinder(model, compare_maps=False)(INPUTS, truths, [range(len(one)) for one in boxes])
    return misses, [given_boxes(own, size) for own, size in zip(misses, sizes, strict=True)]


@pytest.mark.parametrize("name", ["faster_rcnn", "cascade_rcnn", "retinanet"])
def test_what_is_said_of_given_boxes(name):
    model = compact_detector(name)
    _, given = found_misses(model)
    asked = ask_given(model, INPUTS, given)
    explained = build_explainer(model, attributes=("score",))(INPUTS, given)
    for one, other, result in zip(asked, given, explained, strict=True):
        assert torch.equal(one.miss, other.miss) and torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
        assert torch.equal(one.scores, result["instances"].scores)
        # Each class of each box asked for by itself.
        for row in range(len(other)):
            scores = []
            for label in range(3):
                alone = other[[row]]
                alone.pred_classes = torch.tensor([label])
                instances = [alone if k is other else k[[]] for k in given]
                trace = model.trace(INPUTS, instances)
                scores.append(float(torch.cat([found.scores for found in trace.instances])))
            own = scores[int(other.pred_classes[row])]
            assert int(one.class_rank[row]) == 1 + sum(score > own + 1e-7 for score in scores)
            assert float(one.best_score[row]) == pytest.approx(max(scores), abs=1e-5)
            assert scores[int(one.best_class[row])] == pytest.approx(max(scores), abs=1e-5)


@needs_package("transformers")
def test_query_detectors():
    model = QUERY_FAMILIES[0].detector()
    _, given = found_misses(model)
    asked = ask_given(model, INPUTS, given)
    for one in asked:
        assert bool((one.class_rank >= 1).all()) and bool((one.best_score >= one.scores - 1e-6).all())


def test_no_boxes():
    model = compact_detector("faster_rcnn")
    nothing = [given_boxes([], (192, 256)), given_boxes([], (80, 96))]
    for one in ask_given(model, INPUTS, nothing):
        assert len(one) == len(one.class_rank) == len(one.best_class) == len(one.best_score) == 0
