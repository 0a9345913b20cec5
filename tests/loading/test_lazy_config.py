"""LazyConfigs: read, changed, built, refused."""

import builtins
import json

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T  # noqa: N812
from omegaconf import OmegaConf
from PIL import Image

from odam_d2 import OdamPredictor, build_explainer
from odam_d2.config import odam_node
from odam_d2.loading import read_detector_config
from tests.loading.lazily import write_small, write_weights


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("lazy"))


@pytest.fixture(scope="module")
def weights(small):
    return write_weights(small)


def picture(height=90, width=120):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def plainly(small, weights, file, changes=()):
    """What Detectron2 itself finds: its mapper, and the model as it is described."""
    cfg = LazyConfig.apply_overrides(LazyConfig.load(str(small)), list(changes))
    model = instantiate(cfg.model).eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    mapper = instantiate(cfg.dataloader.test.mapper)
    assert type(mapper) is DatasetMapper
    height, width = np.asarray(Image.open(file)).shape[:2]
    entry = mapper({"file_name": str(file), "height": height, "width": width, "image_id": 0})
    with torch.no_grad():
        return model([entry])[0]["instances"], model, entry


@pytest.mark.parametrize("how", ["object", "path"])
def test_a_predictor_finds_what_the_config_describes(small, weights, tmp_path, how):
    """RGB, resized as the test mapper says: bit for bit what Detectron2's mapper and model give."""
    file = tmp_path / "a.png"
    Image.fromarray(picture()).save(file)
    expected, stock, entry = plainly(small, weights, file)
    if how == "object":
        cfg = LazyConfig.load(str(small))
        cfg.train.init_checkpoint, cfg.train.device = str(weights), "cpu"
        cfg.odam = {"attributes": ["score"]}
        predictor = OdamPredictor(cfg)
        assert cfg.model._target_ is type(stock)  # the user's own config stays
    else:
        saved = tmp_path / "saved.yaml"
        read = read_detector_config(small, [f"train.init_checkpoint={weights}"])
        LazyConfig.save(read.node, str(saved))
        predictor = OdamPredictor(saved, attributes=("score",))
    found = predictor(file)["instances"]
    assert len(expected) == 6
    for name in ("scores", "pred_classes"):
        assert torch.equal(found.get(name), expected.get(name))
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    maps = build_explainer(stock, attributes=("score",))([{**entry, "image": entry["image"].float()}])
    assert torch.equal(found.heatmaps.to_image("score"), maps[0]["instances"].heatmaps.to_image("score"))
    assert predictor.class_names == ("person", "dog", "car") and found.heatmaps.attributes == ("score",)


def test_overrides_change_what_is_built(small):
    config = read_detector_config(
        small, ["model.num_classes=7", "model.head.num_classes=7", "model.test_topk_candidates=11",
                "dataloader.test.mapper.augmentations.0.short_edge_length=32", "train.init_checkpoint='a b.pth'"],
        class_names=list("abcdefg"),
    )  # fmt: skip
    model = config.build()
    assert model.num_classes == 7 and model.test_topk_candidates == 11
    assert config.weights == "a b.pth" and config.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert config.make_input()(picture())["image"].shape == (3, 32, 43)
    assert config.class_names(model) == tuple("abcdefg")
    config.given_class_names = ("a",)
    with pytest.raises(ValueError, match="each of the detector's 7 classes; got 1"):
        config.class_names(model)


def test_limits_hold_for_heads_wherever_they_are():
    name = "common/models/cascade_rcnn.py"
    config = read_detector_config(name, ["model.backbone.bottom_up.stages.depth=50"])
    config.limit(0.25, 7)
    heads = [p for p in config.build().roi_heads.box_predictor]
    assert [(p.test_score_thresh, p.test_topk_per_image) for p in heads] == [(0.25, 7)] * 3
    assert config.most_detections == 7


@pytest.mark.parametrize(
    "options, message",
    [
        (["trian.init_checkpoint=a.pth"], "there is no 'trian.init_checkpoint': did you mean train.init_checkpoint"),
        (["model.hed.num_classes=3"], "no 'model.hed.num_classes': did you mean model.head.num_classes"),
        (["dataloader.test.mapper.augmentations.3.max_size=1"], "there is no 'dataloader.test.mapper.augmentations.3"),
        (["MODEL.WEIGHTS", "a.pth"], "must be key=value for a LazyConfig; got 'MODEL.WEIGHTS'"),
        (["train.init_checkpoint=a b.pth'"], "must be key=value for a LazyConfig; got .*quotes around"),
        (["~train.ddp"], "must be key=value for a LazyConfig; got '~train.ddp'"),
        (["model.num_classes.more=1"], "no 'model.num_classes.more'"),
        (["odam.metod=drise"], "`odam.metod` must be an option of ODAM; there is none: choose among .*'method'"),
        (["odam.nms.lo=1"], "`odam.nms.lo` must be an option"),
        (["odam.nms=3"], "`odam.nms` must hold keys; got 3"),
        (["odam.smoothing=much"], "`odam.smoothing` must be a float; got 'much'"),
        (["odam.fcos.num_convs=3"], "`odam.fcos` must be left out of a LazyConfig; .*describe this in `model`"),
        (["odam.solver.optimizer=AdamW"], "`odam.solver` must be left out .*`optimizer`"),
    ],
)
def test_options_that_change_nothing_are_refused(small, options, message):
    with pytest.raises(ValueError, match=message):
        read_detector_config(small, options)


