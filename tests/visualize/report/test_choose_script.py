"""The page's filters, orders and groups against a plain loop."""

import random

import numpy as np
import pytest

from tests.visualize.browsers import needs_node, run_node

pytestmark = needs_node
SIZES = {"verdict": 4, "mechanism": 3, "label": 5, "kind": 3}
RANGES = ("score", "iou", "occlusion", "outside", "area")

CHOOSE = """
const { columns, filters, key, descending, names, sizes, group } = JSON.parse(require("fs").readFileSync(0));
const typed = { count: columns.image.length, figures: {} };
for (const [name, values] of Object.entries(columns)) {
  if (name === "figure") {
    const part = (rows) => ({ rows, values: Float32Array.from(rows, (k) => values[k]) });
    const rows = [...values.keys()].filter((k) => values[k] !== null), half = Math.floor(rows.length / 2);
    typed.figures.figure = [part(rows.slice(0, half)), part(rows.slice(half))];
  }
  else typed[name] = ["image", "row", "judged", ...OdamChoose.WORDS].includes(name)
    ? Uint32Array.from(values) : Float32Array.from(values, (v) => v ?? NaN);
}
const chosen = { ...OdamChoose.noFilters(), ...filters };
for (const name of OdamChoose.WORDS) chosen[name] = new Set(filters[name] ?? []);
const ranks = { label: [5, 2, 0, 1, 3] };
const keys = OdamChoose.keysOf(typed, key, ranks), order = keys && OdamChoose.sorted(keys, descending);
const images = { numbers: names.map((_, k) => k), names };
const found = OdamChoose.select(typed, chosen, order, OdamChoose.namesWith(images, chosen.name), sizes, names.length);
const grouped = group ? OdamChoose.grouped(found.rows, typed[group], ranks[group]) : null;
console.log(JSON.stringify({
  rows: [...found.rows], perImage: [...found.perImage], active: OdamChoose.active(chosen),
  counts: Object.fromEntries(Object.entries(found.counts).map(([name, values]) => [name, [...values]])),
  items: grouped && [...grouped.items], groups: grouped && grouped.groups,
}));
"""


def made_columns(count=400, images=30, seed=0):
    """Random columns; None for what isn't known. Scores are multiples of 1/8, so that many are equal."""
    made = random.Random(seed)
    number = sorted(made.randrange(images) for _ in range(count))
    columns = {"image": number, "row": [number[:k].count(n) for k, n in enumerate(number)]}
    columns |= {name: [made.randrange(size) for _ in range(count)] for name, size in SIZES.items()}
    columns |= {name: [made.choice([None, made.randrange(9) / 8]) for _ in range(count)] for name in RANGES[:4]}
    columns["area"] = [made.random() * 100 for _ in range(count)]
    columns["figure"] = [made.choice([None, 0.0, -0.0, made.uniform(-5, 5), 1e-30, -1e30]) for _ in range(count)]
    columns["judged"] = [made.randrange(2) for _ in range(count)]
    return columns


FILTERS = {
    "none": {},
    "words": {"verdict": [1, 3], "label": [2]},
    "ranges": {"score": [0.25, None], "outside": [0.125, 0.75]},
    "area and occlusion": {"area": [20, 80], "occlusion": [None, 0.75]},
    "judged": {"judged": "with", "iou": [None, 0.5]},
    "not judged, by name": {"judged": "without", "name": "IMG1"},
    "nothing passes": {"verdict": [1], "score": [2, None]},
}


def passes(columns, filters, k, names, without=None):
    for name in SIZES:
        if name != without and filters.get(name) and columns[name][k] not in filters[name]:
            return False
    for name in RANGES:
        low, high = filters.get(name, (None, None))
        value = columns[name][k]
        if (low is not None or high is not None) and value is None:
            return False
        if (low is not None and value < low) or (high is not None and value > high):
            return False
    if "judged" in filters and columns["judged"][k] != (filters["judged"] == "with"):
        return False
    return filters.get("name", "").lower() in names[columns["image"][k]].lower()


@pytest.mark.parametrize("asked", FILTERS)
def test_filters_and_counts(asked):
    columns, filters = made_columns(), FILTERS[asked]
    names = [f"img{k}.jpg" for k in range(30)]
    found = run_node(["choose"], CHOOSE, {
        "columns": columns, "filters": filters, "key": "place", "descending": False, "names": names, "sizes": SIZES,
    })  # fmt: skip
    every = range(len(columns["image"]))
    expected = [k for k in every if passes(columns, filters, k, names)]
    assert found["rows"] == expected and (asked in ("none", "nothing passes") or 5 < len(expected) < 300)
    assert found["perImage"] == [sum(columns["image"][k] == n for k in expected) for n in range(30)]
    for name, size in SIZES.items():
        left = [k for k in every if passes(columns, filters, k, names, without=name)]
        assert found["counts"][name] == [sum(columns[name][k] == place for k in left) for place in range(size)], name
    assert found["active"] == len(filters)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("key", ["score", "figure figure", "area", "label"])
def test_orders_are_stable_and_put_what_is_unknown_last(key, descending):
    columns, names = made_columns(), ["x"] * 30
    found = run_node(["choose"], CHOOSE, {
        "columns": columns, "filters": {}, "key": key, "descending": descending, "names": names, "sizes": SIZES,
    })  # fmt: skip
    if key == "label":  # by rank; the word at place 0 is none
        values = [None if place == 0 else [5, 2, 0, 1, 3][place] for place in columns["label"]]
    else:
        values = [None if v is None else float(np.float32(v)) for v in columns[key.split()[-1]]]
    sign = -1 if descending else 1
    expected = sorted(range(len(values)), key=lambda k: (values[k] is None, sign * (values[k] or 0.0), k))
    assert found["rows"] == expected


@pytest.mark.parametrize("group", ["label", "verdict", "image"])
def test_groups_keep_the_order_inside(group):
    columns, names = made_columns(seed=1), ["x"] * 30
    filters = {"score": [0.25, None]}
    found = run_node(["choose"], CHOOSE, {
        "columns": columns, "filters": filters, "key": "score", "descending": True, "names": names, "sizes": SIZES,
        "group": group,
    })  # fmt: skip
    rank = [5, 2, 0, 1, 3].__getitem__ if group == "label" else int
    codes = sorted({columns[group][k] for k in found["rows"]}, key=rank)
    expected = []
    for number, code in enumerate(codes):
        expected += [-1 - number, *(k for k in found["rows"] if columns[group][k] == code)]
    assert found["items"] == expected and len(codes) > 3
    counts = [sum(columns[group][k] == code for k in found["rows"]) for code in codes]
    assert found["groups"] == [{"code": code, "count": n} for code, n in zip(codes, counts, strict=True)]


def test_no_rows_at_all():
    columns = {name: [] for name in made_columns(count=1)}
    asked = {"columns": columns, "filters": {}, "key": "score", "descending": True, "names": [], "sizes": SIZES}
    found = run_node(["choose"], CHOOSE, {**asked, "group": "label"})
    assert found["rows"] == found["items"] == found["groups"] == []
