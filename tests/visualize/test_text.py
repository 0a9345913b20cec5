"""Text of users drawn into images, with a face made here that has one Chinese letter: a filled square."""

import logging

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw

from odam_d2.utils.words import shortened
from odam_d2.visualize import fonts, text
from odam_d2.visualize.text import draw_text, drawn_name, fitting, text_box, text_width


@pytest.fixture(autouse=True)
def no_system_fonts(monkeypatch):
    """Only Pillow's face and matplotlib's are there, whatever the machine has."""
    use_system_fonts(monkeypatch)


def use_system_fonts(monkeypatch, *paths):
    monkeypatch.setattr(fonts, "_system_fonts", lambda: paths)
    monkeypatch.setattr(text, "_said", set())
    text._runs.cache_clear()


def make_face(path, letter, empty=False):
    """A font with a square, or with nothing, for one letter."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(letter): "square"})
    glyphs = {}
    for name in (".notdef", "square"):
        pen = TTGlyphPen(None)
        if name == "square" and not empty:
            for move, point in (("moveTo", (0, 0)), ("lineTo", (0, 800)), ("lineTo", (900, 800)), ("lineTo", (900, 0))):
                getattr(pen, move)(point)
            pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


def drawn(line, size=20):
    sheet = Image.new("L", (200, 40))
    draw_text(ImageDraw.Draw(sheet), (0, 20), line, 255, size)
    return np.asarray(sheet)


@pytest.mark.parametrize(
    "name", ["dog", "$x^2$", "100% \\frac{a}{b}", "<script>", "a_b", "näher é", "Ω собака", "كلب", "שלום"]
)
def test_names_that_every_machine_can_draw(name):
    shown = drawn_name(7, name)
    assert shown.strip("\u2068\u2069") == name and drawn(shown).max() == 255


@pytest.mark.parametrize(
    "name, shown",
    [
        ("a\nb\tc", "a b c"),
        (" a\0b ", "ab"),
        ("x" * 300, "x" * 39 + "…"),
        ("e\u0301", "é"),
        ("", "class 7"),
        ("\n\0", "class 7"),
    ],
)
def test_names_are_drawn_on_one_line_of_bounded_length(name, shown):
    assert drawn_name(7, name) == shown


def test_without_a_font_the_number_is_drawn_and_that_is_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        assert [drawn_name(7, "犬"), drawn_name(8, "猫 dog"), drawn_name(9, "🐕")] == ["class 7", "class 8", "class 9"]
    (record,) = caplog.records
    assert "class name '犬'" in record.getMessage() and "Install a font" in record.getMessage()


def test_a_font_of_the_system_is_used_where_one_has_the_letters(tmp_path, monkeypatch, caplog):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    nothing = make_face(tmp_path / "nothing.ttf", "犬", empty=True)
    use_system_fonts(monkeypatch, str(broken), nothing, make_face(tmp_path / "square.ttf", "犬"))
    with caplog.at_level(logging.INFO, "odam_d2.visualize"):
        assert drawn_name(7, "犬 dog") == "犬 dog" and not caplog.records
    # Of 20 pixels the letter takes 20 and its square 18 x 16, from the base line up.
    left, top, right, bottom = text_box("犬", 20)
    assert (left, bottom) == (0, 0) and abs(right - 20) <= 1 and abs(top + 16) <= 1
    assert np.count_nonzero(drawn("犬") == 255) >= 16 * 14
    assert text_width("犬dog犬", 20) == pytest.approx(2 * text_width("犬", 20) + text_width("dog", 20))


def test_numbers_beside_a_name_from_right_to_left_stay_where_they_are():
    """0 is left of the name and 0.98 right of it: as if the three were drawn one behind the other."""
    name = drawn_name(0, "كلب")
    parts, at = np.zeros((40, 200), np.uint8), 0.0
    for part in ("0 ", name, " 0.98"):
        sheet = Image.new("L", (200, 40))
        draw_text(ImageDraw.Draw(sheet), (at, 20), part, 255, 20)
        parts, at = np.maximum(parts, np.asarray(sheet)), at + text_width(part, 20)
    assert np.abs(drawn(f"0 {name} 0.98").astype(int) - parts).max() <= 64  # places are rounded to parts of pixels


def test_letters_of_arabic_are_joined_and_run_from_right_to_left():
    """Joined letters take other forms than single ones; the first letter is the rightmost."""
    assert text_width("\u2068كلب\u2069", 20) != pytest.approx(
        sum(text_width(f"\u2068{one}\u2069", 20) for one in "كلب"), abs=1
    )
    kaf_first, ba_first = (drawn(f"\u2068{word}\u2069") for word in ("ب ك", "ك ب"))
    ba = np.flatnonzero(drawn("\u2068ب\u2069").any(0))
    # The dot below ba lies left or right: on the side of the letter.
    low = slice(29, 40)
    assert kaf_first[low].any() and ba_first[low].any() and len(ba)
    middle = text_width("\u2068ب ك\u2069", 20) / 2
    places = [np.flatnonzero(one[low].any(0)).mean() for one in (kaf_first, ba_first)]
    assert places[0] > middle > places[1]


@pytest.mark.parametrize("width", [0, 5, 30, 100, 1000])
def test_a_text_is_cut_to_fit(width):
    line = "0 " + "wide" * 20
    cut = fitting(line, 15, width)
    assert cut == line or (cut.endswith("…") and line.startswith(cut[:-1]))
    assert text_width(cut, 15) <= max(width, text_width("…", 15))
    longer = shortened(line, len(cut) + 2)  # by two, since a space before the ellipsis is left out
    assert cut == line or text_width(longer, 15) > width
