"""Which classes repeat what their inference does, told by what they override."""

import pytest

from odam_d2.modeling import OdamCascadeROIHeads, OdamRes5ROIHeads, OdamRPN, OdamStandardROIHeads
from odam_d2.modeling.pooled import TracedROIHeads

BUNDLED = (OdamStandardROIHeads, OdamCascadeROIHeads, OdamRes5ROIHeads, OdamRPN)


def overriding(base, *names):
    """A subclass that overrides these methods, each by calling the next one."""
    body = {}
    for name in names:
        exec(f"def {name}(self, *args): return super(type(self), self).{name}(*args)", body)
    return type("Mine", (base,), {name: body[name] for name in names})


@pytest.mark.parametrize("base", BUNDLED)
def test_inference_alone_is_named_wherever_it_is_overridden(base):
    assert base.why_not_traced() is None
    inference, tracing = base.inference_method, base.tracing_methods
    alone = overriding(base, inference)
    assert alone.why_not_traced() == f"overrides `{inference}` alone"
    assert overriding(alone).why_not_traced() == f"overrides `{inference}` alone"
    for name in tracing:
        both = overriding(base, inference, name)
        assert both.why_not_traced() is None and overriding(base, name).why_not_traced() is None
        # What one class says of its own inference does not hold for the next one's.
        assert overriding(both, inference).why_not_traced() == f"overrides `{inference}` alone"
        assert overriding(alone, name).why_not_traced() is None


def test_a_mixin_counts_like_the_class_itself():
    class Mixin:
        def _forward_box(self, *args):
            return super()._forward_box(*args)

    class Detecting:
        def detect(self, *args):
            return super().detect(*args)

    alone = type("Alone", (Mixin, OdamStandardROIHeads), {})
    both = type("Both", (Mixin, Detecting, OdamStandardROIHeads), {})
    assert alone.why_not_traced() == "overrides `_forward_box` alone" and both.why_not_traced() is None


@pytest.mark.parametrize("base", BUNDLED[:3])
@pytest.mark.parametrize("name", ["detect", "choose"])
def test_choosing_of_ones_own_can_not_be_stood_in_for(base, name):
    heads = overriding(base, name)
    assert heads.why_suppresses_itself(object.__new__(heads)) == f"Mine overrides `{name}`"
    assert base.choose is TracedROIHeads.choose and base.detect is TracedROIHeads.detect
