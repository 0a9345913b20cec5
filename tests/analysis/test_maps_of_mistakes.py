"""What is told of each type of error, by hand on an image of 8 x 8 pixels, and with real detectors' given boxes."""

import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.analysis import explain_mistakes, label_errors
from odam_d2.explain import build_explainer
from odam_d2.modeling.provenance import UnreachedBoxError
from odam_d2.postprocess import OdamNMS
from odam_d2.structures import HeatMaps
from tests.analysis.scenes import annotation, instances_of, record_of
from tests.helpers import compact_detector, random_input

SIZE = (8, 8)
ATTRIBUTES = ("score", "left", "top", "right", "bottom")
NMS = OdamNMS(iou_threshold=0.6, low=0.3, high=0.7, stride=1.0)
NAMES = ("dog", "cat")


def at(*places):
    """(8, 8) with heat at (y, x), or (y, x, amount)."""
    heat = np.zeros(SIZE)
    for y, x, *amount in places:
        heat[y, x] = amount[0] if amount else 1.0
    return heat


def maps_of(*detections):
    """From a dict for each detection, attribute -> (8, 8); what isn't named is zero."""
    count = len(detections)
    values = [[one.get(name, np.zeros(SIZE)).flatten() for one in detections] for name in ATTRIBUTES]
    return HeatMaps(
        torch.tensor(np.array(values), dtype=torch.float32).view(len(ATTRIBUTES), -1),
        torch.tensor([[0, 0, *SIZE]]).repeat(count, 1), torch.tensor([SIZE]).repeat(count, 1), torch.ones(count, 2),
        ATTRIBUTES, SIZE, SIZE, class_names=NAMES,
    )  # fmt: skip


class StandIn:
    """An explainer with a map and a score for each class, and none for some."""

    model = object()

    def __init__(self, by_class, unreached=()):
        self.by_class, self.unreached, self.calls = by_class, unreached, []

    def __call__(self, batch, instances):
        (given,) = instances
        self.calls.append((given.pred_boxes.tensor.tolist(), given.pred_classes.tolist()))
        if any(label in self.unreached for label in given.pred_classes.tolist()):
            raise UnreachedBoxError("none fits")
        maps, scores = zip(*(self.by_class[label] for label in given.pred_classes.tolist()))
        return [{"instances": Instances(SIZE, scores=torch.tensor(scores), heatmaps=maps_of(*maps))}]


def mistakes_of(detections, maps, annotations, explainer=None, **options):
    found = instances_of(*detections, size=SIZE)
    found.heatmaps = maps_of(*maps)
    record = record_of(*annotations, size=SIZE)
    errors = label_errors(found, record)
    told = explain_mistakes(found, errors, record, explainer or StandIn({}), {}, **{"nms": NMS, **options})
    for one in told:
        json.dumps(one.as_json())
    return told


def test_an_error_of_class():
    explainer = StandIn({0: ({"score": at((0, 0), (1, 1))}, 0.75), 1: ({"score": at((0, 0))}, 0.25)})
    (one,) = mistakes_of(
        [(0, 0.8, 0, 0, 4, 4)], [{}], [annotation((0, 0, 4, 3), 1, 7), annotation((1, 1, 1, 1), 1, 8)], explainer
    )
    # One call, for both classes on the detection's box.
    assert explainer.calls == [([[0, 0, 4, 4], [0, 0, 4, 4]], [0, 1])]
    assert one.verdict.word == "classification" and one.annotation_id == 7 and one.detection == 0
    assert one.attribute == "score" and one.as_json()["maps"] == ["said", "true"]
    assert one.maps["said"].to_image()[0].tolist() == at((0, 0), (1, 1)).tolist()
    assert one.maps["true"].to_image()[0].tolist() == at((0, 0)).tolist()
    figures = one.figures
    assert (figures["said"], figures["true"]) == (0, 1) and figures["iou"] == 0.75
    assert (figures["score_said"], figures["score_true"]) == (0.75, 0.25)
    assert figures["likeness"] == pytest.approx(0.5**0.5, abs=1e-6)
    # (1, 1) is in both annotated boxes: the object's own.
    assert figures["heat_said"] == {"inside": 1.0, "own": 1.0, "other": None} == figures["heat_true"]
    assert one.sentence == (
        "dog (0.80) in place of cat #7, which has 0.25 on the same box: both look at the same places (likeness 0.71)."
    )


