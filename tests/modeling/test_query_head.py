"""The part behind a stage, against finite differences of what the network computes."""

from contextlib import contextmanager

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
        up, down = (trace.head.predict(moved(features, along, sign * step), trace) for sign in (1.0, -1.0))
    for target, high, low in ((said.scores, up.scores, down.scores), (said.boxes, up.boxes, down.boxes)):
        expected = (high - low).flatten() / (2 * step)
        found = along_directions(target.flatten(), features, along)
        assert torch.allclose(found, expected, atol=0.03 * float(expected.abs().max()))


def moved(features, along, step):
    return {k: v + step * along[k] for k, v in features.items()}


def along_directions(scalars, features, along):
    """Derivatives of scalars along a direction, an autograd call for each."""
    found = []
    for one in scalars:
        gradients = torch.autograd.grad(one, list(features.values()), retain_graph=True, materialize_grads=True)
        found.append(sum((g * along[k]).sum() for g, k in zip(gradients, features, strict=True)))
    return torch.stack(found)


@contextmanager
def modules_give(modules, answers):
    """Modules give what they are told to, whatever they are asked."""
    handles = [m.register_forward_hook(lambda *_, a=a: a) for m, a in zip(modules, answers, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_an_own_querys_derivatives_are_those_with_keys_and_values_held_fast(name):
    """A step up and down, while the decoder's queries read of each other what they read before."""
    require_package("transformers")
    model = QueryFamily(name).detector()
    step = 3e-4 if name.startswith("RTDetr") else 0.03
    if not name.startswith("RTDetr"):  # drawn too alike for attention to matter
        torch.manual_seed(0)
        for module in model.network.model.decoder.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.xavier_uniform_(module.weight, gain=2.0)
    image = [random_input(96, 128)]
    model.layer = "encoder"
    whole = model.trace(image).head
    model.layer = "encoder_own_query"
    trace = model.trace(image)
    generator = torch.Generator().manual_seed(0)
    features = {k: v.clone().requires_grad_() for k, v in trace.features.items()}
    along = {k: torch.randn(v.shape, generator=generator) for k, v in features.items()}
    modules = model.architecture.keys_and_values(model.network)
    assert len(modules) == 2 * len(model.network.model.decoder.layers)
    kept = []
    handles = [module.register_forward_hook(lambda _m, _i, output: kept.append(output.detach())) for module in modules]
    with torch.no_grad():
        trace.head.predict(features, trace)
    for handle in handles:
        handle.remove()
    with contiguous_norm_gradients(model):
        said, all_said = trace.head.predict(features, trace), whole.predict(features, trace)
    assert torch.equal(said.scores, all_said.scores) and torch.equal(said.boxes, all_said.boxes)
    with torch.no_grad(), modules_give(modules, kept):
        up, down = (whole.predict(moved(features, along, sign * step), trace) for sign in (1.0, -1.0))
    expected = (up.boxes - down.boxes).flatten() / (2 * step)
    found = along_directions(said.boxes.flatten(), features, along)
    assert torch.allclose(found, expected, atol=0.03 * float(expected.abs().max()))
    # Which is something else than with them.
    others = along_directions(all_said.boxes.flatten(), features, along)
    assert float((others - found).abs().max()) > 0.06 * float(expected.abs().max())


def test_detaching_is_as_it_was_behind_the_block():
    leaf = torch.ones(2, requires_grad=True)
    with WholeGraph():
        assert (2 * leaf).detach().requires_grad
    assert not (2 * leaf).detach().requires_grad
