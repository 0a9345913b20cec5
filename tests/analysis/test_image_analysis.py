"""All that is found out about an image, by detectors of several families, and its rows on disk."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.analysis import ErrorRules, heat_context, label_errors, own_objects
from odam_d2.analysis.image_analysis import ImageAnalyst
from odam_d2.analysis.misses import MissFinder, MissRules
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.explain import build_explainer
from odam_d2.modeling.provenance import UnreachedBoxError
from odam_d2.store import ImageRow, RunReader, RunWriter
from tests.analysis.scenes import annotation, record_of
from tests.families import QUERY_FAMILIES
from tests.helpers import compact_detector, random_input
from tests.meta_arch.test_callable import tiny, tiny_input
from tests.wants import needs_package

SIZE = (96, 128)
NAMES = ("person", "dog", "car", "bus", "cow")
ATTRIBUTES = ("score", "left", "top", "right", "bottom")
QUERIES = {family.name: family for family in QUERY_FAMILIES}
FAMILIES = [
    "faster_rcnn", "retinanet", "fcos",
    pytest.param("RTDetrForObjectDetection", marks=needs_package("transformers")),
]  # fmt: skip


def detector_of(name):
    return QUERIES[name].detector() if name in QUERIES else compact_detector(name, "ODAM.FCOS.NORM", "", detections=4)


def record_for(found):
    """Objects that the detections get right, name wrongly, and don't find; of a class that is none of theirs too."""
    boxes, labels = found.pred_boxes.tensor.tolist(), found.pred_classes.tolist()
    (x1, y1, x2, y2), (a1, b1, a2, b2) = boxes[0], boxes[1]
    return record_of(
        annotation((x1, y1, x2 - x1, y2 - y1), labels[0], 7),
        annotation((a1, b1, a2 - a1, b2 - b1), (labels[1] + 1) % 3, 8),
        annotation((3, 3, 4, 5), labels[0], 9),
        annotation((90, 60, 30, 30), (labels[0] + 2) % 3, 10),
        size=SIZE,
    )


def analyst_of(model, classes=None, methods=("odam",), threshold=0.0):
    attributes = {"odam": ATTRIBUTES}
    explainers = {name: build_explainer(model, name, attributes.get(name, ("score",))) for name in methods}
    finder = MissFinder(model, MissRules(score_threshold=threshold), NAMES)
    return ImageAnalyst(explainers, finder, NAMES, ErrorRules(), score_threshold=threshold, classes=classes)


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_are_those_of_each_alone_and_rows_are_read_back(name, tmp_path):
    # An image in which the detector finds two boxes.
    model, entry = detector_of(name), random_input(*SIZE, seed=2 if name == "fcos" else 1)
    analyst = analyst_of(model)
    explain = analyst.explainers["odam"]
    found = explain([entry])[0]["instances"]
    record = record_for(found)
    analysis = analyst(entry, record)
    assert torch.equal(analysis.found.pred_boxes.tensor, found.pred_boxes.tensor) and len(found) >= 2
    assert torch.equal(analysis.found.heatmaps.values, found.heatmaps.values)
    errors, truth = label_errors(found, record), TrueObjects.of(record)
    assert analysis.errors.detection_rows() == errors.detection_rows()
    assert analysis.errors.object_rows() == errors.object_rows()
    context = heat_context(found.heatmaps, found.pred_boxes.tensor, truth, own_objects(errors))
    for part in ("outside", "own", "background", "on_others"):
        np.testing.assert_array_equal(getattr(analysis.context, part), getattr(context, part))
    missed = np.flatnonzero(errors.missed).tolist()
    assert missed
    (alone,) = MissFinder(model, MissRules(), NAMES)([entry], [truth], [missed])
    assert analysis.misses == alone and all(one.mechanism != "unknown" for one in alone)

    stored = analyst.stored(ImageRow(0, "1", "1.png", "1.png"), analysis, record)
    rows = stored.detections
    assert [one.kind for one in rows] == ["detection"] * len(found) + ["missed"] * len(missed)
    for row, mistake in ((one.detection, one) for one in analysis.mistakes):
        assert rows[row].sentence == mistake.sentence and rows[row].verdict == mistake.verdict.word
    own_rows, own = stored.maps["odam", ""]
    for row, miss in enumerate(alone, len(found)):
        one = rows[row]
        assert (one.box, one.mechanism, one.verdict) == (miss.box, miss.mechanism, "missed")
        assert one.sentence == f"{NAMES[miss.label]} #{miss.object_id} was missed. {miss.sentence}"
        assert stored.annotations[one.annotation].id == miss.object_id and one.figures["stage"] == miss.stage
        # Its own map is that of its box, given to the detector, where a prediction stands for it.
        given = Instances(SIZE, pred_boxes=Boxes([miss.box]), pred_classes=torch.tensor([miss.label]))
        try:
            expected = explain([entry], [given])[0]["instances"]
        except UnreachedBoxError:
            assert row not in own_rows and one.score is None
            continue
        maps = own[own_rows.index(row)]
        assert one.score == pytest.approx(float(expected.scores[0]), abs=1e-5)
        shown, wanted = maps.to_image("score"), expected.heatmaps.to_image("score")
        assert torch.allclose(shown, wanted.detach(), atol=1e-3)
    with RunWriter(tmp_path) as writer:
        writer.write(stored)
    with RunReader(tmp_path) as reader:
        back = reader.image(0)
    assert list(back.detections) == rows and back.annotations == stored.annotations
    assert {key: list(one) for key, (one, _) in back.maps.items()} == {
        key: list(one) for key, (one, _) in stored.maps.items()
    }
    for row, one in enumerate(back.detections):
        for role in one.figures.get("roles", {}):
            assert row in back.maps["odam", role][0]


