"""The part behind a stage, against finite differences of what the network computes."""

import pytest
import torch

from odam_d2.explain.engines.norm_gradients import contiguous_norm_gradients
from odam_d2.modeling.query_architecture import ARCHITECTURES
from odam_d2.modeling.query_head import WholeGraph
from tests.families import QueryFamily
from tests.helpers import random_input
from tests.wants import require_package


@pytest.mark.parametrize("layer", ["encoder", "projection"])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_derivatives_are_those_of_what_the_network_computes(name, layer):
    """Also where it detaches its own queries and boxes, as RT-DETR does: a step along a direction, up and down."""
    require_package("transformers")
    model = QueryFamily(name).detector()
    model.layer = layer
    trace = model.trace([random_input(96, 128)])
    generator = torch.Generator().manual_seed(0)
    features = {k: v.clone().requires_grad_() for k, v in trace.features.items()}
    along = {k: torch.randn(v.shape, generator=generator) for k, v in features.items()}
    with contiguous_norm_gradients(model):
        said = trace.head.predict(features, trace)
    # Far enough for single precision, near enough for what bends: RT-DETR's queries move with the features.
    step = 3e-4 if name.startswith("RTDetr") else 0.1
    with torch.no_grad():
        up, down = (
            trace.head.predict({k: v + sign * step * along[k] for k, v in features.items()}, trace)
            for sign in (1.0, -1.0)
        )
    for target, high, low in ((said.scores, up.scores, down.scores), (said.boxes, up.boxes, down.boxes)):
        expected, found = (high - low).flatten() / (2 * step), []
        for one in target.flatten():
            gradients = torch.autograd.grad(one, list(features.values()), retain_graph=True, materialize_grads=True)
            found.append(sum((g * along[k]).sum() for g, k in zip(gradients, features, strict=True)))
        assert torch.allclose(torch.stack(found), expected, atol=0.03 * float(expected.abs().max()))


def test_detaching_is_as_it_was_behind_the_block():
    leaf = torch.ones(2, requires_grad=True)
    with WholeGraph():
        assert (2 * leaf).detach().requires_grad
    assert not (2 * leaf).detach().requires_grad
