"""Shares of heat, on an image of 4 x 4 pixels by hand, and against a loop over pixels."""

import json

import numpy as np
import pytest
import torch

from odam_d2.analysis import heat_context, label_errors, own_objects
from odam_d2.evaluation import TrueObjects
from tests.analysis.scenes import annotation, instances_of, record_of
from tests.evaluation import scenes

NONE = np.zeros(0, dtype=np.int64)


def truth_of(*boxes_and_masks, size=(4, 4)):
    items = [
        annotation(box, name=10 + k, **({} if pixels is None else {"segmentation": mask_of(pixels, size)}))
        for k, (box, pixels) in enumerate(boxes_and_masks)
    ]
    return TrueObjects.of(record_of(*items, size=size))


def mask_of(pixels, size):
    """Uncompressed run lengths, column by column, of some (y, x) pixels."""
    mask = np.zeros(size, dtype=int)
    for y, x in pixels:
        mask[y, x] = 1
    runs, value = [0], 0
    for one in mask.T.flatten().tolist():
        if one != value:
            runs.append(0)
            value = one
        runs[-1] += 1
    return {"size": list(size), "counts": runs}


def test_by_hand():
    # Object 0: the upper left 2 x 2. Object 1: the two upper rows. Object 2: a mask of one pixel in the lower row.
    truth = truth_of(((0, 0, 2, 2), None), ((0, 0, 4, 2), None), ((0, 2, 4, 2), [(3, 3)]))
    heat = np.zeros((4, 4))
    heat[0, 0], heat[0, 3], heat[2, 2], heat[3, 3] = 4, 3, 2, 1  # the least is 0, so that normalising divides by 4
    maps = scenes.heatmaps(heat.tolist(), heat.tolist(), heat.tolist(), np.zeros((4, 4)).tolist())
    boxes = torch.tensor([[0.0, 0.0, 4.0, 1.0]]).repeat(4, 1)
    found = heat_context(maps, boxes, truth, np.array([0, 2, -1, 0]))
    assert found.outside[:3].tolist() == pytest.approx([0.3] * 3)
    # (0, 0) is object 0's own; otherwise half of it is object 0's, and half object 1's.
    assert found.own[:3].tolist() == pytest.approx([0.4, 0.1, 0.0])
    assert found.background[:3].tolist() == pytest.approx([0.2] * 3)
    assert found.on_others[:3].tolist() == [
        pytest.approx([0.0, 0.3, 0.1]), pytest.approx([0.2, 0.5, 0.0]), pytest.approx([0.2, 0.5, 0.1]),
    ]  # fmt: skip
    assert found.on_boxes[0].tolist() == pytest.approx([0.4, 0.7, 0.3])
    assert np.isnan(found.on_masks[0, :2]).all() and found.on_masks[0, 2] == pytest.approx(0.1)
    # Of 16 pixels: 4 beside object 0 in object 1, one in object 2; and 4 shared ones.
    assert found.even[0].tolist() == [0, 4 / 16, 1 / 16] and found.even[2].tolist() == [2 / 16, 6 / 16, 1 / 16]
    for name in ("outside", "own", "background", "on_others", "even", "on_boxes", "on_masks"):
        assert np.isnan(getattr(found, name)[3]).all(), name
    rows = json.loads(json.dumps(found.rows(least=0.15)))
    assert rows[1] == {
        "outside": pytest.approx(0.3), "own": pytest.approx(0.1), "background": pytest.approx(0.2),
        "others": [
            {"annotation_id": 11, "share": pytest.approx(0.5), "in_box": pytest.approx(0.7), "in_mask": None},
            {"annotation_id": 10, "share": pytest.approx(0.2), "in_box": pytest.approx(0.4), "in_mask": None},
        ],
    }  # fmt: skip
    assert rows[3] == {"outside": None, "own": None, "background": None, "others": []}


