"""Figures of a run on disk, against those of the same images in memory."""

import json

import numpy as np
import pytest
import torch

from odam_d2.analysis import Atlas, ContextMatrix, ErrorTally, heat_context, label_errors, own_objects
from odam_d2.analysis.image_analysis import ImageAnalysis, ImageAnalyst
from odam_d2.analysis.misses import Evidence, Miss
from odam_d2.analysis.run_summary import ANALYSIS, analysis_document, summarise_run
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.store import ImageRow, RunFolder, RunReader, RunWriter, StoredImage
from odam_d2.structures import HeatMaps
from tests.analysis.scenes import annotation, instances_of, record_of

NAMES = ("cat", "dog", "ox")
SIZE = (10, 10)


def heat_of(count, seed):
    """Maps of whole 255ths, of which nothing is rounded on disk."""
    steps = np.random.default_rng(seed).integers(0, 256, (count, 100))
    steps[:, :2] = 0, 255
    return HeatMaps(
        torch.tensor(steps / 255, dtype=torch.float32).view(1, -1), torch.tensor([[0, 0, *SIZE]]).repeat(count, 1),
        torch.tensor([SIZE]).repeat(count, 1), torch.ones(count, 2), ("score",), SIZE, SIZE, class_names=NAMES,
    )  # fmt: skip


IMAGES = [
    ([(0, 0.9, 0, 0, 4, 4), (0, 0.8, 0, 0, 4, 3.5), (1, 0.7, 5, 5, 4, 4)],
     [annotation((0, 0, 4, 4), 0, 1), annotation((5, 5, 4, 4), 2, 2), annotation((0, 8, 2, 2), 1, 3)]),
    ([(1, 0.6, 5, 0, 3, 3)], [annotation((5, 0, 3, 3), 1, 4), annotation((0, 4, 3, 3), 1, 5, iscrowd=1)]),
    ([], [annotation((2, 2, 5, 5), 0, 6)]),
    ([(0, 0.5, 1, 1, 3, 3)], []),
]  # fmt: skip


def analysis_of(number):
    detections, annotations = IMAGES[number]
    found, record = instances_of(*detections, size=SIZE), record_of(*annotations, size=SIZE, image_id=number)
    found.heatmaps = heat_of(len(detections), number)
    errors, truth = label_errors(found, record), TrueObjects.of(record)
    context = heat_context(found.heatmaps, found.pred_boxes.tensor, truth, own_objects(errors))
    misses = [
        Miss(truth.ids[row], tuple(truth.boxes[row].tolist()), int(truth.classes[row]), "low_score", "score_filter",
             Evidence(0.5), "It scores too little.")
        for row in np.flatnonzero(errors.missed)
    ]  # fmt: skip
    # Missed objects have maps of their own, which are none of detections.
    maps = {(number, "object"): (heat_of(1, 99), 0.01) for number in range(len(misses))}
    return ImageAnalysis(found, errors, context, (), misses, maps), record


class Explained:
    """What an analyst asks of an explainer that isn't called."""

    attributes = ("score",)


def write(folder, places=(0, 1, 2, 3), rank=0):
    analyst = ImageAnalyst({"odam": Explained()}, None, NAMES, None)
    with RunWriter(folder, rank) as writer:
        for number in places:
            analysis, record = analysis_of(number)
            row = ImageRow(number, str(number), f"{number}.png", f"{number}.png")
            stored, document = analyst.stored(row, analysis, record), analysis_document(number, analysis, 3)
            writer.write(stored, {(ANALYSIS, str(number)): json.loads(json.dumps(document))})
        writer.put_run({"class_names": NAMES})


def summary_of(folder):
    with RunReader(folder) as reader:
        return summarise_run(reader, 3, "odam", quiet=True)


def test_the_sums_are_those_of_memory_to_the_last_digit(tmp_path):
    write(tmp_path)
    run = summary_of(tmp_path)
    tally, matrix, atlas = ErrorTally(), ContextMatrix(3), Atlas(("score",))
    for number in range(len(IMAGES)):
        one, _ = analysis_of(number)
        tally.add(number, one.errors)
        matrix.add(number, one.errors.classes, one.context, one.errors.object_classes)
        atlas.add(one.found.pred_classes, one.found.pred_boxes.tensor, one.found.heatmaps)
    errors, context = tally.summary(), matrix.summary()
    # Dog 3 and cat 6 are missed; ox 2 is taken for a dog. Crowd 5 is no object.
    assert (run.images, run.detections, run.objects) == (4, 5, 5)
    assert run.mechanisms == {"low_score": {"cat": 1, "dog": 1}}
    assert (run.errors.ap, run.errors.counts, run.errors.weights) == (errors.ap, errors.counts, errors.weights)
    assert run.errors.counts["missed"] == 2 and run.errors.counts["duplicate"] == 1
    for name in ("counts", "images", "share", "low", "high", "even"):
        np.testing.assert_array_equal(getattr(run.context, name), getattr(context, name))
    wanted = atlas.summary()
    assert list(run.atlas) == list(wanted) == [0, 1]
    for label, maps in run.atlas.items():
        np.testing.assert_allclose(maps.mean, wanted[label].mean, atol=1e-6)
        np.testing.assert_array_equal(maps.detections, wanted[label].detections)
    assert wanted[0].detections.tolist() == [3]


