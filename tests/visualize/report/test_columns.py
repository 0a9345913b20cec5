"""The index of all boxes, against the rows themselves."""

import base64
import random

import numpy as np

from odam_d2.visualize.report.columns import Columns
from tests.visualize.reports import column, row


def rows_of(count):
    made = random.Random(0)
    return [
        row(
            [made.random() * 9 for _ in range(4)],
            made.choice(["dog", "cat", "<b>\0"]),
            made.choice([None, made.random()]),
            kind=made.choice(["detection", "missed"]),
            annotation=made.choice([None, 0, 3]),
            iou=made.choice([None, made.random()]),
            occlusion=made.choice([None, made.random()]),
            verdict=made.choice([None, "correct", "both"]),
            mechanism=made.choice([None, "x"]),
            figures=made.choice([{}, {"a": 1}, {"b": 0.5, "text": "?"}]),
        )
        for _ in range(count)
    ]


def test_columns_hold_what_rows_say():
    rows, columns, chunks = rows_of(25), Columns(), []
    for k, one in enumerate(rows):
        columns.add(k // 3, k % 3, one)
        chunks += [] if (chunk := columns.chunk(10)) is None else [chunk]
    chunks.append(columns.chunk(1))
    assert [(chunk["start"], chunk["count"]) for chunk in chunks] == [(0, 10), (10, 10), (20, 5)]
    assert columns.count == 25 and columns.chunk(1) is None and sorted(columns.figures) == ["a", "b"]
    report = {"tables": columns.tables, "rows": chunks}
    assert column(report, "image") == [k // 3 for k in range(25)] and column(report, "row") == [
        k % 3 for k in range(25)
    ]
    assert column(report, "label") == [one.label.replace("\0", "␀") for one in rows]
    assert column(report, "kind") == [one.kind for one in rows]
    assert column(report, "mechanism") == [one.mechanism for one in rows]
    missed = [one.verdict is None and one.kind == "missed" for one in rows]
    assert column(report, "verdict") == ["missed" if m else one.verdict for m, one in zip(missed, rows, strict=True)]
    assert column(report, "judged") == [one.annotation is not None for one in rows]
    for name in ("score", "iou", "occlusion", "outside"):
        expected = np.array([np.nan if (v := getattr(one, name)) is None else v for one in rows], np.float32)
        np.testing.assert_array_equal(column(report, name), expected)
    for k, name in enumerate(("x1", "y1", "x2", "y2")):
        np.testing.assert_array_equal(column(report, name), np.array([one.box[k] for one in rows], np.float32))
    for name in ("a", "b"):
        found = {}
        for chunk in (one for one in chunks if name in one["figures"]):
            places, values = (np.frombuffer(base64.b64decode(part), kind)
                              for part, kind in zip(chunk["figures"][name], ("<u4", "<f4"), strict=True))  # fmt: skip
            found.update(zip((places + chunk["start"]).tolist(), values.tolist(), strict=True))
        assert found == {k: one.figures[name] for k, one in enumerate(rows) if name in one.figures} and len(found) > 3


def test_nothing_at_all():
    columns = Columns()
    assert columns.chunk(1) is None and columns.chunk(0) is None and columns.tables["label"] == [None]
