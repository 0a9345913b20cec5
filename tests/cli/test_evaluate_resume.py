"""tools/evaluate.py over again: runs that were interrupted, moved, made longer or begun anew, and in two processes.

Among the metrics and methods are those with noise and masks of their own: they must be the same noise and masks again.
"""

import shutil
import signal
from pathlib import Path

import pytest
import torch

from odam_d2.store import RunFolder
from odam_d2.store.parts import part_path
from tests.cli.test_evaluate import arguments, folder, numbers, tool  # noqa: F401  (fixtures)

ROOT = Path(__file__).resolve().parents[2]
METRICS = ["pointing_box", "vea", "deletion", "stability"]
METHODS = ["--methods", "odam", "drise", "--method-option", "drise.num_masks=2", "--max-detections", "2"]


def seeded(folder, output, *options, opts=()):  # noqa: F811
    return arguments(folder, output, *METHODS, *options, metrics=METRICS, opts=opts)


@pytest.fixture(scope="module")
def whole(tool, folder, tmp_path_factory):  # noqa: F811
    """The output of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "out"
    assert tool.main(seeded(folder, output)) == 0
    return output


def test_an_interrupted_run_goes_on(tool, folder, whole, tmp_path, monkeypatch, capsys):  # noqa: F811
    output, keep, seen = tmp_path / "out", tool.ExampleKeeper.__call__, []

    def interrupted(self, number, *rest):
        seen.append(number)
        if seen == [0, 1, 2]:
            raise KeyboardInterrupt
        keep(self, number, *rest)

    monkeypatch.setattr(tool.ExampleKeeper, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tool.main(seeded(folder, output))
    assert not (output / "metrics.json").exists()
    assert len(RunFolder(output).finished()) == 2
    assert tool.main(seeded(folder, output, "--resume")) == 0
    assert seen == [0, 1, 2, 2, 3]
    assert numbers(output) == numbers(whole)
    assert tool.main(seeded(folder, output, "--resume", "--seed", "1")) == 1
    assert "same settings to resume" in capsys.readouterr().err
    assert numbers(output) == numbers(whole)


@pytest.mark.slow
def test_a_killed_run_goes_on(fresh, tool, folder, whole, tmp_path):  # noqa: F811
    """Killed for good while it measures the third image: nothing of Python's own clean-up runs."""
    killer = tmp_path / "killer.py"
    killer.write_text(
        "import os, signal\n"
        "from odam_d2.evaluation.runs.examples import ExampleKeeper\n"
        "keep = ExampleKeeper.__call__\n"
        "def kill_at_the_third(self, number, *rest):\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if number == 2 else keep(self, number, *rest)\n"
        "if 'KILL' in os.environ:\n"
        "    ExampleKeeper.__call__ = kill_at_the_third\n"
    )
    output = tmp_path / "out"
    command = seeded(folder, output, "--import", killer)
    assert torch.get_num_threads() == 1  # as there: the last bits of a float depend on it
    killed = fresh(script=ROOT / "tools" / "evaluate.py", arguments=command, variables={"KILL": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(RunFolder(output).finished()) == 2 and not (output / "metrics.json").exists()
    assert tool.main(seeded(folder, output, "--resume", "--import", killer)) == 0
    assert numbers(output) == numbers(whole)
    # Nor are there crops of objects that are behind those of the images before.
    crops = [RunFolder(run).documents("examples") for run in (output, whole)]
    assert crops[0] == crops[1] != {}


def test_images_of_a_damaged_part_are_measured_again(tool, folder, whole, tmp_path, monkeypatch, capsys):  # noqa: F811
    output, keep, seen = shutil.copytree(whole, tmp_path / "out"), tool.ExampleKeeper.__call__, []
    monkeypatch.setattr(tool.ExampleKeeper, "__call__", lambda self, *a: seen.append(a[0]) or keep(self, *a))
    part = part_path(output, 0)
    part.write_bytes(part.read_bytes()[:-4096])
    assert tool.main(seeded(folder, output, "--resume")) == 0
    assert seen == sorted(seen) != [] and numbers(output) == numbers(whole)
    assert f"'{part}' must be a whole file of a run" in capsys.readouterr().out


def test_a_run_can_be_made_longer(tool, folder, whole, tmp_path, capsys):  # noqa: F811
    assert tool.main(seeded(folder, tmp_path / "out", "--max-images", "2")) == 0
    assert numbers(tmp_path / "out")[1]["counts"]["images"] == 2
    # Elsewhere, with the same weights.
    moved = shutil.move(tmp_path / "out", tmp_path / "moved")
    weights = ("MODEL.WEIGHTS", shutil.copy(folder / "random.pth", tmp_path / "same.pth"))
    assert tool.main(seeded(folder, moved, "--resume", opts=weights)) == 0
    assert numbers(moved) == numbers(whole)
    other = {name: weight + 1 for name, weight in torch.load(folder / "random.pth", weights_only=True)["model"].items()}
    torch.save({"model": other}, tmp_path / "same.pth")
    assert tool.main(seeded(folder, moved, "--resume", opts=weights)) == 1
    assert "differs in ['weights']" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_give_the_same_to_the_last_digit(fresh, folder, whole, tmp_path):  # noqa: F811
    fresh(script=ROOT / "tools" / "evaluate.py", arguments=seeded(folder, tmp_path, "--num-processes", "2"))
    assert numbers(tmp_path) == numbers(whole)


def test_finished_images_must_be_the_same_files_wherever_they_lie(tool, folder, tmp_path, capsys):  # noqa: F811
    images, moved, output = tmp_path / "images", tmp_path / "moved", tmp_path / "out"
    shutil.copytree(folder / "images", images)
    (images / "1.png").unlink()
    first_three = ("--max-images", "3", "--images")
    assert tool.main(arguments(folder, output, *first_three, images)) == 1
    # What could not be measured may be put right, and what has not been measured may change.
    images.rename(moved)
    shutil.copy(folder / "images" / "1.png", moved)
    grow(moved / "3.png")
    assert tool.main(arguments(folder, output, "--resume", *first_three, moved)) == 0
    size = (moved / "1.png").stat().st_size
    grow(moved / "1.png")
    capsys.readouterr()
    assert tool.main(arguments(folder, output, "--resume", "--images", moved)) == 1
    told = f"differs in 1 of them, the first is '1.png ({size + 1} bytes)' in place of '1.png ({size} bytes)'"
    assert told in capsys.readouterr().err


def grow(file):
    """Readers of images don't mind."""
    file.write_bytes(file.read_bytes() + b"0")


def test_imported_files_and_the_version_count(tool, folder, tmp_path, monkeypatch, capsys):  # noqa: F811
    names = ("resumed", "the_same", "another")
    files = dict(zip(names, (tmp_path / f"{name}.py" for name in names)))
    for name, file in files.items():
        file.write_text("VALUE = 2\n" if name == "another" else "VALUE = 1\n")
    run = [folder, tmp_path / "out", "--max-images", "1", "--import"]
    assert tool.main(arguments(*run, files["resumed"])) == 0
    assert tool.main(arguments(*run, files["the_same"], "--resume")) == 0
    assert tool.main(arguments(*run, files["another"], "--resume")) == 1
    assert "differs in ['imports']" in capsys.readouterr().err
    monkeypatch.setattr(tool, "__version__", "another")
    assert tool.main(arguments(*run, files["the_same"], "--resume")) == 1
    assert "differs in ['version']" in capsys.readouterr().err


def test_a_run_that_starts_anew_leaves_nothing_of_an_older_one(tool, folder, tmp_path, monkeypatch):  # noqa: F811
    def interrupted(*_):
        raise KeyboardInterrupt

    written = {"metrics.json", "per_object.csv", "pairs.csv", "index.html", "curve_x.png", "sanity.json", "sanity.png"}
    own = {"notes.txt", "my_index.html", "curves.txt"}
    for name in written | own:
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(tool.ExampleKeeper, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tool.main(arguments(folder, tmp_path))
    assert {file.name for file in tmp_path.iterdir() if file.is_file()} == own
