"""Curves and the page of examples."""

from PIL import Image

from odam_d2.visualize.measurements import draw_curves, write_examples
from tests.visualize.reports import Page

CURVE = {"axis": "threshold", "places": [0.1, 0.5, 0.9], "methods": {"odam": [1.0, 0.5, 0.0], "<b>": [0.0, 0.0, 0.0]}}


def test_curves_are_a_image(tmp_path):
    draw_curves(tmp_path / "curve.png", "vea", CURVE)
    with Image.open(tmp_path / "curve.png") as one:
        assert one.format == "PNG" and one.width > one.height > 300


def test_the_page_shows_means_and_objects(tmp_path):
    table = {
        "vea": {
            "higher_is_better": True,
            "objects": 5,
            "methods": {"odam": {"mean": 0.25, "interval": [0.125, 0.5]}, "<b>": {"mean": 0, "interval": [0, 0]}},
        },
        "odi_mask": {"higher_is_better": False, "objects": 0, "methods": {}, "why_none": "no neighbours"},
    }
    cells = [{"crop": "data:image/jpeg;base64,AA==", "value": 0.75}, {"crop": None, "value": None}]
    row = {"side": "worst", "label": "cat, score 0.90", "image": "a.jpg", "crop": None, "cells": cells}
    sections = [{"metric": "vea", "rows": [row]}, {"metric": "odi_mask", "rows": []}]
    summary = {"metrics": table, "curves": {"vea": CURVE}}
    write_examples(tmp_path / "index.html", sections, summary, ["odam", "<b>"], ["a note"])
    page = Page(tmp_path / "index.html")
    for text in (
        "a note",
        "0.250 [0.125, 0.500]",
        "no neighbours",
        "worst: cat, score 0.90",
        "0.750",
        "no value",
        "<b>",
    ):
        assert text in page.text
    assert {"curve_vea.png", "data:image/jpeg;base64,AA==", "#vea"} <= set(page.addresses)
