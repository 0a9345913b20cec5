"""What a command line says of a detector."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from odam_d2 import model_zoo
from odam_d2.cli.arguments import add_config, script_parser
from odam_d2.cli.config import read_config, read_run_config
from odam_d2.modeling.num_classes import count_classes

NAME = "synthetic/faster_rcnn_compact_FPN"


def command(*words):
    parser = script_parser(None)
    add_config(parser)
    return parser.parse_args(words)


def read(name, *opts):
    return read_run_config(command("--config-file", name, "MODEL.DEVICE", "cpu", *opts), 0.25, 7)


@pytest.mark.parametrize("name", model_zoo.available())
def test_bundled_weights_come_before_those_that_a_bundled_yaml_begins_its_training_with(name):
    assert read(name).weights == model_zoo.get_checkpoint_url(name)
    assert read(model_zoo.get_config_file(name)).weights == model_zoo.get_checkpoint_url(name)
    assert read(name, "MODEL.WEIGHTS", "mine.pth").weights == "mine.pth"


def test_the_threshold_holds_for_every_family():
    config = read(NAME)
    cfg = config.node
    nodes = (cfg.MODEL.ROI_HEADS, cfg.MODEL.RETINANET, cfg.ODAM.FCOS, cfg.ODAM.DETR)
    assert [node.SCORE_THRESH_TEST for node in nodes] == [0.25] * 4 and config.most_detections == 7


@pytest.mark.parametrize(
    "opts, message",
    [
        (("MODEL.WEIGHTS", ""), "MODEL.WEIGHTS must name a checkpoint"),
        (
            ("MODEL.NOTHING", "1"),
            "has MODEL.NOTHING, which neither Detectron2 nor the node ODAM has: check its spelling",
        ),
        (("MODEL.MASK_ON", "maybe"), "the config must be Detectron2's with the node ODAM"),
        (("MODEL.MASK_ON=True",), "keys and values in turn; got 'MODEL.MASK_ON=True': write MODEL.MASK_ON True"),
        (("MODEL.MASK_ON",), "keys and values in turn; got 3 words"),
    ],
)
def test_configs_that_do_not_fit(opts, message):
    with pytest.raises(ValueError, match=message):
        read(NAME, *opts)


@pytest.mark.parametrize("name", [f"synthetic/{one}_compact_FPN" for one in ("faster_rcnn", "retinanet", "fcos")])
def test_classes_by_name_and_number(name):
    config = read(name)
    model = config.build()
    assert config.class_names(model) == ("person", "dog", "car") and count_classes(model) == 3


COCO = ("DATASETS.TEST", "('coco_2017_val',)")


def test_names_of_another_number_of_classes_are_nobodys():
    """Three classes and 80 names that a config inherited: those of the training data fit, or none does."""
    config = read(NAME, *COCO)
    assert config.class_names(config.build()) == ("person", "dog", "car")
    config = read(NAME, *COCO, "DATASETS.TRAIN", "('coco_2017_train',)")
    with pytest.raises(ValueError, match=r"got 80 names, \['person', 'bicycle', .* for 3 classes"):
        config.class_names(config.build())


def test_proposals_are_of_no_class():
    config = read(NAME, "MODEL.META_ARCHITECTURE", "ProposalNetwork")
    model = config.build()
    assert count_classes(model) is None and config.class_names(model) is None


def test_classes_of_a_coco_file_that_nobody_has_read(tmp_path):
    names = ["test_runs_mine", "test_runs_gone"]
    content = {"categories": [{"id": 9, "name": "wolf"}, {"id": 2, "name": "bear"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    for name, file in zip(names, ("coco.json", "gone.json")):
        register_coco_instances(name, {}, str(tmp_path / file), str(tmp_path))
    try:
        both = read(NAME, "DATASETS.TEST", "('test_runs_gone', 'test_runs_mine')", "MODEL.ROI_HEADS.NUM_CLASSES", "2")
        assert both.class_names(both.build()) == ("bear", "wolf")
        gone = read(NAME, "DATASETS.TEST", "('test_runs_gone',)", "DATASETS.TRAIN", "()")
        assert gone.class_names(gone.build()) is None
    finally:
        for name in names:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def test_a_detector_that_can_not_be_built():
    with pytest.raises(ValueError, match="the config must describe a detector; building it failed"):
        read(NAME, "MODEL.BACKBONE.NAME", "nothing").build()


def test_names_of_either_zoo_and_files_mean_the_same_detector(tmp_path):
    """By its name with `.yaml` it is Detectron2's own config, by that without it ours, which names masks to explain."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("MODEL: {META_ARCHITECTURE: RetinaNet, WEIGHTS: mine.pth}\n")
    assert read(str(mine)).weights == "mine.pth"
    assert read(str(mine)).architecture == "OdamRetinaNet"
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
    ours, theirs = read(name), read(f"{name}.yaml")
    assert "mask" in ours.odam.ATTRIBUTES and "mask" not in theirs.odam.ATTRIBUTES
    for cfg in (ours, theirs):
        assert cfg.architecture == "OdamRCNN" and cfg.node.MODEL.MASK_ON
        assert cfg.weights.startswith("https://") and "mask_rcnn_R_50_FPN_3x" in cfg.weights
    only_theirs = read("COCO-Detection/rpn_R_50_FPN_1x")
    assert only_theirs.architecture == "OdamProposalNetwork"


def test_training_begins_with_the_weights_of_the_config_and_stock_detectors_stay():
    config = read_config(command("--config-file", "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"), traced=False)
    assert config.weights.endswith("R-50.pkl") and config.architecture == "GeneralizedRCNN"


def test_imports_come_before_the_config(tmp_path):
    (tmp_path / "test_config_imported.py").write_text("raise RuntimeError('imported')\n")
    with pytest.raises(ImportError, match="imported"):
        read_config(command("--config-file", "nothing", "--import", str(tmp_path / "test_config_imported.py")))


def test_a_name_that_nobody_knows():
    with pytest.raises(ValueError, match=f"or a yaml file; got 'nothing': choose one of .*{NAME}"):
        read_config(command("--config-file", "nothing"))
