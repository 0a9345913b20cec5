"""Odam-Train with other views, pairs and losses than the published ones, in a whole training step."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from odam_d2.explain import build_explainer
from odam_d2.postprocess import TWO_STAGE, OdamNMS
from tests.helpers import compact_detector, given, random_input

SIZE = (96, 128)
RANKING = (
    "ODAM.TRAIN.LOSS", "ranking", "ODAM.TRAIN.PAIRS", "every", "ODAM.TRAIN.PROPOSALS", "all", "ODAM.TRAIN.ATTRIBUTE",
    "score", "ODAM.TRAIN.OWNER", "predicted", "ODAM.TRAIN.GIVEN", True, "ODAM.TRAIN.JITTERED", 2,
)  # fmt: skip


def batch():
    entry = random_input(*SIZE)
    objects = Instances(SIZE, gt_boxes=Boxes(torch.tensor([[8.0, 10, 60, 90], [40.0, 16, 100, 92]])))
    objects.gt_classes = torch.tensor([0, 0])
    return [{"image": entry["image"], "instances": objects}]


@pytest.mark.parametrize(
    "options",
    [
        ("ODAM.TRAIN.PAIRS", "every", "ODAM.TRAIN.PAIR_IOU", (0.1, 0.9)),
        ("ODAM.TRAIN.REPOOL", 1, "ODAM.TRAIN.OWNER", "predicted", "ODAM.TRAIN.GIVEN", True),
        (*RANKING, "ODAM.TRAIN.SECOND_ORDER", True, "ODAM.TRAIN.LEARNABLE_GATES", True),
        (*RANKING, "ODAM.TRAIN.REPOOL", 2),
    ],
)
def test_losses_are_finite_and_reach_the_backbone(options):
    model = compact_detector(
        "faster_rcnn", "ODAM.TRAIN.WEIGHT", 1.0, "MODEL.RESNETS.NORM", "FrozenBN", *options
    ).train()
    with EventStorage() as storage:
        losses = model(batch())
        told = {name: value for name, (value, _) in storage.latest().items()}
    ours = {name: loss for name, loss in losses.items() if name.startswith("loss_odam")}
    expected = {"loss_odam_ranking"} if "ranking" in options else {"loss_odam_consistency", "loss_odam_separation"}
    assert set(ours) == expected and told["odam/maps"] > 0
    total = sum(ours.values())
    assert bool(torch.isfinite(total))
    total.backward()
    if float(total.detach()) > 0:
        gradients = [p.grad for p in model.backbone.parameters() if p.grad is not None]
        assert any(bool(g.any()) for g in gradients) and all(bool(torch.isfinite(g).all()) for g in gradients)
    assert model.roi_heads.samples == [] == model.roi_heads.targets


def test_repooled_candidates_are_explained_as_given_boxes():
    model = compact_detector("faster_rcnn", detections=3)
    model.odam_nms = OdamNMS(**{**TWO_STAGE, "repool": 1, "max_candidates": 5})
    entry = random_input(*SIZE)
    trace = model.candidate_trace([entry])
    found = build_explainer(model, attributes=("score",))
    asked = given(SIZE, trace.instances[0].pred_boxes.tensor.tolist(), trace.classes.tolist())
    (expected,) = found([{**entry, "height": SIZE[0], "width": SIZE[1]}], [asked])
    (similarity,) = model.odam_nms.similarities(model, trace)
    torch.testing.assert_close(
        similarity.triu(1), expected["instances"].heatmaps.similarity("score", 8.0).triu(1), atol=1e-5, rtol=1e-4
    )


def test_negative_repool_is_refused():
    with pytest.raises(ValueError, match="`repool` must be at least 0; got -1"):
        OdamNMS(**{**TWO_STAGE, "repool": -1})


def test_options_that_would_do_nothing_are_refused():
    weight = ("ODAM.TRAIN.WEIGHT", 1.0)
    for name in ("retinanet", "fcos"):
        with pytest.raises(ValueError, match="must be left as they are for a one-stage detector; got .*repool=1"):
            compact_detector(name, *weight, "ODAM.TRAIN.REPOOL", 1)
        with pytest.raises(ValueError, match="must have repool 0; got 2"):
            compact_detector(name, "ODAM.NMS.ENABLED", True, "ODAM.NMS.REPOOL", 2)
    with pytest.raises(ValueError, match="`ODAM.TRAIN.LEARNABLE_GATES` must be False in first order"):
        compact_detector("faster_rcnn", *weight, "ODAM.TRAIN.LEARNABLE_GATES", True)
