"""Evaluators of LVIS, Pascal VOC, Cityscapes and panoptic data: the right one, what it lacks, figures by hand."""

import importlib.util
import types
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    COCOEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluators,
    PascalVOCDetectionEvaluator,
    SemSegEvaluator,
)
from detectron2.structures import Boxes, Instances
from PIL import Image

from odam_d2.engine import coco_evaluation
from odam_d2.engine.evaluators import EVALUATORS
from odam_d2.engine.official_evaluators import _old_names
from odam_d2.utils.compiled import is_compiled

NAME = "test_official"
BOX = "<object><name>{}</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"  # noqa: E501


@pytest.fixture
def metadata():
    """Of a data set that a test registers."""
    yield MetadataCatalog.get(NAME)
    MetadataCatalog.remove(NAME)
    if NAME in DatasetCatalog.list():
        DatasetCatalog.remove(NAME)


@pytest.fixture
def installed(monkeypatch):
    """The packages that score data sets, as far as looking for them goes."""
    found = importlib.util.find_spec
    packages = ("lvis", "cityscapesscripts", "panopticapi")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: ModuleSpec(name, None) if name in packages else found(name)
    )


@pytest.mark.parametrize("kind, package", [
    ("lvis", "lvis"), ("cityscapes_instance", "cityscapesscripts"), ("cityscapes_sem_seg", "cityscapesscripts"),
    ("cityscapes_panoptic_seg", "cityscapesscripts"), ("coco_panoptic_seg", "panopticapi"),
])  # fmt: skip
def test_a_package_that_is_missing_is_named_before_inference(kind, package, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(ImportError, match=rf"'some_data' needs the package {package} .*python -m pip install"):
        EVALUATORS[kind]("some_data", str(tmp_path), "strict")


def test_each_type_has_detectron2s_evaluator(installed, metadata, tmp_path):
    metadata.set(
        thing_dataset_id_to_contiguous_id={1: 0}, stuff_dataset_id_to_contiguous_id={2: 1}, thing_classes=["cat"],
        stuff_classes=["cat", "sky"], ignore_label=255, dirname=str(tmp_path), split="val", year=2012,
    )  # fmt: skip
    (tmp_path / "Annotations").mkdir()
    DatasetCatalog.register(NAME, lambda: [])

    def parts(kind):
        evaluator = EVALUATORS[kind](NAME, str(tmp_path), "strict")
        return [
            type(one) for one in (evaluator._evaluators if isinstance(evaluator, DatasetEvaluators) else [evaluator])
        ]

    assert parts("pascal_voc") == [PascalVOCDetectionEvaluator]
    assert parts("cityscapes_instance") == [CityscapesInstanceEvaluator]
    assert parts("cityscapes_sem_seg") == [CityscapesSemSegEvaluator]
    assert parts("cityscapes_panoptic_seg") == [
        COCOPanopticEvaluator, CityscapesSemSegEvaluator, CityscapesInstanceEvaluator,
    ]  # fmt: skip
    assert parts("sem_seg") == [SemSegEvaluator]
    MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "as.json"))
    (tmp_path / "as.json").write_text('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}')
    first, second, third = parts("coco_panoptic_seg")
    assert (first, third) == (SemSegEvaluator, COCOPanopticEvaluator) and issubclass(second, COCOEvaluator)


def test_pascal_vocs_figures(metadata, tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("one\n")
    objects = BOX.format("cat", 11, 21, 60, 80) + BOX.format("cat", 101, 21, 160, 80)
    (tmp_path / "Annotations" / "one.xml").write_text(f"<annotation>{objects}</annotation>")
    metadata.set(dirname=str(tmp_path), split="val", year=2012, thing_classes=["cat"])
    evaluator = EVALUATORS["pascal_voc"](NAME, str(tmp_path), "strict")
    evaluator.reset()
    found = Instances((100, 200), scores=torch.tensor([0.9]), pred_classes=torch.tensor([0]))
    found.pred_boxes = Boxes(torch.tensor([[10.0, 20.0, 60.0, 80.0]]))
    evaluator.process([{"image_id": "one"}], [{"instances": found}])
    # One of two cats, exactly, and nothing else: precision 1 up to recall .5.
    assert evaluator.evaluate()["bbox"] == pytest.approx({"AP": 50, "AP50": 50, "AP75": 50})


def test_figures_of_pixels(metadata, tmp_path):
    Image.fromarray(np.array([[0, 0, 1, 1]], dtype=np.uint8)).save(tmp_path / "truth.png")
    record = {"file_name": "image.jpg", "sem_seg_file_name": str(tmp_path / "truth.png")}
    DatasetCatalog.register(NAME, lambda: [record])
    metadata.set(stuff_classes=["sky", "sea"], ignore_label=255)
    evaluator = EVALUATORS["sem_seg"](NAME, str(tmp_path / "out"), "strict")
    evaluator.reset()
    evaluator.process([record], [{"sem_seg": torch.tensor([[[1.0, 1, 1, 0]], [[0.0, 0, 0, 1]]])}])
    # Sky: 2 of 3 pixels; sea: 1 of 2.
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)


def test_numpys_old_name_is_there_inside_alone():
    module = types.ModuleType("lvis.eval")
    module.np = np
    with _old_names(module):
        assert np.cumsum([1]).astype(module.np.float).dtype == np.float64 and module.np.cumsum is np.cumsum
    assert module.np is np and not hasattr(np, "float")


@pytest.mark.parametrize("compiled", [False, True])
def test_coco_is_compiled_where_detectron2_is(compiled, metadata, monkeypatch, tmp_path):
    metadata.set(json_file=str(tmp_path / "a.json"), thing_classes=["cat"])
    content = '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}'
    (tmp_path / "a.json").write_text(content)
    monkeypatch.setattr(coco_evaluation, "is_compiled", lambda: compiled)
    monkeypatch.setattr("detectron2.evaluation.coco_evaluation.COCOeval_opt", object)
    assert EVALUATORS["coco"](NAME, str(tmp_path), "strict")._use_fast_impl is compiled


def test_whether_detectron2_is_compiled():
    assert is_compiled() == (importlib.util.find_spec("detectron2._C") is not None)
