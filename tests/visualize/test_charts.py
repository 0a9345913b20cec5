"""Words of users in matplotlib's charts."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from odam_d2.visualize import fonts
from odam_d2.visualize.charts import chart_word, plain_words
from odam_d2.visualize.measurements import curve_file, draw_curves, write_examples
from odam_d2.visualize.stage_chart import write_stage_chart
from odam_d2.visualize.tuning_chart import write_tuning_chart
from tests.visualize.test_text import make_face, no_system_fonts, use_system_fonts  # noqa: F401  the fixture is for all

WORDS = ("$\\frac{$", "$x$", "a\nb", "_hidden", "x" * 300, "犬", "\0", "\\alpha^2 100%", "")


def test_words_are_drawn_as_they_are():
    with plain_words(*WORDS):
        figure = Figure()
        label = figure.text(0.1, 0.1, chart_word("$x$ and \\$5"))
        figure.canvas.draw()
        drawn = label.get_window_extent().width
    figure = Figure()
    with plain_words():
        parts = [figure.text(0, 0, part) for part in ("$x$", " and ", "\\$5")]
        figure.canvas.draw()
    assert drawn == pytest.approx(sum(part.get_window_extent().width for part in parts), rel=0.2)
    assert matplotlib.rcParams["text.parse_math"] is True


def test_what_a_chart_has_of_a_word():
    assert [chart_word(word) for word in WORDS] == [
        "$\\frac{$", "$x$", "a b", " _hidden", "x" * 59 + "…", "\ufffd", "", "\\alpha^2 100%", "",
    ]  # fmt: skip


def test_a_font_that_is_installed_is_used(tmp_path, monkeypatch):
    use_system_fonts(monkeypatch, make_face(tmp_path / "square for charts.ttf", "犬"))
    assert chart_word("犬 dog") == "犬 dog"
    with plain_words("犬 dog"):
        assert matplotlib.rcParams["font.family"][-1] == "square for charts"
        figure = Figure(figsize=(1, 1), dpi=100)
        figure.text(0, 0.2, "犬", fontsize=50)
        figure.savefig(tmp_path / "a.png")  # a missing glyph would be a warning, which is an error here
    dark = np.asarray(Image.open(tmp_path / "a.png").convert("L")) < 50
    assert dark.sum() > 1000  # the filled square, 62 x 55 pixels at most


@pytest.mark.parametrize("word", WORDS)
def test_every_chart_takes_every_word(word, tmp_path):
    draw_curves(tmp_path / "a.png", word, {"axis": word, "places": [0, 1], "methods": {word: [0, 1], "odam": [1, 0]}})
    write_stage_chart(tmp_path / "b.png", {word: [1.0, 0.5]}, [word, "head"], word, 0.1, title=word)
    rows = [
        {"way": "odam_nms", "thresholds": {"iou_threshold": 0.5, "low": low, "high": 0.7}, "figures": {word: low}}
        for low in (0.1, 0.2)
    ] + [{"way": word, "thresholds": {"iou_threshold": 0.5}, "figures": {word: 1.0}}]
    write_tuning_chart(tmp_path / "c.png", rows, [word], [])
    for name in "abc":  # a letter that no font has, or a formula that can't be read, would have raised
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        assert min(pixels.shape) > 200 and 0 < (pixels < 100).mean() < 0.5, name


def test_curves_of_any_name_are_files_beside_their_page(tmp_path):
    names = ["a/b#c?.x", "100%", "../up", "x" * 300]
    curve = {"axis": "t", "places": [0, 1], "methods": {"odam": [0, 1]}}
    for name in names:
        draw_curves(tmp_path / curve_file(name), name, curve)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(curve_file, names))
    metrics = {name: {"higher_is_better": True, "objects": 0, "methods": {}, "why_none": "none"} for name in names}
    write_examples(tmp_path / "index.html", [], {"metrics": metrics, "curves": dict.fromkeys(names, curve)}, ["odam"])
    page = (tmp_path / "index.html").read_text()
    assert 'src="curve_a_b%23c_.x.png"' in page and 'href="#a/b%23c%3F.x"' in page and 'src="curve_100%25.png"' in page


def test_faces_are_in_order_and_broken_ones_are_none(monkeypatch, tmp_path):
    names = ["FreeSans.ttf", "FreeSansBold.ttf", "FreeMono.ttf", "Arial.ttf", "LastResort.otf"]
    monkeypatch.undo()
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: names)
    fonts._system_fonts.cache_clear()
    try:
        assert fonts._system_fonts() == ("Arial.ttf", "FreeSans.ttf", "FreeMono.ttf", "FreeSansBold.ttf")
    finally:
        fonts._system_fonts.cache_clear()


def test_charts_do_not_depend_on_the_callers_style(tmp_path):
    curve = {"axis": "share", "places": [0, 1], "methods": {"odam": [0, 1]}}
    draw_curves(tmp_path / "a.png", "deletion", curve)
    mine = {"font.size": 40.0, "figure.dpi": 31.0, "axes.grid": True, "font.family": ["monospace"], "savefig.dpi": 20.0}
    with matplotlib.rc_context(mine):
        draw_curves(tmp_path / "b.png", "deletion", curve)
        assert matplotlib.rcParams["font.size"] == 40.0 and matplotlib.rcParams["axes.grid"]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
