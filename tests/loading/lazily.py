"""A small LazyConfig as a project has it, and its detector with random weights."""

import torch
from detectron2.config import LazyConfig, instantiate

from odam_d2.utils.calibration import calibrate_frozen_norms

# Detectron2's own RetinaNet, made narrow, with data and schedule.
SMALL = """
from detectron2 import model_zoo
from detectron2.config import LazyCall as L
from detectron2.data import DatasetMapper, build_detection_test_loader, build_detection_train_loader
from detectron2.data import get_detection_dataset_dicts
from detectron2.data import transforms as T
from detectron2.evaluation import COCOEvaluator
from detectron2.layers import ShapeSpec
from omegaconf import OmegaConf

model = model_zoo.get_config("common/models/retinanet.py").model
model.num_classes = model.head.num_classes = 3
model.head.conv_dims = [16]
model.head.input_shape = [L(ShapeSpec)(channels=16)] * 5
model.backbone.bottom_up.stages.depth = 18
del model.backbone.bottom_up.stages["stride_in_1x1"]
model.backbone.out_channels = model.backbone.top_block.out_channels = 16
model.backbone.top_block.in_channels = 512
model.test_score_thresh, model.test_nms_thresh = 0.0, 0.95
model.max_detections_per_image = 6
train = model_zoo.get_config("common/train.py").train
optimizer = model_zoo.get_config("common/optim.py").SGD
lr_multiplier = model_zoo.get_config("common/coco_schedule.py").lr_multiplier_1x
dataloader = OmegaConf.create()
dataloader.train = L(build_detection_train_loader)(
    dataset=L(get_detection_dataset_dicts)(names="TRAIN"),
    mapper=L(DatasetMapper)(
        is_train=True,
        augmentations=[L(T.ResizeShortestEdge)(short_edge_length=64, max_size=96)],
        image_format="RGB",
    ),
    total_batch_size=2,
    num_workers=0,
)
dataloader.test = L(build_detection_test_loader)(
    dataset=L(get_detection_dataset_dicts)(names="TEST", filter_empty=False),
    mapper=L(DatasetMapper)(
        is_train=False,
        augmentations=[L(T.ResizeShortestEdge)(short_edge_length=96, max_size=160)],
        image_format="${...train.mapper.image_format}",
    ),
    num_workers=0,
)
dataloader.evaluator = L(COCOEvaluator)(dataset_name="${..test.dataset.names}")
"""


def write_small(folder, train="synthetic_scene_train", test="synthetic_scene_val", more=""):
    """The file of the config; `more` comes at its end."""
    path = folder / "small.py"
    path.write_text(SMALL.replace('"TRAIN"', repr(train)).replace('"TEST"', repr(test)) + more)
    return path


def write_weights(path):
    """Random weights for a config's detector that finds something everywhere, beside its file."""
    torch.manual_seed(0)
    model = instantiate(LazyConfig.load(str(path)).model).eval()
    calibrate_frozen_norms(model, [{"image": torch.rand(3, 96, 128) * 255}])
    for module in model.head.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.02)
            torch.nn.init.normal_(module.bias, std=0.02)
    torch.save(model.state_dict(), path.with_suffix(".pth"))
    return path.with_suffix(".pth")
