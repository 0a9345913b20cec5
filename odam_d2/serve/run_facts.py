"""What is known of a run as a whole, as its report tells it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..store import RunReader
from ..utils.words import visible
from ..visualize.report.page import read_page_facts

REPORT = "report"  # in the folder of a run
_PAGES = (f"{REPORT}/index.html", "report.html")
_FILES = ("run.json", "analysis.json", "metrics.json")


def facts_of(folder: Path, reader: RunReader) -> dict[str, Any]:
    """Texts, numbers and lists by name, or dicts of these as sections.

    They are those of the run's report; where there is none, those of its own file, but for lists of all images; else
    what the store says.
    """
    for name in _PAGES:
        found = read_page_facts(folder / name)
        if found is not None:
            return found
    for name in _FILES:
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, Mapping):
            inner = content.get("run")
            return _short(inner if isinstance(inner, Mapping) else content)
    return _short(reader.run)


def _short(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _shown(value) for key, value in facts.items() if _is_short(value)}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    return {key: _shown(one) for key, one in value.items()} if isinstance(value, Mapping) else value


def _is_short(value: Any) -> bool:
    """Whether a fact is one to read, no list of all images."""
    if isinstance(value, Mapping):
        return len(value) <= 40 and all(_is_short(one) for one in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return len(value) <= 100 and not any(isinstance(one, Mapping | list) for one in value)
    return True
