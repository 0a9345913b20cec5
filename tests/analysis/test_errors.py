"""Verdicts worked out by hand, and those of tidecv on random images."""

import json

import numpy as np
import pytest
import tidecv

from odam_d2.analysis import ErrorRules, ImageErrors, Verdict, label_errors
from tests.analysis.scenes import annotation, errors_of, instances_of, judged_by_tidecv, random_case, record_of

# Boxes from the upper left corner, 100 wide: their heights in tens are their overlaps in tenths with the whole.
WHOLE = (0, 0, 100, 100)


def high(height):
    return (0, 0, 100, height)


FAR = (200, 200, 10, 10)


@pytest.mark.parametrize(
    "annotations, detections, expected",
    [
        # (verdict, object) of each detection
        ([annotation(WHOLE)], [(0, 0.9, high(50))], [("true_positive", 0)]),  # an IoU of .5 is enough
        ([annotation(WHOLE)], [(0, 0.9, high(49))], [("localisation", 0)]),
        ([annotation(WHOLE)], [(0, 0.9, high(10))], [("localisation", 0)]),
        ([annotation(WHOLE)], [(0, 0.9, high(9))], [("background", 0)]),
        ([annotation(WHOLE)], [(0, 0.9, FAR)], [("background", -1)]),
        ([annotation(WHOLE)], [(1, 0.9, high(50))], [("classification", 0)]),
        ([annotation(WHOLE)], [(1, 0.9, high(49))], [("both", 0)]),
        ([annotation(WHOLE)], [(1, 0.9, high(10))], [("background", 0)]),
        ([annotation(WHOLE)], [(0, 0.8, WHOLE), (0, 0.9, high(60))], [("duplicate", 0), ("true_positive", 0)]),
        # Of equal scores the first takes the object.
        ([annotation(WHOLE)], [(0, 0.9, high(60)), (0, 0.9, WHOLE)], [("true_positive", 0), ("duplicate", 0)]),
        # A taken object's place, missed by a little: exactly .5 is still a wrong place.
        ([annotation(WHOLE)], [(0, 0.9, WHOLE), (0, 0.8, high(50))], [("true_positive", 0), ("localisation", 0)]),
        # The place of an object of the class says more than one of another class that it overlaps further.
        ([annotation(high(30)), annotation(high(70), 1)], [(0, 0.9, WHOLE)], [("localisation", 0)]),
        # Another class says more than a duplicate.
        (
            [annotation(high(60)), annotation(high(70), 1)],
            [(0, 0.9, high(60)), (0, 0.8, WHOLE)],
            [("true_positive", 0), ("classification", 1)],
        ),
        # The best object is taken, but a second is free, and near enough.
        (
            [annotation(high(80)), annotation(high(60))],
            [(0, 0.9, high(80)), (0, 0.8, WHOLE)],
            [("true_positive", 0), ("true_positive", 1)],
        ),
        ([], [(0, 0.9, WHOLE)], [("background", -1)]),
        ([annotation(WHOLE)], [], []),
        ([], [], []),
        # A crowd of the class, and one of another; of objects marked with `ignore` likewise.
        ([annotation(WHOLE, iscrowd=1)], [(0, 0.9, (10, 10, 9, 9))], [("ignored", -1)]),
        ([annotation(WHOLE, ignore=1)], [(0, 0.9, (10, 10, 9, 9))], [("ignored", -1)]),
        ([annotation(WHOLE, 1, iscrowd=1)], [(0, 0.9, (10, 10, 9, 9))], [("background", -1)]),
        ([annotation(WHOLE, iscrowd=1)], [(0, 0.9, (90, 0, 20, 10))], [("background", -1)]),  # just half of it inside
        ([annotation(WHOLE, iscrowd=1), annotation(high(50))], [(0, 0.9, high(50))], [("true_positive", 0)]),
        ([annotation((0, 0, 0, 9)), annotation(WHOLE)], [(0, 0.9, WHOLE)], [("true_positive", 0)]),  # no object
    ],
)
def test_verdicts_by_hand(annotations, detections, expected):
    errors = errors_of((annotations, detections))
    assert [(v.word, row) for v, row in zip(errors.verdicts, errors.objects.tolist())] == expected
    instances = instances_of(*((label, score, *box) for label, score, box in detections), size=(300, 300))
    again = label_errors(instances, record_of(*annotations, size=(300, 300)))
    assert again.verdicts == errors.verdicts and again.objects.tolist() == errors.objects.tolist()


def test_which_detection_would_find_an_object_and_which_objects_are_missed():
    annotations = [annotation(WHOLE, name=7), annotation((200, 0, 100, 100), 1, name=8), annotation(FAR, name=9)]
    detections = [
        (0, 0.5, high(30)),  # localisation of 7
        (1, 0.6, WHOLE),  # classification of 7, and better
        (0, 0.4, (200, 0, 100, 90)),  # classification of 8, which is found
        (1, 0.9, (200, 0, 100, 80)),  # 8
    ]
    errors = errors_of((annotations, detections))
    assert [v.word for v in errors.verdicts] == ["localisation", "classification", "classification", "true_positive"]
    assert errors.mends.tolist() == [False, True, False, False]
    assert errors.found_by.tolist() == [-1, 3, -1] and errors.missed.tolist() == [False, False, True]
    assert errors.iou.tolist() == pytest.approx([0.3, 1.0, 0.9, 0.8])
    assert errors.rivals.tolist() == [-1, -1, -1, -1]


