"""The frame that all pages share."""

import base64
import io
import json
import re

import jinja2
import numpy as np
import pytest
from PIL import Image

from odam_d2.visualize.comparison import write_comparison
from odam_d2.visualize.measurements import write_examples
from odam_d2.visualize.pages import TEMPLATES, jpeg_uri, render_page, script_json
from odam_d2.visualize.report import PageWords, write_report_folder, write_single_file
from tests.visualize.reports import write_run


def empty_run(path):
    return write_run(path.parent / "run", [])


WRITERS = {
    "report": lambda path: write_report_folder(empty_run(path), path.parent, PageWords(title="A & B")).rename(path),
    "report in a file": lambda path: write_single_file(empty_run(path), path, PageWords(title="A & B")),
    "comparison": lambda path: write_comparison(path, [], [], ("score",), title="A & B"),
    "measurements": lambda path: write_examples(path, [], {"metrics": {}, "curves": {}}, [], title="A & B"),
}


def test_every_template_extends_the_base():
    pages = sorted(path.name for path in TEMPLATES.glob("*.html"))
    parts = ["about_run.html", "account.html", "base.html", "box_list.html", "image_list.html", "viewer.html"]
    assert pages == sorted([*parts, "comparison.html", "measurements.html", "report.html"])
    for name in set(pages) - set(parts):
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        assert text.startswith('{% extends "base.html" %}') and "<html" not in text and "<meta" not in text, name


@pytest.mark.parametrize("kind", WRITERS)
def test_every_page_has_one_head_and_may_fetch_nothing(kind, tmp_path):
    WRITERS[kind](tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    for once in ("<title>A &amp; B</title>", "</head>", "<body", "</body>", "--page: #f6f5f2", "<footer>"):
        assert text.count(once) == 1, once
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'" and rules.pop("style-src") == "'unsafe-inline'"
    # Curves lie beside the page of measurements, images and data beside the report, which alone has a script.
    assert rules.pop("img-src") == ("'self' file: data:" if kind in ("measurements", "report") else "data:")
    scripts = {"report": {"script-src": "'self' file: 'unsafe-inline'"}}
    scripts["report in a file"] = {"script-src": "'unsafe-inline'"}
    assert rules == scripts.get(kind, {})


def test_a_value_that_is_forgotten_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'single' is undefined"):
        render_page("report.html", title="x", data="{}", loads=True)


def test_script_json_has_no_markup():
    text = script_json({"a": "</script><!-- & >", "b": "\u2028"})
    assert not set("<>&\u2028") & set(text) and json.loads(text) == {"a": "</script><!-- & >", "b": "\u2028"}
    with pytest.raises(ValueError, match="JSON"):
        script_json(float("nan"))


def test_script_json_has_no_halves_of_pairs():
    """Also where a text only looks like an escape."""
    words = {"\udcff": "\U0001f415\ud83d!", "\\udcff \\\\ud800": 1}
    assert json.loads(script_json(words)) == {"\\xff": "\U0001f415\\ud83d!", "\\udcff \\\\ud800": 1}


def test_images_travel_as_jpegs_of_bounded_size():
    kind, content = jpeg_uri(np.full((100, 400, 3), 200, np.uint8), 80, 85).split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (80, 20)
