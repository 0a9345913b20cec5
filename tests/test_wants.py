"""A run's last lines tell what was skipped for want of what, with one process and with several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import wants

ROOT = Path(__file__).resolve().parents[1]
TESTS = """
import pytest
from tests.wants import needs, needs_package, require, require_package

@needs("a unicorn", False)
@pytest.mark.parametrize("number", range(3))
def test_three(number):
    raise AssertionError("must not run")

@needs_package("no_such_package")
def test_a_package():
    raise AssertionError("must not run")

@pytest.fixture
def fetched():
    require("a unicorn", False, "they are shy")

def test_a_fixture(fetched):
    raise AssertionError("must not run")

def test_another_reason():
    pytest.skip("it rains")

@needs("numbers", True)
@needs_package("pytest")
def test_what_is_there():
    require("numbers", True)
    require_package("pytest")
"""


def run_pytest(folder, *arguments):
    """What pytest prints of a folder whose conftest.py has the hook."""
    (folder / "conftest.py").write_text("from tests.wants import pytest_sessionfinish\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", folder, *arguments, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("options", [(), ("-q",), ("-n", "2")], ids=["plain", "quiet", "two workers"])
def test_the_last_lines_say_what_was_wanting(tmp_path, options):
    (tmp_path / "test_it.py").write_text(TESTS)
    *_, closing, wanting, others = run_pytest(tmp_path, *options)
    assert "1 passed, 6 skipped in " in closing
    assert wanting == "skipped for want of: a unicorn (4 tests), no_such_package (1 test)"
    assert others == "skipped for other reasons: it rains (1 test)"


def test_a_run_that_lacks_nothing_says_so(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    assert run_pytest(tmp_path)[-1] == "skipped for want of: nothing"


def test_this_run_has_the_hook(pytestconfig):
    hooks = pytestconfig.pluginmanager.hook.pytest_sessionfinish.get_hookimpls()
    assert wants.pytest_sessionfinish in [hook.function for hook in hooks]