def test_keys_may_be_added_on_request(small):
    assert read_detector_config(small, ["+train.note=mine"]).node.train.note == "mine"
    with pytest.raises(ValueError, match="building it failed: .*nothing"):
        read_detector_config(small, ["model.nothing=3"]).build()


def test_odam_options_have_the_defaults_of_yaml_and_its_types(small):
    cfg = LazyConfig.load(str(small))
    assert odam_node(cfg) == odam_node(read_detector_config("synthetic/retinanet_compact_FPN").node)
    cfg.odam = {"method": "drise", "ATTRIBUTES": ["score"], "nms": {"iou_thresh": 0.4, "stride": 4}, "smoothing": 1}
    found = odam_node(cfg)
    assert (found.METHOD, found.ATTRIBUTES, found.SMOOTHING) == ("drise", ("score",), 1.0)
    assert (found.NMS.IOU_THRESH, found.NMS.STRIDE, found.NMS.LOW) == (0.4, 4.0, None)


def test_odam_nms_and_losses_are_for_detectron2s_own(small):
    config = read_detector_config(small, ["odam.nms.enabled=True", "odam.nms.low=0.1", "odam.train.weight=0.5"])
    assert config.build().odam_nms.thresholds == (0.5, 0.1, 0.8)  # one-stage: published but for LOW
    trained = config.build_to_train()
    assert trained.odam_losses.weight == 0.5 and trained.training
    config.node.model = OmegaConf.create({"_target_": "torch.nn.Identity"})
    with pytest.raises(ValueError, match="`odam.nms.enabled` must be False .*torch.nn.Identity"):
        config.build()


def test_a_saved_run_depends_on_what_is_described(small):
    def text(*changes):
        return read_detector_config(small, changes).text()

    assert text() == text() == text("train.init_checkpoint=b.pth") == text("train.max_iter=3")
    assert "0x" not in text()
    for change in ("model.num_classes=4", "odam.smoothing=0.1", "dataloader.test.mapper.image_format=BGR"):
        assert text(change) != text()


def test_devices_of_projects_models_follow_the_machine(tmp_path):
    """A model with an argument `device` of its own, set from `train.device` when the file runs."""
    path = tmp_path / "own.py"
    path.write_text(
        "from collections import OrderedDict\nfrom detectron2.config import LazyCall as L\n"
        "train = dict(device='cuda', init_checkpoint='')\n"
        "model = L(OrderedDict)(device=train['device'], inner=L(OrderedDict)(device='cuda'))\n"
    )
    config = read_detector_config(path)
    config.device = "cpu"
    assert config.node.model.device == config.node.model.inner.device == config.node.train.device == "cpu"


@pytest.mark.parametrize(
    "text, message",
    [
        ("import not_there_at_all", "fails with ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("from .gone import model", "gone.py does not exist"),
        ("def broken(:", "syntax error"),
        ("train = dict(device='cpu')", r"must define `model`; .* has \['train'\]"),
    ],
)
def test_files_that_can_not_be_read_leave_python_as_it_was(tmp_path, text, message):
    path, own = tmp_path / "broken.py", builtins.__import__
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_detector_config(path)
    assert builtins.__import__ is own


def test_modules_of_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "lazy_project").mkdir()
    (tmp_path / "lazy_project" / "parts.py").write_text("CLASSES = 5\n")
    path = write_small(tmp_path, more="from lazy_project.parts import CLASSES\nmodel.num_classes = CLASSES\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [place for place in __import__("sys").path if place])
    assert read_detector_config(path).node.model.num_classes == 5


def test_class_names_come_from_the_data_sets(tmp_path):
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets import register_coco_instances

    content = {"categories": [{"id": 3, "name": "owl"}, {"id": 1, "name": "fox"}, {"id": 2, "name": "elk"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    register_coco_instances("lazy_forest", {}, str(tmp_path / "coco.json"), str(tmp_path))
    try:
        config = read_detector_config(write_small(tmp_path, test=["lazy_forest"]))
        assert config.datasets("test") == ("lazy_forest",) and config.datasets("train") == ("synthetic_scene_train",)
        assert config.class_names(config.build()) == ("fox", "elk", "owl")
    finally:
        DatasetCatalog.remove("lazy_forest")
        MetadataCatalog.remove("lazy_forest")


def test_without_a_test_mapper_images_are_resized_as_by_default(tmp_path, caplog):
    config = read_detector_config(write_small(tmp_path, more="del dataloader['test']\nmodel.input_format = 'RGB'\n"))
    maker = config.make_input()
    assert "no dataloader.test.mapper" in caplog.text and maker.input_format == "RGB"
    expected = T.ResizeShortestEdge([800, 800], 1333).get_transform(picture()).apply_image(picture())
    assert maker(picture())["image"].shape[1:] == expected.shape[:2]


@pytest.mark.parametrize(
    "name", ["COCO-Detection/fcos_R_50_FPN_1x.py", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py"]
)
def test_names_of_the_zoo(name):
    config = read_detector_config(name, trained=True)
    assert config.weights.startswith(("detectron2://", "https://")) and len(config.datasets("test")) == 1
    same = read_detector_config(name.removesuffix(".py") if "mask" not in name else name)
    assert same.device == config.device
