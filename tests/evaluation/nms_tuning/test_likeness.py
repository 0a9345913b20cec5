"""How alike maps are: one image worked out by hand, the plain double loop, and nothing at all."""

import pytest
import torch
from detectron2.structures import BoxMode

from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.evaluation.nms_tuning.candidates import Candidates
from odam_d2.evaluation.nms_tuning.likeness import pair_similarities, summarize_likeness


def objects(*boxes, classes=None, size=(100, 200)):
    classes = classes or [0] * len(boxes)
    items = [
        {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": label, "iscrowd": 0, "id": k}
        for k, (box, label) in enumerate(zip(boxes, classes))
    ]
    return TrueObjects.of({"image_id": 1, "file_name": "a", "height": size[0], "width": size[1], "annotations": items})


def candidates(boxes, similarity, classes=None, output_size=(100, 200)):
    count = len(boxes)
    labels = torch.tensor(classes or [0] * count, dtype=torch.int64)
    table = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return Candidates(table, torch.linspace(1, 0.5, count), labels, similarity, (100, 200), output_size)


def test_by_hand():
    # Two people side by side, overlapping; two boxes on each, one box on nobody.
    truth = objects((0, 0, 40, 80), (30, 0, 70, 80))
    boxes = [(0, 0, 40, 80), (30, 0, 70, 80), (0, 0, 40, 76), (40, 0, 72, 80), (150, 0, 190, 80)]
    alike = torch.arange(25.0).view(5, 5) / 100
    found = pair_similarities(candidates(boxes, alike), truth)
    # Of one person: (0, 2) and (1, 3). Of two: (0, 1) and (1, 2); (0, 3) and (2, 3) only touch: no common area.
    assert found["same"].tolist() == pytest.approx([0.02, 0.08])
    assert found["other"].tolist() == pytest.approx([0.01, 0.07])


def test_boxes_are_compared_in_the_frame_of_the_model_input():
    # The original image is twice as large as the model input, and so are its objects.
    truth = objects((0, 0, 80, 160), size=(200, 400))
    one = candidates([(0, 0, 40, 80), (0, 0, 40, 79)], torch.full((2, 2), 0.5), output_size=(200, 400))
    assert pair_similarities(one, truth)["same"].tolist() == [0.5]


def test_classes_stay_apart():
    truth = objects((0, 0, 40, 80), (10, 0, 50, 80), classes=[0, 1])
    one = candidates([(0, 0, 40, 80), (10, 0, 50, 80)], torch.full((2, 2), 0.5), classes=[0, 1])
    assert {kind: len(values) for kind, values in pair_similarities(one, truth).items()} == {"same": 0, "other": 0}


def test_against_a_double_loop():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(30, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 20 + torch.rand(30, 2, generator=generator) * 20], 1)
    truth = objects(*boxes[:6].add(torch.rand(6, 4, generator=generator) * 3).tolist())
    alike = torch.rand(30, 30, generator=generator)
    expected = {"same": [], "other": []}

    def iou(a, b):
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        inside = max(width, 0.0) * max(height, 0.0)
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return inside / (sum(areas) - inside)

    owners = []
    for box in boxes.tolist():
        overlaps = [iou(box, other) for other in truth.boxes.tolist()]
        owners.append(overlaps.index(max(overlaps)) if max(overlaps) >= 0.5 else None)
    for i in range(30):
        for j in range(i + 1, 30):
            if owners[i] is None or owners[j] is None:
                continue
            if owners[i] == owners[j]:
                expected["same"].append(float(alike[i, j]))
            elif iou(boxes[i].tolist(), boxes[j].tolist()) > 0:
                expected["other"].append(float(alike[i, j]))
    found = pair_similarities(candidates(boxes.tolist(), alike), truth)
    assert len(expected["same"]) > 3 and len(expected["other"]) > 3
    assert {kind: values.tolist() for kind, values in found.items()} == expected


def test_summary():
    parts = [
        {"same": torch.tensor([0.2, 0.4]), "other": torch.zeros(0)},
        {"same": torch.tensor([0.9]), "other": torch.zeros(0)},
    ]
    found = summarize_likeness(parts)
    assert found["same"] == pytest.approx({"pairs": 3, "mean": 0.5, "q10": 0.2, "q50": 0.4, "q90": 0.9})
    assert found["other"] == {"pairs": 0}
    assert summarize_likeness([]) == {"same": {"pairs": 0}, "other": {"pairs": 0}}


@pytest.mark.parametrize("boxes", [[], [(0, 0, 10, 10)]])
def test_nothing_to_compare(boxes):
    for truth in (objects(), objects((0, 0, 10, 10))):
        found = pair_similarities(candidates(boxes, torch.zeros(len(boxes), len(boxes))), truth)
        assert [len(found[kind]) for kind in ("same", "other")] == [0, 0]
