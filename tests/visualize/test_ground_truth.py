"""Annotations are found for the right image, and detections are judged as COCO judges them."""

import json

import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.visualize.ground_truth import Annotation, CocoAnnotations, judge_detections, match_objects, to_instances


def coco(tmp_path, images, annotations=(), categories=((7, "dog"), (3, "cat"))):
    content = {
        "images": [{"id": k, **image} for k, image in enumerate(images)],
        "annotations": list(annotations),
        "categories": [{"id": number, "name": name} for number, name in categories],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    return tmp_path / "a.json"


def test_boxes_become_corners_and_classes_are_numbered_by_rising_id(tmp_path):
    item = {"image_id": 0, "bbox": [1, 2, 10, 20], "category_id": 7, "iscrowd": 1}
    path = coco(tmp_path, [{"file_name": "x.jpg", "height": 50, "width": 60}], [item])
    annotations = CocoAnnotations(path)
    assert annotations.class_names == ("cat", "dog")  # ids 3 and 7
    assert annotations.find("anywhere/x.jpg", 50, 60) == [Annotation((1.0, 2.0, 11.0, 22.0), "dog", 1, True)]
    assert annotations.find("y.jpg", 50, 60) is None


def test_the_detectors_own_names_come_first(tmp_path):
    items = [{"image_id": 0, "bbox": [0, 0, 1, 1], "category_id": c} for c in (3, 7)]
    annotations = CocoAnnotations(coco(tmp_path, [{"file_name": "x.jpg"}], items), ["bird", "dog"])
    assert [(a.label, a.class_id) for a in annotations.find("x.jpg", 5, 5)] == [("cat", -1), ("dog", 1)]
    assert annotations.class_names == ("bird", "dog")


def test_folders_tell_images_of_one_name_apart(tmp_path):
    items = [{"image_id": k, "bbox": [k, 0, 1, 1], "category_id": 3} for k in range(2)]
    annotations = CocoAnnotations(coco(tmp_path, [{"file_name": "a/x.jpg"}, {"file_name": "b/x.jpg"}], items))
    assert annotations.find("root/b/x.jpg", 5, 5)[0].box[0] == 1.0
    with pytest.raises(ValueError, match=r"name an image once; got \['a/x\.jpg', 'b/x\.jpg'\] for 'root/c/x\.jpg'"):
        annotations.find("root/c/x.jpg", 5, 5)


def test_another_size_is_refused(tmp_path):
    annotations = CocoAnnotations(coco(tmp_path, [{"file_name": "x.jpg", "height": 50, "width": 60}]))
    with pytest.raises(ValueError, match="annotated size of 60 x 50; got 50 x 60 for 'x.jpg'"):
        annotations.find("x.jpg", 60, 50)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": [], "annotations": [{"bbox": 1}], "categories": []}'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"must be a json file in the COCO format; got '.*a\.json': ."):
        CocoAnnotations(tmp_path / "a.json")
    with pytest.raises(ValueError, match="No such file"):
        CocoAnnotations(tmp_path / "b.json")


def test_what_can_be_explained():
    annotations = [
        Annotation((0, 0, 10, 10), "dog", 1),
        Annotation((0, 0, 10, 10), "dog", 1, crowd=True),
        Annotation((0, 0, 10, 10), "cat", -1),
        Annotation((5, 5, 5, 9), "dog", 1),  # no width
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
