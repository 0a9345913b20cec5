"""Evaluators by type: crowds get COCO's figures and CrowdHuman's from one inference."""

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from odam_d2.data.synthetic.catalog import register_synthetic
from odam_d2.engine.evaluators import EVALUATORS

NAME = "test_synthetic_crowd"


@pytest.fixture
def crowd(tmp_path):
    register_synthetic(NAME, "crowd", "demo", str(tmp_path / "crowd"), 1)
    yield DatasetCatalog.get(NAME)
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def test_a_crowd_has_the_figures_of_both(crowd, tmp_path):
    build = EVALUATORS[MetadataCatalog.get(NAME).evaluator_type]
    (record,) = crowd
    people = [item["bbox"] for item in record["annotations"] if not item["iscrowd"]]
    found = Instances((record["height"], record["width"]))
    found.pred_boxes = Boxes(torch.tensor(people))
    found.scores, found.pred_classes = torch.ones(len(people)), torch.zeros(len(people), dtype=torch.int64)
    # Everybody is found exactly, and nobody else. The toolkit's AP is without what lies below the first point.
    for protocol, area in (("toolkit", 100 * (1 - 1 / len(people))), ("strict", 100)):
        evaluator = build(NAME, str(tmp_path), protocol)
        evaluator.reset()
        evaluator.process([record], [{"instances": found}])
        results = evaluator.evaluate()
        assert results["bbox"]["AP"] == pytest.approx(100)
        figures = {name: results["crowd"][name] for name in ("AP", "recall", "JI")}
        assert figures == pytest.approx({"AP": area, "recall": 100, "JI": 100})
