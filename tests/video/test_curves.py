"""Curves beside a frame."""

import math

import numpy as np
import pytest

from odam_d2.video.curves import Chart, Curve, draw_panel

RED, BLUE = (255, 0, 0), (0, 0, 255)


def panel(values, now, size=(300, 320), others=()):
    curves = [Curve("a", RED, values), *(Curve("b", BLUE, one) for one in others)]
    return draw_panel(size, "3 person", (0, 200, 0), [0.5 * k for k in range(len(values))], now, [Chart("x", curves)])


def columns_of(image, color):
    """The columns that have a pixel of a colour, below the title."""
    return np.flatnonzero((np.abs(image[30:].astype(int) - color).max(2) < 30).any(0))


def test_the_past_is_strong_and_what_comes_is_faint():
    image = panel([0.5] * 11, now=5)
    strong = columns_of(image, RED)
    faint = columns_of(image, (251, 187, 186))  # a quarter of red on the ground
    assert len(strong) > 50 and len(faint) > 50 and abs(strong.max() - faint.min()) <= 2
    middle = (strong.min() + faint.max()) / 2
    assert abs(strong.max() - middle) <= 3  # five of ten steps
    assert len(columns_of(panel([0.5] * 11, now=10), (251, 187, 186))) == 0


def test_values_are_heights():
    rows = []
    for value in (0.0, 0.25, 0.5, 1.0):
        image = panel([value] * 5, now=4)
        rows.append(np.flatnonzero((np.abs(image[30:].astype(int) - RED).max(2) < 30).any(1)).mean())
    bottom, quarter, half, top = rows
    assert bottom > quarter > half > top
    assert (bottom - quarter) / (bottom - top) == pytest.approx(0.25, abs=0.02)
    assert (bottom - half) / (bottom - top) == pytest.approx(0.5, abs=0.02)


def test_a_gap_stays_a_gap_and_a_lonely_value_is_a_dot():
    nan = math.nan
    image = panel([0.5, 0.5, 0.5, nan, nan, nan, nan, 0.5, nan, nan, nan], now=10)
    columns = columns_of(image, RED)
    gaps = np.flatnonzero(np.diff(columns) > 1)
    assert len(gaps) == 1 and np.diff(columns)[gaps[0]] > 80
    assert len(columns_of(panel([nan] * 5, now=2), RED)) == 0


def test_several_charts_and_curves_and_small_panels():
    charts = [Chart("a", [Curve("a", RED, [0.1, 0.2])]), Chart("b", [Curve("b", BLUE, [0.3, 0.4])])]
    image = draw_panel((240, 220), "a title that is far too long for a panel of this size", RED, [0.0, 1.0], 1, charts)
    assert image.shape == (240, 220, 3)
    rows = [np.flatnonzero((np.abs(image.astype(int) - color).max(2) < 30)[30:].any(1)) for color in (RED, BLUE)]
    assert rows[0].max() < rows[1].min()
    assert panel([0.5], now=0, size=(20, 20)).shape == (20, 20, 3)  # one frame, no room
    assert len(columns_of(panel([0.2] * 5, 4, others=[[0.8] * 5]), BLUE)) > 50
