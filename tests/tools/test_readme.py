"""Commands in tools/README.md and the docstrings of the tools are those that exist."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

import odam_d2_cli
from tests.helpers import load_tool

ROOT = Path(__file__).parents[2]
SCRIPTS = {"train_net": "train", "summarize_runs": "summarize"}


def commands():
    """Lines that begin with four blanks and a command, continued where they end in a backslash."""
    texts = {name: (ROOT / name).read_text() for name in ("tools/README.md",)}
    texts |= {f"tools/{d}/{path.name}": ast.get_docstring(ast.parse(path.read_text())) or "" for d, path in scripts()}
    for name, text in texts.items():
        text = text.replace("\\\n", " ")
        for line in re.findall(r"^    ((?:odam|tools/\S+\.py) .*)$", text, re.MULTILINE):
            yield name, line.split(" && ")[0]


def scripts():
    return [(folder, path) for folder in ("benchmarks", "research") for path in (ROOT / "tools" / folder).glob("*.py")]


def parser_of(words):
    """The parser that a command line is for, and its arguments; None where it has none of its own."""
    if words[0] == "odam":
        module, arguments = importlib.import_module(odam_d2_cli.COMMANDS[words[1]][0]), words[2:]
    else:
        stem = words[0].removeprefix("tools/").removesuffix(".py")
        if "/" in stem:
            module, arguments = load_tool(stem), words[1:]
        else:
            command = SCRIPTS.get(stem, stem.replace("_", "-"))
            module, arguments = importlib.import_module(odam_d2_cli.COMMANDS[command][0]), words[1:]
    make = getattr(module, "argument_parser", None)
    return (make() if make else None), arguments


FOUND = list(commands())


@pytest.mark.parametrize("name, line", FOUND)
def test_commands_can_be_parsed(name, line):
    parser, arguments = parser_of(shlex.split(line))
    if parser is not None:
        args = parser.parse_args(arguments)
        assert len(getattr(args, "opts", ())) % 2 == 0, f"an option lost its way: {args.opts}"


def test_every_script_and_command_has_its_line():
    told = "\n".join(line for name, line in FOUND if name == "tools/README.md")
    own = {"benchmarking", "odam_train_variants"}  # what scripts share or read
    assert not [p.stem for folder, p in scripts() if p.stem not in own and f"tools/{folder}/{p.name} " not in told]
    readme = (ROOT / "tools" / "README.md").read_text()
    assert not [name for name in odam_d2_cli.COMMANDS if f"    odam {name}" not in readme]
