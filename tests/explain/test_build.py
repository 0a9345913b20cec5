"""Names in, an explainer out; what is wrong is said before anything runs."""

import pytest
import torch
from torch import nn

from odam_d2 import model_zoo
from odam_d2.explain import METHODS, ODAM, build_explainer, known_attributes


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return model_zoo.get("synthetic/faster_rcnn_compact_FPN", trained=False, device="cpu")


def test_default_is_odam_on_score_and_sides(model):
    explainer = build_explainer(model)
    assert type(explainer) is ODAM is METHODS["odam"]
    assert explainer.attributes == ("score", "left", "top", "right", "bottom")


def test_combined_is_computed_from_its_parts(model):
    assert build_explainer(model, attributes=("logit", "combined", "left")).attributes == (
        "logit", "score", "left", "top", "right", "bottom",
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments, known",
    [
        ({"method": "gradcam3"}, "odam"),
        ({"engine": "quick"}, "autograd.*roi"),
        ({"attributes": ("score", "middle")}, "score.*bottom.*combined"),
        ({"attributes": ()}, "score"),
        ({"layer": "backbone.bottom_up.res9"}, "backbone.bottom_up.res5"),
        ({"layer": "nowhere"}, "roi_heads"),
        ({"layer": "backbone.bottom_up.res5", "engine": "roi"}, "autograd"),
        ({"smoothing": -0.1}, ">= 0"),
        ({"group_norm": "thawed"}, "'exact', 'frozen'"),
        ({"smoothing": float("nan")}, ">= 0"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(model, arguments, known):
    with pytest.raises(ValueError, match=known):
        build_explainer(model, **arguments)


def test_a_model_without_a_trace():
    with pytest.raises(TypeError, match="Linear.*use_traced_architectures"):
        build_explainer(nn.Linear(1, 1))


def test_an_attribute_of_another_family_is_answered_with_what_this_one_has(model):
    with pytest.raises(ValueError, match=r"\['score'.*'combined'\]; got \['centerness'\]"):
        build_explainer(model, attributes=("centerness",))


def test_known_attributes_are_all_accepted(model):
    assert len(known_attributes()) == 11
    for name in known_attributes():
        build_explainer(model, attributes=name)