def test_as_json_and_as_text(tmp_path):
    write(tmp_path)
    run = summary_of(tmp_path)
    found = json.loads(json.dumps(run.as_json(), allow_nan=False))
    assert found["counts"] == {"images": 4, "detections": 5, "objects": 5}
    assert found["context"]["classes"] == list(NAMES)
    # No ox was detected.
    assert found["context"]["counts"][2] == [0] * 5 and found["context"]["share"][2] == [None] * 5
    assert found["errors"]["types"]["missed"]["count"] == 2 and set(found["errors"]["classes"]) == set(NAMES)
    assert found["atlas"] == {
        "cat": {"score": {"detections": 3, "images": 2}}, "dog": {"score": {"detections": 2, "images": 2}},
    }  # fmt: skip
    lines = run.text().splitlines()
    assert lines[0] == "4 images, 5 detections, 5 annotated objects" and lines[1].startswith("AP at IoU .5 (TIDE): ")
    assert lines[-2:] == ["2 missed objects by mechanism:", f"  {'low_score':<22}{2:>6}"]
    assert [line.split()[0] for line in lines[3:9]] == [
        "classification", "localisation", "both", "duplicate", "background", "missed",
    ]  # fmt: skip


def test_any_number_of_parts_in_any_order_give_the_same(tmp_path):
    keys = {str(number): "" for number in range(len(IMAGES))}
    for name, parts in {"one": [range(4)], "two": [[3, 1], [2, 0]]}.items():
        RunFolder(tmp_path / name).start({}, False, keys)
        for rank, places in enumerate(parts):
            write(tmp_path / name, places, rank)
    one, two = (summary_of(tmp_path / name) for name in ("one", "two"))
    assert one.as_json() == two.as_json() and one.text() == two.text()
    for label, maps in one.atlas.items():
        np.testing.assert_array_equal(maps.mean, two.atlas[label].mean)
        np.testing.assert_array_equal(maps.low, two.atlas[label].low)


def test_images_that_failed_count_for_nothing(tmp_path):
    write(tmp_path, [0])
    with RunWriter(tmp_path) as writer:
        writer.write(StoredImage(ImageRow(1, "1", "1.png", "1.png", failure="broken")))
    both = summary_of(tmp_path)
    write(tmp_path / "alone", [0])
    assert both.images == 1 and both.as_json() == summary_of(tmp_path / "alone").as_json()


def test_without_annotations_there_are_no_errors(tmp_path):
    analysis, _ = analysis_of(0)
    unjudged = ImageAnalysis(analysis.found, context=analysis.context)
    assert analysis_document(0, unjudged, 3) is None
    analyst = ImageAnalyst({"odam": Explained()}, None, NAMES, None)
    with RunWriter(tmp_path) as writer:
        writer.write(analyst.stored(ImageRow(0, "0", "0.png", "0.png"), unjudged, None))
        writer.put_run({"class_names": NAMES})
    run = summary_of(tmp_path)
    assert (run.errors, run.context, run.mechanisms) == (None, None, {}) and list(run.atlas) == [0, 1]
    assert set(run.as_json()) == {"counts", "atlas"}
    assert run.text() == "1 images, 3 detections, 0 annotated objects"


def test_a_run_of_no_detections_has_no_atlas(tmp_path):
    write(tmp_path, [2])
    run = summary_of(tmp_path)
    assert run.atlas == {} and run.errors.ap == 0.0 and run.detections == 0
    assert run.context.counts.sum() == 0 and bool(np.isnan(run.context.share).all())


@pytest.mark.parametrize("number", range(len(IMAGES)))
def test_rows_of_a_context_make_the_same_matrix(number):
    one, _ = analysis_of(number)
    first, second = ContextMatrix(3), ContextMatrix(3)
    first.add(number, one.errors.classes, one.context, one.errors.object_classes)
    second.add_rows(number, json.loads(json.dumps(first.rows_of(number))))
    assert first.rows_of(number + 1) == []
    for name, values in vars(first.summary()).items():
        np.testing.assert_array_equal(values, getattr(second.summary(), name))
