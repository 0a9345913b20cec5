"""Curves over time as a panel beside a frame, drawn with Pillow: a frame takes a few milliseconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ..visualize.strips import BACKGROUND, INK
from ..visualize.text import draw_text, fitting, text_width

_GRID, _FAINT = (222, 222, 218), 0.25
Color = tuple[int, int, int]


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Attributes:
        name: in the legend.
        color: RGB, 0 .. 255.
        values: in [0, 1], one for each time; NaN is a gap.
    """

    name: str
    color: Color
    values: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """A few curves over the same time, on an axis from 0 to 1."""

    title: str
    curves: Sequence[Curve]


def draw_panel(
    size: tuple[int, int], title: str, color: Color, seconds: Sequence[float], now: int, charts: Sequence[Chart]
) -> np.ndarray:
    """Draws charts below each other.

    Args:
        size: (h, w) of the panel, in pixels.
        title: above the charts.
        color: of a mark beside the title.
        seconds: the times that the curves have values for, rising.
        now: which of them the frame is of; what lies behind it is faint.
        charts: what to draw.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    height, width = size
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    font = int(np.clip(height / 22, 9, 30))
    edge = max(3, font // 2)
    pen.rectangle((edge, edge, edge + font, edge + font), fill=color)
    draw_text(pen, (2 * edge + font, edge + font / 2), fitting(title, font, max(1, width - 3 * edge - font)), INK, font)
    top = 2 * edge + font
    each = (height - top) / len(charts)
    for number, chart in enumerate(charts):
        place = (edge, top + number * each, width - edge, top + (number + 1) * each - edge)
        _draw_chart(pen, place, font, seconds, now, chart)
    return np.asarray(sheet)


def _draw_chart(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float, float, float],
    font: int,
    seconds: Sequence[float],
    now: int,
    chart: Chart,
) -> None:
    left, top, right, bottom = place
    small = max(8, round(0.8 * font))
    draw_text(pen, (left, top + small / 2), fitting(chart.title, small, max(1.0, right - left)), INK, small)
    top += 1.4 * small
    if len(chart.curves) > 1:
        _draw_legend(pen, (left, top), right, small, chart.curves)
        top += 1.4 * small
    top += 0.6 * small  # half of the number at the axis' end
    left, bottom = left + text_width("0.5 ", small), bottom - 1.4 * small
    bottom, right = max(bottom, top + 1), max(right, left + 1)
    for value in (0.0, 0.5, 1.0):
        y = bottom - value * (bottom - top)
        pen.line((left, y, right, y), fill=_GRID)
        draw_text(pen, (left - text_width("0.5 ", small), y), f"{value:.1f}", INK, small)
    start, span = seconds[0], max(seconds[-1] - seconds[0], 1e-9)
    xs = [left + (one - start) / span * (right - left) for one in seconds]
    last = f"{seconds[-1]:.1f} s"
    draw_text(pen, (left, bottom + 0.7 * small), f"{start:.1f}", INK, small)
    draw_text(pen, (right - text_width(last, small), bottom + 0.7 * small), last, INK, small)
    for curve in chart.curves:
        ys = [bottom - value * (bottom - top) for value in curve.values]
        faint = tuple(round(_FAINT * c + (1 - _FAINT) * b) for c, b in zip(curve.color, BACKGROUND))
        _draw_line(pen, xs, ys, faint, small)
        _draw_line(pen, xs[: now + 1], ys[: now + 1], curve.color, small)
    pen.line((xs[now], top, xs[now], bottom), fill=INK)


def _draw_legend(
    pen: ImageDraw.ImageDraw, place: tuple[float, float], right: float, font: int, curves: Sequence[Curve]
) -> None:
    (x, y), each = place, (right - place[0]) / len(curves)
    for curve in curves:
        pen.rectangle((x, y + 0.2 * font, x + 0.6 * font, y + 0.8 * font), fill=curve.color)
        draw_text(pen, (x + font, y + font / 2), fitting(curve.name, font, max(1.0, each - 1.5 * font)), INK, font)
        x += each


def _draw_line(pen: ImageDraw.ImageDraw, xs: Sequence[float], ys: Sequence[float], ink: tuple, font: int) -> None:
    """A line with gaps where a value is NaN; a value between two gaps is a dot."""
    width, run = max(1, round(font / 6)), []
    for x, y in [*zip(xs, ys, strict=True), (0.0, math.nan)]:
        if not math.isnan(y):
            run.append((x, y))
            continue
        if len(run) > 1:
            pen.line(run, fill=ink, width=width, joint="curve")
        elif run:
            (x1, y1), dot = run[0], max(1, width)
            pen.ellipse((x1 - dot, y1 - dot, x1 + dot, y1 + dot), fill=ink)
        run = []
