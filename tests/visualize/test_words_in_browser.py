"""Words of users in pages, in headless Chromium: the text is there as it was, no script of theirs runs, links open."""

import html
import re

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.structures import HeatMaps
from odam_d2.utils.words import file_address
from odam_d2.visualize import show
from odam_d2.visualize.comparison import Findings, comparison_entry, write_comparison
from odam_d2.visualize.ground_truth import Annotation
from odam_d2.visualize.measurements import write_examples
from odam_d2.visualize.report import failure_entry, image_entry, write_report
from tests.visualize.browsers import browse, needs_chromium

pytestmark = needs_chromium

# Each would say so in the browser's console if it ran; the page's own script says nothing there.
EVIL = (
    "<script>console.log('ran')</script>", "</script><script>console.log('ran')</script>",
    "<img src=x onerror=\"console.log('ran')\">", "\"' onmouseover='console.log(1)", "<!-- -->", "]]>", "{{ 7 * 7 }}",
    "&lt;&amp;", "javascript:console.log('ran')",
)  # fmt: skip
PLAIN = (
    "$x^2$ \\frac{a}{b}", "100% #1 ?", "a|b `c`", "犬 猫", "كلب", "שלום", "👩‍👩‍👧 🐕", "e\u0301 à", "x" * 300,
)  # fmt: skip
WORDS = (*EVIL, *PLAIN)
# What browsers would drop, or take for white space.
ODD = {"nul\0esc\x1b": "nul␀esc␛", "half \udcff": "half \\xff", "two\nlines\tand a tab": "two lines and a tab"}


def found(number):
    """As many detections of as many classes, hot all over."""
    boxes = torch.tensor([[2.0 + k, 3.0 + k, 40.0 + k, 30.0 + k] for k in range(number)])
    heatmaps = HeatMaps(
        torch.ones(1, 6 * number),
        torch.tensor([[0, 0, 2, 3]] * number),
        torch.tensor([[6, 8]] * number),
        torch.tensor([[16.0, 16.0]] * number),
        ("score",),
        (96, 128),
        (96, 128),
    )
    scores, classes = torch.linspace(0.9, 0.5, number), torch.arange(number)
    return Instances((96, 128), pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes, heatmaps=heatmaps)


def shown_texts(dom):
    """The texts of a page's elements, as they are read: without scripts and styles, white space as one space."""
    dom = re.sub(r"<(script|style)\b.*?</\1>", "", dom, flags=re.DOTALL)
    return {" ".join(html.unescape(text).split()) for text in re.split(r"<[^>]*>", dom)}


GREY = np.full((96, 128, 3), 90, np.uint8)


@pytest.mark.parametrize("writer", ["report", "show", "comparison", "measurements"])
def test_words_are_seen_as_they_were_and_none_is_run(writer, tmp_path):
    names, page = [*WORDS, *ODD], tmp_path / "page.html"
    if writer == "report":
        entries = [image_entry("first.jpg", GREY, found(len(names)), names)]
        entries += [image_entry(name, GREY, found(1)) for name in names] + [failure_entry(n, n) for n in names]
        write_report(
            page, entries, ("score",), {"method": EVIL[0], "files": {f"left out: {n}": n for n in names}}, EVIL[1]
        )
    elif writer == "show":
        show(GREY, found(len(names)), names, title=EVIL[1]).save(page)
    elif writer == "comparison":
        one = found(1)
        entries = []
        for name in names:
            truth = [Annotation((2.0, 3.0, 40.0, 30.0), name, 0)]
            entries.append(comparison_entry(name, GREY, truth, [Findings(one, [name], "#{}")], ["score"]))
        detectors = [{"name": name, "detail": name, "link": "x.html"} for name in names]
        for entry in entries:
            entry["found"] = entry["found"] * len(names)
        write_comparison(page, entries, detectors, ["score"], EVIL[1])
    else:
        rows = [
            {"side": "best", "label": n, "image": n, "crop": None, "cells": [{"crop": None, "value": 1.0}]}
            for n in names
        ]
        summary = {
            "metrics": {n: {"higher_is_better": None, "objects": 0, "methods": {}, "why_none": n} for n in names}
        }
        write_examples(
            page, [{"metric": n, "rows": rows} for n in names[:2]], {**summary, "curves": {}}, ["odam"], names, EVIL[1]
        )
    dom, console = browse(page, tmp_path, "--dump-dom")
    assert console == []
    texts = shown_texts(dom)
    for name in (*WORDS, *ODD.values()):
        assert " ".join(name.split()) in texts, name
    assert re.search(r"<title>&lt;/script&gt;&lt;script&gt;console.log\('ran'\)", dom)


def test_a_script_that_gets_into_a_page_is_noticed(tmp_path):
    """The check above can fail."""
    write_report(tmp_path / "page.html", [image_entry("a.jpg", GREY, found(1))], ("score",), title="here")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(text.replace("<h1>here", f"<h1>{EVIL[0]}"), encoding="utf-8")
    assert "ran" in "".join(browse(tmp_path / "page.html", tmp_path, "--dump-dom")[1])


def test_the_notebook_cell_is_a_frame_of_its_own(tmp_path):
    cell = show(GREY, found(len(WORDS)), WORDS, title="</iframe>" + EVIL[0])._repr_html_()
    page = tmp_path / "cell.html"
    page.write_text(f"<!doctype html><meta charset='utf-8'><body>{cell}</body>", encoding="utf-8")
    dom, console = browse(page, tmp_path, "--dump-dom")
    assert console == [] and dom.count("<iframe") == 1
    assert html.unescape(re.search(r'<iframe title="([^"]*)"', dom)[1]) == "</iframe>" + EVIL[0]


FOLLOW = """<script>
const link = document.querySelector("a");
document.body.dataset.address = link.href;
location.href = link.href;
</script></body>"""


@pytest.mark.parametrize("folder", ["a#b?.jpg", "100%.jpg", "a b&c;'\"", "x:y", "{0}{}", "犬 é", "<b>"])
def test_links_between_pages_open_whatever_folders_are_called(folder, tmp_path):
    """The page of a comparison is opened and left by its link: Chromium ends in the report, on the chosen detection."""
    (tmp_path / folder).mkdir()
    entries = [image_entry("a.jpg", GREY, found(2), ["dog", "cat"])]
    write_report(tmp_path / folder / "report.html", entries, ("score",), title="the report")
    link = file_address(f"{folder}/report.html") + "#image=0&det={}&attr=score"
    entry = comparison_entry("a.jpg", GREY, [Annotation((3.0, 4.0, 41.0, 31.0), "cat", 1)],
        [Findings(found(2), ["dog", "cat"], link)], ["score"])  # fmt: skip
    assert entry["rows"][0]["cells"][0]["link"].endswith("#image=0&det=1&attr=score")
    detectors = [{"name": folder, "detail": "", "link": entry["rows"][0]["cells"][0]["link"]}]
    page = tmp_path / "page.html"
    write_comparison(page, [entry], detectors, ["score"])
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub("<meta http-equiv[^>]*>", "", text).replace("</body>", FOLLOW), encoding="utf-8")
    dom, console = browse(page, tmp_path, "--dump-dom")
    assert console == [] and "<title>the report</title>" in dom
    assert re.search(r'id="what">score of 1 cat ', dom)
