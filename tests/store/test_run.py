"""A run on disk: what is written is read back, whoever wrote it, and what is damaged is named."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys

import pytest
import torch

from odam_d2.store import AnnotationRow, DetectionRow, ImageRow, RunFolder, RunReader, RunWriter, StoredImage
from odam_d2.store.filters import ORDERS, Filter
from odam_d2.store.parts import DamagedPartError, part_path
from odam_d2.utils.files import OutputError
from tests.store.test_packing import ATTRIBUTES, random_maps

VERDICTS = ("correct", "background", "duplicate", None)


def image_of(number: int, boxes: int = 2, seed: int = 0) -> StoredImage:
    """An image with annotations, detections and their maps."""
    made = random.Random(1000 * seed + number)
    rows = [
        DetectionRow(
            (made.random() * 50, 1.0, 60.0 + k, 70.5),
            k % 3,
            f"class {k % 3}",
            score=made.random(),
            annotation=0 if k == 0 else None,
            iou=made.random() if k % 2 else None,
            occlusion=made.random() if k % 2 else None,
            verdict=made.choice(VERDICTS),
            outside=made.random(),
            figures={"likeness": 0.1 + 0.2},
        )
        for k in range(boxes)
    ]
    about = ImageRow(number, f"key {number}", f"a/{number}.jpg", f"/data/a/{number}.jpg", (140, 144), (70, 72),
                     facts={"remarks": ["turned"], "third": 1 / 3})  # fmt: skip
    dog = AnnotationRow((1.0, 2.0, 30.0, 40.25), 1, "dog", id=7, occlusion=1 / 3)
    truth = [dog, AnnotationRow((0, 0, 9, 9), -1, "ox", True, "x")]
    maps = {("odam", ""): (list(range(boxes)), random_maps(boxes, 2, number))} if boxes else {}
    return StoredImage(about, truth, rows, maps)


def test_an_image_is_read_back_as_it_was_written(tmp_path):
    stored = image_of(3)
    with RunWriter(tmp_path) as writer:
        writer.write(stored, {("results", "3"): {"value": 0.1 + 0.2}})
        writer.put_run({"class_names": ["cat", "dog"], "method": "odam"})
    with RunReader(tmp_path) as reader:
        found = reader.image(3)
        assert (found.image, found.annotations, found.detections) == (
            stored.image,
            stored.annotations,
            stored.detections,
        )
        rows, maps = found.maps["odam", ""]
        assert rows == [0, 1] and maps.attributes == ATTRIBUTES and maps.class_names == ("cat", "dog")
        written = stored.maps["odam", ""][1]
        torch.testing.assert_close(maps.to_image("score"), written.to_image("score"), atol=0.03, rtol=0)
        assert reader.heatmaps(3, "odam")[0] == [0, 1] and reader.heatmaps(3, "gradcam") is None
        assert reader.run["method"] == "odam" and len(reader) == 1
        assert reader.document("results", "3") == {"value": 0.1 + 0.2} and reader.document("results", "4") is None
        assert reader.image(3, maps=False).maps == {} and reader.find("key 3") == stored.image
        with pytest.raises(IndexError, match="got 4"):
            reader.image(4)


def test_failures_images_without_annotations_and_without_boxes(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(StoredImage(ImageRow(0, "a", "a", "a", failure="'a' is no image")))
        writer.write(StoredImage(ImageRow(1, "b", "b", "b\udcff", (4, 5), (4, 5))))
        writer.write(StoredImage(ImageRow(2, "c", "c", "c", (4, 5), (4, 5)), annotations=[]))
    reader = RunReader(tmp_path)
    assert [one.failure for one in reader.images()] == ["'a' is no image", None, None]
    assert [reader.image(k).annotations for k in range(3)] == [None, None, []]
    assert reader.count() == 0 and reader.detections() == [] and reader.images(1, 1)[0].key == "b"
    assert set(RunFolder(tmp_path).finished()) == {"b", "c"}


def test_rows_do_not_depend_on_who_wrote_them(tmp_path):
    """Three processes, images in no order, or one process: all reads agree to the last digit."""
    numbers = list(range(12))
    random.Random(1).shuffle(numbers)
    for where, ranks in (("one", 1), ("three", 3)):
        for rank in range(ranks):
            with RunWriter(tmp_path / where, rank) as writer:
                for number in numbers[rank::ranks] if ranks > 1 else range(12):
                    writer.write(image_of(number, boxes=number % 4))
    one, three = RunReader(tmp_path / "one"), RunReader(tmp_path / "three")
    assert one.images() == three.images() and len(three) == 12
    for order in ORDERS:
        for descending in (False, True):
            assert one.detections(order_by=order, descending=descending) == three.detections(
                order_by=order, descending=descending
            )
    for number in range(12):
        left, right = one.image(number), three.image(number)
        assert left.annotations == right.annotations and left.maps.keys() == right.maps.keys()
        for which, (rows, maps) in left.maps.items():
            assert rows == right.maps[which][0] and torch.equal(maps.values, right.maps[which][1].values)


def test_more_parts_than_sqlite_attaches(tmp_path):
    for rank in range(14):
        with RunWriter(tmp_path, rank) as writer:
            writer.write(image_of(13 - rank, boxes=1))
    reader = RunReader(tmp_path)
    assert [one.number for one in reader.images()] == list(range(14))
    assert all(len(reader.image(number).maps["odam", ""][1]) == 1 for number in range(14))


def test_filters_and_orders_agree_with_a_plain_loop(tmp_path):
    with RunWriter(tmp_path) as writer:
        for number in range(20):
            writer.write(image_of(number, boxes=5))
    reader = RunReader(tmp_path)
    every = reader.detections()
    assert len(every) == reader.count() == 100
    asked = Filter(
        label=["class 0", "class 2"], score=(0.2, None), outside=(0.1, 0.9), verdict=["correct", "duplicate"]
    )
    expected = [
        one for one in every
        if one[2].label in ("class 0", "class 2") and one[2].score >= 0.2 and 0.1 <= one[2].outside <= 0.9
        and one[2].verdict in ("correct", "duplicate")
    ]  # fmt: skip
    assert 5 < len(expected) < 60
    assert reader.detections(asked) == expected and reader.count(asked) == len(expected)
    by_iou = sorted(expected, key=lambda one: (one[2].iou is None, -(one[2].iou or 0), one[0], one[1]))
    assert reader.detections(asked, "iou", descending=True) == by_iou
    assert reader.detections(asked, "iou", descending=True, offset=3, limit=4) == by_iou[3:7]
    large = Filter(area=(4000.0, None))
    assert reader.count(large) == sum((d.box[2] - d.box[0]) * (d.box[3] - d.box[1]) >= 4000 for *_, d in every)
    assert reader.counts("verdict") == {v: n for v in VERDICTS if (n := sum(d.verdict == v for *_, d in every))}
    hidden = reader.detections(Filter(occlusion=(None, 0.5)))
    assert hidden == [one for one in every if one[2].occlusion is not None and one[2].occlusion <= 0.5] and hidden
    assert reader.count(Filter(image=[2, 3])) == 10 and reader.count(Filter(kind=["missed"])) == 0
    assert reader.count(Filter(label=[])) == 0
    with pytest.raises(ValueError, match="`order_by` must be one of"):
        reader.detections(order_by="score; DROP TABLE detections")
    with pytest.raises(ValueError, match="`column` must be"):
        reader.counts("score")


def test_an_image_that_is_written_again_replaces_what_was_there(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(image_of(0, boxes=4))
        writer.write(image_of(0, boxes=1, seed=1))
        reader = RunReader(tmp_path)
        assert reader.count() == 1 and len(reader.image(0).maps["odam", ""][0]) == 1
        writer.write(image_of(1))
    # The index is made again once something was written; the older reader shows the run as it was.
    assert len(RunReader(tmp_path)) == 2 and len(reader) == 1


def test_a_write_that_fails_leaves_the_image_as_it_was(tmp_path):
    broken = image_of(0, boxes=2)
    broken.detections[1].figures["x"] = {1, 2}  # a set, which JSON doesn't know
    with RunWriter(tmp_path) as writer:
        writer.write(image_of(0, boxes=1))
        with pytest.raises(TypeError):
            writer.write(broken)
        writer.write(image_of(1, boxes=1))
    assert [one.number for one in RunReader(tmp_path).images()] == [0, 1] and RunReader(tmp_path).count() == 2


def test_documents_of_several_parts(tmp_path):
    for rank in range(2):
        with RunWriter(tmp_path, rank) as writer:
            writer.put("crops", f"{rank}", [rank])
            writer.put("crops", "both", rank)
    reader = RunReader(tmp_path)
    assert dict(reader.documents("crops")) == {"0": [0], "1": [1], "both": 0} and reader.document("crops", "1") == [1]
    with RunWriter(tmp_path, 1) as writer:
        writer.clear("crops")
    assert dict(RunReader(tmp_path).documents("crops")) == {"0": [0], "both": 0}


def test_a_killed_writer_leaves_whole_images(tmp_path):
    """Killed at different moments, each image that was told is there, whole, and the next writer goes on."""
    told = -1
    for wait in (1, 7, 13):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            writer = RunWriter(tmp_path)
            for number in range(10000):
                writer.write(image_of(number, boxes=3))
                os.write(write, f"{number}\n".encode())
        os.close(write)
        with os.fdopen(read) as numbers:
            for _ in range(wait):
                told = max(told, int(numbers.readline()))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with RunReader(tmp_path) as reader:
            found = [one.number for one in reader.images()]
            assert found == list(range(len(found))) and told < len(found) < 10000
            assert all(reader.image(n).detections == image_of(n, boxes=3).detections for n in found)


def test_a_journal_that_a_killed_writer_left_is_undone(tmp_path):
    path = part_path(tmp_path, 0)
    with RunWriter(tmp_path) as writer:
        writer.write(image_of(0))
    program = f"""
