"""What the package says of versions of Python is true: syntax down to the oldest, nothing that later ones removed."""

import ast
import re
from pathlib import Path

import detectron2
import pytest

ROOT = Path(__file__).resolve().parents[1]
OLDEST = tuple(map(int, re.search(r'python_requires=">=(\d+)\.(\d+)"', (ROOT / "setup.py").read_text()).groups()))
FOLDERS = ("odam_d2", "tools", "tests", "packaging", "configs")
OURS = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")) + [ROOT / "odam_d2_cli.py"]
THEIRS = sorted(Path(detectron2.__file__).parent.rglob("*.py"))

# Modules that Python 3.12 and 3.13 don't have any more, and setuptools from 82 on.
REMOVED_MODULES = (
    "asynchat asyncore imp smtpd distutils aifc audioop cgi cgitb chunk crypt imghdr mailcap msilib nis nntplib "
    "ossaudiodev pipes sndhdr spwd sunau telnetlib uu xdrlib lib2to3 pkg_resources"
).split()
# Names that NumPy 1.24 or 2, Pillow 10 or Python 3.12 have removed.
REMOVED_NAMES = {
    "np": "float int bool object str complex float_ complex_ unicode_ string_ Inf Infinity NaN infty product "
    "cumproduct alltrue sometrue in1d row_stack trapz asfarray msort find_common_type cast source round_ mat".split(),
    "Image": "LINEAR CUBIC ANTIALIAS".split(),
    "pkgutil": "ImpImporter ImpLoader".split(),
    "inspect": "getargspec formatargspec".split(),
    "collections": "Mapping MutableMapping Sequence Iterable Callable Hashable".split(),
}


def removed(tree: ast.AST) -> list[str]:
    """What of the above a file imports or names."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.split(".")[0] in REMOVED_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [node.module] if (node.module or "").split(".")[0] in REMOVED_MODULES else []
            found += [
                f"{node.module}.{one.name}" for one in node.names if one.name in REMOVED_NAMES.get(node.module, ())
            ]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [f"{node.value.id}.{node.attr}"] if node.attr in REMOVED_NAMES.get(node.value.id, ()) else []
    return found


def test_the_oldest_version_is_the_linters():
    target = re.search(r'^target-version = "py(\d)(\d+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert tuple(map(int, target.groups())) == OLDEST


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_is_read_by_the_oldest_and_by_later_ones(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, str(path), feature_version=OLDEST)
    assert removed(tree) == []


def test_the_copy_of_detectron2_uses_nothing_that_is_gone_but_what_the_alias_stands_in_for():
    assert len(THEIRS) > 100
    found = {path.as_posix(): removed(ast.parse(path.read_text(encoding="utf-8"))) for path in THEIRS}
    gone = {path.split("detectron2/")[-1]: names for path, names in found.items() if names}
    assert gone in ({}, {"model_zoo/model_zoo.py": ["pkg_resources"]})


@pytest.mark.parametrize(
    "text, names",
    [
        ("import distutils.util", ["distutils.util"]),
        ("from imp import reload", ["imp"]),
        ("import numpy as np\nnp.float(1)\nnp.float32(1)", ["np.float"]),
        ("from collections import Mapping, OrderedDict", ["collections.Mapping"]),
        ("Image.LINEAR, self.Image.LINEAR", ["Image.LINEAR"]),
        ("from .imp import x", []),
    ],
)
def test_what_is_gone_is_found(text, names):
    assert removed(ast.parse(text)) == names
