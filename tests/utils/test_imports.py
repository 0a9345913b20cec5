"""Importing what a user names."""

import json
import pickle
import sys

import pytest

from odam_d2.utils.imports import import_file_or_module


@pytest.fixture(autouse=True)
def forget_imported_files():
    """Takes what a test imported out of ``sys.modules`` again."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_dotted_name_is_the_module():
    assert import_file_or_module("json") is json
    assert import_file_or_module("json.decoder") is json.decoder


def test_file_is_run_once(tmp_path):
    path = tmp_path / "plugin.py"
    path.write_text("import json\nruns = getattr(json, '_runs', 0) + 1\n")
    module = import_file_or_module(str(path))
    assert module.__name__ == "odam_d2_import_plugin"
    assert module is sys.modules["odam_d2_import_plugin"]

    path.write_text("raise RuntimeError('run twice')")
    assert import_file_or_module(str(path)) is module
    assert import_file_or_module(str(tmp_path / ".." / tmp_path.name / "plugin.py")) is module  # the same file


def test_relative_path_is_taken_from_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "plugin.py").write_text("value = 3\n")
    monkeypatch.chdir(tmp_path)
    assert import_file_or_module("plugin.py").value == 3


def test_classes_of_a_file_can_be_pickled(tmp_path):
    path = tmp_path / "shapes.py"
    path.write_text("class Shape:\n    sides = 3\n")
    shape = import_file_or_module(str(path)).Shape()
    shape.sides = 4
    copy = pickle.loads(pickle.dumps(shape))
    assert type(copy) is type(shape) and copy.sides == 4


def test_file_may_be_called_like_an_installed_module(tmp_path):
    path = tmp_path / "json.py"
    path.write_text("value = 1\n")
    assert import_file_or_module(str(path)).value == 1
    assert import_file_or_module("json") is json


def test_a_file_that_a_neighbour_imported_is_not_run_again(tmp_path, monkeypatch):
    (tmp_path / "odam_test_backbone.py").write_text("count = []\n")
    (tmp_path / "odam_test_detector.py").write_text("import odam_test_backbone\nodam_test_backbone.count.append(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        import_file_or_module(str(tmp_path / "odam_test_detector.py"))
        found = import_file_or_module(str(tmp_path / "odam_test_backbone.py"))
        assert found.count == [1] and found.__name__ == "odam_test_backbone"
    finally:
        for name in ("odam_test_backbone", "odam_d2_import_odam_test_detector"):
            sys.modules.pop(name, None)


def test_two_files_of_one_stem_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plugin.py").write_text("")
    import_file_or_module(str(tmp_path / "a" / "plugin.py"))
    with pytest.raises(ImportError, match="already imported under the same stem"):
        import_file_or_module(str(tmp_path / "b" / "plugin.py"))


@pytest.mark.parametrize(
    "name, reason",
    [
        ("no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("missing.py", "FileNotFoundError: "),
        ("", "ValueError: Empty module name"),
    ],
)
def test_what_is_not_there_is_named_with_its_reason(name, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImportError) as caught:
        import_file_or_module(name)
    message = str(caught.value)
    assert repr(name) in message and reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text, reason",
    [
        ("def broken(:\n", "SyntaxError: invalid syntax"),
        ("raise KeyError('first\\nsecond')\n", "KeyError: "),
        ("import no_such_module_anywhere\n", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("assert False\n", "AssertionError: no reason given"),
    ],
)
def test_file_that_fails_is_named_with_its_reason_and_forgotten(text, reason, tmp_path):
    path = tmp_path / "plugin.py"
    path.write_text(text)
    with pytest.raises(ImportError) as caught:
        import_file_or_module(str(path))
    message = str(caught.value)
    assert str(path) in message and reason in message
    assert "\n" not in message
    assert type(caught.value.__cause__).__name__ == reason.split(":")[0]

    path.write_text("value = 5\n")  # mended, it imports
    assert import_file_or_module(str(path)).value == 5
