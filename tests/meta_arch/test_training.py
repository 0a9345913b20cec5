"""What all detectors promise that train by explanations."""

import warnings
from dataclasses import replace

import pytest
import torch
from detectron2.config import configurable
from detectron2.modeling import ROI_HEADS_REGISTRY, build_model
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import BitMasks
from detectron2.utils.events import EventStorage
from torch import nn

from odam_d2 import model_zoo as zoo
from odam_d2.engine import OdamTrainer
from odam_d2.meta_arch import OdamRetinaNet
from odam_d2.training.explanation_losses import ExplanationLosses
from tests.families import FAMILIES, SMALL
from tests.helpers import compact_detector, training_input, zoo_config
from tests.wants import needs

NAMES = ("faster_rcnn_fpn", "faster_rcnn_c4", "mask_rcnn_fpn", "panoptic_fpn", "cascade", "retinanet",
         "fcos_group_norm")  # fmt: skip
TRAINED = {family.name: family for family in FAMILIES if family.name in NAMES}
EXTRA = {"loss_odam_consistency", "loss_odam_separation"}


def batch():
    """Two neighbours, one object, no object."""
    images = [
        training_input(128, 160, [[10, 10, 70, 110], [50, 20, 110, 115]], [0, 3], seed=0),
        training_input(128, 160, [[20, 20, 120, 100]], [4], seed=1),
        training_input(128, 160, [], seed=2),
    ]
    for image in images:
        boxes = image["instances"].gt_boxes.tensor.int().tolist()
        masks = torch.zeros(len(boxes), 128, 160, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes):
            mask[y1:y2, x1:x2] = True
        image["instances"].gt_masks = BitMasks(masks)
        image["sem_seg"] = torch.arange(160).div(40, rounding_mode="floor").expand(128, 160)
    return images


def step(model, inputs, iteration=0):
    """Losses of a training step, gradients of their sum by parameter, and what went to the storage."""
    model.__dict__.pop("loss_normalizer", None)  # what dense detectors carry from step to step
    torch.manual_seed(0)
    with EventStorage(iteration) as storage:
        losses = model.train()(inputs)
    model.zero_grad()
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    losses = {name: loss.detach() for name, loss in losses.items()}
    return losses, gradients, {name: value for name, (value, _) in storage.latest().items()}


