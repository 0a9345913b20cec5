"""Lines of CSV."""

import csv
import io

import pytest

from odam_d2.utils.csv_text import csv_lines, no_formula

ROWS = [["a", "b"], ["", "x,y"], ['"', "one\ntwo"], ["a\rb", " c "], ["é", "1.5"]]


def test_every_reader_gets_the_cells_that_were_written():
    text = "".join(csv_lines(ROWS))
    assert list(csv.reader(io.StringIO(text, newline=""))) == ROWS
    assert "\r\n" not in text and text.endswith("\n") and '"a\rb"' in text


def test_numbers_keep_all_digits_and_none_is_empty():
    assert list(csv_lines([[0.1 + 0.2, None, 7]])) == ["0.30000000000000004,,7\n"] and list(csv_lines([])) == []


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_formula_becomes_a_text(text):
    assert no_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "dog", "a=1", " =1", "'=1", "1-2"])
def test_other_texts_stay_as_they_are(text):
    assert no_formula(text) == text