def test_a_duplicate_has_a_rival_and_a_crowd_its_share():
    annotations = [annotation(WHOLE, name="a"), annotation((200, 0, 50, 50), iscrowd=1, name="b")]
    detections = [(0, 0.5, high(80)), (0, 0.9, WHOLE), (0, 0.7, (240, 0, 15, 50))]
    errors = errors_of((annotations, detections))
    assert [v.word for v in errors.verdicts] == ["duplicate", "true_positive", "ignored"]
    assert errors.rivals.tolist() == [1, -1, -1] and errors.regions.tolist() == [-1, -1, 0]
    first, _, last = errors.detection_rows()
    assert first == {
        "verdict": "duplicate", "kind": "duplicate", "annotation_id": "a", "iou": 0.8, "region_id": None,
        "region_share": 0.0, "rival": 1, "mends": False,
    }  # fmt: skip
    assert last["verdict"] == "ignored" and last["kind"] == "background" and last["region_id"] == "b"
    assert last["region_share"] == pytest.approx(10 / 15)
    assert errors.object_rows() == [{"annotation_id": "a", "class": 0, "found_by": 1, "missed": False}]


def test_only_the_best_detections_of_an_image_count():
    case = [annotation(WHOLE)], [(0, 0.8, WHOLE), (0, 0.9, FAR), (0, 0.8, WHOLE)]
    errors = errors_of(case, ErrorRules(max_detections=2))
    assert [v.word for v in errors.verdicts] == ["true_positive", "background", "not_counted"]
    assert errors.falling.tolist() == [1, 0]
    errors = errors_of(case, ErrorRules(max_detections=1))
    assert [v.word for v in errors.verdicts] == ["not_counted", "background", "not_counted"]
    assert errors.missed.tolist() == [True]


def test_other_thresholds():
    case = [annotation(WHOLE)], [(0, 0.9, high(60)), (1, 0.8, high(25))]
    words = [v.word for v in errors_of(case, ErrorRules(0.75, 0.3)).verdicts]
    assert words == ["localisation", "background"]


@pytest.mark.parametrize("seed", range(20))
def test_rows_keep_everything(seed):
    case = random_case(np.random.default_rng(seed), 2, seed % 2 == 0, seed % 3 == 0, True)
    before = errors_of(case)
    detections, objects = json.loads(json.dumps([before.detection_rows(), before.object_rows()]))
    after = ImageErrors.from_rows(before.scores.tolist(), before.classes.tolist(), detections, objects)
    assert after.verdicts == before.verdicts
    for name in ("scores", "classes", "kinds", "ignored", "objects", "iou", "region_share", "mends", "found_by"):
        assert np.array_equal(getattr(after, name), getattr(before, name)), name
        assert getattr(after, name).dtype == getattr(before, name).dtype, name
    assert after.detection_rows() == before.detection_rows() and after.object_rows() == before.object_rows()


def test_verdicts_of_tidecv_on_random_images():
    kinds = {
        "ClassError": Verdict.CLASSIFICATION, "BoxError": Verdict.LOCALISATION, "OtherError": Verdict.BOTH,
        "DuplicateError": Verdict.DUPLICATE, "BackgroundError": Verdict.BACKGROUND,
    }  # fmt: skip
    seen = dict.fromkeys(Verdict, 0)
    for seed in range(100):
        generator = np.random.default_rng(seed)
        cases = [random_case(generator, 3, False, seed % 2 == 0, seed % 3 == 0) for _ in range(3)]
        run, _, ids = judged_by_tidecv(cases)
        labels = {e.pred["_id"]: (kinds[type(e).__name__], e) for e in run.errors if hasattr(e, "pred")}
        missed = {e.gt["_id"] for e in run.errors if isinstance(e, tidecv.MissedError)}
        annotation_ids = iter(range(1000))
        for case, names in zip(cases, ids):
            errors = errors_of(case)
            numbers = [next(annotation_ids) for _ in case[0]]
            objects = [number for number, one in zip(numbers, case[0]) if not one["iscrowd"]]
            assert [number in missed for number in objects] == errors.missed.tolist()
            for row, name in enumerate(names):
                kind, error = labels.get(name, (Verdict.TRUE_POSITIVE, None))
                assert kind == errors.kinds[row], (seed, row)
                used = run.preds.annotations[name]["used"]
                assert used is (None if errors.ignored[row] else kind == Verdict.TRUE_POSITIVE)
                if hasattr(error, "gt"):
                    assert error.gt["_id"] == objects[errors.objects[row]]
                seen[errors.verdicts[row]] += 1
    assert all(count > 30 for verdict, count in seen.items() if verdict is not Verdict.NOT_COUNTED), seen


@pytest.mark.parametrize(
    "boxes, scores, message",
    [
        ([[0, 0, float("nan"), 1]], [0.5], r"`boxes` must be finite; got \[0.0, 0.0, nan, 1.0\] for detection 0"),
        ([[0, 0, 1, 1]], [float("inf")], "`scores` must be finite; got .inf. for detection 0"),
    ],
)
def test_numbers_that_are_not_finite(boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        errors_of(([annotation(WHOLE)], [(0, scores[0], boxes[0])]))


@pytest.mark.parametrize(
    "arguments, message",
    [((0.5, 0.5), "`background` and `foreground` must be"), ((0.5, 0.0), "must be IoUs above 0"),
     ((1.1, 0.1), "got 0.1 and 1.1"), ((0.5, 0.1, 0), "`max_detections` must be at least 1; got 0")],
)  # fmt: skip
def test_rules_that_can_not_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        ErrorRules(*arguments)
