"""tools/research/faithfulness_by_error.py: what it draws, what it keeps, and its figures by hand."""

import json
import math
import types
from collections import Counter

import numpy as np
import pytest
import torch

from odam_d2.analysis import Verdict
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.evaluation.metrics.faithfulness import SCORED_STEPS
from tests.helpers import compact_detector, load_tool, random_input

MEASURED = ("deletion", "insertion", "pointing_box", "energy_box", "pointing_mask", "energy_mask", "untouched")
ENTRY = random_input(64, 96)


@pytest.fixture(scope="module")
def tool():
    return load_tool("research/faithfulness_by_error")


def errors_of(*verdicts):
    objects = [-1 if one == Verdict.DUPLICATE else k for k, one in enumerate(verdicts)]
    return types.SimpleNamespace(verdicts=list(verdicts), objects=np.array(objects))


TP, CLASS, BACKGROUND = Verdict.TRUE_POSITIVE, Verdict.CLASSIFICATION, Verdict.BACKGROUND


def test_draws_a_few_of_each_kind_where_there_is_room(tool):
    errors = errors_of(TP, TP, CLASS, TP, BACKGROUND, Verdict.DUPLICATE, Verdict.BOTH)
    missed = np.array([False, True, True])
    room = dict.fromkeys(tool.KINDS, 5)
    chosen = tool.choose(errors, missed, room, 2, [0, 7])
    assert Counter(one.kind for one in chosen) == {
        "true_positive": 2, "classification": 1, "background": 1, "missed": 2,
    }  # fmt: skip
    assert {one.row for one in chosen if one.kind == "true_positive"} < {0, 1, 3}
    # Of the background nothing is judged; of missed objects, themselves.
    assert {(one.row, one.object) for one in chosen if one.kind == "background"} == {(4, -1)}
    assert {(one.row, one.object) for one in chosen if one.kind == "missed"} == {(1, 1), (2, 2)}
    assert tool.choose(errors, missed, room, 2, [0, 7]) == chosen
    # Without room for one kind, the others' draws stay as they are.
    fewer = tool.choose(errors, missed, room | {"true_positive": 0}, 2, [0, 7])
    assert fewer == [one for one in chosen if one.kind != "true_positive"]
    drawn = {tool.choose(errors, missed, room, 1, [0, number])[0].row for number in range(20)}
    assert drawn == {0, 1, 3}


def test_explained_boxes_have_the_masks_of_what_they_are_judged_against(tool):
    truth = TrueObjects((8, 8), torch.zeros(2, 4), torch.tensor([0, 1]), ["a", "b"], [[[0, 0, 4, 0, 4, 4]], None], {})
    subjects = [tool.Subject("localisation", 3, 0), tool.Subject("background", 4, -1), tool.Subject("missed", 1, 1)]
    boxes = torch.arange(12.0).view(3, 4)
    objects = tool.as_objects(boxes, torch.tensor([0, 0, 1]), subjects, truth)
    assert objects.ids == ["a", None, "b"] and objects.has_mask.tolist() == [True, False, False]
    assert torch.equal(objects.boxes, boxes)
    given = tool.given_boxes(truth, subjects[2:])
    assert given.pred_classes.tolist() == [1] and given.image_size == (8, 8)


def line(image, kind, **values):
    """A finished image with one box; of each method the values of deletion and insertion."""
    row = {name: dict.fromkeys(MEASURED) | dict(zip(MEASURED, pair, strict=False)) for name, pair in values.items()}
    return {"image_id": image, "subjects": [{"kind": kind, "values": row}]}


def test_figures_by_hand(tool):
    records = [
        line(1, "missed", odam=(0.5, 0.2), gradcam=(0.75, 0.2)),
        line(2, "missed", odam=(0.25, None), gradcam=(0.75, 0.4)),
        line(2, "background", odam=(1.0, 0.0), gradcam=(0.5, 0.0)),
    ]
    found = tool.summarise(records, ["odam", "gradcam"], MEASURED, 0)
    deletion = found["missed"]["deletion"]
    assert deletion["means"]["odam"] | {"interval": None} == {"mean": 0.375, "interval": None, "n": 2}
    # Two images drawn twice over: both ends are means of one image alone.
    assert deletion["means"]["odam"]["interval"] == [0.25, 0.5]
    assert deletion["differences"]["gradcam"]["mean"] == -0.375
    # A value that is missing takes its pair with it.
    insertion = found["missed"]["insertion"]
    assert (insertion["means"]["gradcam"]["n"], insertion["differences"]["gradcam"]["n"]) == (2, 1)
    assert found["true_positive"]["deletion"]["means"]["odam"] == {"mean": None, "interval": None, "n": 0}
    text = tool.tables(found, ["odam", "gradcam"])
    # Less is better in deletion: odam is better on what is missed, worse on the background.
    (row,) = [one for one in text.splitlines() if one.startswith("| gradcam") and "0.750" in one]
    assert "0.750 [0.750, 0.750] behind" in row and "0.500 [0.500, 0.500] ahead" in row
    assert "| deletion -" in text and "missed (n 2)" in text and "true_positive" not in text


