"""Figures as columns."""

from odam_d2.export.chosen import ChosenImage
from odam_d2.export.figures import columns_of, flat, in_column
from odam_d2.store import DetectionRow, ImageRow


def test_nested_figures_have_dotted_names():
    figures = {"a": 1, "b": {"c": 0.5, "d": {"e": "x"}}, "f": [1, {"g": 2}], "h": None, "i": float("inf"), "j": {}}
    expected = {"figures.a": 1, "figures.b.c": 0.5, "figures.b.d.e": "x", "figures.f": '[1, {"g": 2}]'}
    assert flat(figures) == expected and flat({}) == {}


def test_a_column_holds_what_its_boxes_have_in_common():
    figures = [{"i": 1, "f": 1, "t": 1, "b": True, "m": True}, {"f": 0.5, "t": "x", "m": 2}, {"z": {"y": 1.0}}]
    rows = [(k, DetectionRow((0, 0, 1, 1), 0, "a", figures=one)) for k, one in enumerate(figures)]
    image = ImageRow(0, "", "", "")
    columns = columns_of([ChosenImage(image, rows[:1]), ChosenImage(image, rows[1:]), ChosenImage(image)])
    assert list(columns.items()) == [
        ("figures.b", "bool"), ("figures.f", "float"), ("figures.i", "int"), ("figures.m", "text"),
        ("figures.t", "text"), ("figures.z.y", "float"),
    ]  # fmt: skip
    values = [in_column(1, "float"), in_column(1, "int"), in_column(True, "text"), in_column("x", "text")]
    assert values == [1.0, 1, "true", "x"] and isinstance(values[0], float)
