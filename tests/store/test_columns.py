"""Boxes as columns in memory: the same answers as SQL gives."""

import random

import pytest

from odam_d2.store import AnnotationRow, DetectionRow, ImageRow, RunReader, RunWriter, StoredImage
from odam_d2.store.columns import WORDS
from odam_d2.store.filters import ORDERS, Filter

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
    Filter(score=(2.0, 1.0)),
]


def made_box(draw: random.Random) -> DetectionRow:
    x, y, w, h = (draw.randrange(1, 80) for _ in range(4))
    missed = draw.random() < 0.2
    some = [round(draw.random(), 1) if draw.random() < 0.8 else None for _ in range(4)]  # with ties, and unknown
    return DetectionRow(
        (x, y, x + w, y + h), 0, draw.choice(["dog", "cat", "ärger"]), some[0], "missed" if missed else "detection",
        iou=some[1], occlusion=some[2], outside=some[3],
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
        places = columns.page(found, by, descending, offset, limit)
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


def test_an_unknown_order_is_an_error(columns):
    with pytest.raises(ValueError, match="must be one of"):
        columns.page(columns.chosen(Filter()), "colour", False, 0, 1)


def test_a_run_without_images_has_no_boxes(tmp_path):
    RunWriter(tmp_path).close()
    with RunReader(tmp_path) as reader:
        columns = reader.columns()
        assert len(columns) == 0 and columns.page(columns.chosen(Filter()), "score", True, 0, 9) == []
        assert columns.counts(columns.chosen(Filter())) == {name: {} for name in WORDS}
        assert columns.images(None)[0].tolist() == []
        assert reader.methods() == [] and not reader.has_annotations() and reader.image_row(0) is None


def test_what_the_reader_knows_of_the_run(reader):
    assert reader.has_annotations()
    assert reader.image_row(3).name == "Image_3%.jpg" and reader.image_row(8) is None
