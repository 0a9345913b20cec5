"""The README's code does what the README says."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_notebook_snippet_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    section = re.search(r"## In a notebook\n(.*?)\n## ", README, re.DOTALL).group(1)
    first, second, *_ = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict = {}
    exec(first, names)
    assert len(names["dog"]) == 1 and float(names["dog"].scores[0]) > 0.5
    exec(second, names)
    assert torch.equal(names["result"]["instances"].scores, names["instances"].scores)
    maps = names["maps"]
    assert len(maps) == len(names["instances"]) > 0
    assert maps.shape[1:] == (480, 640) and 0.0 <= float(maps.min()) and float(maps.max()) == pytest.approx(1.0)


def test_the_unsupported_detector_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    snippet = re.search(r"## An unsupported detector in 15 lines\n.*?```python\n(.*?)```", README, re.DOTALL).group(1)
    assert len([line for line in snippet.splitlines() if line and not line.startswith("#")]) <= 15
    names: dict = {}
    exec(snippet, names)
    maps = names["maps"]
    assert maps.shape == (2, 480, 640) and 0.0 <= float(maps.min()) and float(maps.max()) <= 1.0
    # Untrained, its features are too faint to be normalised; there are maps all the same.
    assert bool(names["result"]["instances"].heatmaps.values.any())


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()