def test_an_error_of_class_and_place():
    explainer = StandIn({0: ({"score": at((0, 0))}, 0.5), 1: ({"score": at((7, 7))}, 0.25)})
    (one,) = mistakes_of([(0, 0.8, 0, 0, 4, 4)], [{}], [annotation((0, 0, 4, 1), 1, 7)], explainer)
    assert one.verdict.word == "both" and one.figures["likeness"] == 0.0
    assert one.figures["heat_true"] == {"inside": 0.0, "own": 0.0, "other": None}
    assert one.sentence == (
        "dog (0.80) in place of cat #7, which has 0.25 on the same box: both look at different places (likeness 0.00); "
        "and the place is off (IoU 0.25)."
    )


def test_an_error_of_place():
    # The annotated box is 4 wide and 2 high; the detection begins 1 further left and ends 4 further below.
    explainer = StandIn({0: ({"bottom": at((1, 1, 2), (6, 1, 2))}, 0.5)})
    own = {"bottom": at((5, 1, 3), (6, 7)), "left": at((0, 0))}
    (one,) = mistakes_of(
        [(0, 0.8, 0, 0, 5, 6)], [own],
        [annotation((1, 0, 4, 2), 0, 7), annotation((0, 5, 3, 1), 0, 8), annotation((7, 6, 1, 1), 0, 9)], explainer,
    )  # fmt: skip
    assert explainer.calls == [([[1, 0, 5, 2]], [0])]
    assert one.verdict.word == "localisation" and one.annotation_id == 7 and one.attribute == "bottom"
    figures = one.figures
    assert figures["offsets"] == {"left": 1, "top": 0, "right": 0, "bottom": 4} and figures["side"] == "bottom"
    assert figures["relative"] == {"left": 0.25, "top": 0, "right": 0, "bottom": 2}
    assert figures["holds"] == [8] and figures["iou"] == pytest.approx(8 / 30)
    assert figures["heat_detected"]["inside"] == pytest.approx(0.75) and figures["heat_detected"]["own"] == 0.0
    assert figures["heat_detected"]["other"] == {
        "annotation_id": 8, "share": pytest.approx(0.75), "in_box": pytest.approx(0.75), "in_mask": None,
    }  # fmt: skip
    assert figures["heat_annotated"] == {"inside": 0.5, "own": 0.5, "other": None} and figures["likeness"] == 0.0
    assert one.maps["detected"].to_image("bottom")[0].tolist() == (at((5, 1, 3), (6, 7)) / 3).astype("f4").tolist()
    assert one.maps["annotated"].to_image("bottom")[0].tolist() == at((1, 1), (6, 1)).tolist()
    assert one.sentence == (
        "dog (0.80) on dog #7, IoU 0.27: its bottom side lies 4 pixels (200% of the object's height) too far out, and "
        "the box holds dog #8 as well; the heat of that side: 0% on the object and 75% on dog #8, of the annotated "
        "box: 50% on the object."
    )


def test_a_side_that_ends_too_early():
    explainer = StandIn({0: ({}, 0.5)})
    (one,) = mistakes_of([(0, 0.8, 0, 0, 2, 4)], [{"right": at((0, 0))}], [annotation((0, 0, 5, 4), 0, 7)], explainer)
    assert one.figures["side"] == "right" and one.figures["relative"]["right"] == pytest.approx(-0.6)
    assert one.sentence == (
        "dog (0.80) on dog #7, IoU 0.40: its right side lies 3 pixels (60% of the object's width) too far in; the heat "
        "of that side: 100% on the object, of the annotated box is zero."
    )


