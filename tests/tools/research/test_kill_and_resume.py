"""The script that kills commands: a kill or two of each, and what it counts."""

import json
import sys

import pytest

from odam_d2.store import RunWriter
from tests.helpers import load_tool
from tests.store.test_run import image_of
from tests.wants import needs

pytestmark = needs("processes that fork", sys.platform == "linux")


@pytest.fixture(scope="module")
def script():
    return load_tool("research/kill_and_resume")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["explain", "train"])
def test_one_kill(script, command, tmp_path):
    assert script.main(["--command", command, "--times", "1", "--seed", "3", "--output", str(tmp_path / "a.json")]) == 0
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["killed"] == 1 and [told[name] for name in ("broken", "lost", "different")] == [0, 0, 0]


def test_files_that_are_not_whole_are_found(script, tmp_path):
    whole = {"a.json": '{"x": 1, "date": 2}', "b.html": "<html></html>", "metrics.json": '{"a": 1}\n{"a": 2}\n'}
    for name, text in whole.items():
        (tmp_path / name).write_text(text)
    assert script.broken_files(tmp_path) == []
    for name, text in whole.items():
        (tmp_path / name).write_text(text[:-3])
    for name in (".a.0123abcd.tmp", ".unfinished/a.json", "log.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{")
    assert [told.partition(":")[0] for told in script.broken_files(tmp_path)] == sorted(whole)


def test_rows_of_a_run_are_compared_whatever_was_written_first(script, tmp_path):
    for folder, numbers in (("one", (0, 1, 2)), ("two", (2, 0, 1)), ("three", (0, 1))):
        with RunWriter(tmp_path / folder) as writer:
            for number in numbers:
                writer.write(image_of(number))
    assert script.differences(tmp_path / "one", tmp_path / "two") == []
    name = "store/part-00000.sqlite"
    assert script.differences(tmp_path / "one", tmp_path / "three") == [f"{name} differs"]
    path = tmp_path / "three" / name
    path.write_bytes(path.read_bytes()[:5000])
    assert script.broken_files(tmp_path / "three")[0].startswith(name)


def test_differences_are_found_but_dates(script, tmp_path):
    for folder, text in (("one", '{"x": 1, "date": 2}'), ("two", '{"x": 1, "date": 3}')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.json").write_text(text)
    assert script.differences(tmp_path / "one", tmp_path / "two") == []
    (tmp_path / "two" / "a.json").write_text('{"x": 2, "date": 2}')
    (tmp_path / "two" / "b.csv").touch()
    told = script.differences(tmp_path / "one", tmp_path / "two")
    assert told == ["b.csv is there in one run only", "a.json differs"]
