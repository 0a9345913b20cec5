"""What command lines share."""

import argparse
import io
import re

import pytest

from odam_d2.cli import arguments
from tests.helpers import load_command

COMMANDS = (
    "explain",
    "compare",
    "evaluate",
    "summarize",
    "export",
    "train",
    "tune-nms",
    "visualize-data",
    "check-crowdhuman",
)


@pytest.mark.parametrize(
    "convert, good, bad",
    [
        (arguments.whole, {"0": 0, "7": 7}, ("-1", "1.5", "x")),
        (arguments.count, {"1": 1, "7": 7}, ("0", "x")),
        (arguments.finite, {"-1.5": -1.5, "2": 2.0}, ("nan", "inf", "x")),
        (arguments.share, {"0": 0.0, "1": 1.0}, ("-.1", "1.1", "nan", "x")),
        (arguments.overlap, {"0": 0.0, ".9": 0.9}, ("1", "-.1", "x")),
        (arguments.option, {"a=3": ("a", 3), "b=[1, x]": ("b", [1, "x"]), "c=": ("c", None)}, ("a", "a b=3", "a=[1")),
        (
            arguments.option_of(["drise", "gradcam++"]),
            {"drise.n=3": ("drise", "n", 3), "gradcam++.a=b": ("gradcam++", "a", "b")},
            ("n=3", "odam.n=3", "drise.n", "drise.n=[1"),
        ),
    ],
)
def test_types(convert, good, bad):
    assert {text: convert(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(text.split("=")[0])):
            convert(text)


@pytest.mark.parametrize(
    "program, command, called",
    [
        ("/usr/bin/odam", "tune-nms", "odam tune-nms"),
        ("tools/tune_nms.py", "tune-nms", "tools/tune_nms.py"),
        ("/elsewhere/tools/train_net.py", "train", "tools/train_net.py"),
        ("/elsewhere/tools/mine.py", "train", "odam train"),  # somebody's own script that calls the command
        ("tools/explain.py", "compare", "odam compare"),
    ],
)
def test_commands_are_called_by_what_was_typed(monkeypatch, program, command, called):
    monkeypatch.setattr("sys.argv", [program, "--whatever"])
    assert arguments.spelling(command) == called
    typed = arguments.typed_command(command, ["--input", "a b.jpg"])
    assert typed == f"{called} --input 'a b.jpg'"
    assert arguments.typed_arguments(typed) == ["--input", "a b.jpg"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("by_script", [False, True])
def test_help_speaks_of_the_command_as_it_was_called(monkeypatch, capsys, command, by_script):
    stem = {"train": "train_net", "summarize": "summarize_runs"}.get(command, command.replace("-", "_"))
    monkeypatch.setattr("sys.argv", [f"tools/{stem}.py" if by_script else "odam"])
    module = load_command({"tune-nms": "tune_nms"}.get(command, command.replace("-", "_")))
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    told = capsys.readouterr().out
    script, own = f"tools/{stem}.py ", f"odam {command} "
    assert told.startswith(f"usage: {stem}.py " if by_script else f"usage: {own}")
    examples = re.findall(r"^    (\S.*)$", told.split("options:")[0], re.MULTILINE)
    assert examples and (script if by_script else own) in told
    assert not any(line.startswith(own if by_script else script) for line in examples)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_argument_exits_with_2(capsys, command):
    with pytest.raises(SystemExit, match="2"):
        load_command(command.replace("-", "_")).main(["--no-such-argument"])
    assert "usage: " in capsys.readouterr().err


def read_input(*words, opts=()):
    parser = argparse.ArgumentParser()
    arguments.add_input(parser)
    parser.add_argument("opts", nargs=argparse.REMAINDER)
    args = arguments.opts_after_input(parser.parse_args(["--input", *words]))
    return args.input, args.opts


def test_options_of_the_config_behind_the_input(tmp_path, monkeypatch):
    assert read_input("a.jpg", "b.jpg") == (["a.jpg", "b.jpg"], [])
    assert read_input("a.jpg", "MODEL.WEIGHTS", "b.pth") == (["a.jpg"], ["MODEL.WEIGHTS", "b.pth"])
    assert read_input("a.jpg", "b.jpg", "SEED", "1") == (["a.jpg", "b.jpg"], ["SEED", "1"])
    assert read_input("a.jpg", "model.backbone.freeze_at=0") == (["a.jpg"], ["model.backbone.freeze_at=0"])
    # A file of such a name is a file.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "IMG").touch()
    assert read_input("a.jpg", "IMG") == (["a.jpg", "IMG"], [])


def test_letters_that_the_terminal_does_not_know_are_escaped(monkeypatch):
    """A pipe in ASCII, and a name with bytes that are no text."""
    streams = {
        name: io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True) for name in ("stdout", "stderr")
    }
    for name, stream in streams.items():
        monkeypatch.setattr("sys." + name, stream)
    arguments.command_parser("explain")
    print("Report: 犬/\udcff")
    assert arguments.failure(ValueError("got 'é\x1b[31m'\nsecond line")) == 1
    written = {name: stream.buffer.getvalue().decode() for name, stream in streams.items()}
    assert written == {"stdout": "Report: \\u72ac/\\udcff\n", "stderr": "error: got '\\xe9\\x1b[31m'\nsecond line\n"}
