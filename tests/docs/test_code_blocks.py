"""What README and docs/ tell people to type works: Python blocks run, commands parse, links lead somewhere."""

import argparse
import glob
import importlib
import importlib.util
import os
import re
import shlex
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from odam_d2 import add_odam_config, model_zoo
from odam_d2.evaluation import METRICS
from odam_d2.explain import METHODS
from odam_d2.export import EXPORTERS
from odam_d2_cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
# Executed notebooks are run where they are built, by `make docs`.
PAGES = [README, *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in p.parts)]
WITH_LINKS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "tools" / "README.md", ROOT / "datasets" / "README.md"]
SPEED = ROOT / "docs" / "research" / "speed.md"
MOST_LINES = 130


def keys_below(node, prefix: str = "") -> set[str]:
    """The dotted names of everything in a config."""
    inner = (keys_below(value, f"{prefix}{name}.") for name, value in node.items() if isinstance(value, dict))
    return {f"{prefix}{name}" for name in node}.union(*inner)


CONFIG = get_cfg()
add_odam_config(CONFIG)
KEYS = keys_below(CONFIG)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """What pages tell people to type into a shell: lines of fenced ``bash`` blocks, and indented ones that call us.

    Each is split as a shell would, continued lines joined; settings of the environment in front are left out.
    """
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = "\n".join(re.findall(r"^ *```bash\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)).splitlines()
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    ours = r"^    ((?:odam|make|(?:\.venv/bin/)?python|tools/\S+\.py) .*)$"
    lines = fenced + re.findall(ours, outside, re.MULTILINE)
    split = [shlex.split(line, comments=True) for line in lines]
    return [[word for k, word in enumerate(words) if k or "=" not in word] for words in split if words]


class Parsed(Exception):  # noqa: N818  it is no error
    """Carries what a command line was parsed to, past all that would be done with it."""


def parse(words: list[str], monkeypatch) -> argparse.Namespace | None:
    """The arguments of one of the project's commands, by its own parser; None for another's, or one without any."""
    if words[0].endswith("python") and words[1] == "-m":
        module, arguments = words[2], words[3:]
        if not module.startswith("odam_d2"):
            return None
        main = importlib.import_module(f"{module}.__main__").main
    elif words[0] == "odam":
        assert words[1] in COMMANDS, words
        main, arguments = importlib.import_module(COMMANDS[words[1]][0]).main, words[2:]
    elif words[0].startswith("tools/"):
        script = ROOT / words[0]
        assert os.access(script, os.X_OK), f"{words[0]} can't be run"
        monkeypatch.syspath_prepend(str(script.parent))
        spec = importlib.util.spec_from_file_location(f"typed_{script.stem}", script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        main, arguments = module.main, words[1:]
    else:
        assert words[0] in {"make", "source", "pip", "tensorboard", "torchrun", "srun", "ssh"}, (
            f"{words[0]} is not known here"
        )
        if words[0] == "make":
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert all(re.search(rf"^{word}:", makefile, re.MULTILINE) for word in words[1:] if "=" not in word), words
        return None
    original = argparse.ArgumentParser.parse_args

    def stop(self, args=None, namespace=None):
        raise Parsed(original(self, args, namespace))

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(Parsed) as parsed:
            main(arguments)
    return parsed.value.args[0]


def is_there(path: str) -> bool:
    """Whether a file that a command reads is in the repository.

    True of what can't be there: the reader's own files, output of another command, and data from elsewhere.
    """
    elsewhere = ("my", "output/", "$", "datasets/crowdhuman", "images/")
    return path.startswith(elsewhere) or bool(glob.glob(path))


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", [p for p in PAGES if python_blocks(p)], ids=name_of)
def test_python_blocks_run_one_after_the_other(page, tmp_path, monkeypatch):
    (tmp_path / "output").mkdir()
    for folder in ("datasets", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    before, known = [(registry, set(registry)) for registry in (METHODS, METRICS, EXPORTERS)], set(DatasetCatalog)
    torch.manual_seed(0)
    names: dict = {"__name__": "page"}
    try:
        for block in python_blocks(page):
            exec(compile(block, str(page), "exec"), names)
    finally:
        for registry, names_before in before:
            for added in set(registry) - names_before:
                registry._obj_map.pop(added)
        for added in set(DatasetCatalog) - known:
            if not added.startswith("synthetic"):
                DatasetCatalog.remove(added)
                MetadataCatalog.remove(added)
    if page == README:
        assert len(names["instances"]) == len(names["maps"]) > 0 and float(names["maps"].max()) == 1.0
        assert float(names["missed"]["instances"].scores) > 0.5
    if "CallableDetector" in names and "maps" in names:
        assert names["maps"].shape == (2, 480, 640)
        # Untrained, its features are too faint to be normalised; there are maps all the same.
        assert bool(names["result"]["instances"].heatmaps.values.any())


@pytest.mark.parametrize("page", [p for p in WITH_LINKS if commands(p)], ids=name_of)
def test_commands_parse_and_what_they_read_is_there(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        parsed = parse(words, monkeypatch)
        if parsed is None:
            continue
        configs = getattr(parsed, "config_file", None) or []
        for config in [configs] if isinstance(configs, str) else configs:
            assert is_there(config) or model_zoo.find(config), words
        read = [getattr(parsed, name, None) for name in ("annotations", "images", "input", "thresholds")]
        read = [path for path in read if isinstance(path, str)]
        assert all(is_there(path) for path in read), words
        assert all(is_there(path) for path in getattr(parsed, "imports", [])), words
        if getattr(parsed, "opts", None):
            options = [one for one in parsed.opts if re.fullmatch(r"[A-Z_]+(\.[A-Z0-9_]+)*", one)]
            assert all(key in KEYS for key in options if "." in key), words


def test_commands_are_found():
    assert ["odam", "explain"] in [words[:2] for words in commands(README)]
    assert ["tools/benchmarks/nms.py", "--repeats"] in [words[:2] for words in commands(SPEED)]


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
