"""Hand-made annotations and detections, and the same for the package ``tidecv``, which judges ours."""

import matplotlib
import numpy as np
import tidecv
import torch
from detectron2.structures import Boxes, BoxMode, Instances

from odam_d2.analysis import SPECIAL_TYPES, ErrorRules, JudgedAnnotations, judge_detections

# tidecv's short names, in the order of ours.
JUDGE_TYPES = {
    "Cls": "classification",
    "Loc": "localisation",
    "Both": "both",
    "Dupe": "duplicate",
    "Bkg": "background",
    "Miss": "missed",
    "FalsePos": SPECIAL_TYPES[0],
    "FalseNeg": SPECIAL_TYPES[1],
}


def annotation(box, label=0, name=None, **more):
    """A record's annotation with an x, y, width, height box."""
    about = {} if name is None else {"id": name}
    return {**about, "bbox": list(box), "bbox_mode": BoxMode.XYWH_ABS, "category_id": label, **more}


def record_of(*annotations, size=(100, 100), image_id=1):
    return {
        "file_name": f"{image_id}.png", "image_id": image_id, "height": size[0], "width": size[1],
        "annotations": list(annotations),
    }  # fmt: skip


def instances_of(*detections, size=(100, 100)):
    """From (class, score, x, y, width, height)."""
    numbers = torch.tensor([one[1:] for one in detections], dtype=torch.float32).view(-1, 5)
    return Instances(
        size,
        pred_boxes=Boxes(torch.cat([numbers[:, 1:3], numbers[:, 1:3] + numbers[:, 3:]], 1)),
        scores=numbers[:, 0],
        pred_classes=torch.tensor([one[0] for one in detections], dtype=torch.int64),
    )


def errors_of(case, rules=None):
    """Of an image given as (annotations, [(class, score, box), ..])."""
    annotations, detections = case
    classes, scores, boxes = ([one[k] for one in detections] for k in range(3))
    return judge_detections(boxes, scores, classes, JudgedAnnotations.of(record_of(*annotations)), rules)


def judged_by_tidecv(cases, rules=None):
    """tidecv's run on images as :func:`errors_of` takes them, and the ids that it gave their detections."""
    rules = rules or ErrorRules()
    truth, results = (tidecv.Data(name, rules.max_detections) for name in ("truth", "results"))
    ids = []
    for image, (annotations, detections) in enumerate(cases):
        for data in (truth, results):
            data.add_image(image, str(image))
        for one in annotations:
            add = truth.add_ignore_region if one.get("iscrowd") else truth.add_ground_truth
            add(image, one["category_id"], list(one["bbox"]))
        ids.append(list(range(len(results.annotations), len(results.annotations) + len(detections))))
        for label, score, box in detections:
            results.add_detection(image, label, score, list(box))
    with matplotlib.rc_context():  # it sets the style of all charts of the process
        tide = tidecv.TIDE(rules.foreground, rules.background)
    return tide.evaluate(truth, results, mode=tidecv.TIDE.BOX, name="run"), tide, ids


def random_case(generator, classes, ties, grid, crowds):
    """An image: up to 5 annotations, up to 8 detections, most of them near an annotation.

    Args:
        generator: numpy's.
        classes: how many there are; detections may say one more, that has no objects.
        ties: whether scores are few.
        grid: whether boxes lie on a coarse grid, so that overlaps are equal, and exactly thresholds.
        crowds: whether some annotations are crowds.
    """

    def box():
        if grid:
            return [10.0 * value for value in (*generator.integers(0, 5, 2), *generator.integers(1, 6, 2))]
        return [*(60 * generator.random(2)), *(1 + 60 * generator.random(2))]

    annotations = [
        annotation(box(), int(generator.integers(classes)), iscrowd=int(crowds and generator.random() < 0.3))
        for _ in range(generator.integers(0, 6))
    ]
    detections = []
    for _ in range(generator.integers(0, 9)):
        place, label = box(), int(generator.integers(classes + 1))
        if annotations and generator.random() < 0.8:
            near = annotations[generator.integers(len(annotations))]
            moved = 10.0 * generator.integers(-1, 2, 4) if grid else generator.normal(0, 8, 4)
            place = (np.array(near["bbox"]) + moved * (generator.random(4) < 0.4)).tolist()
            place[2:] = [max(side, 1.0) for side in place[2:]]
            label = near["category_id"] if generator.random() < 0.7 else label
        score = float(generator.choice([0.0, 0.1, 0.5, 0.9])) if ties else float(generator.random())
        detections.append((label, score, place))
    return annotations, detections