def test_areas_are_shares_of_the_untouched_score(tool):
    values = (0.5, 4.0, 1.0, 1.0, 1.0, 1.0, 0.25)
    records = [line(1, "missed", odam=values), line(2, "missed", odam=(None, 2.0, *values[2:6], 0.5))]
    metrics = tool.add_areas(records, MEASURED)
    assert metrics == [*MEASURED, "deletion_area", "insertion_area"]
    figures = tool.summarise(records, ["odam"], metrics, 0)
    found = figures["missed"]
    assert found["deletion_area"]["means"]["odam"] | {"interval": None} == {"mean": 0.125, "interval": None, "n": 1}
    assert found["insertion_area"]["means"]["odam"] == {"mean": 1.0, "interval": [1.0, 1.0], "n": 2}
    assert "| insertion_area +" in tool.tables(figures, ["odam"])
    # Without the untouched score they can't be told.
    assert tool.add_areas(records, ["insertion"]) == ["insertion"]


def test_steps_are_evenly_apart(tool):
    assert tool.scored_steps(10) == SCORED_STEPS
    assert tool.scored_steps(5) == (20, 40, 60, 80, 100) and tool.scored_steps(1) == (100,)


def test_a_torn_line_is_left_out_and_other_settings_are_refused(tool, tmp_path):
    path = tmp_path / "run" / "records.jsonl"
    assert tool.finished(path, {"seed": 0, "opts": ()}) == []
    tool.append(path, {"image_id": 1, "subjects": []})
    with path.open("a") as file:
        file.write('{"image_id": 2, "sub')
    assert tool.finished(path, {"seed": 0, "opts": ()}) == [{"image_id": 1, "subjects": []}]
    tool.append(path, {"image_id": 2, "subjects": []})
    assert [one["image_id"] for one in tool.finished(path, {"seed": 0, "opts": ()})] == [1, 2]
    with pytest.raises(ValueError, match=r"`--records` must be .* got others of \['seed'\]"):
        tool.finished(path, {"seed": 1, "opts": ()})


def test_a_run_goes_on_and_adds_boxes(tool, monkeypatch, tmp_path, capsys):
    model = compact_detector("faster_rcnn")
    with torch.no_grad():
        found = model([ENTRY])[0]["instances"]
    square = [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0, 1.0, 9.0]]
    about = {"bbox_mode": 0, "iscrowd": 0}
    box, label = found.pred_boxes.tensor[0].tolist(), int(found.pred_classes[0])
    annotations = [
        {"id": 5, "bbox": box, "category_id": label, "segmentation": square, **about},
        {"id": 6, "bbox": [1.0, 1.0, 9.0, 9.0], "category_id": 2, "segmentation": square, **about},
    ]
    record = {"image_id": 1, "file_name": "1.png", "height": 64, "width": 96, "annotations": annotations}
    records = [record | {"image_id": number} for number in (1, 2, 3)]
    run = types.SimpleNamespace(model=model, records=records, inputs=lambda some: [ENTRY] * len(some))
    monkeypatch.setattr(tool, "DataRun", lambda args: run)
    words = ["--config-file", "any", "--dataset", "any", "--methods", "odam", "drise", "--masks", "2", "--steps", "1"]
    words += [
        "--missed-threshold",
        "0.1",
        "--records",
        str(tmp_path / "records.jsonl"),
        "--output",
        str(tmp_path / "out.json"),
    ]
    for most in (1, 2):
        assert tool.main([*words, "--per-kind", str(most)]) == 0
    lines = [json.loads(one) for one in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert [one["image_id"] for one in lines[1:]] == [1, 2] and "torch" in lines[0]["versions"]
    subjects = {one["kind"]: one for one in lines[1]["subjects"]}
    assert {"true_positive", "missed"} <= set(subjects)
    assert subjects["true_positive"]["annotation_id"] == 5 and subjects["missed"]["box"] == [1.0, 1.0, 9.0, 9.0]
    assert subjects["missed"]["iou"] == 1.0
    for one in subjects.values():
        for values in one["values"].values():
            # Only the background has no mask; shares are shares.
            assert (values["energy_mask"] is None) == (one["kind"] == "background")
            assert 0 <= values["energy_box"] <= 1 and values["pointing_box"] in (0, 1)
    own = subjects["true_positive"]["values"]
    assert own["odam"]["untouched"] == pytest.approx(subjects["true_positive"]["score"], rel=1e-3)
    assert own["odam"]["untouched"] == own["drise"]["untouched"] and math.isfinite(own["odam"]["deletion"])
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["counts"]["true_positive"] == 2 and figures["images"] == 2
    monkeypatch.setattr(tool, "DataRun", None)
    capsys.readouterr()
    assert tool.main([*words, "--summarise"]) == 0
    assert "2 images" in capsys.readouterr().out
