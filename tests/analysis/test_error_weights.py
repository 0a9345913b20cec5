"""Counts and weights of errors: by hand, as tidecv has them, in any order, of many."""

import cv2
import numpy as np
import pytest
import tidecv
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from odam_d2 import OdamPredictor, model_zoo
from odam_d2.analysis import (
    ERROR_TYPES,
    SPECIAL_TYPES,
    ErrorRules,
    ErrorTally,
    ImageErrors,
    JudgedAnnotations,
    label_errors,
)
from odam_d2.data.inputs import InputMaker
from odam_d2.evaluation import records_from_dataset
from tests.analysis.scenes import JUDGE_TYPES, annotation, errors_of, judged_by_tidecv, random_case
from tests.helpers import synthetic_dataset

ERRORS = dict(
    zip(ERROR_TYPES, ("ClassError", "BoxError", "OtherError", "DuplicateError", "BackgroundError", "MissedError"))
)
WHOLE, HALF, FAR = (0, 0, 100, 100), (0, 0, 100, 40), (200, 200, 10, 10)


def tally_of(cases, rules=None):
    tally = ErrorTally()
    for image, case in enumerate(cases):
        tally.add(image, errors_of(case, rules))
    return tally


def assert_equal_to_tidecv(summary, run, tide):
    """All figures, in all and by class; where mending leaves nothing tidecv divides by zero, and ours are NaN."""
    assert summary.ap == pytest.approx(run.ap, abs=1e-9)
    counts = {JUDGE_TYPES[kind.short_name]: count for kind, count in run.count_errors().items()}
    assert {kind: summary.counts[kind] for kind in ERROR_TYPES} == counts
    try:
        found = tide.get_all_errors()
    except ZeroDivisionError:
        assert any(np.isnan(weight) for weight in summary.weights.values())
        return
    expected = {JUDGE_TYPES[name]: value for part in found.values() for name, value in part["run"].items()}
    assert summary.weights == pytest.approx(expected, abs=1e-9)
    for number, label in enumerate(summary.classes.tolist()):
        before = class_ap(run.ap_data, label)
        assert summary.class_ap[number] == pytest.approx(before, abs=1e-9, nan_ok=True)
        for name, kind in ERRORS.items():
            mended = run.fix_errors(condition=lambda error, kind=kind: type(error).__name__ == kind)
            gain = class_ap(mended, label) - before
            assert summary.class_weights[name][number] == pytest.approx(gain, abs=1e-9, nan_ok=True)
            mine = [error for error in run.errors if type(error).__name__ == kind]
            labels = [(error.pred if hasattr(error, "pred") else error.gt)["class"] for error in mine]
            assert summary.class_counts[name][number] == labels.count(label)


def class_ap(data, label):
    """tidecv's AP of a class; NaN where nothing of it is there."""
    one = data.objs.get(label)
    return np.nan if one is None or one.is_empty() else one.get_ap()


def test_by_hand():
    # Class 0: of two objects one is found after a wrong place for the other. Class 1: one object, found, behind a
    # detection of the background.
    cases = [
        ([annotation(WHOLE), annotation(FAR)], [(0, 0.9, HALF), (0, 0.8, FAR)]),
        ([annotation(WHOLE, 1)], [(1, 0.7, FAR), (1, 0.6, WHOLE)]),
    ]
    summary = tally_of(cases).summary()
    # Class 0: precision .5 up to recall .5, which are 51 of 101 points. Class 1: .5 at all recalls.
    first = 100 * 51 / 101 * 0.5
    assert summary.classes.tolist() == [0, 1]
    assert summary.class_ap.tolist() == pytest.approx([first, 50.0])
    assert summary.ap == pytest.approx((first + 50) / 2)
    assert summary.counts == {
        "classification": 0, "localisation": 1, "both": 0, "duplicate": 0, "background": 1, "missed": 0,
        "false_positives": 2, "false_negatives": 1,
    }  # fmt: skip
    assert summary.class_counts["localisation"].tolist() == [1, 0]
    # Mended, class 0 finds both: AP 100. Without the background class 1 has 100. With all that is wrong behind all that
    # is right: class 0 has precision 1 up to recall .5. Without the object that isn't found: precision .5 everywhere.
    assert summary.class_weights["localisation"].tolist() == pytest.approx([100 - first, 0])
    assert summary.weights == pytest.approx({
        "classification": 0, "localisation": (100 - first) / 2, "both": 0, "duplicate": 0, "background": 25,
        "missed": 0, "false_positives": (first + 50) / 2, "false_negatives": (50 - first) / 2,
    })  # fmt: skip


