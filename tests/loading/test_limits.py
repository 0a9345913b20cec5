"""Thresholds of detectors whose heads don't know one."""

import contextlib

import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.loading.limits import detecting_from, limit_detector, most_detections


class Strange(torch.nn.Module):
    """Says the same five detections of every image."""

    def forward(self, batched_inputs):
        found = Instances((8, 8))
        found.scores = torch.tensor([0.2, 0.9, 0.5, 0.7, 0.1])
        found.pred_boxes = Boxes(torch.arange(20.0).view(5, 4))
        return [{"instances": found, "sem_seg": 1}, {"nothing": 2}]


def test_what_a_projects_own_detector_says_is_cut():
    """Scores from .5 on are the rows 1, 2, 3; the best two of them are 1 and 3, in the order in which they stood."""
    model = Strange().eval()
    limit_detector(model, 0.5, None)
    first, second = model([])
    assert first["instances"].pred_boxes.tensor[:, 0].tolist() == [4, 8, 12] and second == {"nothing": 2}
    limit_detector(model, None, 2)
    assert model([])[0]["instances"].scores.tolist() == torch.tensor([0.9, 0.7]).tolist() and first["sem_seg"] == 1
    assert most_detections(model) is None
    assert len(model.train()([])[0]["instances"]) == 5


def test_heads_that_know_them_are_set_and_a_lower_limit_stays():
    model = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    model[0].test_score_thresh, model[0].test_topk_per_image = 0.05, 100
    model[1].test_score_thresh, model[1].max_detections_per_image = 0.05, 5
    limit_detector(model, 0.3, 20)
    assert (model[0].test_score_thresh, model[0].test_topk_per_image) == (0.3, 20)
    assert (model[1].test_score_thresh, model[1].max_detections_per_image) == (0.3, 5)
    assert most_detections(model) == 5 and not model._forward_hooks


@pytest.mark.parametrize("fails", [False, True])
def test_thresholds_are_others_for_a_while(fails):
    model = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity(), torch.nn.Identity()])
    model[0].test_score_thresh, model[1].score_threshold, model[2].score_threshold = 0.05, 0.1, None
    with contextlib.suppress(KeyError), detecting_from(model, 0.6):
        assert (model[0].test_score_thresh, model[1].score_threshold, model[2].score_threshold) == (0.6, 0.6, None)
        if fails:
            raise KeyError
    assert (model[0].test_score_thresh, model[1].score_threshold) == (0.05, 0.1)
