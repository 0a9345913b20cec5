"""tools/explain.py over again: runs that were interrupted, made longer or begun anew, and full disks."""

import errno
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch

from odam_d2.cli.image_explainer import ImageExplainer
from odam_d2.store import RunReader
from odam_d2.utils import files
from tests.cli.test_explain import TINY, ZOO_NAME, image, report_data, run, run_json, tool, weights  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
CHANGING = ("date", "seconds", "command", "versions")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for k in range(5):
        image(folder / f"{k}.png", seed=k)
    return folder


def contents(output):
    """All that a run leaves, by its path, without dates and durations."""
    files = (path for path in output.rglob("*") if path.is_file() and "store" not in path.parts)
    # The report's data lie in a folder of a new name each time.
    found = {Path(re.sub(r"data-\w+", "data", str(path.relative_to(output)))): path.read_bytes() for path in files}
    found[Path("rows of store")] = rows_of(output)
    for name, told in (("run.json", run_json(output)), ("report/index.html", report_data(output))):
        steady = told if name == "run.json" else told["run"]
        for key in CHANGING:
            steady.pop(key)
        found[Path(name)] = told
    return found


def rows_of(output):
    """All rows of a run, maps included, as they are read."""
    with RunReader(output) as reader:
        stored = [reader.image(one.number) for one in reader.images()]
        maps = [
            {
                which: (rows, {k: v.tolist() for k, v in maps.to_arrays().items()})
                for which, (rows, maps) in one.maps.items()
            }
            for one in stored
        ]
        return [(one.image, one.annotations, one.detections) for one in stored], maps, reader.run


@pytest.fixture
def explained(monkeypatch):  # noqa: F811
    """Names of the images that were explained, in this test."""
    seen, explain = [], ImageExplainer.explain
    monkeypatch.setattr(ImageExplainer, "explain", lambda self, path: seen.append(path.name) or explain(self, path))
    return seen


def test_a_killed_run_goes_on(fresh, run, weights, images, tmp_path, explained):  # noqa: F811
    """Killed for good while it writes the fourth image's files: nothing of Python's own clean-up runs."""
    killer = tmp_path / "explain_killer.py"
    killer.write_text(
        "import os, signal\n"
        "from odam_d2.utils import files\n"
        "replace = os.replace\n"
        "def kill_at_the_fourth(source, target):\n"
        "    if target.name == 'overlay.jpg' and target.parent.name == '3':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(source, target)\n"
        "if 'KILL' in os.environ:\n"
        "    files.os.replace = kill_at_the_fourth\n"
    )
    options = ("--import", str(killer))
    assert run(images, *options)[0] == 0
    whole = shutil.move(tmp_path / "out", tmp_path / "whole")
    command = ["--config-file", ZOO_NAME, "--input", images, "--output",
               tmp_path / "out", "--max-detections", "2", "--score-threshold", "0.1", *options, *TINY, "MODEL.WEIGHTS",
               weights]  # fmt: skip
    assert torch.get_num_threads() == 1  # as there: the last bits of a float depend on it
    killed = fresh(script=ROOT / "tools" / "explain.py", arguments=command, variables={"KILL": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    output = tmp_path / "out"
    assert len(list(output.rglob("*.tmp"))) == 1 and not (output / "report" / "index.html").exists()
    explained.clear()
    assert run(images, "--resume", *options)[0] == 0
    assert explained == ["3.png", "4.png"] and contents(output) == contents(whole)


def test_what_is_finished_is_kept_and_the_rest_is_explained(run, images, tmp_path, explained):  # noqa: F811
    folder = shutil.copytree(images, tmp_path / "some")
    (folder / "1.png").write_text("broken")
    for name in ("3.png", "4.png"):
        (folder / name).unlink()
    code, output = run(folder)
    assert code == 1
    # What failed is put right, two images come along, and somebody has removed files.
    for name in ("1.png", "3.png", "4.png"):
        shutil.copy(images / name, folder)
    (output / "2" / "overlay.jpg").unlink()
    explained.clear()
    assert run(folder, "--resume")[0] == 0 and explained == ["1.png", "2.png", "3.png", "4.png"]
    explained.clear()
    assert run(folder, "--resume")[0] == 0 and explained == []
    resumed = contents(output)
    assert run(folder)[0] == 0 and len(explained) == 5
    assert contents(output) == resumed


@pytest.mark.parametrize(
    "options, change, told",
    [
        (("--strips", "1"), {}, r"differs in \['strips'\] \(strips: 3 there, 1 here\)"),
        (("--method", "gradcam"), {}, r"differs in \['options'\]"),
        (
            (),
            {"threshold": "0.2"},
            r"\(config: SCORE_THRESH_TEST: 0.1; .* there, SCORE_THRESH_TEST: 0.2; .* here;",
        ),
        ((), {"opts": ("INPUT.MAX_SIZE_TEST", "48")}, r"\(config: MAX_SIZE_TEST: 64 there, MAX_SIZE_TEST: 48 here\)"),
        ((), {"checkpoint": "other"}, r"differs in \['weights'\] \(weights: [0-9a-f]{12} there, [0-9a-f]{12} here\)"),
    ],
)
def test_other_settings_are_refused_with_both(run, weights, images, tmp_path, capsys, options, change, told):  # noqa: F811
    assert run(images / "0.png")[0] == 0
    if change.get("checkpoint"):
        state = {name: value + 1 for name, value in torch.load(weights, weights_only=True)["model"].items()}
        torch.save({"model": state}, tmp_path / "other.pth")
        change = {"checkpoint": tmp_path / "other.pth"}
    before = contents(tmp_path / "out")
    capsys.readouterr()
    assert run(images / "0.png", "--resume", *options, **change)[0] == 1
    printed = capsys.readouterr().err
    assert (
        printed.startswith("error: `output` must hold results of the same settings to resume")
        and printed.count("\n") == 1
    )
    assert re.search(told, printed), printed
    assert contents(tmp_path / "out") == before


def test_another_file_under_the_same_name_is_refused(run, images, tmp_path, capsys):  # noqa: F811
    path = Path(shutil.copy(images / "0.png", tmp_path / "cat.png"))
    assert run(path)[0] == 0
    image(path, 41, 60)
    assert run(path, "--resume")[0] == 1
    assert "must hold results of the same images to resume; it differs in 1" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_in_one_sentence_and_it_can_go_on(run, images, tmp_path, monkeypatch, capsys):  # noqa: F811
    assert run(images)[0] == 0
    output = tmp_path / "out"
    whole = contents(shutil.copytree(output, tmp_path / "whole"))
    shutil.rmtree(output)
    replace, done = os.replace, []

    def full(source, target):
        done.append(target)
        if len(done) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", full)
        assert run(images)[0] == 1
    told = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "error:" in line]
    assert len(told) == 1 and "must be writable; got No space left on device: free some space" in told[0]
    assert not list(output.rglob("*.tmp")) and not (output / "report" / "index.html").exists()
    assert run(images, "--resume")[0] == 0 and contents(output) == whole


def test_a_folder_that_takes_no_files_is_told_before_anything_is_explained(run, images, tmp_path, capsys, explained):  # noqa: F811
    (tmp_path / "out").write_text("a file, not a folder")
    assert run(images)[0] == 1 and explained == []
    assert "must be writable; got Not a directory: choose another folder" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "a file, not a folder"