@pytest.mark.parametrize("seed", range(6))
def test_against_a_loop_over_pixels(seed, monkeypatch):
    if seed % 2:
        monkeypatch.setattr("odam_d2.analysis.heat_shares._AT_ONCE", 1)
    generator = np.random.default_rng(seed)
    maps = [np.maximum(generator.normal(size=(4, 4)), 0).tolist() for _ in range(5)]
    objects = []
    for _ in range(generator.integers(1, 5)):
        x, y = generator.integers(0, 3, 2).tolist()
        width, height = generator.integers(1, 4, 2).tolist()
        pixels = [(y, x)] + [(i, j) for i in range(4) for j in range(4) if generator.random() < 0.3]
        objects.append(((x, y, width, height), pixels if generator.random() < 0.5 else None))
    truth = truth_of(*objects)
    own = generator.integers(-1, len(objects), 5)
    corner = torch.from_numpy(generator.integers(0, 3, (5, 2))).float()
    boxes = torch.cat([corner, corner + torch.from_numpy(generator.integers(1, 3, (5, 2))).float()], 1)
    found = heat_context(scenes.heatmaps(*maps), boxes, truth, own)

    def owners(y, x, o):
        members = [
            (y, x) in pixels if pixels is not None else box[0] <= x < box[0] + box[2] and box[1] <= y < box[1] + box[3]
            for box, pixels in objects
        ]
        others = [g for g, inside in enumerate(members) if inside]
        return [o] if o in others else others

    for r in range(5):
        heat = np.array(maps[r])
        heat = (heat - heat.min()) / (heat.max() - heat.min())
        own_share, background, others = 0.0, 0.0, np.zeros(len(objects))
        even, outside = np.zeros(len(objects)), 0.0
        for y in range(4):
            for x in range(4):
                share = heat[y, x] / heat.sum()
                members = owners(y, x, own[r])
                x1, y1, x2, y2 = boxes[r].tolist()
                outside += 0 if x1 <= x < x2 and y1 <= y < y2 else share
                if own[r] in members:
                    own_share += share
                elif members:
                    others[members] += share / len(members)
                    even[members] += 1 / len(members) / 16
                else:
                    background += share
        assert found.own[r] == pytest.approx(own_share, abs=1e-6)  # maps are float32
        assert found.background[r] == pytest.approx(background, abs=1e-6)
        assert found.on_others[r] == pytest.approx(others, abs=1e-6)
        assert found.even[r] == pytest.approx(even) and found.outside[r] == pytest.approx(outside, abs=1e-6)
        assert found.own[r] + found.background[r] + found.on_others[r].sum() == pytest.approx(1.0)


def test_without_objects_and_without_detections():
    truth = truth_of()
    maps = scenes.heatmaps(scenes.delta(1, 1), scenes.delta(3, 3))
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]]).repeat(2, 1)
    found = heat_context(maps, boxes, truth, np.array([-1, -1]))
    assert found.outside.tolist() == [0.0, 1.0] and found.background.tolist() == [1.0, 1.0]
    assert found.on_others.shape == (2, 0) and found.rows()[0]["others"] == []
    nothing = heat_context(maps[[]], boxes[:0], truth_of(((0, 0, 2, 2), None)), NONE)
    assert len(nothing) == 0 and nothing.on_boxes.shape == (0, 1) and nothing.rows() == []


def test_a_box_too_few():
    maps = scenes.heatmaps(scenes.delta(1, 1))
    with pytest.raises(ValueError, match="`boxes` and `own` must be given for each of the 1 maps; got 1 and 0"):
        heat_context(maps, torch.zeros(1, 4), truth_of(), NONE)


def test_whose_object_a_detection_is_of():
    found = instances_of(
        (0, 0.9, 0, 0, 100, 100), (0, 0.8, 0, 0, 100, 30), (1, 0.7, 0, 0, 100, 100), (0, 0.6, 0, 0, 100, 5),
        (0, 0.5, 300, 0, 9, 9), size=(400, 400),
    )  # fmt: skip
    record = record_of(annotation((0, 0, 100, 100)), annotation((290, 0, 50, 50), iscrowd=1), size=(400, 400))
    errors = label_errors(found, record)
    words = ["true_positive", "localisation", "classification", "background", "ignored"]
    assert [v.word for v in errors.verdicts] == words
    assert own_objects(errors).tolist() == [0, 0, 0, -1, -1]
