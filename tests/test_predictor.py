"""An image in, boxes and maps out: what DefaultPredictor finds, and boxes that the caller names."""

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.structures import Boxes
from PIL import Image

from odam_d2 import model_zoo
from odam_d2.explain import build_explainer
from odam_d2.predictor import OdamPredictor
from odam_d2.visualize import show
from tests.helpers import compact_detector

NAME = "synthetic/faster_rcnn_compact_FPN"
HEIGHT, WIDTH = 60, 90


def quick_config(name):
    """A bundled detector's config that resizes images to 85 x 128 and finds something in noise."""
    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 96, 128
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.01
    cfg.TEST.DETECTIONS_PER_IMAGE = 4
    return cfg


@pytest.fixture(scope="module")
def config():
    return quick_config(NAME)


@pytest.fixture(scope="module")
def predictor(config):
    return OdamPredictor(config, attributes=("score", "left"))


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize("order", ["BGR", "RGB"])
@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn", "cascade_rcnn", "retinanet"])
def test_boxes_are_those_of_default_predictor_bit_for_bit(name, order):
    cfg = quick_config(f"synthetic/{name}_compact_FPN")
    cfg.INPUT.FORMAT = order
    expected = DefaultPredictor(cfg)(image())["instances"]
    found = OdamPredictor(cfg, attributes=("score",))(image())["instances"]
    assert len(expected) > 0 and found.image_size == expected.image_size
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores) and torch.equal(found.pred_classes, expected.pred_classes)
    assert found.heatmaps.to_image("score").shape == (len(expected), HEIGHT, WIDTH)


def test_the_config_is_left_as_it_is(config):
    before = config.dump()
    OdamPredictor(config)
    assert config.dump() == before


def same(found, expected):
    """Whether two results have the same boxes and maps, and any."""
    found, expected = found["instances"], expected["instances"]
    boxes = torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor) and len(found) > 0
    return boxes and torch.equal(found.heatmaps.values, expected.heatmaps.values)


def test_an_image_may_be_a_file_or_pillows_or_rgb(predictor, tmp_path):
    expected = predictor(image())
    rgb = np.ascontiguousarray(image()[:, :, ::-1])
    Image.fromarray(rgb).save(tmp_path / "x.png")
    for one in (tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(rgb)):
        assert same(predictor(one), expected)
    assert same(predictor(rgb, rgb=True), expected)
    assert not same(predictor(rgb), expected)  # taken for BGR


def test_results_carry_the_class_names(predictor, tmp_path):
    """So that `show(image, result["instances"])` says them, whatever was done to the instances between."""
    for found in (predictor(image()), predictor(image(), [[5, 5, 40, 40]], "dog"), predictor([image()])[0]):
        instances = found["instances"].to("cpu")[:1]
        assert instances.heatmaps.class_names == ("person", "dog", "car")
        show(image(), instances).save(tmp_path / "x.html")
        name = predictor.class_names[int(instances.pred_classes[0])]
        assert f'"label":"{name}"' in (tmp_path / "x.html").read_text()


def test_a_list_is_a_batch(predictor):
    found = predictor([image(0), image(1)])
    assert [len(one["instances"]) > 0 for one in found] == [True, True]
    boxes, classes = [[[5, 5, 40, 40]], [[1, 2, 30, 40], [3, 4, 50, 50]]], ["dog", [0, "car"]]
    given = predictor([image(0), image(1)], boxes, classes)
    assert [one["instances"].pred_classes.tolist() for one in given] == [[1], [0, 2]]
    assert predictor([]) == []


@pytest.mark.parametrize(
    "boxes",
    [
        [[5, 5, 40, 40]],
        np.array([[5, 5, 40, 40]]),
        torch.tensor([[5, 5, 40, 40]]),
        Boxes(torch.tensor([[5.0, 5.0, 40.0, 40.0]])),
        [5, 5, 40, 40],
    ],
    ids=["lists", "array", "tensor", "Boxes", "one box"],
)  # fmt: skip
@pytest.mark.parametrize("classes", ["dog", ["dog"], 1, [1], np.array([1]), torch.tensor([1])])
def test_boxes_that_you_name_in_pixels_of_the_image(predictor, boxes, classes):
    found = predictor(image(), boxes=boxes, classes=classes)["instances"]
    assert found.pred_boxes.tensor.tolist() == [[5.0, 5.0, 40.0, 40.0]] and found.pred_classes.tolist() == [1]
    assert found.image_size == (HEIGHT, WIDTH) and 0 <= float(found.scores[0]) <= 1
    assert found.heatmaps.attributes == ("score", "left")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"boxes": [[0, 0, 9, 9]]}, "must be given together"),
        ({"boxes": [[0, 0, 9, 9]], "classes": "wolf"}, r"got 'wolf': it has \['person', 'dog', 'car'\]"),
        ({"boxes": [[0, 0, 9, 9]], "classes": [0, 1]}, "each of the 1 boxes; got 2"),
        ({"boxes": [[0, 0, 9, 9]], "classes": 7}, r"must be in 0 \.\. 2; got 7"),
        ({"boxes": [[9, 0, 0, 9]], "classes": 0}, "x1 < x2"),
    ],
)
def test_boxes_and_classes_that_can_not_be_used(predictor, given, message):
    with pytest.raises(ValueError, match=message):
        predictor(image(), **given)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4)), np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_image(predictor, wrong):
    with pytest.raises(ValueError, match=r"`image` must be \(h, w, 3\) uint8"):
        predictor(wrong)
    with pytest.raises(ValueError, match="readable image"):
        predictor("nowhere.jpg")


def test_a_detector_that_is_already_built():
    model = compact_detector("retinanet")
    predictor = OdamPredictor.of(model, min_size=96, max_size=128, class_names=("a", "b", "c"), attributes=("score",))
    assert predictor.model is model
    resized = np.asarray(Image.fromarray(image()).resize((128, 85), Image.Resampling.BILINEAR))
    entry = {"image": torch.as_tensor(resized.transpose(2, 0, 1).astype("float32")), "height": HEIGHT, "width": WIDTH}
    assert same(predictor(image()), build_explainer(model, attributes=("score",))([entry])[0])
    assert predictor(image(), [[10, 10, 60, 50]], "b")["instances"].pred_classes.tolist() == [1]
    as_it_is = OdamPredictor.of(model, min_size=0, attributes=("score",))
    entry = {"image": torch.as_tensor(image().transpose(2, 0, 1).astype("float32")), "height": HEIGHT, "width": WIDTH}
    assert same(as_it_is(image()), build_explainer(model, attributes=("score",))([entry])[0])
    with pytest.raises(ValueError, match="no names; give numbers below 3"):
        as_it_is(image(), [[10, 10, 60, 50]], "b")
    with pytest.raises(ValueError, match="`input_format` must be one of"):
        OdamPredictor.of(model, input_format="HSV")
    with pytest.raises(TypeError, match="must be a detector"):
        OdamPredictor.of(torch.nn.Linear(1, 1))


def test_bundled_detectors_by_name():
    predictor = OdamPredictor.from_zoo(NAME, score_threshold=0.3, method="gradcam", attributes=("score",))
    assert predictor.class_names == ("person", "dog", "car")
    assert predictor.model.roi_heads.box_predictor.test_score_thresh == 0.3
    assert type(predictor.explainer).__name__ == "GradCAM"
    with pytest.raises(ValueError, match=f"of Detectron2's, or a yaml file; got 'nothing': choose one of .*{NAME}"):
        OdamPredictor.from_zoo("nothing")
