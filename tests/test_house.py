"""The rules of the house, read off the source: imports run one way, files are short, no machine's paths, docstrings.

A file's *line* is the first name below the package: "explain" for ``odam_d2/explain/build.py``, "config" for
``odam_d2/config.py``.
"""

import ast
import re
import subprocess
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.wants import find_program, require

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "odam_d2"
# The data's way: a file imports only from lines to the left of its own. "__init__" is the package's own front, which
# gathers the public names; `env` asks it for the version, and tools/ may import everything.
ORDER = (
    "utils ops config structures store data modeling explain postprocess training meta_arch visualize evaluation "
    "analysis engine export model_zoo loading predictor __init__ env serve cli"
).split()
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name_of(path: Path, root: Path = ROOT) -> str:
    """The dotted name of a file's module: ``odam_d2.explain.base``, ``odam_d2.explain`` for an ``__init__.py``."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def line_of(module: str) -> str:
    """The line that a module of the package is on."""
    return (module.split(".") + ["__init__"])[1]


def imports_of(tree: ast.Module, module: str, is_package: bool, known: set[str]) -> dict[str, int]:
    """The modules of `known` that a module imports, anywhere in its text, each with the line number.

    ``from package import name`` counts for the module ``package.name`` where there is one, otherwise for ``package``.
    """
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
        else:
            continue
        for target in targets:
            if target in known and target != module:
                found.setdefault(target, node.lineno)
    return found


def import_graph() -> dict[str, dict[str, int]]:
    """Module -> {module it imports: line number}, for all of the package."""
    known = {name_of(path) for path in FILES}
    return {name_of(p): imports_of(parse(p), name_of(p), p.name == "__init__.py", known) for p in FILES}


def text_files() -> list[Path]:
    """The files that git tracks or would track; all of them that read as text."""
    require("git", find_program("git") is not None)
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    require("git's list of files", listing.returncode == 0, listing.stderr.strip())
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_file_is_on_a_known_line():
    strangers = sorted({line_of(name_of(path)) for path in FILES} - set(ORDER))
    assert not strangers, f"say in ORDER where these belong: {strangers}"


def test_imports_run_one_way():
    wrong = []
    for module, imported in import_graph().items():
        rank = ORDER.index(line_of(module))
        for target, number in imported.items():
            if ORDER.index(line_of(target)) > rank:
                wrong.append(f"{module}, line {number}, imports {target}")
    assert not wrong, "a file imports only from lines above its own:\n" + "\n".join(wrong)


def test_imports_have_no_circle():
    circle: list[str] = []
    try:
        TopologicalSorter({module: set(imported) for module, imported in import_graph().items()}).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert not circle, "imports run in a circle: " + " <- ".join(circle)


def test_ops_know_no_detectron2():
    wrong = [
        f"{path.relative_to(ROOT)}, line {node.lineno}"
        for path in FILES
        if line_of(name_of(path)) == "ops"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
        if name.split(".")[0] in ("detectron2", "fvcore")
    ]
    assert not wrong, "ops/ is torch alone: " + ", ".join(wrong)


def test_files_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = [f"{path.relative_to(ROOT)}: {length}" for path, length in lengths.items() if length > MAX_LINES]
    assert not long, f"more than {MAX_LINES} lines:\n" + "\n".join(long)


def test_public_names_have_docstrings():
    bare = [
        f"{path.relative_to(ROOT)}, line {node.lineno}: {node.name}"
        for path in FILES
        for node in parse(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare, "no docstring:\n" + "\n".join(bare)


def test_no_paths_of_a_machine():
    # Written so that this file doesn't find itself. A host's name before the slash makes it an address, not a path.
    pattern = re.compile(r"(?<![\w.~$})-])/(?:work|root|home)" + "/")
    found = []
    for path in text_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}, line {number}: {line.strip()[:100]}")
    assert not found, "a path of one machine:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "source, expected",
    [
        ("import pkg.a.x", ["pkg.a.x"]),
        ("from pkg.a import x, y", ["pkg.a.x", "pkg.a"]),  # x is a module, y a name in pkg/a/__init__.py
        ("from . import x", ["pkg.a.x"]),  # in pkg/a/m.py, one dot is pkg.a
        ("from .x import y", ["pkg.a.x"]),
        ("from ..b import y", ["pkg.b"]),
        ("def f():\n    from .. import b", ["pkg.b"]),  # inside a function counts too
        ("import torch\nfrom os import path", []),
    ],
)
def test_imports_are_read_right(source, expected):
    known = {"pkg", "pkg.a", "pkg.a.x", "pkg.a.m", "pkg.b"}
    assert list(imports_of(ast.parse(source), "pkg.a.m", False, known)) == expected


def test_relative_imports_of_a_package_start_at_itself():
    known = {"pkg", "pkg.a", "pkg.a.x", "pkg.b"}
    tree = ast.parse("from .x import y\nfrom ..b import z")
    assert list(imports_of(tree, "pkg.a", True, known)) == ["pkg.a.x", "pkg.b"]