def test_of_some_classes_misses_name_detections_by_their_rows():
    model, entry = compact_detector("faster_rcnn", detections=12), random_input(*SIZE, seed=1)
    found = build_explainer(model, "odam", ("score",))([entry])[0]["instances"]
    labels = found.pred_classes.tolist()
    # A class whose first detection isn't the first of all.
    label = next(one for one in labels if one != labels[0])
    first = labels.index(label)
    (x1, y1, x2, y2) = found.pred_boxes.tensor[first].tolist()
    # An object at the side of that detection, which overlaps it somewhat.
    record = record_of(annotation((x1, y1, 0.05 * (x2 - x1), y2 - y1), label, 7), size=SIZE)
    analyst = analyst_of(model, {label})
    analysis = analyst(entry, record)
    rows = analyst.stored(ImageRow(0, "1", "1.png", "1.png"), analysis, record).detections
    (miss,) = analysis.misses
    assert {one.class_id for one in rows} == {label} and len(rows) == labels.count(label) + 1
    named = rows[miss.evidence.detection]
    assert named.kind == "detection" and named.score == miss.evidence.detection_score


def test_the_best_are_analysed_in_the_order_of_the_detector():
    """This detector's answers aren't sorted: the second box scores .5 * 1, the first less."""
    entry = tiny_input(0.1, 0.1, 1.0, 3.0)
    explainers = {"odam": build_explainer(tiny(), attributes=("score",))}
    both = ImageAnalyst(explainers, None, (), ErrorRules())(entry, None).found
    assert both.scores.tolist() == pytest.approx([0.1, 0.5])
    (best,) = ImageAnalyst(explainers, None, (), ErrorRules(), most=1)(entry, None).found.scores.tolist()
    assert best == pytest.approx(0.5)
    (above,) = ImageAnalyst(explainers, None, (), ErrorRules(), score_threshold=0.2)(entry, None).found.scores.tolist()
    assert above == best


def test_of_a_foreign_detector_the_mechanism_is_unknown():
    model, names = tiny(), tuple(f"n{k}" for k in range(8))
    explainers = {"odam": build_explainer(model, attributes=("score", "right"))}
    analyst = ImageAnalyst(explainers, MissFinder(model, MissRules(), names), names, ErrorRules())
    entry, record = tiny_input(0.8, 0.4, 0.2, 3.0), record_of(
        annotation((0, 0, 6, 8), 3, 1), annotation((5, 5, 3, 3), 7, 2), size=(8, 8)
    )  # fmt: skip
    # The second detection, 4 x 4, overlaps the first object, of another class, by a third; the other object by nothing.
    analysis = analyst(entry, record)
    stored = analyst.stored(ImageRow(0, "1", "1.png", "1.png"), analysis, record)
    assert [(one.kind, one.verdict, one.mechanism) for one in stored.detections] == [
        ("detection", "correct", None), ("detection", "both", None), ("missed", "missed", "unknown"),
    ]  # fmt: skip
    assert stored.detections[2].sentence.startswith(
        "n7 #2 was missed. What became of it is not known, since Tiny shows nothing but its detections."
    )
    # No prediction of it stands for the object.
    assert stored.maps["odam", ""][0] == [0, 1] and stored.detections[2].score is None


def test_without_annotations_heat_outside_of_boxes_is_known():
    model, entry = compact_detector("faster_rcnn", detections=3), random_input(*SIZE, seed=1)
    analyst = analyst_of(model, methods=("odam", "gradcam"))
    analysis = analyst(entry, None)
    assert (analysis.errors, analysis.mistakes, analysis.misses) == (None, (), ())
    stored = analyst.stored(ImageRow(0, "1", "1.png", "1.png"), analysis, None)
    judged = analyst(entry, record_for(analysis.found))
    for one, wanted in zip(stored.detections, judged.context.outside.tolist(), strict=True):
        assert one.outside == pytest.approx(wanted, abs=1e-12) and one.verdict is None
    assert stored.annotations is None and set(stored.maps) == {("odam", ""), ("gradcam", "")}


def test_a_further_method_must_see_the_same_detections():
    model, entry = compact_detector("faster_rcnn", detections=3), random_input(*SIZE, seed=1)
    analyst = analyst_of(model, methods=("odam", "gradcam"))
    other = compact_detector("faster_rcnn", detections=1)
    analyst.explainers["gradcam"] = build_explainer(other, "gradcam", ("score",))
    with pytest.raises(ValueError, match="must detect the same whenever it is asked; .* for 'gradcam'"):
        analyst(entry, None)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_without_detections_or_objects(name):
    model, entry = detector_of(name), random_input(*SIZE, seed=2)
    analyst = analyst_of(model, threshold=1.0, methods=("odam", "gradcam"))
    nothing = analyst(entry, record_of(size=SIZE))
    stored = analyst.stored(ImageRow(0, "1", "1.png", "1.png"), nothing, record_of(size=SIZE))
    assert (stored.detections, stored.annotations) == ([], []) and ("odam", "") not in stored.maps
    record = record_of(annotation((20, 20, 50, 40), 0, 7), size=SIZE)
    missed = analyst(entry, record)
    rows = analyst.stored(ImageRow(0, "1", "1.png", "1.png"), missed, record)
    assert [one.kind for one in rows.detections] == ["missed"] and len(missed.found) == 0
    assert all(list(one) == [0] for one, _ in rows.maps.values())
