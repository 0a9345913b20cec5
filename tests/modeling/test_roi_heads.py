"""RoI heads that remember: the box branch said again."""

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from detectron2.structures import Boxes
from torch import nn

from odam_d2 import model_zoo
from odam_d2.modeling import instance_wise
from odam_d2.modeling.pooled import assign_levels
from tests.helpers import random_input


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = model_zoo.get("synthetic/faster_rcnn_compact_FPN", trained=False, device="cpu")
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    model.roi_heads.box_predictor.test_topk_per_image = 20
    return model


def test_levels_are_where_the_pooler_takes_features_from():
    pooler = ROIPooler(1, (1 / 4, 1 / 8, 1 / 16, 1 / 32), 1, "ROIAlignV2")
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 111, 111], [0, 0, 113, 113], [0, 0, 230, 230], [0, 0, 480, 470]])
    levels = [torch.full((1, 1, 512 // stride, 512 // stride), float(k)) for k, stride in enumerate((4, 8, 16, 32))]
    pooled = pooler(levels, [Boxes(boxes)])
    assert assign_levels(pooler, boxes).tolist() == pooled[:, 0, 0, 0].tolist() == [0, 0, 1, 2, 3]
    assert assign_levels(pooler, boxes[:0]).tolist() == []
    assert assign_levels(ROIPooler(1, (1 / 16,), 1, "ROIAlignV2"), boxes).tolist() == [0] * 5


def test_predictions_said_again_are_those_of_detection(model):
    trace = model.trace([random_input(160, 192, 320, 384), random_input(128, 160, seed=1)])
    with torch.no_grad():
        said = trace.head.predict(trace.features, trace)
    detected = torch.cat([i.scores for i in trace.instances])
    assert len(trace) == len(detected) > 20
    assert torch.allclose(said.scores, detected, atol=1e-6)
    # Detections are clipped and scaled to the original frame; so clip and scale what the head says.
    for number, (scale, size) in enumerate(((2.0, (160, 192)), (1.0, (128, 160)))):
        boxes = Boxes(said.boxes[trace.image_index == number].clone())
        boxes.clip(size)
        assert torch.allclose(boxes.tensor * scale, trace.instances[number].pred_boxes.tensor, atol=1e-2)


def test_rows_and_references_name_the_proposals(model):
    trace = model.trace([random_input(160, 192), random_input(128, 160, seed=1)])
    for number, proposals in enumerate(trace.head.stages[0].everyone):
        mine = trace.image_index == number
        assert torch.equal(proposals[trace.rows[mine]], trace.references[mine])


class CouplingHead(FastRCNNConvFCHead):
    """RoIs that see each other: what the fast engine must never touch."""

    def forward(self, x):
        x = super().forward(x)
        return x - x.mean(0, keepdim=True)


def test_a_head_of_ones_own_is_not_taken_for_instance_wise(model, monkeypatch):
    trace = model.trace([random_input(160, 192)])
    assert trace.head.instance_wise
    monkeypatch.setattr(model.roi_heads.box_head, "__class__", CouplingHead)
    assert not trace.head.instance_wise
    for names in ("INSTANCE_WISE_MODULES", "_PROMISED"):
        monkeypatch.setattr(instance_wise, names, set(getattr(instance_wise, names)))
    instance_wise.register_instance_wise(CouplingHead)
    assert trace.head.instance_wise


def test_a_coupling_head_is_asked_with_all_proposals(model, monkeypatch):
    monkeypatch.setattr(model.roi_heads.box_head, "__class__", CouplingHead)
    trace = model.trace([random_input(160, 192), random_input(128, 160, seed=1)])
    with torch.no_grad():
        said = trace.head.predict(trace.features, trace)
        alone = trace.head.predict_pooled({0: trace.head.stages[0].pooled}, trace)
    detected = torch.cat([i.scores for i in trace.instances])
    assert torch.allclose(said.scores, detected, atol=1e-6)
    assert not torch.allclose(alone.scores, detected, atol=1e-6)


def test_instance_wise_is_what_the_bundled_head_is(model):
    assert isinstance(model.roi_heads.box_head, nn.Sequential)
    pooled = torch.randn(4, 64, 7, 7)
    with torch.no_grad():
        together = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))[0]
        alone = torch.cat([model.roi_heads.box_predictor(model.roi_heads.box_head(p[None]))[0] for p in pooled])
    assert torch.allclose(together, alone, atol=1e-6)