import os, sqlite3
c = sqlite3.connect({str(path)!r}, isolation_level=None)
c.execute("PRAGMA cache_size = 1"); c.execute("PRAGMA journal_mode = DELETE")
c.execute("BEGIN IMMEDIATE"); c.execute("UPDATE images SET name = 'half'")
c.execute("INSERT INTO documents VALUES ('x', 'y', ?)", ("z" * 100000,)); c.execute("DELETE FROM detections")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program])
    assert path.with_name(path.name + "-journal").stat().st_size > 0
    assert RunReader(tmp_path).image(0).image == image_of(0).image and RunReader(tmp_path).count() == 2


@pytest.mark.parametrize("damage", ["cut short", "overwritten", "no database", "empty"])
def test_a_damaged_part_is_named_and_its_images_are_done_again(tmp_path, damage):
    folder = RunFolder(tmp_path)
    folder.start({"method": "odam"}, resume=False)
    for rank in range(2):
        with RunWriter(tmp_path, rank) as writer:
            for number in range(rank, 12, 2):
                writer.write(image_of(number))
    path = part_path(tmp_path, 1)
    data = path.read_bytes()
    if damage == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "overwritten":
        path.write_bytes(data[:8192] + b"\x07" * 12288 + data[20480:])
    else:
        path.write_bytes(b"" if damage == "empty" else b"no database at all" * 100)
    again = RunFolder(tmp_path)
    again.start({"method": "odam"}, resume=True)
    (sentence,) = again.set_aside
    assert str(path) in sentence and "part-00001.sqlite.damaged-1" in sentence
    assert set(again.finished()) == {f"key {number}" for number in range(0, 12, 2)}
    with RunWriter(tmp_path, 1) as writer:
        for number in range(1, 12, 2):
            writer.write(image_of(number))
    assert [one.number for one in RunReader(tmp_path).images()] == list(range(12))


