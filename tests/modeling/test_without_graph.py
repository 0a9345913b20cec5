"""What is off inside, with Odam-NMS and without."""

from types import SimpleNamespace

import pytest
import torch

from odam_d2.modeling.without_graph import without_graph
from tests.helpers import autocast_on_cpu


def modes():
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocast_on_cpu()


@pytest.mark.parametrize("odam_nms, inside", [(None, (False, True, True)), (object(), (False, False, False))])
def test_odam_nms_needs_tensors_that_can_enter_a_graph_in_full_precision(odam_nms, inside):
    model = SimpleNamespace(odam_nms=odam_nms, device=torch.device("cpu"))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        with without_graph(model):
            assert modes() == inside
        assert modes() == (False, True, True)
    with without_graph(model):
        assert modes() == (False, False, False)
    assert modes() == (True, False, False)
