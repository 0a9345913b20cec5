"""``odam``: which command it runs, and that its help doesn't wait for torch."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import odam_d2
import odam_d2_cli
from odam_d2.env import format_versions

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_import_neither_torch_nor_the_package(flag):
    script = f"import sys, odam_d2_cli; odam_d2_cli.main(['{flag}']); print({{'torch', 'odam_d2'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_help_has_a_line_for_each_command(capsys):
    assert odam_d2_cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    for name, (module, what) in odam_d2_cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(what)}$", told, re.MULTILINE)
        assert callable(importlib.import_module(module).main)
    assert max(map(len, told.splitlines())) <= 120


def test_version(capsys):
    assert odam_d2_cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"odam_d2 {odam_d2.__version__}\n"


def test_every_script_has_a_command_and_every_command_a_script():
    names = {path.stem for path in (ROOT / "tools").glob("*.py")}
    scripts = {"train": "train_net", "summarize": "summarize_runs"}
    assert names == {scripts.get(n, n.replace("-", "_")) for n in odam_d2_cli.COMMANDS if n != "env"}


def test_a_command_gets_its_arguments_and_gives_its_exit_code(monkeypatch):
    seen = []
    monkeypatch.setattr("odam_d2.cli.compare.main", lambda argv: seen.append(argv) or 7)
    assert odam_d2_cli.main(["compare", "--runs", "x"]) == 7 and seen == [["--runs", "x"]]
    monkeypatch.setattr("sys.argv", ["odam", "compare", "y"])
    assert odam_d2_cli.main() == 7 and seen[1] == ["y"]


@pytest.mark.parametrize("argv, message", [(["nothing"], "got 'nothing'"), ([], "usage: odam COMMAND")])
def test_what_is_no_command(capsys, argv, message):
    assert odam_d2_cli.main(argv) == 2
    assert message in capsys.readouterr().err


def test_versions_of_everything(capsys):
    assert odam_d2_cli.main(["env"]) == 0
    assert capsys.readouterr().out.strip() == format_versions()