def test_a_damaged_part_stops_readers_with_one_sentence(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(image_of(0))
    path = part_path(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DamagedPartError, match=r"part-00000\.sqlite.*--resume"):
        RunReader(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match="`folder` must hold a run"):
        RunReader(tmp_path)


def test_a_run_of_other_settings_or_files_is_refused_with_both_fingerprints(tmp_path):
    first = RunFolder(tmp_path)
    first.start({"weights": "a", "method": "odam"}, resume=False, files={"key 0": "0.jpg (9 bytes)"})
    with RunWriter(tmp_path) as writer:
        writer.write(image_of(0))
    there = first.fingerprint()
    other = RunFolder(tmp_path)
    with pytest.raises(ValueError, match=r"weights: a there, b here") as told:
        other.start({"weights": "b", "method": "odam"}, resume=True, files={"key 0": "0.jpg (9 bytes)"})
    assert there in str(told.value) and str(told.value).count("fingerprint") == 1
    with pytest.raises(ValueError, match=r"'0.jpg \(8 bytes\)' in place of '0.jpg \(9 bytes\)'"):
        other.start({"weights": "a", "method": "odam"}, resume=True, files={"key 0": "0.jpg (8 bytes)"})
    other.start({"weights": "a", "method": "odam"}, resume=True, files={"key 0": "0.jpg (9 bytes)", "key 1": "new"})
    assert set(other.finished()) == {"key 0"} and other.fingerprint() == there


def test_starting_anew_removes_old_rows_and_results(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "mine.json").write_text("{}")
    folder = RunFolder(tmp_path)
    folder.start({}, resume=False)
    with RunWriter(tmp_path, 3) as writer:
        writer.write(image_of(0))
    RunReader(tmp_path).close()
    folder.start({}, resume=False, results=["metrics.json"])
    assert folder.finished() == {} and not (tmp_path / "metrics.json").exists() and (tmp_path / "mine.json").exists()
    with pytest.raises(ValueError, match="must hold a run"):
        RunReader(tmp_path)


def test_a_part_of_another_format_is_told_apart_from_damage(tmp_path):
    RunWriter(tmp_path).close()
    with sqlite3.connect(part_path(tmp_path, 0)) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ValueError, match=r"must be in format 1; got format 99"):
        RunReader(tmp_path)


