"""What some tests need and not every machine has. A run's last lines say what was missing, and for how many tests.

The skips of :func:`needs` and :func:`require` are known by their reasons, which also cross from one process to another.
"""

import importlib.util
import shutil
from collections import Counter

import pytest

FOR_WANT_OF = "for want of "


def needs(what: str, found: bool) -> pytest.MarkDecorator:
    """A mark for tests that are skipped for want of `what` unless it was `found`."""
    return pytest.mark.skipif(not found, reason=FOR_WANT_OF + what)


def needs_package(name: str) -> pytest.MarkDecorator:
    """A mark for tests that need a package; nothing is imported to find out."""
    return needs(name, importlib.util.find_spec(name) is not None)


# The bundled detectors' name of RT-DETR, as one of the parameters of a test on all of them.
RTDETR = pytest.param("rtdetr", marks=needs_package("transformers"))


def find_program(*names: str) -> str | None:
    """The path of the first of these programs that is installed."""
    return next((path for path in map(shutil.which, names) if path), None)


def require(what: str, found: bool, why: str = "") -> None:
    """Skips the test that runs for want of `what` unless it was `found`; for a fixture or one case of several."""
    if not found:
        pytest.skip(FOR_WANT_OF + what + (f": {why}" if why else ""))


def require_package(name: str) -> None:
    """:func:`require` for a package."""
    require(name, importlib.util.find_spec(name) is not None)


def summary(reports: list) -> str:
    """One or two lines on the skipped tests among `reports`: what was wanting, and other reasons."""
    wanted: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for report in reports:
        _file, _line, reason = report.longrepr
        reason = reason.removeprefix("Skipped: ")
        if reason.startswith(FOR_WANT_OF):
            wanted[reason.removeprefix(FOR_WANT_OF).split(":")[0]] += 1
        else:
            others[reason] += 1
    lines = [f"skipped for want of: {_list(wanted) or 'nothing'}"]
    if others:
        lines.append(f"skipped for other reasons: {_list(others)}")
    return "\n".join(lines)


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{what} ({n} test{'s' if n > 1 else ''})" for what, n in sorted(counts.items()))


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionfinish(session):
    """Says at the very end, behind pytest's own closing line, what was skipped."""
    result = yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:  # the workers of pytest-xdist have none
        terminal.write_line(summary(terminal.stats.get("skipped", [])))
    return result
