"""Words of users on their way into lines, Markdown and addresses."""

import html
import pathlib
import re
from urllib.parse import unquote_to_bytes

import pytest
from markdown_it import MarkdownIt

from odam_d2.utils.words import file_address, markdown_text, one_line, printable, shortened, visible


@pytest.mark.parametrize("text", ["cat.jpg", "näher 猫 🐕 كلب", "a\u200db", "$x$ <b> 100% #1?", "C:\\x"])
def test_what_breaks_no_line_is_printed_as_it_is(text):
    assert printable(text) == text and printable(pathlib.PurePosixPath(text)) == text


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\nb\tc\r", "a\\nb\\tc\\r"), ("\x1b[31mred\x07", "\\x1b[31mred\\x07"), ("a\0", "a\\x00"),
        ("\x9b1m", "\\x9b1m"),
        ("a\u2028b\u202etxt", "a\\u2028b\\u202etxt"), ("\udcff.jpg", "\\xff.jpg"), ("\ud800", "\\ud800"),
    ],
)  # fmt: skip
def test_what_would_break_a_line_or_command_a_terminal_is_escaped(text, expected):
    assert printable(text) == expected


def test_one_line_to_be_drawn():
    assert (
        one_line(" a\n\tb\r\0\x1bc\0d\u202e \u2028") == "a b cd"
        and one_line("\0\x07") == ""
        and one_line("é 猫") == "é 猫"
    )


def test_control_characters_are_seen_on_pages():
    assert visible("a\0b\x1b\r\x7f\udcfe\n\t") == "a␀b␛␍␡\\xfe\n\t"


def test_long_words_are_cut_between_letters():
    assert shortened("abcde", 5) == "abcde" and shortened("abcdef", 5) == "abcd…" and shortened("abc", 1) == "…"
    assert shortened("abe\u0301f", 4) == "ab…"  # not between the e and its accent
    assert shortened("a\U0001f469\u200d\U0001f469bcd", 4) == "a\U0001f469…"  # nor behind a joiner


@pytest.mark.parametrize("word", ["a|b", "`x`", "*a* _b_ __init__", "<b>", "[a](b)", "# $x$ ~~y~~ &amp; \\", "!"])
def test_markdown_shows_a_word_as_it_is(word):
    table = f"| {markdown_text(word)} | second |\n|---|---|\n| 1 | 2 |\n"
    cells = re.findall(r"<th>(.*?)</th>", MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(table))
    assert [html.unescape(cell) for cell in cells] == [word, "second"]


def test_plain_words_stay_plain_in_markdown():
    assert markdown_text("faster_rcnn - grad-cam++ 1.5 (x)") == "faster_rcnn - grad-cam++ 1.5 (x)"
    assert markdown_text("a\nb") == "a\\\\nb"  # which shows a\nb


@pytest.mark.parametrize("name", ["a#b?.jpg", "100%.jpg", "a b&c.jpg", "{}.jpg", "a:b", "é猫", "\udcff", '"><script>'])
def test_addresses_mean_the_file(name):
    address = file_address(f"../{name}/x.html")
    assert re.fullmatch(r"[A-Za-z0-9._~%/-]+", address)
    assert unquote_to_bytes(address).decode("utf-8", "surrogateescape") == f"../{name}/x.html"
