"""Figures by one name each."""

from odam_d2.visualize.report.figures import flat_figures, numbers_of

FIGURES = {
    "heat": {"own": 0.25, "others": [{"annotation_id": 7, "share": 0.5}], "deep": {"er": 1}},
    "localisation": {"iou_with": 1 / 3, "side": "left", "none": None, "nan": float("nan"), "empty": []},
    "start_rank": 3,
    "removed": True,
    "roles": {"x": {"row": 1}},
    "": 5,
}


def test_a_figure_inside_another_has_both_names():
    found = flat_figures(FIGURES, "localisation")
    assert list(found.items()) == [
        ("heat own", 0.25),
        ("heat others", [{"annotation_id": 7, "share": 0.5}]),
        ("heat deep er", 1),
        ("iou with", 0.333333),
        ("side", "left"),
        ("start rank", 3),
        ("removed", True),
        ("", 5),
    ]
    # Of another verdict the name stays.
    assert "localisation iou with" in flat_figures(FIGURES, "both") and flat_figures({}, None) == {}


def test_figures_that_rows_are_sorted_by():
    assert numbers_of(flat_figures(FIGURES, None)) == {
        "heat own": 0.25, "heat deep er": 1.0, "localisation iou with": 0.333333, "start rank": 3.0, "": 5.0,
    }  # fmt: skip
