"""Folders appear whole or not at all."""

import errno
import os

import pytest

from odam_d2.utils.files import OutputError
from odam_d2.utils.folders import atomic_folder


def fill(path, text):
    with atomic_folder(path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text(text)


def names(folder):
    return sorted(os.listdir(folder))


def test_a_folder_appears_at_the_end_and_alone(tmp_path):
    path = tmp_path / "new" / "out"
    with atomic_folder(path) as folder:
        (folder / "a").write_text("half")
        assert not path.exists() and folder.parent == path.parent
    assert names(path.parent) == ["out"] and names(path) == ["a"]


def test_it_takes_the_place_of_an_older_one(tmp_path):
    fill(tmp_path / "out", "old")
    (tmp_path / "out" / "more").write_text("old")
    fill(tmp_path / "out", "new")
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["deep"]
    assert (tmp_path / "out" / "deep" / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    fill(tmp_path / "out", "old")
    with pytest.raises(error), atomic_folder(tmp_path / "out") as folder:
        (folder / "b").write_text("half")
        raise error
    assert names(tmp_path) == ["out"] and (tmp_path / "out" / "deep" / "a.txt").read_text() == "old"


def test_a_full_disk_is_told_in_one_sentence(tmp_path):
    with pytest.raises(OutputError, match="must be writable.*free some space"), atomic_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_a_folder_that_takes_no_files(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="must be writable"):
        fill(tmp_path / "file" / "out", "x")


def test_what_killed_processes_left_is_cleared(tmp_path):
    # One was killed while it wrote, another between its two renamings, when the old folder had no name any more.
    (tmp_path / ".out.unfinished").mkdir()
    (tmp_path / ".out.unfinished" / "half").write_text("x")
    fill(tmp_path / ".out.old", "old")
    with pytest.raises(ValueError), atomic_folder(tmp_path / "out") as folder:
        assert names(folder) == []
        raise ValueError
    assert names(tmp_path) == ["out"] and (tmp_path / "out" / "deep" / "a.txt").read_text() == "old"
