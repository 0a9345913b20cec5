"""What a command line says of a detector."""

import pytest

from odam_d2 import model_zoo
from odam_d2.model_zoo.runs import build_detector, count_classes, known_class_names, read_run_config

NAME = "synthetic/faster_rcnn_compact_FPN"


def read(name, *opts):
    return read_run_config(name, ["MODEL.DEVICE", "cpu", *opts], 0.25, 7)


@pytest.mark.parametrize("name", model_zoo.available())
def test_bundled_weights_come_before_those_that_a_bundled_yaml_begins_its_training_with(name):
    assert read(name).MODEL.WEIGHTS == model_zoo.get_checkpoint_url(name)
    assert read(model_zoo.get_config_file(name)).MODEL.WEIGHTS == model_zoo.get_checkpoint_url(name)
    assert read(name, "MODEL.WEIGHTS", "mine.pth").MODEL.WEIGHTS == "mine.pth"


def test_the_threshold_holds_for_every_family():
    cfg = read(NAME)
    nodes = (cfg.MODEL.ROI_HEADS, cfg.MODEL.RETINANET, cfg.ODAM.FCOS, cfg.ODAM.DETR)
    assert [node.SCORE_THRESH_TEST for node in nodes] == [0.25] * 4 and cfg.TEST.DETECTIONS_PER_IMAGE == 7


@pytest.mark.parametrize(
    "opts, message",
    [
        (("MODEL.WEIGHTS", ""), "MODEL.WEIGHTS must name a checkpoint"),
        (("MODEL.NOTHING", "1"), "the config must be Detectron2's with the node ODAM"),
        (("INPUT.FORMAT", "YUV-BT.601"), "INPUT.FORMAT must be BGR or RGB"),
    ],
)
def test_configs_that_do_not_fit(opts, message):
    with pytest.raises(ValueError, match=message):
        read(NAME, *opts)


@pytest.mark.parametrize("name", [f"synthetic/{one}_compact_FPN" for one in ("faster_rcnn", "retinanet", "fcos")])
def test_classes_by_name_and_number(name):
    cfg = read(name)
    assert known_class_names(cfg) == ("person", "dog", "car") and count_classes(build_detector(cfg)) == 3


def test_a_detector_that_can_not_be_built():
    with pytest.raises(ValueError, match="the config must describe a detector; building it failed"):
        build_detector(read(NAME, "MODEL.BACKBONE.NAME", "nothing"))
