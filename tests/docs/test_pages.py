"""The site says something of everything that there is: methods, metrics, attributes, config keys."""

import re
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg

from odam_d2 import add_odam_config
from odam_d2.evaluation.metrics.builtin import METRICS
from odam_d2.explain import METHODS
from odam_d2.explain.targets import TARGETS
from odam_d2.modeling.query_architecture import ARCHITECTURES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Of this package's own; tests register others.
OWN_METHODS = sorted(name for name, kind in METHODS.items() if kind.__module__.startswith("odam_d2."))
OWN_METRICS = sorted(name for name, one in METRICS.items() if type(one).__module__.startswith("odam_d2."))


def headings(page: str) -> str:
    return "\n".join(re.findall(r"^#+ .*$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", OWN_METHODS)
def test_each_method_has_a_section(name):
    assert re.search(rf"^## {re.escape(name)}$", headings("methods.md"), re.MULTILINE)


@pytest.mark.parametrize("name", OWN_METRICS)
def test_each_metric_has_a_section(name):
    assert re.search(rf"^## (?:.*, )?{name}(?:, .*)?$", headings("metrics.md"), re.MULTILINE)


@pytest.mark.parametrize("name", [*TARGETS, "combined", "centerness", "keypoint_left_eye", "mask", "objectness"])
def test_each_attribute_is_described(name):
    assert f"`{name}`" in (DOCS / "detectors.md").read_text(encoding="utf-8")


def test_each_query_architecture_is_named():
    text = (DOCS / "detectors.md").read_text(encoding="utf-8")
    spelled = {"Detr": "DETR", "ConditionalDetr": "Conditional DETR", "RTDetr": "RT-DETR", "RTDetrV2": "RT-DETR v2"}
    assert {f"{name}ForObjectDetection" for name in spelled} == set(ARCHITECTURES)
    assert all(name in text for name in spelled.values())


def test_each_config_key_has_a_comment():
    source = (ROOT / "odam_d2" / "config.py").read_text(encoding="utf-8")
    cfg = get_cfg()
    add_odam_config(cfg)

    def keys(node: CfgNode, prefix: str) -> list[str]:
        below = [(f"{prefix}.{name}", value) for name, value in node.items()]
        inner = [key for name, value in below if isinstance(value, CfgNode) for key in keys(value, name)]
        return [name for name, _ in below] + inner

    for key in keys(cfg.ODAM, "ODAM"):
        assert re.search(rf"^    # .*\n    cfg\.{re.escape(key)} = ", source, re.MULTILINE), f"{key} has no comment"
