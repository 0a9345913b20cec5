"""COCO results that pycocotools reads, with the same figures as from the detections themselves."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from odam_d2.export import CocoResults
from odam_d2.export.coco_results import CategoryIds
from odam_d2.store import DetectionRow, ImageRow, RunReader, RunWriter, StoredImage
from odam_d2.store.filters import Filter
from tests.export.runs import write_run

# Ids of categories and images that are neither in order nor without gaps.
CATEGORIES = [{"id": 44, "name": "ox"}, {"id": 2, "name": "cat"}, {"id": 17, "name": "dog"}]
NAMES = ("cat", "dog", "ox")
IDS = {"cat": 2, "dog": 17, "ox": 44}


def evaluated(truth: COCO, results) -> COCOeval:
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def test_figures_are_those_of_the_detections_themselves(tmp_path):
    random = np.random.default_rng(0)
    annotations, direct, images = [], [], []
    with RunWriter(tmp_path / "run") as writer:
        for number in range(30):
            image_id = 1000 - 7 * number
            images.append({"id": image_id, "height": 200, "width": 300})
            rows = []
            for _ in range(random.integers(0, 6)):
                x, y, w, h = random.random(4) * [200, 100, 90, 90] + [0, 0, 5, 5]
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, "iscrowd": 0, "area": w * h,
                                    "category_id": IDS[NAMES[random.integers(3)]], "bbox": [x, y, w, h]})  # fmt: skip
                for _ in range(random.integers(0, 4)):
                    moved = np.array([x, y, w, h]) + random.normal(size=4) * 3
                    label, score = NAMES[random.integers(3)], float(random.random())
                    direct.append({"image_id": image_id, "category_id": IDS[label], "score": score,
                                   "bbox": [*moved[:2], *(moved[:2] + moved[2:] - moved[:2])]})  # fmt: skip
                    box = (*moved[:2].tolist(), *(moved[:2] + moved[2:]).tolist())
                    rows.append(DetectionRow(box, NAMES.index(label), label, score))
            about = ImageRow(number, f"{image_id}", "a", "a", (200, 300), (200, 300), facts={"image_id": image_id})
            writer.write(StoredImage(about, (), rows))
        writer.put_run({"categories": CATEGORIES, "class_names": NAMES})
    truth = COCO()
    truth.dataset = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    truth.createIndex()
    with RunReader(tmp_path / "run") as reader:
        written = CocoResults(reader).write(tmp_path / "results.json")
    assert (written.boxes, written.notes) == (len(direct), [])
    ours, theirs = evaluated(truth, str(tmp_path / "results.json")), evaluated(truth, direct)
    assert 0.1 < theirs.stats[0] < 0.9
    assert ours.stats.tolist() == theirs.stats.tolist()
    assert all(np.array_equal(ours.eval[name], theirs.eval[name]) for name in ("precision", "recall", "scores"))


def test_what_is_known_of_each_detection_stands_with_it(tmp_path):
    write_run(tmp_path)
    with RunReader(tmp_path / "run") as reader:
        written = CocoResults(reader).write(tmp_path / "a.json")
    results = json.loads((tmp_path / "a.json").read_text())
    assert results[0] == {"image_id": 100, "category_id": 7, "bbox": [4.0, 6.0, 16.5, 24.25], "score": 0.9,
                          "verdict": "correct", "error": None, "mechanism": None, "outside": 0.25}  # fmt: skip
    known = [(one["image_id"], one["category_id"], one["verdict"], one["error"], one["outside"]) for one in results]
    assert known == [
        (100, 7, "correct", None, 0.25),
        (100, 3, "correct", None, 0.5),
        (100, 7, "duplicate", "duplicate", None),
        (100, 90, "background", "background", 1.0),
        (103, 3, None, None, None),
    ]
    assert (written.images, written.boxes) == (2, 5)
    assert written.notes == [
        "Boxes of other kinds are left out: 1 of kind 'annotation', 1 of kind 'missed'.",
        "Images that could not be read or explained are left out: 1.",
    ]


def test_a_run_without_ids(tmp_path):
    write_run(tmp_path, ids=False)
    with RunReader(tmp_path / "run") as reader:
        written = CocoResults(reader, Filter(label=["ox", "cat"])).write(tmp_path / "a.json")
    results = json.loads((tmp_path / "a.json").read_text())
    # Class numbers plus one, numbers of images, and their files.
    assert [(one["image_id"], one["category_id"]) for one in results] == [(0, 1), (0, 3), (3, 1)]
    assert results[2]["file_name"] == str(tmp_path / "images" / "3.png")
    assert written.notes[:2] == [
        "Images without a known id have their number in the run: 2.",
        "Classes without a known category have ids of our own: 'cat', 'ox'.",
    ]


def test_nothing_is_an_empty_list(tmp_path):
    write_run(tmp_path)
    with RunReader(tmp_path / "run") as reader:
        written = CocoResults(reader, Filter(score=(2.0, None))).write(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == [] and written.boxes == written.images == 0


def test_boxes_without_scores_are_no_results(tmp_path):
    write_run(tmp_path)
    with RunWriter(tmp_path / "run") as writer:
        image = ImageRow(9, "9", "9", "9", (8, 8), (8, 8), facts={"image_id": 9})
        writer.write(StoredImage(image, None, [DetectionRow((0.0, 0.0, 4.0, 4.0), 0, "cat")]))
    with RunReader(tmp_path / "run") as reader:
        with pytest.raises(ValueError, match=r"`kind` must be among \['detection'\] for this tool; got \['missed'\]"):
            CocoResults(reader, Filter(kind=["missed", "detection"]))
        written = CocoResults(reader).write(tmp_path / "a.json")
    assert written.boxes == 5 and "Detections without a score are left out: 1." in written.notes


def test_ids_of_categories():
    ids = CategoryIds(CATEGORIES)
    assert [ids.of(k, name) for k, name in enumerate(NAMES)] == [2, 17, 44] and ids.without == set()
    assert ids.of(5, "bird") == 5 + 45 and ids.without == {"bird"}
    assert CategoryIds([{"id": "a", "name": "cat"}]).of(1, "dog") == 2
