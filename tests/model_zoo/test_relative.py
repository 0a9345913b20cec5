"""Weights that a yaml names by a relative path are found wherever it is run from."""

import pytest
import torch

from odam_d2 import model_zoo
from odam_d2.cli.arguments import add_config, script_parser
from odam_d2.cli.config import read_config
from odam_d2.model_zoo.relative import find_beside


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a config that is based on another, and weights in several of its folders."""
    root = tmp_path / "project"
    for name in ("configs/mine/a.pth", "configs/b.pth", "output/c.pth", "bases/d.pth"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save({}, root / name)
    (tmp_path / "e.pth").touch()
    (root / "pyproject.toml").touch()
    (root / "bases" / "base.yaml").write_text("MODEL: {MASK_ON: True}\n")
    (root / "configs" / "mine" / "mine.yaml").write_text("_BASE_: '../../bases/base.yaml'\nMODEL: {WEIGHTS: a.pth}\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


@pytest.mark.parametrize(
    "weights, found",
    [
        ("a.pth", "configs/mine/a.pth"),
        ("../b.pth", "configs/mine/../b.pth"),
        ("b.pth", "configs/b.pth"),
        ("output/c.pth", "output/c.pth"),
        ("output/c.pth?key=ema", "output/c.pth?key=ema"),
        ("d.pth", "bases/d.pth"),
        ("e.pth", None),  # above the project
        ("none.pth", None),
        ("", None),
        ("odam://a.pth", None),
        ("https://example.org/a.pth", None),
    ],
)
def test_folders_of_the_yaml_and_of_its_project(project, weights, found):
    expected = weights if found is None else str(project / found)
    assert find_beside(weights, project / "configs" / "mine" / "mine.yaml") == expected


def test_the_working_folder_comes_first(project, tmp_path):
    (tmp_path / "elsewhere" / "a.pth").touch()
    assert find_beside("a.pth", project / "configs" / "mine" / "mine.yaml") == "a.pth"


def test_without_a_project_the_folder_of_the_yaml_alone_counts(project, tmp_path):
    (project / "pyproject.toml").unlink()
    yaml = project / "configs" / "mine" / "mine.yaml"
    assert find_beside("a.pth", yaml) == str(project / "configs" / "mine" / "a.pth")
    assert find_beside("output/c.pth", yaml) == "output/c.pth"


def test_configs_are_read_so_but_options_are_from_the_working_folder(project):
    yaml = str(project / "configs" / "mine" / "mine.yaml")
    there = str(project / "configs" / "mine" / "a.pth")
    assert model_zoo.get_config(yaml, trained=False).MODEL.WEIGHTS == there
    parser = script_parser(None)
    add_config(parser)
    for options, found in (((), there), (("MODEL.WEIGHTS", "output/c.pth"), "output/c.pth")):
        assert read_config(parser.parse_args(["--config-file", yaml, *options])).weights == found
