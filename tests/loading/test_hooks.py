"""Keys that a project's own function adds, by every way to name it."""

import sys

import pytest

from odam_d2.loading import read_detector_config
from odam_d2.loading.hooks import base_config

ADD = """
from detectron2.config import CfgNode as CN

def add_forest_config(cfg):
    cfg.MODEL.FOREST = CN()
    cfg.MODEL.FOREST.TREES = 3
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project as repositories have it: a package whose config is a module, and a yaml with its keys."""
    package = tmp_path / "forest_hooks"
    package.mkdir()
    (package / "__init__.py").write_text("from .config import add_forest_config\n")
    (package / "config.py").write_text("from .consts import TREES\n" + ADD)
    (package / "consts.py").write_text("TREES = 3\n")
    (tmp_path / "alone_hooks.py").write_text(ADD)
    (tmp_path / "forest.yaml").write_text("MODEL: {META_ARCHITECTURE: RetinaNet, FOREST: {TREES: 8}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    yield tmp_path
    for name in [name for name in sys.modules if "forest_hooks" in name or "alone_hooks" in name]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "hook",
    [
        "forest_hooks:add_forest_config",
        "forest_hooks.config:add_forest_config",
        "forest_hooks",
        "forest_hooks/config.py:add_forest_config",
        "forest_hooks/config.py",
        "./forest_hooks",
        "alone_hooks.py:add_forest_config",
        "alone_hooks",
    ],
)
def test_a_hook_by_module_package_and_file(project, hook):
    config = read_detector_config("forest.yaml", ["MODEL.FOREST.TREES", "9"], hooks=[hook])
    assert config.node.MODEL.FOREST.TREES == 9 and config.architecture == "OdamRetinaNet"


def test_hooks_are_called_in_turn_and_one_may_bring_a_config_of_its_own(project):
    (project / "whole_hooks.py").write_text(
        "from detectron2.config import CfgNode as CN, get_cfg\n"
        "def get_own():\n    cfg = get_cfg()\n    cfg.OWN = 1\n    return cfg\n"
        "def add_more_config(cfg):\n    cfg.OWN += 1\n    cfg.MODEL.FOREST = CN({'TREES': cfg.OWN})\n"
        "def add_still_config(cfg):\n    cfg.MODEL.FOREST.TREES += 40\n"
    )
    names = [f"whole_hooks.py:{name}" for name in ("add_more_config", "get_own", "add_still_config")]
    cfg = base_config(names)
    assert (cfg.OWN, cfg.MODEL.FOREST.TREES, cfg.ODAM.METHOD) == (2, 42, "odam")


@pytest.mark.parametrize(
    "hooks, message",
    [
        (["no_such_forest:add"], "'no_such_forest', which failed with ModuleNotFoundError"),
        (["forest_hooks:add_wood"], r"'forest_hooks' has no 'add_wood': it has \['add_forest_config'\]"),
        (["json"], "'json' has none: name the function"),
        (["os:listdir"], "'os:listdir' fails with TypeError"),
        (["os:getcwd"], "which returns a str"),
    ],
)
def test_hooks_that_can_not_be_used(project, hooks, message):
    with pytest.raises((ValueError, ImportError), match=message):
        read_detector_config("forest.yaml", hooks=hooks)


@pytest.mark.parametrize(
    "imports, remedy",
    [
        ([], "check its spelling; if it is a project's, name .*--config-hook MODULE:add_x_config"),
        (["forest_hooks"], "add --config-hook forest_hooks:add_forest_config"),
        (["forest_hooks/consts.py"], r"add --config-hook forest_hooks(\.config)?:add_forest_config"),
        (["alone_hooks.py"], "add --config-hook alone_hooks.py:add_forest_config"),
    ],
)
def test_an_unknown_key_names_what_adds_it(project, imports, remedy):
    with pytest.raises(ValueError, match=f"has MODEL.FOREST, which neither Detectron2 nor .*: {remedy}"):
        read_detector_config("forest.yaml", imports=imports)


def test_keys_of_projects_that_detectron2_brings_along(project):
    (project / "point.yaml").write_text("MODEL: {POINT_HEAD: {NUM_CLASSES: 3}}\n")
    with pytest.raises(ValueError, match="add --config-hook detectron2.projects.point_rend:add_pointrend_config"):
        read_detector_config("point.yaml")
    hook = "detectron2.projects.point_rend:add_pointrend_config"
    assert read_detector_config("point.yaml", hooks=[hook]).node.MODEL.POINT_HEAD.NUM_CLASSES == 3


def test_an_unknown_key_in_spite_of_a_hook(project):
    with pytest.raises(ValueError, match="has MODEL.FOREST.BIRDS, which .* with these hooks: check its spelling"):
        read_detector_config("forest.yaml", ["MODEL.FOREST.BIRDS", "1"], hooks=["alone_hooks"])


def test_hooks_are_for_yaml(project):
    with pytest.raises(ValueError, match="`--config-hook` must be left out for a LazyConfig"):
        read_detector_config("COCO-Detection/fcos_R_50_FPN_1x.py", hooks=["forest_hooks"])