@pytest.mark.parametrize("shift, removed", [(0, True), (1, False)])
def test_a_duplicate(shift, removed):
    # Both overlap the object, each other by 2/4: above .6 never, so the likeness decides at .7.
    detections = [(0, 0.6, 0, 0, 4, 3), (0, 0.9, 0, 1, 4, 3)]
    maps = [{"score": at((1, 1), (2, 2))}, {"score": at((1, 1), (2, 2 + shift))}]
    told = mistakes_of(detections, maps, [annotation((0, 0, 4, 4), 0, 7)])
    (one,) = told
    assert one.verdict.word == "duplicate" and one.detection == 0 and one.annotation_id == 7
    assert one.figures == {
        "rival": 1, "iou_with_rival": pytest.approx(0.5), "likeness": pytest.approx(0.5 if shift else 1.0),
        "removed": removed, "iou_threshold": 0.6, "low": 0.3, "high": 0.7,
    }  # fmt: skip
    assert one.maps["detection"].to_image()[0, 2, 2] == 1.0
    assert float(one.maps["rival"].to_image()[0, 2, 2]) == 1.0 - shift
    word = "remove" if removed else "keep"
    assert one.sentence == (
        "another dog (0.60) on dog #7, beside one of 0.90 that it overlaps by 0.50: their maps have a likeness of "
        f"{0.5 if shift else 1.0:.2f}, and Odam-NMS would {word} it."
    )


def test_background():
    # A box of 2 x 2 at (3, 3); the box that is half its sides larger all round is that of 4 x 4 at (2, 2).
    heat = {"score": at((3, 3, 2), (2, 2), (0, 0))}
    annotations = [annotation((0, 0, 1, 1), 1, 7), annotation((0, 7, 8, 1), 0, 8)]
    (one,) = mistakes_of([(0, 0.8, 3, 3, 2, 2)], [heat], annotations)
    assert one.verdict.word == "background" and one.annotation_id is None
    assert one.figures == {
        "iou": 0.0, "inside": 0.5, "around": 0.25, "elsewhere": 0.25,
        "other": {"annotation_id": 7, "share": 0.25, "in_box": 0.25, "in_mask": None, "holds": 0.0},
    }  # fmt: skip
    assert one.sentence == (
        "dog (0.80) where nothing is annotated: 50% of its heat lies in its box, 25% around it, 25% elsewhere; 25% on "
        "cat #7."
    )
    # A part of a large object overlaps it little. And a map without heat.
    (part,) = mistakes_of([(0, 0.8, 3, 3, 2, 2)], [heat], [annotation((0, 0, 8, 7), 0, 7)])
    assert part.annotation_id == 7 and part.figures["other"]["holds"] == 1.0
    assert part.sentence.endswith("25% elsewhere; 100% on dog #7, of which the box is a part.")
    (zero,) = mistakes_of([(0, 0.8, 3, 3, 2, 2)], [{}], [])
    assert zero.figures == {"iou": 0.0, "inside": None, "around": None, "elsewhere": None, "other": None}
    assert zero.sentence == "dog (0.80) where nothing is annotated: its map is zero."


def test_all_of_an_image_in_one_call_and_only_the_wanted():
    explainer = StandIn({0: ({"score": at((0, 0))}, 0.5), 1: ({"score": at((0, 0))}, 0.25)})
    detections = [
        (0, 0.9, 0, 0, 4, 4),  # right
        (0, 0.8, 0, 5, 3, 3),  # wrong class
        (0, 0.7, 0, 0, 4, 1),  # wrong place
        (0, 0.6, 0, 0, 4, 2.5),  # again
        (1, 0.5, 0, 5, 3, 1.1),  # wrong place of the other class
        (0, 0.4, 4, 0, 3, 3),  # background
    ]
    annotations = [annotation((0, 0, 4, 4), 0, 7), annotation((0, 5, 3, 3), 1, 8)]
    arguments = (detections, [{"left": at((0, 0))}] * 6, annotations)
    told = mistakes_of(*arguments, explainer)
    words = ["classification", "localisation", "duplicate", "localisation", "background"]
    assert [one.verdict.word for one in told] == words and [one.detection for one in told] == [1, 2, 3, 4, 5]
    # The class pair asks for box and class of the last error of place too: explained once.
    assert len(explainer.calls) == 1 and sorted(zip(*explainer.calls[0])) == [
        ([0, 0, 4, 4], 0), ([0, 5, 3, 8], 0), ([0, 5, 3, 8], 1),
    ]  # fmt: skip
    explainer.calls.clear()
    assert [one.detection for one in mistakes_of(*arguments, explainer, rows=[5, 0, 3])] == [5, 3]
    assert explainer.calls == []