def test_a_class_without_objects_and_nothing_at_all():
    summary = tally_of([([annotation(WHOLE)], [(0, 0.9, WHOLE), (1, 0.8, FAR)])]).summary()
    assert summary.class_ap.tolist() == [100.0, 0.0] and summary.ap == 50.0
    # Nothing is left of class 1, and it counts no more.
    assert summary.weights["background"] == 50.0 and np.isnan(summary.class_weights["background"][1])
    for cases in ([], [([], [])], [([annotation(WHOLE, iscrowd=1)], [(0, 0.9, WHOLE)])]):
        summary = tally_of(cases).summary()
        assert np.isnan(summary.ap) and np.isnan(summary.class_ap).all()
        assert all(np.isnan(weight) for weight in summary.weights.values())
    assert summary.counts["background"] == 1 == summary.ignored["background"]


@pytest.mark.parametrize("part", range(4))
def test_two_hundred_random_data_sets_against_tidecv(part):
    seen = np.zeros(4, dtype=int)  # crowds, detections at the same score, images without objects or detections
    for seed in range(50 * part, 50 * part + 50):
        generator = np.random.default_rng(seed)
        ties, grid, crowds = (bool(generator.integers(2)) for _ in range(3))
        rules = ErrorRules(max_detections=3) if seed % 5 == 0 else ErrorRules()
        # One object that is found, or tidecv might have nothing to take a mean of.
        cases = [([annotation(WHOLE)], [(0, 1.0, WHOLE)])]
        classes = int(generator.integers(1, 4))
        cases += [random_case(generator, classes, ties, grid, crowds) for _ in range(generator.integers(1, 8))]
        run, tide, _ = judged_by_tidecv(cases, rules)
        assert_equal_to_tidecv(tally_of(cases, rules).summary(), run, tide)
        seen += [
            any(one.get("iscrowd") for annotations, _ in cases[1:] for one in annotations),
            ties,
            any(not annotations for annotations, _ in cases),
            any(not detections for _, detections in cases),
        ]
    assert (seen >= 10).all(), seen


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    """The name of a small part of the synthetic validation set."""
    with synthetic_dataset("errors_val", "scene", "val", tmp_path_factory.mktemp("errors"), 8) as name:
        yield name


@pytest.mark.parametrize("name", ["faster_rcnn", "fcos"])
def test_a_bundled_detector_on_synthetic_images_against_tidecv(name, validation):
    cfg = model_zoo.get_config(f"synthetic/{name}_compact_FPN")
    predictor, make_input = OdamPredictor(cfg, score_threshold=0.05), InputMaker.from_config(cfg)
    records = records_from_dataset(validation, predictor.class_names, len(predictor.class_names))
    tally, cases = ErrorTally(), []
    for image, record in enumerate(records):
        with torch.no_grad():
            found = predictor.model([make_input(cv2.imread(record["file_name"]))])[0]["instances"]
        tally.add(image, label_errors(found, record))
        boxes = found.pred_boxes.tensor.clone()
        boxes[:, 2:] -= boxes[:, :2]
        results = zip(found.pred_classes.tolist(), found.scores.tolist(), boxes.tolist(), strict=True)
        truth = JudgedAnnotations.of(record)
        annotations = [annotation(box, label) for box, label in zip(truth.boxes.tolist(), truth.classes.tolist())]
        cases.append((annotations, list(results)))
    run, tide, _ = judged_by_tidecv(cases)
    summary = tally.summary()
    assert_equal_to_tidecv(summary, run, tide)
    assert 20 < summary.ap < 100 and sum(summary.counts[kind] for kind in ERROR_TYPES) > 20
    assert len(summary.classes) > 1


