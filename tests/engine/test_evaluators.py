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


def test_files_of_an_evaluation_appear_once_it_has_ended(crowd, tmp_path, monkeypatch):
    """What the evaluation before left stays if one fails, or is killed, on the way."""
    folder = tmp_path / "inference"
    evaluator = EVALUATORS["coco"](NAME, str(folder), "strict")
    (record,) = crowd
    found = Instances((record["height"], record["width"]), pred_boxes=Boxes(torch.tensor([[1.0, 2.0, 30.0, 40.0]])))
    found.scores, found.pred_classes = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    names = ["coco_instances_results.json", "instances_predictions.pth"]

    def evaluate():
        evaluator.reset()
        evaluator.process([record], [{"instances": found}])
        evaluator.evaluate()

    evaluate()
    before = [(folder / name).read_bytes() for name in names]
    assert sorted(path.name for path in folder.iterdir()) == names
    found.scores = torch.full((1,), 0.5)

    def seen_on_the_way(self, *_, **__):
        assert (folder / ".unfinished" / names[1]).is_file()
        raise RuntimeError("on the way")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="on the way"):
        patched.setattr(type(evaluator), "_eval_predictions", seen_on_the_way)
        evaluate()
    assert [(folder / name).read_bytes() for name in names] == before
    (folder / ".unfinished").mkdir()
    (folder / ".unfinished" / "half").touch()
    evaluate()
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [(folder / name).read_bytes() for name in names] != before


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
