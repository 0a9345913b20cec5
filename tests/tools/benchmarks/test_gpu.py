"""tools/benchmarks/gpu.py: its parts are commands that parse, and what it keeps."""

import json

import pytest

from odam_d2.cli.config import read_config, require_yaml
from tests.helpers import load_tool


@pytest.fixture
def tool():
    return load_tool("benchmarks/gpu")


@pytest.mark.parametrize("quick", [False, True])
def test_every_part_is_a_command_that_parses(tool, quick):
    for name, part in tool.all_parts(quick).items():
        command = part.command("cuda", "figures.json")
        if not part.script:
            assert command[1:4] == ["-m", "pytest", "-q"]
            continue
        script = load_tool(part.script.removeprefix("tools/").removesuffix(".py"))
        args = script.argument_parser().parse_args(command[2:])
        assert args.opts[:2] == ["MODEL.DEVICE", "cuda"], name
        assert not part.writes or args.output == "figures.json"
        cfg = require_yaml(read_config(args))
        assert cfg.MODEL.DEVICE == "cuda", name


def scripts(tool, monkeypatch, tmp_path, **bodies):
    """Puts small scripts in the place of the parts."""
    parts = {}
    for name, body in bodies.items():
        path = tmp_path / f"{name}.py"
        path.write_text(f"import json, os, sys\n{body}\n")
        parts[name] = tool.Part(str(path), ("--repeats", "2"), ("A.KEY", "1"), {"ODAM_TEST_GPU": "on"})
    monkeypatch.setattr(tool, "all_parts", lambda quick: parts)


WRITE = 'json.dump([sys.argv[1:], os.environ["ODAM_TEST_GPU"]], open(sys.argv[sys.argv.index("--output") + 1], "w"))'


def test_goes_on_behind_what_is_there_and_with_what_failed(tool, monkeypatch, tmp_path, capsys):
    marker, target = tmp_path / "ran", tmp_path / "gpu.json"
    good = f"open({str(marker)!r}, 'a').write('x')\n{WRITE}\nprint('bar\\rfine')"
    scripts(tool, monkeypatch, tmp_path, good=good, bad="print('broken'); sys.exit(3)")
    words = ["--output", str(target), "--device", "cpu"]
    assert tool.main(words) == 1
    assert "failed: bad" in capsys.readouterr().out
    kept = json.loads(target.read_text())
    first, second = kept["parts"]["good"], kept["parts"]["bad"]
    argv, seen = first["figures"]
    assert seen == "on" and argv[:2] == ["--repeats", "2"] and argv[-4:] == ["MODEL.DEVICE", "cpu", "A.KEY", "1"]
    assert (first["exit_code"], first["printed"]) == (0, ["fine"])
    assert (second["exit_code"], second["printed"], second["figures"]) == (3, ["broken"], None)
    assert kept["settings"] == {"device": "cpu", "quick": False} and kept["versions"]["torch"]
    scripts(tool, monkeypatch, tmp_path, good=good, bad=WRITE)
    assert tool.main(words) == 0
    # The good one was not run again.
    assert marker.read_text() == "x" and json.loads(target.read_text())["parts"]["bad"]["exit_code"] == 0


def test_figures_of_other_settings_are_refused(tool, monkeypatch, tmp_path, capsys):
    target = tmp_path / "gpu.json"
    scripts(tool, monkeypatch, tmp_path, good=WRITE)
    assert tool.main(["--output", str(target), "--device", "cpu"]) == 0
    with pytest.raises(SystemExit):
        tool.main(["--output", str(target), "--device", "cpu", "--quick"])
    assert "must be a file of the same --device and --quick; got one of" in capsys.readouterr().err


def test_parts_are_listed(tool, capsys):
    assert tool.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == list(tool.all_parts(False))
    with pytest.raises(SystemExit):
        tool.main([])