def test_where_it_is_coco_s_ap_and_where_not():
    generator = np.random.default_rng(3)
    cases = [random_case(generator, 3, False, False, False) for _ in range(40)]
    summary = tally_of(cases).summary()
    ap, by_class = coco_ap50(cases)
    # Class 3 has no objects: COCO leaves it out.
    assert summary.classes.tolist() == [0, 1, 2, 3] and summary.class_ap[3] == 0.0
    # COCO's recalls are a few units in the last place beside k / 100, which may move one of 101 points.
    assert summary.class_ap[:3] == pytest.approx(by_class, abs=100 / 101 * 1.001)
    assert summary.ap == pytest.approx(summary.class_ap[:3].mean() * 3 / 4)
    assert ap == pytest.approx(np.mean(by_class))


def coco_ap50(cases):
    """AP50 in percent, in all and of each class that has objects."""
    truth, results = COCO(), COCO()
    number = iter(range(1, 10_000))
    images = [{"id": image, "width": 200, "height": 200} for image in range(len(cases))]
    categories = [{"id": k, "name": str(k)} for k in range(4)]
    truth.dataset = {"images": images, "categories": categories, "annotations": [
        {"id": next(number), "image_id": image, "category_id": one["category_id"], "bbox": one["bbox"], "iscrowd": 0,
         "area": one["bbox"][2] * one["bbox"][3]}
        for image, (annotations, _) in enumerate(cases) for one in annotations
    ]}  # fmt: skip
    truth.createIndex()
    results.dataset = {"images": images, "categories": categories, "annotations": [
        {"id": next(number), "image_id": image, "category_id": label, "bbox": box, "score": score, "iscrowd": 0,
         "area": box[2] * box[3]}
        for image, (_, detections) in enumerate(cases) for label, score, box in detections
    ]}  # fmt: skip
    results.createIndex()
    judge = COCOeval(truth, results, "bbox")
    judge.params.iouThrs, judge.params.areaRng, judge.params.areaRngLbl = np.array([0.5]), [[0, 1e10]], ["all"]
    judge.evaluate()
    judge.accumulate()
    precision = judge.eval["precision"][0, :, :, 0, -1]  # recalls, classes
    return 100 * precision[:, :3].mean(), (100 * precision[:, :3].mean(0)).tolist()


def test_order_and_processes_make_no_difference():
    generator = np.random.default_rng(0)
    cases = [random_case(generator, 3, True, True, True) for _ in range(30)]
    whole = tally_of(cases).summary()
    first, second = ErrorTally(), ErrorTally()
    for image in generator.permutation(30).tolist():
        (first if image % 3 else second).add(image, errors_of(cases[image]))
    second.merge(first)
    merged = second.summary()
    assert merged.weights == whole.weights and merged.counts == whole.counts and merged.ap == whole.ap
    assert np.array_equal(merged.class_ap, whole.class_ap, equal_nan=True)


def test_a_million_detections_fit():
    count = 1_000_000
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 6, count).astype(np.int8)
    none = np.full(count, -1, dtype=np.int64)
    objects = int((rows == 0).sum())
    errors = ImageErrors(
        scores=generator.random(count), classes=generator.integers(0, 80, count), kinds=rows,
        ignored=np.zeros(count, dtype=bool), objects=none, regions=none, iou=np.zeros(count),
        region_share=np.zeros(count), mends=np.zeros(count, dtype=bool), found_by=np.flatnonzero(rows == 0),
        missed=np.zeros(objects, dtype=bool), object_classes=np.zeros(objects, dtype=np.int64),
        object_ids=list(range(objects)), region_ids=[],
    )  # fmt: skip
    tally = ErrorTally()
    tally.add(0, errors)
    assert tally.nbytes == 27 * count + 6 * objects
    summary = tally.summary()
    assert sum(summary.counts[kind] for kind in ERROR_TYPES) == count - objects == summary.counts[SPECIAL_TYPES[0]]
    assert 0 < summary.ap < 100


def test_the_judge_has_the_types_that_are_compared():
    assert {kind: getattr(tidecv, kind) for kind in ERRORS.values()} and set(JUDGE_TYPES.values()) == {
        *ERROR_TYPES, *SPECIAL_TYPES,
    }  # fmt: skip
