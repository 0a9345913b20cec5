"""What of the annotations is shown and explained, and detections are judged as COCO judges them."""

import pytest
import torch
from detectron2.structures import Boxes, BoxMode, Instances

from odam_d2.visualize.ground_truth import Annotation, annotations_of, judge_detections, match_objects, to_instances


def test_annotations_of_a_record():
    about = {"bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    items = [
        {"bbox": [1, 2, 10, 20], **about, "id": "a"},
        {"bbox": [1, 2, 10, 20], **about, "iscrowd": 1},
        {"bbox": [1, 2, 10, 20], **about, "ignore": 1},
        {"bbox": [1, 2, 0, 20], **about},  # no width
        {"bbox": [0, 0, 1, 1], **about, "category_id": -1, "category": "zebra"},
    ]
    found = annotations_of({"annotations": items}, ("cat", "dog"))
    box = (1.0, 2.0, 11.0, 22.0)
    assert found == [
        Annotation(box, "dog", 1, id="a", occlusion=0.0),  # what hides it would be no object
        Annotation(box, "dog", 1, True, id=1, occlusion=1.0),
        Annotation(box, "dog", 1, True, id=2, occlusion=1.0),
        Annotation((0.0, 0.0, 1.0, 1.0), "zebra", -1, id=4, occlusion=0.0),
    ]


def test_what_can_be_explained():
    annotations = [
        Annotation((0, 0, 10, 10), "dog", 1),
        Annotation((0, 0, 10, 10), "dog", 1, crowd=True),
        Annotation((0, 0, 10, 10), "cat", -1),
        Annotation((2, 3, 4, 5), "bird", 0),
    ]
    given = to_instances(annotations, 20, 30)
    assert given.image_size == (20, 30)
    assert given.gt_boxes.tensor.tolist() == [[0, 0, 10, 10], [2, 3, 4, 5]] and given.gt_classes.tolist() == [1, 0]
    assert len(to_instances([], 20, 30)) == 0


def found(boxes, scores, classes):
    return Instances(
        (100, 100),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def test_verdicts():
    annotations = [
        Annotation((0, 0, 10, 10), "dog", 0),
        Annotation((50, 50, 90, 90), "dog", 0, crowd=True),
        Annotation((20, 0, 30, 10), "cat", 1),
    ]
    instances = found(
        [
            [0, 0, 10, 8],  # 80 / 100 of the dog, but with the lower score
            [0, 0, 10, 10],  # the dog
            [0, 0, 10, 4],  # 40 / 100 of it
            [55, 55, 65, 65],  # inside the crowd
            [20, 0, 30, 10],  # the cat's place, but called a dog
            [20, 0, 30, 10],  # the cat
        ],
        [0.5, 0.9, 0.8, 0.7, 0.6, 0.3],
        [0, 0, 0, 0, 0, 1],
    )
    verdicts = judge_detections(instances, annotations, ["dog", "cat"])
    assert [v["verdict"] for v in verdicts] == ["duplicate", "match", "miss", "crowd", "miss", "match"]
    assert [round(v["iou"], 4) for v in verdicts] == [0.8, 1.0, 0.4, 0.0, 0.0, 1.0]


def test_each_takes_the_free_object_that_it_overlaps_most():
    # Both objects overlap the second detection by at least .5; the better one (10 / 10) is taken by the first.
    annotations = [Annotation((0, 0, 10, 10), "dog", 0), Annotation((0, 0, 10, 14), "dog", 0)]
    instances = found([[0, 0, 10, 10], [0, 0, 10, 11]], [0.9, 0.8], [0, 0])
    verdicts = judge_detections(instances, annotations, ["dog"])
    assert [v["verdict"] for v in verdicts] == ["match", "match"]
    assert verdicts[1]["iou"] == pytest.approx(100 / 110)  # the largest with any, taken or not


def test_nothing_to_compare():
    assert judge_detections(found([], [], []), [Annotation((0, 0, 1, 1), "dog", 0)], ["dog"]) == []
    assert judge_detections(found([[0, 0, 1, 1]], [0.5], [0]), [], ["dog"]) == [{"iou": 0.0, "verdict": "miss"}]


def test_each_object_is_found_once_and_by_the_best_score():
    annotations = [
        Annotation((0, 0, 10, 10), "dog", 0),
        Annotation((2, 0, 12, 10), "dog", 0),
        Annotation((0, 0, 10, 10), "cat", 1),
        Annotation((0, 0, 10, 10), "dog", 0, crowd=True),
    ]
    # Both dogs lie best on the first object; the surer one takes it, the other one's next best is the second, at
    # 8 / 12. The third dog comes too late for both, and the bird has no object.
    detections = found([[0, 0, 10, 10]] * 4, [0.6, 0.9, 0.5, 0.8], [0, 0, 0, 2])
    assert match_objects(detections, annotations, ["dog", "cat", "bird"]) == {1: 0, 0: 1}
    assert match_objects(detections, [], ["dog"]) == {} == match_objects(detections[:0], annotations, ["dog"])
