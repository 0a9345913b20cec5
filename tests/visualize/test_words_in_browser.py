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
from odam_d2.visualize.report import PageWords, write_report_folder, write_single_file
from tests.helpers import load_tool
from tests.visualize.browsers import browse, needs_chromium
from tests.visualize.reports import grey, row, stored, truth, write_run

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


@pytest.fixture(scope="module")
def browser():
    with load_tool("benchmarks/browser").Browser(1200, 5000) as one:  # so that long lists are in view
        yield one


def dom_of(browser, page):
    """What a page has come to, and what its console said."""
    browser.open(page)
    # The report's lists come last; other pages have none.
    browser.wait_for("document.readyState === 'complete' && document.getElementById('count')?.textContent !== ''")
    return browser.run("document.documentElement.outerHTML"), browser.said


def run_of(folder, names):
    """A run whose words are these names, each wherever a run has words."""
    box = (2.0, 3.0, 40.0, 30.0)
    rows = []
    for name in names:
        own = name.encode("utf-8", "replace").decode()  # verdicts and mechanisms are the project's own words, and text
        told = {"verdict": own, "mechanism": own, "sentence": name, "figures": {name: name}}
        rows.append(row(box, name, 0.5, kind="missed", annotation=0, **told))
    images = [stored(0, rows, [truth(box, name) for name in names], name="first.jpg")]
    images += [stored(1 + k, [row(box, name)], name=name) for k, name in enumerate(names)]
    images += [stored(100 + k, [], name=name, failure=name) for k, name in enumerate(names)]
    return write_run(folder, images)


@pytest.mark.parametrize("writer", ["report", "report in a file", "show", "comparison", "measurements"])
def test_words_are_seen_as_they_were_and_none_is_run(writer, browser, tmp_path):
    names, page = [*WORDS, *ODD], tmp_path / "page.html"
    if writer.startswith("report"):
        about = PageWords({"method": EVIL[0], "files": {f"left out: {n}": n for n in names}}, EVIL[1])
        reader = run_of(tmp_path / "run", names)
        if writer == "report":
            page = write_report_folder(reader, tmp_path / "report", about, read_image=grey)
        else:
            write_single_file(reader, page, about, read_image=grey)
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
    dom, console = dom_of(browser, page)
    assert console == []
    texts = shown_texts(dom)
    for name in (*WORDS, *ODD.values()):
        assert " ".join(name.split()) in texts, name
    assert re.search(r"<title>&lt;/script&gt;&lt;script&gt;console.log\('ran'\)", dom)


def test_what_is_said_of_a_box_is_text(browser, tmp_path):
    """Each word in the sentence, figures and filters of the chosen box."""
    reader = run_of(tmp_path / "run", names := [*WORDS, *ODD])
    page = write_report_folder(reader, tmp_path / "report", read_image=grey)
    dom_of(browser, page)
    for row_number, name in enumerate(names):
        browser.run(f"document.querySelectorAll('#detection-list button')[{row_number}].click()")
        told, figures = browser.run("[document.getElementById('told').textContent, further.textContent]")
        word = " ".join(ODD.get(name, name).split())
        kept = word.replace("\\xff", "\\udcff")  # as the store has texts
        assert " ".join(told.split()) == kept and " ".join(figures.split()).endswith(f"{word}{word}"), name
    assert browser.said == []


def test_a_script_that_gets_into_a_page_is_noticed(browser, tmp_path):
    """The check above can fail."""
    page = write_report_folder(run_of(tmp_path / "run", []), tmp_path / "report", PageWords(title="here"))
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<h1>here", f"<h1>{EVIL[0]}"), encoding="utf-8")
    assert dom_of(browser, page)[1] == ["ran"]


def test_the_notebook_cell_is_a_frame_of_its_own(tmp_path):
    cell = show(GREY, found(len(WORDS)), WORDS, title="</iframe>" + EVIL[0])._repr_html_()
    page = tmp_path / "cell.html"
    page.write_text(f"<!doctype html><meta charset='utf-8'><body>{cell}</body>", encoding="utf-8")
    dom, console = browse(page, tmp_path, "--dump-dom")
    assert console == [] and dom.count("<iframe") == 1
    assert html.unescape(re.search(r'<iframe title="([^"]*)"', dom)[1]) == "</iframe>" + EVIL[0]


@pytest.mark.parametrize("folder", ["a#b?.jpg", "100%.jpg", "a b&c;'\"", "x:y", "{0}{}", "犬 é", "<b>"])
def test_links_between_pages_open_whatever_folders_are_called(folder, browser, tmp_path):
    """The page of a comparison is left by its link: Chromium ends in the report, on the chosen detection."""
    box = (3.0, 4.0, 41.0, 31.0)
    reader = write_run(tmp_path / "run", [stored(0, [row((2, 3, 40, 30), "dog"), row(box, "cat")])])
    write_report_folder(reader, tmp_path / folder / "report", PageWords(title="the report"), read_image=grey)
    link = file_address(f"{folder}/report/index.html") + "#image=0&det={}&attr=score"
    entry = comparison_entry("a.jpg", GREY, [Annotation(box, "cat", 1)],
        [Findings(found(2), ["dog", "cat"], link)], ["score"])  # fmt: skip
    assert entry["rows"][0]["cells"][0]["link"].endswith("#image=0&det=1&attr=score")
    detectors = [{"name": folder, "detail": "", "link": entry["rows"][0]["cells"][0]["link"]}]
    page = tmp_path / "page.html"
    write_comparison(page, [entry], detectors, ["score"])
    dom_of(browser, page)
    browser.run("document.querySelector('a').click()")
    told = browser.wait_for("document.title === 'the report' && document.getElementById('what')?.textContent")
    assert told == "1 cat 0.500" and browser.said == []