def test_boxes_that_the_detector_has_no_prediction_for():
    explainer = StandIn({0: ({"score": at((0, 0)), "left": at((0, 0))}, 0.5)}, unreached=[1])
    detections = [(0, 0.8, 0, 0, 4, 4), (1, 0.7, 4, 4, 2, 4)]
    annotations = [annotation((0, 0, 4, 4), 1, 7), annotation((4, 4, 4, 4), 1, 8)]
    first, second = mistakes_of(detections, [{}, {"right": at((5, 5))}], annotations[:1] + [
        annotation((4, 4, 4.5, 4), 1, 8)
    ], explainer)  # fmt: skip
    assert first.as_json()["maps"] == ["said"] and first.figures["score_true"] is None
    assert first.figures["heat_true"] is None and first.figures["likeness"] is None
    assert first.sentence.endswith("in place of cat #7: the detector has no maps of the true class on this box.")
    assert second.as_json()["maps"] == ["detected"] and second.figures["heat_annotated"] is None
    assert second.sentence.endswith("; the detector has no prediction that stands for the annotated box.")
    # None of them at all.
    nothing = StandIn({}, unreached=[0, 1])
    first, second = mistakes_of(detections, [{}, {}], annotations[:1] + [annotation((4, 4, 4.5, 4), 1, 8)], nothing)
    assert first.maps == {} and second.as_json()["maps"] == ["detected"]


def test_a_class_that_the_detector_does_not_know_is_not_asked_for():
    explainer = StandIn({0: ({"score": at((0, 0))}, 0.5)})
    (one,) = mistakes_of([(0, 0.8, 0, 0, 4, 4)], [{}], [annotation((0, 0, 4, 4), -1, 7)], explainer)
    assert explainer.calls == [([[0, 0, 4, 4]], [0])] and one.as_json()["maps"] == ["said"]


def test_verdicts_of_other_detections():
    found = instances_of((0, 0.8, 0, 0, 4, 4), size=SIZE)
    found.heatmaps = maps_of({})
    errors = label_errors(found[[]], record_of(size=SIZE))
    with pytest.raises(ValueError, match="`errors` must be of the 1 detections; got 0: judge these with label_errors"):
        explain_mistakes(found, errors, record_of(size=SIZE), StandIn({}), {})


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet"])
def test_maps_of_a_detector_are_those_of_given_boxes(name):
    model = compact_detector(name, detections=3)
    entry = random_input(96, 128, seed=1)
    explainer = build_explainer(model, attributes=ATTRIBUTES)
    found = explainer([entry])[0]["instances"]
    box, said = found.pred_boxes.tensor[0].detach(), int(found.pred_classes[0])
    corner, size = box[:2], box[2:] - box[:2]
    cases = {
        "classification": ([*corner.tolist(), *size.tolist()], (said + 1) % 3),
        "localisation": ([*corner.tolist(), *(size * torch.tensor([0.4, 1.0])).tolist()], said),
    }
    for verdict, (place, label) in cases.items():
        record = record_of(annotation(place, label, 7), size=(96, 128))
        errors = label_errors(found, record)
        (told,) = explain_mistakes(found, errors, record, explainer, entry, rows=[0])
        assert told.verdict.word == verdict and len(told.maps) == 2
        annotated = torch.tensor([*place[:2], place[0] + place[2], place[1] + place[3]])
        given = {"said": (box, said), "true": (box, label), "annotated": (annotated, said)}
        for role, maps in told.maps.items():
            if role == "detected":
                expected = found.heatmaps[0]
            else:
                where, which = given[role]
                asked = Instances(
                    (96, 128), pred_boxes=Boxes(where[None]), pred_classes=torch.tensor([which], dtype=torch.int64)
                )
                expected = explainer([entry], [asked])[0]["instances"].heatmaps
            # Two boxes at once are other shapes than one, which round differently.
            shown, alone = (one.to_image(told.attribute) for one in (maps, expected))
            assert torch.allclose(shown, alone, atol=1e-4) and bool(shown.any()), role
