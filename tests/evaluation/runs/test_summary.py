"""Means, intervals and files from results written by hand."""

import csv
import io

import pytest

from odam_d2.evaluation.bootstrap import bootstrap_interval
from odam_d2.evaluation.runs.summary import format_counts, format_summary, objects_csv, pairs_csv, summarise

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
    assert summary["counts"] == {"images": 3, "objects": 4, "matched": 4, "crowd": 3}
    assert row["dropped"] == {"no_value": 1} and summary["metrics"]["vea"]["dropped"] == {"no_mask": 4}
    assert summary["metrics"]["vea"]["why_none"] == "no masks"
    assert summary["curves"] == {}
    table = format_summary(summary, METHODS)
    assert "no masks" in table and "0.667 [" in table
    assert "4 are objects, of which 4 matched" in format_counts(summary["counts"])


def judged(objects_in_image, masks, odi_box, odi_mask):
    """The matched objects of one image, `masks` says of each whether it has one."""
    one = result(1, [1.0] * len(masks), [1.0] * len(masks))
    one["counts"] = {"objects": objects_in_image, "matched": len(masks)}
    for about, mask in zip(one["objects"], masks, strict=True):
        about["has_mask"] = mask
    for values in one["values"].values():
        values |= {"odi_box": odi_box, "odi_mask": odi_mask, "energy_mask": [0.5 if m else None for m in masks]}
    return one


def test_what_each_metric_drops_and_why():
    none = [None, None]
    results = [
        judged(1, [True], [None], [None]),
        judged(1, [False], [None], [None]),
        judged(2, [True, True], [0.1, 0.2], [0.1, 0.2]),
        judged(3, [True, False], [0.1, 0.2], none),  # of the third, which nothing matches, nobody says whether it has
        judged(3, [True, True], [0.1, 0.2], none),
    ]
    # The second method has no value for one object.
    results[2]["values"]["gradcam"]["odi_mask"] = [None, 0.2]
    names = ["pointing_box", "energy_mask", "odi_box", "odi_mask"]
    summary = summarise(results, METHODS, names)
    assert {name: row["dropped"] for name, row in summary["metrics"].items()} == {
        "pointing_box": {},
        "energy_mask": {"no_mask": 2},
        "odi_box": {"alone": 2},
        "odi_mask": {"no_mask": 2, "alone": 1, "neighbour_without_mask": 3, "no_value": 1},
    }
    for row in summary["metrics"].values():
        assert row["objects"] + sum(row["dropped"].values()) == 8
    assert format_summary(summary, METHODS).splitlines()[-3:] == [
        "Matched objects left out by energy_mask: 2 without a mask.",
        "Matched objects left out by odi_box: 2 alone in their image.",
        "Matched objects left out by odi_mask: 2 without a mask, 1 alone in their image, 3 beside an object without "
        "a mask, 1 without a value by some method.",
    ]
    assert "left out" not in format_summary(summarise(results, METHODS, names[:1]), METHODS)


@pytest.mark.parametrize(
    "one, why",
    [
        (judged(1, [True], [None], [None]), "no neighbours"),
        (judged(2, [False], [0.5], [None]), "no masks"),
        (judged(2, [True], [0.5], [None]), "neighbours without masks"),
        (judged(2, [True, False], [0.5, 0.5], [None, None]), "no masks, neighbours without masks"),
    ],
)
def test_why_a_metric_has_no_value_at_all(one, why):
    summary = summarise([one], METHODS, ["odi_mask"])
    assert summary["metrics"]["odi_mask"]["why_none"] == why and why in format_summary(summary, METHODS)


def test_the_same_is_left_out_once():
    results = [judged(1, [True], [None], [None])]
    table = format_summary(summarise(results, METHODS, ["odi_box", "odi_mask"]), METHODS)
    assert table.splitlines()[-1] == "Matched objects left out by odi_box, odi_mask: 1 alone in their image."


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


@pytest.mark.parametrize("name", ["a,b", 'say "dog"', "two\nlines", "bare\rreturn", "both\r\n", "1=1", "犬 كلب", "|`$"])
def test_words_come_out_of_the_csv_as_they_went_in(name):
    text = objects_csv([result(1, [1.0], [0.0], 0.5) | {"file_name": name}], METHODS, NAMES, [name])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["file_name"], row["class_name"], row["method"]) for row in rows] == [(name, name, m) for m in METHODS]


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1"])
def test_no_name_is_a_formula(name):
    text = objects_csv([result(1, [1.0], [0.0], 0.5) | {"file_name": name}], METHODS, NAMES, [name])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {(row["file_name"], row["class_name"]) for row in rows} == {(f"'{name}", f"'{name}")}


def test_a_line_for_each_object_and_method():
    results = [result(1, [1.0], [0.0], 0.5)]
    lines = objects_csv(results, METHODS, NAMES, ["dog"]).splitlines()
    assert lines[0] == "image_id,file_name,annotation_id,class,score,iou,class_name,method,pointing_box,vea,odi_box"
    assert lines[1:] == ["1,1.jpg,1,0,0.5,0.95,dog,odam,1.0,0.5,", "1,1.jpg,1,0,0.5,0.95,dog,gradcam,0.0,0.5,"]
    assert objects_csv(results, METHODS, NAMES).splitlines()[1].startswith("1,1.jpg,1,0,0.5,0.95,class 0,odam")
    # Results of older versions don't hold the ids of all objects.
    assert pairs_csv(results, METHODS, NAMES).splitlines()[1:] == ["1,1,1,odam,odi_box,-0.25,0.5"]
    assert pairs_csv([results[0] | {"object_ids": [1, 37]}], METHODS, NAMES).splitlines() == [
        "image_id,annotation_id,other_object,method,metric,diou,share",
        "1,1,37,odam,odi_box,-0.25,0.5",
    ]
