"""The evaluator behind Detectron2's own loop, on maps made by hand."""

import pytest
import torch
from detectron2.evaluation import inference_on_dataset

from odam_d2.evaluation import METRICS, ExplanationEvaluator, Measuring
from odam_d2.evaluation.runs import measuring as measuring_file
from odam_d2.evaluation.runs.evaluator import RESULTS, GuardedComparison
from odam_d2.store import RunFolder, RunReader, RunWriter
from tests.evaluation.scenes import BOXES, UNIFORM, delta, entry, output, record

NAMES = [
    name
    for name, metric in METRICS.items()
    if not (metric.needs_detector or metric.needs_explainer) and name != "runtime"
]
# The first method is right about both objects, the second takes each for the other.
METHODS = {"right": [delta(0, 0), delta(3, 3)], "wrong": [delta(3, 3), delta(0, 0)]}


def evaluate(entries, records, comparison=None, names=NAMES, **more):
    evaluator = ExplanationEvaluator(records, list(METHODS), Measuring(names), **more)
    comparison = comparison or (lambda batch: [output(METHODS)])
    return inference_on_dataset(GuardedComparison(comparison), [[one] for one in entries], evaluator), evaluator


def test_means_by_hand():
    found, evaluator = evaluate([entry(1), entry(2)], [record(1), record(2)])
    right = {"compactness": 0.0, "odi_box": 0.0, "odi_mask": 0.0, "sparsity": 1 - 1 / 16}
    assert found["right"] == pytest.approx({name: right.get(name, 1.0) for name in NAMES})
    wrong = {"compactness": 0.0, "odi_box": 1.0, "odi_mask": 1.0, "sparsity": 1 - 1 / 16}
    assert found["wrong"] == pytest.approx({name: wrong.get(name, 0.0) for name in NAMES})
    assert evaluator.summary["counts"]["matched"] == 4 and evaluator.summary["counts"]["images"] == 2
    assert evaluator.failures == [] and len(evaluator.results) == 2


def test_the_order_of_images_does_not_matter():
    records = [record(k) for k in range(4)]
    _, forward = evaluate([entry(k) for k in range(4)], records)
    _, backward = evaluate([entry(k) for k in (3, 1, 0, 2)], records)
    assert forward.results == backward.results and forward.summary == backward.summary


def test_objects_one_after_the_other_give_the_same(monkeypatch):
    _, together = evaluate([entry()], [record()])
    monkeypatch.setattr(measuring_file, "_PIXELS_AT_ONCE", 16)
    _, alone = evaluate([entry()], [record()])
    assert together.results == alone.results
    assert [pair[0] for pair in alone.results[0]["pairs"]["right"]["odi_box"]] == [0.0, 1.0]


def test_images_without_masks_have_the_rest():
    found, evaluator = evaluate([entry()], [record(masks=False)])
    assert set(found["right"]) == {name for name in NAMES if not METRICS[name].needs_masks}
    assert evaluator.summary["metrics"]["vea"]["why_none"] == "no masks"


def test_detections_that_match_nothing_are_counted():
    shifted = [[0.0, 0.0, 2.0, 1.0], BOXES[1]]
    found, evaluator = evaluate([entry()], [record()], lambda batch: [output(METHODS, boxes=shifted)])
    counts = evaluator.summary["counts"]
    assert (counts["objects"], counts["detections"], counts["low_iou"], counts["matched"]) == (2, 2, 1, 1)
    assert evaluator.results[0]["objects"][0]["annotation_id"] == 11
    assert found["right"]["pointing_box"] == 1.0


def test_images_without_a_match_need_no_maps():
    """Nothing is lost by leaving them out, and only they are."""
    far = [[0.0, 0.0, 1.0, 1.0]]
    with_maps = output({name: maps[:1] for name, maps in METHODS.items()}, boxes=far, scores=(0.9,))
    without = {**with_maps, "heatmaps": dict.fromkeys(METHODS)}
    entries, records, good = [entry(1), entry(2)], [record(1), record(2)], output(METHODS)
    (found, one), (expected, other) = (
        evaluate(entries, records, lambda batch, first=first: [first if batch[0]["image_id"] == 1 else good])
        for first in (without, with_maps)
    )
    assert found == expected and one.results == other.results and one.summary == other.summary
    assert not one.wants(entries[0], with_maps["instances"]) and one.wants(entries[1], good["instances"])


def test_no_detections_at_all():
    empty = output({name: [] for name in METHODS}, boxes=[], scores=())
    found, evaluator = evaluate([entry()], [record()], lambda batch: [empty])
    assert found == {"right": {}, "wrong": {}} and evaluator.summary["counts"]["objects"] == 2


def test_images_that_fail_are_listed_and_the_rest_goes_on(tmp_path):
    def comparison(batch):
        if batch[0]["image_id"] == 2:
            raise FloatingPointError("not finite")
        return [output(METHODS)]

    gone = {"image_id": 3, "height": 4, "width": 4, "failure": "no such file", "missing": True}
    broken = record(4)
    broken["annotations"][0]["segmentation"] = "what"
    records, store = [record(1), record(2), record(3), broken], RunWriter(tmp_path)
    found, evaluator = evaluate([entry(4), gone, entry(2), entry(1)], records, comparison, writer=store)
    assert found["right"]["pointing_box"] == 1.0 and len(evaluator.results) == 1
    assert [(one["image_id"], one["missing"]) for one in evaluator.failures] == [(2, False), (3, True), (4, False)]
    store.close()
    assert RunFolder(tmp_path).documents(RESULTS) == {"1": evaluator.results[0]}
    reader = RunReader(tmp_path)
    # In the order of the records; the image's two objects are there with their values.
    assert [(one.number, one.key, one.failure) for one in reader.images()] == [
        (0, "1", None), (1, "2", "not finite"), (2, "3", "no such file"), (3, "4", evaluator.failures[2]["error"]),
    ]  # fmt: skip
    rows = reader.image(0).detections
    assert [row.box for row in rows] == [tuple(one["box"]) for one in evaluator.results[0]["objects"]] and len(
        rows
    ) == 2
    assert [row.figures["right"]["pointing_box"] for row in rows] == [1.0, 1.0]


def test_finished_images_are_taken_as_they_are():
    records = [record(1), record(2)]
    _, whole = evaluate([entry(1), entry(2)], records)
    _, rest = evaluate([entry(2)], records, finished={1: whole.results[0]})
    assert rest.results == whole.results and rest.summary == whole.summary


def test_maps_of_zeros_have_defined_values():
    maps = {name: [torch.zeros(4, 4).tolist(), UNIFORM] for name in METHODS}
    found, _ = evaluate([entry()], [record()], lambda batch: [output(maps)])
    assert found["right"]["pointing_box"] == found["right"]["vea"] == 0.0 and found["right"]["odi_mask"] == 1.0