def test_a_folder_that_takes_no_files(tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(OutputError, match="must be writable"):
        RunWriter(tmp_path)


def test_a_run_in_a_folder_that_is_only_read(tmp_path, monkeypatch):
    with RunWriter(tmp_path) as writer:
        writer.write(image_of(0))
    # Tests may run as a user whom permissions don't stop.
    monkeypatch.setattr("odam_d2.store.index.os.replace", lambda *_: (_ for _ in ()).throw(OSError(30, "read-only")))
    reader = RunReader(tmp_path)
    assert reader.count() == 2 and len(reader.image(0).maps["odam", ""][0]) == 2
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["part-00000.sqlite"]


def test_facts_are_json(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(image_of(0))
    with sqlite3.connect(part_path(tmp_path, 0)) as connection:
        (facts,) = connection.execute("SELECT facts FROM images").fetchone()
    connection.close()
    assert json.loads(facts)["facts"] == {"remarks": ["turned"], "third": 1 / 3}


def test_a_run_that_goes_on_with_other_images_shows_those_in_its_order(tmp_path):
    """Images come between those that are finished, and one is gone: numbers are places in the run as it is now."""
    folder = RunFolder(tmp_path)
    folder.start({}, resume=False, files={"key 5": "5", "key 9": "9"})
    with RunWriter(tmp_path) as writer:
        for number in (5, 9):
            writer.write(image_of(number))
    assert [(one.number, one.key) for one in RunReader(tmp_path).images()] == [(0, "key 5"), (1, "key 9")]
    folder.start({}, resume=True, files={"key 1": "1", "key 9": "9", "key 2": "2"})
    with RunWriter(tmp_path, 1) as writer:
        writer.write(image_of(1))
    reader = RunReader(tmp_path)
    assert [(one.number, one.key) for one in reader.images()] == [(0, "key 1"), (1, "key 9")]
    assert reader.image(1).detections == image_of(9).detections and len(reader.image(1).maps["odam", ""][0]) == 2
    assert {number for number, _, _ in reader.detections()} == {0, 1}
    folder.start({}, resume=True, files={"key 9": "9", "key 1": "1"})
    assert [one.key for one in RunReader(tmp_path).images()] == ["key 9", "key 1"]


def test_an_image_that_failed_in_one_part_is_taken_from_the_other(tmp_path):
    for rank, failure in enumerate(("'a' is no image", None, None)):
        with RunWriter(tmp_path, rank) as writer:
            writer.write(StoredImage(ImageRow(0, "a", "a", str(rank), (4, 5), (4, 5), failure)))
    (image,) = RunReader(tmp_path).images()
    assert image.failure is None and image.path == "1" and set(RunFolder(tmp_path).finished()) == {"a"}