@pytest.mark.parametrize("name", TRAINED)
def test_with_weight_zero_a_step_is_the_stock_one_and_else_its_losses_are(name):
    family = replace(TRAINED[name], options=(*TRAINED[name].options, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16))
    ours, stock = family.pair()
    # Twice in advance: the focal loss is compiled as it runs, and rounds otherwise at first.
    expected, gradients, _ = [step(stock, batch()) for _ in range(3 if hasattr(stock, "head") else 1)][-1]
    after = torch.rand(1)
    losses, found, logged = step(ours, batch())
    assert torch.equal(torch.rand(1), after)  # so much chance was used, and no more
    assert set(losses) == set(expected) and set(found) == set(gradients)
    assert all(torch.equal(losses[k], expected[k]) for k in expected)
    assert all(torch.equal(found[k], gradients[k]) for k in gradients)
    assert not any("odam" in key for key in logged)

    cfg = zoo_config(family.config, *SMALL, *family.options, "ODAM.TRAIN.WEIGHT", 0.5)
    explained = build_model(cfg)
    explained.load_state_dict(ours.state_dict())
    losses, _, logged = step(explained, batch())
    assert torch.equal(torch.rand(1), after)
    assert set(losses) == set(expected) | EXTRA
    assert all(torch.equal(losses[k], expected[k]) for k in expected)
    assert float(losses["loss_odam_consistency"]) > 0
    assert logged["odam/maps"] == logged["odam/pairs_same"] + 3  # three objects, an anchor each


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("name", ["faster_rcnn", "cascade_rcnn", "retinanet", "fcos"])
def test_both_losses_train_and_nothing_stays_behind(name, second_order):
    model = compact_detector(name, "ODAM.TRAIN.WEIGHT", 0.5, "ODAM.TRAIN.SECOND_ORDER", second_order)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    inputs = batch()
    inputs[0]["instances"].gt_classes[1], inputs[1]["instances"].gt_classes[0] = 2, 1
    _, gradients, logged = step(model, inputs)
    assert gradients and all(torch.isfinite(g).all() for g in gradients.values())
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == hooks
    assert getattr(model, "_step", None) is None
    assert not hasattr(model, "roi_heads") or (model.roi_heads.samples, model.roi_heads.keeps_samples) == ([], False)
    assert logged["odam/weight"] == 0.5 and logged["odam/consistency"] > 0

    torch.manual_seed(0)
    with EventStorage(0):
        losses = model(inputs)
    assert all(losses[name].dtype == torch.float32 and losses[name].dim() == 0 for name in EXTRA)
    model.zero_grad()
    sum(losses[name] for name in EXTRA).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("backbone") for name in moved)
    assert any("cls_score.weight" in name for name in moved) == second_order


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("kind, pairs, sign", [("consistency", "same", 1), ("separation", "other", -1)])
def test_each_loss_moves_its_pairs_the_right_way(kind, pairs, sign, second_order):
    model = compact_detector("retinanet", "ODAM.TRAIN.WEIGHT", 1.0, "ODAM.TRAIN.SECOND_ORDER", second_order)
    inputs = [training_input(96, 128, [[10, 10, 70, 80], [20, 14, 80, 84]])]
    optimizer = torch.optim.Adam(model.backbone.parameters(), lr=1e-3)
    similarity = []
    for _ in range(6):
        with EventStorage(0) as storage:
            loss = model.train()(inputs)[f"loss_odam_{kind}"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        similarity.append(storage.latest()[f"odam/similarity_{pairs}"][0])
    assert sign * (similarity[-1] - similarity[0]) > 0.05


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet", "fcos"])
def test_batches_without_objects_and_with_one(name):
    model = compact_detector(name, "ODAM.TRAIN.WEIGHT", 0.5)
    losses, _, logged = step(model, [training_input(128, 160, [], seed=2)])
    assert [float(losses[name]) for name in sorted(EXTRA)] == [0.0, 0.0] and logged["odam/maps"] == 0
    assert "odam/similarity_same" not in logged
    losses, _, logged = step(model, [training_input(128, 160, [[20, 20, 120, 100]], seed=2)])
    assert logged["odam/maps"] > 1 and logged["odam/pairs_other"] == 0
    assert float(losses["loss_odam_consistency"]) > 0 and float(losses["loss_odam_separation"]) == 0


def test_at_most_three_hundred_positives_of_a_image():
    boxes = [[x, y, x + 40, y + 40] for x in range(0, 200, 25) for y in range(0, 200, 25)]
    inputs = [training_input(256, 256, boxes), training_input(256, 256, boxes[:1])]
    model = compact_detector("retinanet", "ODAM.TRAIN.WEIGHT", 0.5)
    losses, _, logged = step(model, inputs)
    few = step(model, inputs[1:])[2]["odam/maps"]
    assert 0 < few < 50 and logged["odam/maps"] == 300 + few
    assert all(torch.isfinite(loss) for loss in losses.values())
    model.odam_losses.max_positives = 3
    assert step(model, inputs)[2]["odam/maps"] == 6


def casts_on_cpu(dtype):
    """Whether autocast on CPUs has the type; where it hasn't, torch warns or refuses, as its version has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.autocast("cpu", dtype=dtype):
                return (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == dtype
        except RuntimeError:
            return False


HALF = pytest.param(torch.float16, marks=needs("half precision in autocast on CPUs", casts_on_cpu(torch.float16)))


@pytest.mark.parametrize("half", [torch.bfloat16, HALF])
@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet", "fcos"])
def test_in_mixed_precision_the_losses_are_taken_in_single_precision(name, half):
    model = compact_detector(name, "ODAM.TRAIN.WEIGHT", 0.5, "ODAM.TRAIN.SECOND_ORDER", True)
    inputs = [training_input(128, 160, [[10, 10, 70, 110], [50, 20, 110, 115]])]
    single, _, _ = step(model, inputs)
    with torch.autocast("cpu", dtype=half):
        mixed, gradients, _ = step(model, inputs)
    assert all(mixed[k].dtype == torch.float32 for k in EXTRA)
    assert float(mixed["loss_odam_consistency"]) == pytest.approx(float(single["loss_odam_consistency"]), rel=0.3)
    assert all(torch.isfinite(g).all() for g in gradients.values())


def test_clipping_bounds_what_the_losses_on_maps_can_do():
    cfg = zoo.get_config("synthetic/retinanet_compact_FPN", trained=False)
    cfg.ODAM.TRAIN.WEIGHT, cfg.MODEL.DEVICE, cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1e4, "cpu", 0.5
    model = build_model(cfg)
    optimizer = OdamTrainer.build_optimizer(cfg, model)
    _, gradients, _ = step(model, [training_input(96, 128, [[10, 10, 70, 80], [20, 14, 80, 84]])])
    before = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    optimizer.step()
    after = {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}
    assert max(before.values()) > 5 and max(after.values()) < 0.501


def test_the_weight_rises_with_the_iteration():
    model = compact_detector("retinanet", "ODAM.TRAIN.WEIGHT", 0.8, "ODAM.TRAIN.WARMUP_ITERS", 4)
    inputs = [training_input(96, 96, [[10, 10, 70, 80], [30, 20, 90, 90]])]
    found = {}
    for iteration in (0, 1, 3, 4, 100):
        losses, _, logged = step(model, inputs, iteration)
        found[iteration] = logged["odam/weight"]
        for kind in ("consistency", "separation"):
            raw, weighted = logged[f"odam/{kind}"], float(losses[f"loss_odam_{kind}"])
            assert weighted == pytest.approx(raw * logged["odam/weight"], rel=1e-5)
    assert found == pytest.approx({0: 0.2, 1: 0.4, 3: 0.8, 4: 0.8, 100: 0.8})


def test_objects_on_one_place_are_counted_where_they_are_dropped():
    boxes = [[10, 10, 70, 80], [12, 10, 70, 80]]
    model = compact_detector("retinanet", "ODAM.TRAIN.WEIGHT", 0.5, "ODAM.TRAIN.DUPLICATE_IOU", 0.8)
    _, _, dropped = step(model, [training_input(96, 96, boxes)])
    model.odam_losses.duplicate_iou = 1.0
    _, _, kept = step(model, [training_input(96, 96, boxes)])
    assert dropped["odam/pairs_other"] == 0 and kept["odam/pairs_dropped"] == 0
    assert dropped["odam/pairs_dropped"] == kept["odam/pairs_other"] > 0


def test_batch_norm_in_a_head_is_refused():
    with pytest.raises(ValueError, match="`roi_heads` must treat each prediction on its own.*BatchNorm"):
        compact_detector(
            "faster_rcnn", "ODAM.TRAIN.WEIGHT", 0.5, "MODEL.ROI_BOX_HEAD.NUM_CONV", 1, "MODEL.ROI_BOX_HEAD.NORM", "BN"
        )
    with pytest.raises(ValueError, match="`head` must treat each prediction on its own.*BatchNorm"):
        compact_detector("fcos", "ODAM.TRAIN.WEIGHT", 0.5, "ODAM.FCOS.NORM", "BN")
    model = compact_detector("retinanet")
    model.head.cls_subnet.insert(1, nn.BatchNorm2d(64))
    with pytest.raises(ValueError, match="`head` must treat each prediction on its own.*BatchNorm"):
        OdamRetinaNet(**arguments_of(model))


def test_heads_that_keep_no_trace_are_refused():
    @ROI_HEADS_REGISTRY.register()
    class PlainHeads(StandardROIHeads):
        """Not one of ours."""

        @configurable
        def __init__(self, **kwargs):
            super().__init__(**kwargs)

    with pytest.raises(TypeError, match="`roi_heads` must keep a trace; got PlainHeads"):
        compact_detector("faster_rcnn", "ODAM.TRAIN.WEIGHT", 0.5, "MODEL.ROI_HEADS.NAME", "PlainHeads")
    model = compact_detector("retinanet")
    model.head.cls_subnet[1] = nn.Sigmoid()
    with pytest.raises(TypeError, match="`head` must be one that trains by explanations; got RetinaNetHead, and in"):
        OdamRetinaNet(**arguments_of(model))


def arguments_of(model):
    """What a RetinaNet is built from in Python, to be trained by explanations."""
    names = ("backbone", "head", "head_in_features", "anchor_generator", "box2box_transform", "anchor_matcher")
    kept = {name: getattr(model, name) for name in names}
    losses = ExplanationLosses(weight=0.5)
    return {**kept, "num_classes": 3, "pixel_mean": [0.0] * 3, "pixel_std": [1.0] * 3, "odam_losses": losses}


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("WEIGHT", -1.0, "greater than 0; got -1.0"),
        ("WARMUP_ITERS", -1, "0 or more; got -1"),
        ("MAX_POSITIVES", 0, "greater than 0; got 0"),
        ("DUPLICATE_IOU", 1.5, r"in \[0, 1\]; got 1.5"),
        ("STRIDE", 0.0, "greater than 0; got 0.0"),
    ],
)
def test_impossible_settings_are_named(key, value, expected):
    cfg = zoo_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml", "ODAM.TRAIN.WEIGHT", 0.5)
    cfg.ODAM.TRAIN[key] = value
    with pytest.raises(ValueError, match=f"`ODAM.TRAIN.{key}` must be {expected}"):
        build_model(cfg)
