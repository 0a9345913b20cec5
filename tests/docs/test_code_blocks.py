"""What README and docs/ tell people to type works: Python blocks run, commands parse, links lead somewhere."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch

from odam_d2 import model_zoo
from odam_d2.explain import METHODS
from odam_d2_cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
# Executed notebooks are run where they are built, by `make docs`.
PAGES = [README, *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in p.parts)]
WITH_LINKS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "tools" / "README.md", ROOT / "datasets" / "README.md"]
MOST_LINES = 130


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """Indented lines that call the project's commands, each split as a shell would, continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^    ((?:odam|(?:\.venv/bin/python )?tools/\w+\.py) .*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", [p for p in PAGES if python_blocks(p)], ids=name_of)
def test_python_blocks_run_one_after_the_other(page, tmp_path, monkeypatch):
    (tmp_path / "output").mkdir()
    for folder in ("datasets", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    before = set(METHODS)
    torch.manual_seed(0)
    names: dict = {"__name__": "page"}
    try:
        for block in python_blocks(page):
            exec(compile(block, str(page), "exec"), names)
    finally:
        for added in set(METHODS) - before:
            METHODS._obj_map.pop(added)
    if page == README:
        assert len(names["instances"]) == len(names["maps"]) > 0 and float(names["maps"].max()) == 1.0
        assert float(names["missed"]["instances"].scores) > 0.5
    if "CallableDetector" in names and "maps" in names:
        assert names["maps"].shape == (2, 480, 640)
        # Untrained, its features are too faint to be normalised; there are maps all the same.
        assert bool(names["result"]["instances"].heatmaps.values.any())


@pytest.mark.parametrize("page", [p for p in WITH_LINKS if commands(p)], ids=name_of)
def test_commands_parse(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        words = words[1:] if words[0].endswith("python") else words
        if words[0] == "odam":
            command, arguments = words[1], words[2:]
        else:
            assert Path(words[0]).is_file(), words[0]
            script = Path(words[0]).read_text(encoding="utf-8")
            module = re.search(r"odam_d2\.cli\.(\w+)", script).group(1)
            command, arguments = next(n for n, (m, _) in COMMANDS.items() if m.endswith(f".{module}")), words[1:]
        assert command in COMMANDS, words
        if command == "env":
            continue
        parsed = importlib.import_module(COMMANDS[command][0]).argument_parser().parse_args(arguments)
        config = getattr(parsed, "config_file", None)
        # `my...` stands for a file of the reader's own, `...` for any.
        if config and not config.startswith(("my", "...")):
            assert Path(config).is_file() or model_zoo.get_config_file(config), words


def test_commands_are_found():
    assert ["odam", "explain"] in [words[:2] for words in commands(README)]


def anchors(page: Path) -> set[str]:
    """What a code host and the site call the headings of a page."""
    heads = re.findall(r"^#+ +(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
    again = [plain[:number].count(one) for number, one in enumerate(plain)]
    return {f"{one}-{count}" if count else one for one, count in zip(plain, again)}


@pytest.mark.parametrize("page", WITH_LINKS, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(link)
    assert not lost
