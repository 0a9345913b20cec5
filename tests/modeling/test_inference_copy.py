"""A copy that is asked in a detector's place: the same numbers, and the detector stays as it was."""

import copy
from pathlib import Path

import pytest
import torch
from detectron2.data.detection_utils import read_image
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling.poolers import ROIPooler
from torch import nn

from odam_d2 import model_zoo
from odam_d2.modeling import inference_copy
from odam_d2.modeling.lookup_pooler import LookupROIPooler
from tests.helpers import random_input
from tests.wants import RTDETR

DEMO = Path(__file__).parents[2] / "datasets" / "demo" / "images" / "scene_demo_000000.jpg"
IMAGE = {"image": torch.as_tensor(read_image(DEMO, "BGR").transpose(2, 0, 1).copy())}
NAMES = ("faster_rcnn", "mask_rcnn", "cascade_rcnn", "retinanet", "fcos", RTDETR)


@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_detector_says_the_same(name):
    model = model_zoo.get(f"synthetic/{name}_compact_FPN", device="cpu")
    before, inputs = copy.deepcopy(model.state_dict()), [IMAGE, random_input(*IMAGE["image"].shape[1:])]
    quick = inference_copy(model)
    with torch.no_grad():
        expected, found = model.candidates(inputs), quick.candidates(inputs)
        detected, again = (one.trace(inputs).instances for one in (model, quick))
    for one, other in zip(expected, found, strict=True):
        # Proposals of nearly the same score may change places: every column is sorted on its own.
        for numbers, again_numbers, error in zip(one, other, (0.01, 1e-4), strict=True):
            assert torch.allclose(again_numbers.sort(0).values, numbers.sort(0).values, atol=error)
    assert len(detected[0])
    for one, other in zip(detected, again, strict=True):
        apart = (one.pred_boxes.tensor[:, None] - other.pred_boxes.tensor).abs().amax(2)
        same = (apart < 0.01) & (one.pred_classes[:, None] == other.pred_classes)
        # Places of nearly the same score may change, and so who comes last.
        sure = [found.scores > found.scores.min() + 1e-4 for found in (one, other)]
        assert bool(same[sure[0]].any(1).all()) and bool(same[:, sure[1]].any(0).all())
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], before[key]) for key in before)
    assert not any(isinstance(module, LookupROIPooler) for module in model.modules())


def norms_left(model):
    return [m for m in model.modules() if isinstance(m, Conv2d) and m.norm is not None]


def test_norms_go_into_convolutions_and_poolers_are_changed():
    model = model_zoo.get("synthetic/cascade_rcnn_compact_FPN", device="cpu")
    quick = inference_copy(model)
    assert norms_left(model) and not norms_left(quick)
    kinds = {type(module) for module in quick.modules() if isinstance(module, ROIPooler)}
    assert kinds == {LookupROIPooler} and not any(p.requires_grad for p in quick.parameters())
    convolution = next(m for m in quick.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_boxes_only_leaves_masks_out():
    model, inputs = model_zoo.get("synthetic/mask_rcnn_compact_FPN", device="cpu"), [random_input(96, 128)]
    (whole,), (boxes,) = (inference_copy(model, boxes_only=only).trace(inputs).instances for only in (False, True))
    assert len(whole) and whole.has("pred_masks") and not boxes.has("pred_masks")
    assert torch.equal(boxes.pred_boxes.tensor, whole.pred_boxes.tensor) and torch.equal(boxes.scores, whole.scores)
    assert model.roi_heads.mask_on and model.trace(inputs).instances[0].has("pred_masks")


class Own(FrozenBatchNorm2d):
    """Somebody's norm, which does more than its base."""

    def forward(self, x):
        return super().forward(x).abs()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm, folded", [(FrozenBatchNorm2d, True), (nn.BatchNorm2d, True), (Own, False)])
def test_a_norm_with_its_numbers(bias, norm, folded):
    torch.manual_seed(0)
    model = nn.Sequential(Conv2d(3, 4, 3, padding=1, bias=bias, norm=norm(4), activation=torch.relu))
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(model[0].norm, name).data.uniform_(0.5, 2.0)
    image = torch.randn(2, 3, 6, 7)
    quick = inference_copy(model.eval())
    assert (quick[0].norm is None) == folded
    assert torch.allclose(quick(image), model(image), atol=1e-5) and bool(model(image).any())


def test_a_norm_of_the_batch_stays():
    model = nn.Sequential(Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4, track_running_stats=False))).eval()
    assert inference_copy(model)[0].norm is not None


def test_a_detector_in_training_is_refused():
    with pytest.raises(RuntimeError, match="eval mode to be copied; got training mode: call model.eval"):
        inference_copy(nn.Sequential(nn.Conv2d(1, 1, 1)).train())
