"""Files appear whole or not at all."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from odam_d2.utils.files import (
    OutputError,
    atomic_write,
    distinct_names,
    remove_unfinished,
    require_writable,
    safe_name,
    write_json,
    write_text,
)
from tests.wants import needs

ROOT = Path(__file__).resolve().parents[2]


def names(folder):
    return sorted(os.listdir(folder))


def test_file_appears_at_the_end_and_alone(tmp_path):
    path = tmp_path / "new" / "folder" / "out.txt"
    with atomic_write(path) as handle:
        handle.write("half")
        assert not path.exists()
        assert len(names(path.parent)) == 1  # in the same folder, so that the replacement is one step
        handle.write(", whole\n")
    assert path.read_text() == "half, whole\n"
    assert names(path.parent) == ["out.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failing_body_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "out.txt"
    write_text(path, "old")
    with pytest.raises(error):
        with atomic_write(path) as handle:
            handle.write("new")
            raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_failing_body_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with atomic_write(tmp_path / "out.txt") as handle:
            handle.write(str(1 / 0))
    assert names(tmp_path) == []


def test_bytes_and_path_as_text(tmp_path):
    with atomic_write(str(tmp_path / "out.bin"), "wb") as handle:
        handle.write(b"\x00\r\n\xff")
    assert (tmp_path / "out.bin").read_bytes() == b"\x00\r\n\xff"


@pytest.mark.parametrize("mode", ["a", "r", "r+", "x", "w+"])
def test_other_modes_are_refused(tmp_path, mode):
    with pytest.raises(ValueError, match='`mode` must be "w" or "wb"'):
        with atomic_write(tmp_path / "out.txt", mode):
            pass
    assert names(tmp_path) == []


def test_text_is_utf8_whatever_the_locale(tmp_path):
    write_text(tmp_path / "out.txt", "ÅΦ\n")
    assert (tmp_path / "out.txt").read_bytes() == "ÅΦ\n".encode()


@needs("POSIX permissions", os.name == "posix")
def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    write_text(tmp_path / "ours.txt", "")
    (tmp_path / "ordinary.txt").write_text("")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours.txt", "ordinary.txt")]
    assert modes[0] == modes[1]


def test_json_round_trip(tmp_path):
    value = {"auc": 0.25, "names": ["a", "b"], "none": None}
    write_json(tmp_path / "out.json", value)
    assert json.loads((tmp_path / "out.json").read_text()) == value
    assert (tmp_path / "out.json").read_text().endswith("}\n")


def test_what_json_does_not_know_leaves_the_file_alone(tmp_path):
    write_json(tmp_path / "out.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "out.json", [object()])
    assert json.loads((tmp_path / "out.json").read_text()) == [1]
    assert names(tmp_path) == ["out.json"]


def test_the_longest_name_that_a_file_can_have(tmp_path):
    write_text(tmp_path / ("x" * 251 + ".txt"), "whole")
    assert names(tmp_path) == ["x" * 251 + ".txt"]


@pytest.mark.parametrize("text", ["cat", "traffic light", "näher-2.final (1)", "猫", "-", "a.b.c", "console", "com10"])
def test_a_good_name_stays(text):
    assert safe_name(text) == text


@pytest.mark.parametrize(
    "text, name",
    [
        ("", "_"), (".", "_"), ("..", "_"), ("...", "_"), (" ", "_"), (". .", "_"), (".jpg", "_jpg"), ("..a", "_a"),
        ("a/b", "a_b"), ("../../etc", "__.._etc"), ("a\\b:c*d?", "a_b_c_d_"), ('<"a"|b>', "__a__b_"),
        ("cat. . ", "cat"), (" cat", "cat"),
        ("a\nb\tc\0d\x7f", "a_b_c_d_"), ("a\u202eb\u2028", "a_b_"), ("a\udcff", "a_"),
        ("CON", "_CON"), ("nul.txt", "_nul.txt"), ("Lpt1 .x", "_Lpt1 .x"), ("e\u0301", "\u00e9"),
    ],
)  # fmt: skip
def test_any_text_becomes_a_name_in_its_own_folder(text, name, tmp_path):
    assert safe_name(text) == name and safe_name(name) == name
    (tmp_path / "inside").mkdir()
    write_text(tmp_path / "inside" / name, "")
    assert names(tmp_path / "inside") == [name] and names(tmp_path) == ["inside"]


@pytest.mark.parametrize("letter", ["x", "猫", "\U00020000"])
def test_long_names_are_cut_and_stay_apart(letter, tmp_path):
    one, other = (safe_name(letter * count) for count in (400, 401))
    assert one != other and one[:20] == other[:20] == letter * 20
    assert len(one.encode()) <= 100 and safe_name(letter * 400, most=50).encode()[50:] == b""
    assert safe_name(one) == one


def test_names_that_texts_share_are_numbered():
    assert distinct_names(["cat", "CAT", "cat-2", "..", "/", "report.html"], taken=["report.html"]) == [
        "cat", "CAT-2", "cat-2-2", "_", "_-2", "report.html-2",
    ]  # fmt: skip
    assert distinct_names(["a"] * 3) == ["a", "a-2", "a-3"] and distinct_names([]) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_a_disk_that_takes_nothing_is_told_in_one_sentence(tmp_path, code):
    write_text(tmp_path / "out.txt", "before")
    told = f"out.txt' must be writable; got {os.strerror(code)}: .*what was finished is kept$"
    with pytest.raises(OutputError, match=told):
        with atomic_write(tmp_path / "out.txt"):
            try:
                raise OSError(code, os.strerror(code))
            except OSError as error:  # as torch.save and others wrap it
                raise RuntimeError("a writer failed") from error
    assert (tmp_path / "out.txt").read_text() == "before" and names(tmp_path) == ["out.txt"]


@needs("limits of processes", os.name == "posix")
def test_a_limit_of_the_system_itself(tmp_path):
    """What a process may write into one file, as a small disk: 4096 bytes."""
    script = (
        "import resource, sys; sys.path.insert(0, sys.argv[2]); import files\n"  # without the package, which takes long
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "files.write_text(sys.argv[1] + '/small.txt', 'x' * 4000)\n"
        "try:\n    files.write_text(sys.argv[1] + '/large.txt', 'x' * 9000)\n"
        "except files.OutputError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(ROOT / "odam_d2" / "utils")]
    told = subprocess.run(command, capture_output=True, text=True)
    assert "large.txt' must be writable; got File too large: free some space" in told.stdout, told.stderr
    assert names(tmp_path) == ["small.txt"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    for write in (lambda: write_text(tmp_path / "out" / "a.txt", ""), lambda: require_writable(tmp_path / "out")):
        with pytest.raises(OutputError, match="must be writable; got (Not a directory|File exists): choose another"):
            write()
    assert (tmp_path / "out").read_text() == "mine"


def test_errors_of_a_body_that_are_not_about_writing_stay(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.txt"), atomic_write(tmp_path / "out.txt"):
        (tmp_path / "none.txt").read_text()


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    kept = (".notes.tmp", "a.0123abcd.tmp", ".hidden", "b.txt", ".c.0123abcd.tmp.txt")
    for name in (*kept, ".c.json.0123abcd.tmp", ".d\n.e.89abcdef.tmp"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert names(tmp_path) == sorted(kept)
    remove_unfinished(tmp_path / "none")
    require_writable(tmp_path / "made")
    assert names(tmp_path / "made") == []
