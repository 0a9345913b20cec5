"""NMS and RoIAlign under autocast on CPUs, whichever version of torchvision there is."""

import torch
from torchvision.ops import nms, roi_align

from odam_d2.utils.autocast_operators import _in_single_precision
from odam_d2.utils.precision import low_precision


def test_operators_take_mixed_precision():
    """Boxes of four bytes and scores of two, as a detector has them under autocast."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
    scores = torch.tensor([0.5, 0.9, 0.7], dtype=torch.bfloat16)
    features = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    rois = torch.tensor([[0.0, 1, 1, 6, 6]])
    with low_precision(torch.device("cpu")):
        assert nms(boxes, scores, 0.5).tolist() == [1, 2]
        pooled = roi_align(features, rois, (2, 2))
    expected = roi_align(features.float(), rois, (2, 2))
    torch.testing.assert_close(pooled.float(), expected, rtol=2**-7, atol=0)  # bfloat16 has eight bits
    pooled.float().sum().backward()
    assert features.grad is not None and float(features.grad.float().sum()) > 0


def test_what_is_registered_where_torchvision_has_nothing():
    features, rois = torch.ones(1, 1, 4, 4).bfloat16(), torch.tensor([[0.0, 0, 0, 4, 4]]).bfloat16()
    pooled = _in_single_precision("roi_align", features, rois, 1.0, 2, 2, 0, False)
    assert pooled.dtype == torch.bfloat16 and pooled.flatten().tolist() == [1.0] * 4
    assert _in_single_precision("nms", rois[:, 1:], torch.ones(1).bfloat16(), 0.5).dtype == torch.int64
