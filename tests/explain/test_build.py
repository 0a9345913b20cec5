"""Names in, an explainer out; what is wrong is said before anything runs."""

import pytest
import torch
from torch import nn

from odam_d2 import model_zoo
from odam_d2.explain import METHODS, ODAM, build_comparison, build_explainer, known_attributes
from odam_d2.explain.build import DEFAULT_ATTRIBUTES
from tests.helpers import compact_detector, random_input


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
        ({"method": "gradcam", "smoothing": 0.1}, r"must be 0 for method 'gradcam'; got 0.1.*\['odam'\]"),
        ({"method": "gcame", "sharpness": 2}, r"'gcame' must be among \['width'\]; got \['sharpness'\]"),
        ({"method": "drise", "masks": 9}, r"among \['num_masks', 'resolution', .*\]; got \['masks'\]"),
        ({"num_masks": 9}, r"'odam' must be among \['smoothing', 'center_prior'\]; got \['num_masks'\]"),
        ({"method": "gradcam", "num_masks": 9}, r"'gradcam' must be left out; got \['num_masks'\]"),
        ({"method": "drise", "attributes": ("score", "left")}, r"among \['score'\] for method 'drise'; got.*'left'"),
        ({"method": "drise", "engine": "roi"}, "uses no gradients; got 'roi' and None"),
        ({"method": "drise", "layer": "backbone.bottom_up.res5"}, "got 'auto' and 'backbone.bottom_up.res5'"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(model, arguments, known):
    with pytest.raises(ValueError, match=known):
        build_explainer(model, **arguments)


def test_options_go_to_the_method(model):
    explainer = build_explainer(model, "drise", num_masks=7, seed=3)
    assert explainer.attributes == ("score",) and (explainer.num_masks, explainer.seed) == (7, 3)
    assert build_explainer(model, "gcame", width=0.4).width == 0.4


def test_a_comparison_shares_what_all_methods_explain(model):
    assert build_comparison(model, ("odam", "gradcam")).attributes == DEFAULT_ATTRIBUTES
    comparison = build_comparison(model, {"gcame": {"width": 0.4}, "drise": {"num_masks": 7}}, engine="autograd")
    assert comparison.attributes == ("score",) and list(comparison.explainers) == ["gcame", "drise"]
    assert comparison.explainers["gcame"].width == 0.4 and comparison.explainers["drise"].num_masks == 7


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"methods": ()}, "sequence of names; got \\(\\)"),
        ({"methods": "odam"}, "sequence of names; got 'odam'"),
        ({"methods": ("odam", "magic")}, "`methods` must be one of .*'odam'.*got 'magic'"),
        ({"methods": {"gradcam": {"width": 1}}}, "'gradcam' must be left out"),
        ({"methods": ("odam", "drise"), "attributes": ("left",)}, "'drise'; got"),
        ({"methods": ("odam", "gradcam"), "engine": "quick"}, "autograd"),
        ({"methods": ("drise",), "engine": "quick"}, "autograd"),
        ({"methods": ("drise",), "layer": "nowhere"}, "roi_heads"),
    ],
)
def test_what_is_wrong_with_a_comparison_is_said(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        build_comparison(model, **arguments)


def test_a_model_without_a_trace():
    with pytest.raises(TypeError, match="Linear, which has no `backbone`.*CallableDetector"):
        build_explainer(nn.Linear(1, 1))
    with pytest.raises(TypeError, match="Linear, which has no `backbone`.*CallableDetector"):
        build_comparison(nn.Linear(1, 1), ("odam",))


def test_an_attribute_of_another_family_is_answered_with_what_this_one_has(model):
    with pytest.raises(ValueError, match=r"\['score'.*'combined'\]; got \['centerness'\]"):
        build_explainer(model, attributes=("centerness",))


def test_known_attributes_are_all_accepted(model):
    assert len(known_attributes()) == 11
    for name in known_attributes():
        build_explainer(model, attributes=name)


def test_what_is_to_be_said_of_a_detector_is_said_once():
    detector = compact_detector("fcos")
    told = {"attributes": ("score",), "group_norm": "frozen"}
    explainers = (build_explainer(detector, **told), build_comparison(detector, ["odam", "gradcam"], **told))
    with pytest.warns(UserWarning, match="maps are approximate, since group norm") as warned:
        for explainer in explainers * 2:
            explainer([random_input(64, 96)])
    assert len([one for one in warned if "maps are approximate" in str(one.message)]) == 1
    # Of another one it hasn't been said.
    with pytest.warns(UserWarning, match="maps are approximate"):
        build_explainer(compact_detector("fcos"), group_norm="frozen")([random_input(64, 96)])
