"""A resumed training's rows follow those of its checkpoint."""

import json

import pytest

from odam_d2.engine.rows import drop_rows_from


def row(iteration):
    return json.dumps({"iteration": iteration, "loss": 0.5}) + "\n"


@pytest.mark.parametrize(
    "content, iteration, kept",
    [
        (row(1) + row(3) + row(5), 4, row(1) + row(3)),
        (row(1) + row(3) + '{"iteration": 5, "lo', 4, row(1) + row(3)),
        (row(1) + row(3) + '{"iteration": 3, "loss": 1}', 9, row(1) + row(3)),  # without the end of its line
        (row(7) + row(1), 4, row(7) + row(1)),  # of another run before
        (row(1), 0, ""),
        ("", 3, ""),
    ],
)
def test_last_rows_are_cut_off_and_writers_go_on_behind_the_cut(tmp_path, content, iteration, kept):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with path.open("a") as writer:
        drop_rows_from(path, iteration)
        writer.write(row(8))
    assert path.read_text() == kept + row(8)


def test_there_may_be_no_file(tmp_path):
    assert drop_rows_from(tmp_path / "metrics.json", 3) == 0
