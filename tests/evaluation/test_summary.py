"""Means, intervals and files from results written by hand."""

import pytest

from odam_d2.evaluation.bootstrap import bootstrap_interval
from odam_d2.evaluation.summary import format_counts, format_summary, objects_csv, pairs_csv, summarise

METHODS, NAMES = ["odam", "gradcam"], ["pointing_box", "vea", "odi_box"]


def result(image_id, pointing, others, vea=None):
    """One object a number; `others` are the second method's."""
    count = len(pointing)

    def method(values):
        return {"pointing_box": values, "vea": [vea] * count, "odi_box": [None] * count}

    one = {"annotation_id": 1, "class": 0, "score": 0.5, "iou": 0.95, "has_mask": vea is not None, "box": [0, 0, 1, 1]}
    curve = [None] * 9 if vea is None else [vea] * 9
    return {
        "image_id": image_id,
        "file_name": f"{image_id}.jpg",
        "counts": {"objects": count, "matched": count, "crowd": 1},
        "objects": [dict(one) for _ in range(count)],
        "values": {"odam": method(pointing), "gradcam": method(others)},
        "curves": {name: {"vea": [curve] * count} for name in METHODS},
        "pairs": {"odam": {"odi_box": [[0.0, 1.0, -0.25, 0.5]] if count else []}, "gradcam": {}},
    }


def test_means_over_the_same_objects():
    # The second method has no value for the last object, so nobody's counts: (1 + 0 + 1) / 3 and (0 + 0 + 1) / 3.
    results = [result(1, [1.0, 0.0], [0.0, 0.0]), result(2, [1.0, 1.0], [1.0, None]), result(3, [], [])]
    summary = summarise(results, METHODS, NAMES)
    row = summary["metrics"]["pointing_box"]
    assert row["objects"] == 3 and row["higher_is_better"] is True
    assert row["methods"]["odam"]["mean"] == pytest.approx(2 / 3)
    assert row["methods"]["gradcam"]["mean"] == pytest.approx(1 / 3)
    assert row["methods"]["odam"]["interval"] == list(bootstrap_interval([1.0, 0.0, 1.0], [1, 1, 2]))
    assert summary["counts"] == {"pictures": 3, "objects": 4, "matched": 4, "crowd": 3}
    assert [summary["metrics"][name]["why_none"] for name in ("vea", "odi_box")] == ["no masks", "no neighbours"]
    assert summary["curves"] == {}
    table = format_summary(summary, METHODS)
    assert "no masks" in table and "0.667 [" in table
    assert "4 are objects, of which 4 matched" in format_counts(summary["counts"])


def test_curves_are_means():
    summary = summarise([result(1, [1.0], [1.0], 0.25), result(2, [1.0], [1.0], 0.75)], METHODS, NAMES)
    assert summary["curves"]["vea"]["methods"]["odam"] == [0.5] * 9 and len(summary["curves"]["vea"]["places"]) == 9


@pytest.mark.parametrize("results", [[], [result(1, [], [])]])
def test_nothing_to_measure(results):
    summary = summarise(results, METHODS, NAMES)
    assert {row["why_none"] for row in summary["metrics"].values()} == {"no objects"}
    assert "no objects" in format_summary(summary, METHODS)
    assert len(objects_csv(results, METHODS, NAMES).splitlines()) == 1
    assert format_counts(summary["counts"])


def test_a_line_for_each_object_and_method():
    results = [result(1, [1.0], [0.0], 0.5)]
    lines = objects_csv(results, METHODS, NAMES).splitlines()
    assert lines[0] == "image_id,file_name,annotation_id,class,score,iou,method,pointing_box,vea,odi_box"
    assert lines[1:] == ["1,1.jpg,1,0,0.5,0.95,odam,1.0,0.5,", "1,1.jpg,1,0,0.5,0.95,gradcam,0.0,0.5,"]
    assert pairs_csv(results, METHODS, NAMES).splitlines()[1:] == ["1,1,1,odam,odi_box,-0.25,0.5"]
