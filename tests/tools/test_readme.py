"""tools/README.md has a line for every script and command, and the examples in the scripts' docstrings parse.

What tools/README.md itself tells people to type is tested with all other pages: tests/docs/test_code_blocks.py.
"""

import ast
import re
import shlex
from pathlib import Path

import pytest

import odam_d2_cli
from tests.docs.test_code_blocks import parse

ROOT = Path(__file__).parents[2]
SCRIPTS = [path for folder in ("benchmarks", "research") for path in (ROOT / "tools" / folder).glob("*.py")]
README = (ROOT / "tools" / "README.md").read_text()


def examples():
    """(script, command) of the indented lines of docstrings, continued where they end in a backslash."""
    for path in SCRIPTS:
        text = (ast.get_docstring(ast.parse(path.read_text())) or "").replace("\\\n", " ")
        for line in re.findall(r"^    ((?:odam|tools/\S+\.py) .*)$", text, re.MULTILINE):
            yield path.name, line


@pytest.mark.parametrize("name, line", list(examples()))
def test_examples_of_docstrings_parse(name, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    parsed = parse(shlex.split(line), monkeypatch)
    assert parsed is not None and len(getattr(parsed, "opts", ())) % 2 == 0, f"an option lost its way: {parsed}"


def test_every_script_and_command_has_its_line():
    # What scripts share or read.
    own = {"benchmarking.py", "fuzz_cases.py", "fuzz_checks.py", "odam_train_variants.py"}
    own |= {"zoo_cases.py", "zoo_variants.py", "zoo_weights.py"}
    missing = [f"tools/{p.parent.name}/{p.name}" for p in SCRIPTS if p.name not in own]
    assert not [line for line in missing if f"    {line} " not in README]
    assert not [name for name in odam_d2_cli.COMMANDS if f"    odam {name}" not in README]
