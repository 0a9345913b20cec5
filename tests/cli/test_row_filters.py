"""Options that choose explained boxes."""

import argparse

import pytest

from odam_d2.cli.row_filters import add_row_filters, row_filter
from odam_d2.store import RunReader
from odam_d2.store.filters import Filter
from tests.export.runs import write_run


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filters")
    write_run(folder)
    with RunReader(folder / "run") as opened:
        yield opened


def read(reader, *words):
    parser = argparse.ArgumentParser()
    add_row_filters(parser)
    return row_filter(parser.parse_args(words), reader)


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], Filter()),
        (["--kind", "missed", "detection"], Filter(kind=["missed", "detection"])),
        (["--class", "cat", "=dog()"], Filter(label=["cat", "=dog()"])),
        (["--verdict", "duplicate", "--mechanism", "low_score"],
         Filter(verdict=["duplicate"], mechanism=["low_score"])),
        (["--min-score", ".2", "--max-score", "0.9"], Filter(score=(0.2, 0.9))),
        (["--min-iou", "0", "--max-outside", ".5"], Filter(iou=(0.0, None), outside=(None, 0.5))),
        (["--min-area", "1024"], Filter(area=(1024.0, None))),
    ],
)  # fmt: skip
def test_options_are_a_filter(reader, words, expected):
    assert read(reader, *words) == expected


def test_a_class_without_boxes_is_known(tmp_path, reader):
    assert read(reader, "--class", "ox").label == ["ox"]
    assert reader.count(read(reader, "--class", "ox", "--min-score", ".9")) == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["--class", "cat", "cats"], r"--class must be among .*'cat', 'ox'\]; got 'cats': did you mean 'cat'"),
        (["--verdict", "zebra"], r"--verdict must be among .*\['background', .*\]; got 'zebra': choose from these"),
        (["--mechanism", "low-score"], r"--mechanism .*\['low_score'\]; got 'low-score': did you mean 'low_score'"),
        (["--min-area", "9", "--max-area", "4"], "--min-area must be at most --max-area; got 9 and 4: exchange them"),
    ],
)
def test_what_the_run_does_not_have(reader, words, message):
    with pytest.raises(ValueError, match=message):
        read(reader, *words)


@pytest.mark.parametrize("words", [["--kind", "detections"], ["--min-score", "nan"], ["--min-iou", "x"]])
def test_wrong_arguments(reader, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        read(reader, *words)
    assert words[0] in capsys.readouterr().err
