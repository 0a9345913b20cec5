"""Boxes as columns in memory: the same answers as SQL gives."""

import json
import random

import numpy as np
import pytest

from odam_d2.store import AnnotationRow, DetectionRow, ImageRow, RunReader, RunWriter, StoredImage
from odam_d2.store.columns import GROUPS, WORDS
from odam_d2.store.figure_columns import FigureColumns
from odam_d2.store.filters import ORDERS, Filter
from odam_d2.store.groups import GroupedBoxes

FILTERS = [
    Filter(),
    Filter(label=("dog",)),
    Filter(verdict=("correct", "background"), score=(0.3, None)),
    Filter(verdict=(None,)),
    Filter(mechanism=(None, "low_score"), kind=("missed", "detection")),
    Filter(score=(None, 0.5), iou=(0.2, 0.9)),
    Filter(occlusion=(0.0, 1.0)),
    Filter(area=(400.0, 2500.0), outside=(0.1, None)),
    Filter(image=(1, 3, 99)),
    Filter(label=("nothing",)),
    Filter(judged=True, label=("dog", "cat")),
    Filter(judged=False),
    Filter(score=(2.0, 1.0)),
]


def made_box(draw: random.Random) -> DetectionRow:
    x, y, w, h = (draw.randrange(1, 80) for _ in range(4))
    missed = draw.random() < 0.2
    some = [round(draw.random(), 1) if draw.random() < 0.8 else None for _ in range(4)]  # with ties, and unknown
    return DetectionRow(
        (x, y, x + w, y + h), 0, draw.choice(["dog", "cat", "ärger"]), some[0], "missed" if missed else "detection",
        annotation=draw.choice([0, None]), iou=some[1], occlusion=some[2], outside=some[3],
        verdict=draw.choice(["correct", "background", None]),
        mechanism=draw.choice(["low_score", "background"]) if missed else None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("columns"), random.Random(0)
    with RunWriter(folder) as writer:
        for number in range(8):
            name = f"Image_{number}%.jpg"
            boxes = [made_box(draw) for _ in range(0 if number == 5 else 30)]
            row = ImageRow(number, name, name, name, (200, 200), (200, 200))
            writer.write(StoredImage(row, [AnnotationRow((1, 1, 9, 9), 0, "dog")], boxes))
    with RunReader(folder) as reader:
        yield reader


@pytest.fixture(scope="module")
def columns(reader):
    return reader.columns()


@pytest.mark.parametrize("chosen", FILTERS, ids=str)
def test_counts_are_those_of_sql(reader, columns, chosen):
    found = columns.chosen(chosen)
    assert found.sum() == reader.count(chosen)
    assert columns.counts(found) == {name: reader.counts(name, chosen) for name in WORDS}


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("by", ORDERS)
@pytest.mark.parametrize("chosen", FILTERS[:5], ids=str)
def test_pages_are_those_of_sql(reader, columns, chosen, by, descending):
    found = columns.chosen(chosen)
    for offset, limit in ((0, 7), (20, 50), (1000, 10), (0, 0)):
        expected = reader.detections(chosen, by, descending, offset, limit)
        places = columns.places(columns.sorted(found, by, descending)[offset : offset + limit])
        assert places == [(image, row) for image, row, _ in expected]
        assert reader.rows_at(places) == [one for _, _, one in expected]


@pytest.mark.parametrize("chosen", FILTERS[1:], ids=str)
def test_images_are_those_of_the_boxes(reader, columns, chosen):
    numbers, counts = columns.images(columns.chosen(chosen))
    expected: dict[int, int] = {}
    for image, _, _ in reader.detections(chosen):
        expected[image] = expected.get(image, 0) + 1
    assert dict(zip(numbers.tolist(), counts.tolist(), strict=True)) == expected
    assert numbers.tolist() == sorted(expected)


def test_all_images_are_found_and_by_parts_of_their_names(columns):
    numbers, counts = columns.images(None)
    assert numbers.tolist() == list(range(8)) and counts.tolist() == [30, 30, 30, 30, 30, 0, 30, 30]
    assert columns.images(None, "image_3")[0].tolist() == [3]
    assert columns.images(None, "%")[0].tolist() == list(range(8))
    assert columns.images(None, ".*")[0].tolist() == []
    assert columns.images(columns.chosen(Filter(image=(2, 3))), "_3%")[0].tolist() == [3]


@pytest.mark.parametrize("chosen", FILTERS, ids=str)
def test_choices_leave_out_the_words_of_their_own_column(reader, columns, chosen):
    for column, found in columns.choices(chosen, "mage_").items():
        others = {**chosen.__dict__, column: None}
        assert found == reader.counts(column, Filter(**others))


@pytest.mark.parametrize("name", ["_3%", "IMAGE_", ".jpg", "7", "_", "nothing"])
@pytest.mark.parametrize("chosen", FILTERS[:4], ids=str)
def test_boxes_are_found_by_their_images_names(reader, columns, chosen, name):
    expected = [(image, row) for image, row, _ in reader.detections(chosen)
                if name.lower() in reader.image_row(image).name.lower()]  # fmt: skip
    assert columns.places(np.flatnonzero(columns.chosen(chosen, name))) == expected
    for number in range(8):
        kept = columns.rows_of(number, columns.chosen(chosen, name))
        assert kept == [row for image, row in expected if image == number]


@pytest.mark.parametrize("by", GROUPS)
@pytest.mark.parametrize("order", ["place", "score"])
def test_groups_are_those_of_a_loop(reader, columns, by, order):
    chosen = Filter(score=(0.3, None))
    boxes = columns.sorted(columns.chosen(chosen), order, True)
    members: dict = {}
    for place in columns.places(boxes):
        (one,) = reader.rows_at([place])
        members.setdefault(reader.image_row(place[0]).name if by == "image" else getattr(one, by), []).append(place)
    expected = []
    for word in sorted(members, key=lambda word: (word is None, word or "")):
        expected += [(word, len(members[word])), *members[word]]
    groups, titles = columns.groups(by)
    listed = GroupedBoxes(boxes, groups[boxes])
    assert len(listed) == len(expected)
    for offset in range(0, len(expected) + 1, 3):
        for limit in (1, 4, 1000):
            shown = [columns.places(np.array([item]))[0] if count is None else (titles[item], count)
                     for item, count in listed.page(offset, limit)]  # fmt: skip
            assert shown == expected[offset : offset + limit]


def test_no_box_has_no_group():
    assert GroupedBoxes(np.zeros(0, np.int64), np.zeros(0, np.int64)).page(0, 5) == []


def test_figures_sort_as_a_loop_does():
    draw, columns = random.Random(1), FigureColumns()
    known = {box: draw.choice([0.5, -1.0, 3.0, 0.25]) for box in range(60) if draw.random() < 0.5}
    for box, value in known.items():
        columns.add(box, {"likeness": value, **({"rank": box % 3} if box % 5 == 0 else {})})
    chosen = np.array([draw.random() < 0.7 for _ in range(60)])
    for descending in (False, True):

        def key(box, sign=-1 if descending else 1):
            return (box not in known, sign * known.get(box, 0), box)

        found = columns.sorted(chosen, "likeness", descending).tolist()
        assert found == sorted(np.flatnonzero(chosen).tolist(), key=key)
        assert columns.values("likeness", np.array(found)) == [known.get(box) for box in found]
    assert columns.names == ["likeness", "rank"]
    with pytest.raises(KeyError):
        columns.sorted(chosen, "colour", False)


def test_figures_are_read_in_parts(reader):
    parts = list(reader.figures(7))
    expected = [(one.verdict, json.dumps(dict(one.figures))) for _, _, one in reader.detections()]
    assert [one for part in parts for one in part] == expected and len(parts[0]) == 7


def test_orders_of_images(tmp_path):
    names = ["scene 10.jpg", "Scene 9.jpg", "b.jpg"]
    with RunWriter(tmp_path) as writer:
        for number, name in enumerate(names):
            failure = "broken" if number == 2 else None
            boxes = [] if failure else [DetectionRow((0, 0, 9, 9), 0, "dog", 0.5)] * (number + 1)
            row = ImageRow(number, name, name, name, (9, 9), (9, 9), failure)
            writer.write(StoredImage(row, None, boxes))
    with RunReader(tmp_path) as reader:
        columns = reader.columns()
        found = {by: columns.images(None, by=by)[0].tolist() for by in ("place", "name", "boxes", "failed")}
        assert found == {"place": [0, 1, 2], "name": [2, 1, 0], "boxes": [1, 0, 2], "failed": [2, 0, 1]}
        assert (columns.failed, columns.first(), reader.failures()) == (1, 0, [("b.jpg", "broken")])


def test_an_unknown_order_is_an_error(columns):
    with pytest.raises(ValueError, match="must be one of"):
        columns.sorted(columns.chosen(Filter()), "colour", False)
    with pytest.raises(ValueError, match="must be one of"):
        columns.groups("colour")
    with pytest.raises(ValueError, match="must be one of"):
        columns.images(None, by="colour")


def test_a_run_without_images_has_no_boxes(tmp_path):
    RunWriter(tmp_path).close()
    with RunReader(tmp_path) as reader:
        columns = reader.columns()
        assert len(columns) == 0 and columns.sorted(columns.chosen(Filter()), "score", True).tolist() == []
        assert columns.first() is None and columns.groups("image")[1] == []
        assert columns.counts(columns.chosen(Filter())) == {name: {} for name in WORDS}
        assert columns.images(None)[0].tolist() == []
        assert reader.methods() == [] and not reader.has_annotations() and reader.image_row(0) is None


def test_what_the_reader_knows_of_the_run(reader):
    assert reader.has_annotations()
    assert reader.image_row(3).name == "Image_3%.jpg" and reader.image_row(8) is None
