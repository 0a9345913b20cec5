"""Every option changes what it says it changes: alone, in a comparison, and from a config."""

import inspect

import pytest
import torch

from odam_d2.explain import (
    METHODS,
    build_comparison,
    build_explainer,
    center_prior,
    comparison_from_config,
    explainer_from_config,
    explainer_options,
)
from tests.helpers import compact_detector, given, random_input

# Another value than the default for every option of every method. An option that is missing here fails a test.
OTHER_VALUES = {
    ("drise", "num_masks"): 5,
    ("drise", "resolution"): 3,
    ("drise", "probability"): 0.8,
    ("drise", "stride"): 16,
    ("drise", "seed"): 1,
    ("gcame", "width"): 1.5,
    ("random", "seed"): 1,
    ("random", "stride"): 16,
    ("odam", "smoothing"): 0.3,
    ("odam", "center_prior"): True,
}
# Options that maps do not depend on, or by rounding alone: how many images at a time, precision, a progress bar.
HOW = {("drise", "batch_size"): 2, ("drise", "amp"): True, ("drise", "progress"): False}
BASE = {"drise": {"num_masks": 4, "progress": False}}
INPUTS = [random_input(96, 128, seed=3)]
BOXES = [given((96, 128), [[20.0, 16.0, 70.0, 80.0], [60.0, 30.0, 120.0, 90.0]], [0, 1])]


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


@pytest.fixture(scope="module")
def fcos():
    return compact_detector("fcos")


@pytest.fixture
def one(option, model, fcos, monkeypatch):
    """A detector that has the option; what it measures for it, in few small images."""
    for name, value in {"IMAGES": 1, "PREDICTIONS": 4, "CELLS": 1}.items():
        monkeypatch.setattr(center_prior, name, value)
    return fcos if option == "center_prior" else model


def maps_of(explainer, method=None):
    (result,) = explainer(INPUTS, BOXES)
    return (result["instances"].heatmaps if method is None else result["heatmaps"][method]).to_image("score")


def alone(model, method, **options):
    return maps_of(build_explainer(model, method, ("score",), **{**BASE.get(method, {}), **options}))


def compared(model, method, **options):
    """The same as one of several methods: first a rival, so that the method isn't the one that is looked at first."""
    methods = {"gradcam": {}, method: {**BASE.get(method, {}), **options}}
    return maps_of(build_comparison(model, methods, ("score",)), method)


def test_every_option_of_every_method_has_another_value_here():
    keyword = inspect.Parameter.KEYWORD_ONLY
    documented = {
        (name, p.name) for name, cls in METHODS.items() for p in inspect.signature(cls).parameters.values()
        if p.kind is keyword
    }  # fmt: skip
    assert documented == {*OTHER_VALUES, *HOW}


@pytest.mark.parametrize("way", [alone, compared])
@pytest.mark.parametrize("method, option", OTHER_VALUES)
def test_an_option_changes_the_maps(one, method, option, way):
    usual, changed = way(one, method), way(one, method, **{option: OTHER_VALUES[method, option]})
    assert float((usual - changed).abs().max()) > 1e-2


@pytest.mark.parametrize("method, option", [*OTHER_VALUES, *HOW])
def test_an_option_does_the_same_in_a_comparison(one, method, option):
    value = {option: {**OTHER_VALUES, **HOW}[method, option]}
    torch.testing.assert_close(compared(one, method, **value), alone(one, method, **value), rtol=1e-4, atol=1e-4)


def test_how_many_images_are_asked_about_at_a_time(model, monkeypatch):
    asked, trace = [], model.trace
    monkeypatch.setattr(model, "trace", lambda inputs, *rest: asked.append(len(inputs)) or trace(inputs, *rest))
    build_explainer(model, "drise", num_masks=4, batch_size=2, progress=False)(INPUTS, BOXES)
    assert asked == [1, 2, 2]


def test_a_progress_bar_where_it_is_wanted(model, capsys):
    for wanted in (True, False):
        build_explainer(model, "drise", num_masks=2, progress=wanted)(INPUTS, BOXES)
        assert ("D-RISE" in capsys.readouterr().err) is wanted


def test_methods_of_a_comparison_smooth_each_as_it_was_told(model):
    methods = {"odam": {"smoothing": 0.3}, "hirescam": {}}
    comparison = build_comparison(model, methods, ("score",))
    smoothed, plain = (maps_of(comparison, name) for name in methods)
    torch.testing.assert_close(smoothed, alone(model, "odam", smoothing=0.3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plain, alone(model, "odam"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("option", ["engine", "layer", "group_norm", "attributes"])
def test_what_methods_share_is_no_option_of_one(model, option):
    with pytest.raises(ValueError, match=rf"must be its own; got \['{option}'\], which all methods share"):
        build_comparison(model, {"odam": {option: "auto"}})


@pytest.mark.filterwarnings("ignore:maps are approximate")
def test_group_norm_engine_and_layer_change_what_they_say(model, fcos):
    plain, exact = (
        maps_of(build_explainer(fcos, attributes=("score",), group_norm=name)) for name in ("frozen", "exact")
    )
    by_engine = maps_of(build_explainer(fcos, attributes=("score",), engine="autograd"))
    assert float((plain - exact).abs().max()) > 1e-2
    torch.testing.assert_close(exact, by_engine, rtol=1e-3, atol=1e-3)
    layer = maps_of(build_explainer(model, attributes=("score",), layer="backbone.bottom_up.res4"))
    assert float((layer - alone(model, "odam")).abs().max()) > 1e-2
    together = maps_of(build_comparison(fcos, ["odam", "gradcam"], ("score",), group_norm="exact"), "odam")
    torch.testing.assert_close(together, exact, rtol=1e-4, atol=1e-4)


def config(**keys):
    from odam_d2 import model_zoo

    cfg = model_zoo.get_config("synthetic/fcos_compact_FPN", trained=False)
    cfg.merge_from_list([part for key, value in keys.items() for part in (f"ODAM.{key}", value)])
    return cfg


def test_a_config_speaks_for_every_option():
    keys = {
        "METHOD": "gradcam",
        "ATTRIBUTES": ("logit",),
        "ENGINE": "autograd",
        "LAYER": "backbone",
        "GROUP_NORM": "exact",
    }
    assert explainer_options(config(**keys)) == {
        "method": "gradcam", "attributes": ("logit",), "engine": "autograd", "layer": "backbone", "group_norm": "exact",
    }  # fmt: skip
    assert explainer_options(config(SMOOTHING=0.2))["smoothing"] == 0.2


def test_what_is_given_goes_before_the_config():
    options = explainer_options(config(SMOOTHING=0.2, ENGINE="dense"), smoothing=0.0, engine="autograd", layer=None)
    assert (options["smoothing"], options["engine"], options["layer"]) == (0.0, "autograd", "")


def test_a_method_takes_of_the_config_what_concerns_it():
    cfg = config(SMOOTHING=0.2, ENGINE="dense", LAYER="backbone")
    assert explainer_options(cfg, method="drise", num_masks=3) == {
        "method": "drise", "attributes": ("score",), "group_norm": "carried", "num_masks": 3,
    }  # fmt: skip
    assert not {"smoothing", "center_prior"} & set(explainer_options(cfg, method="gradcam"))


def test_what_is_given_to_a_method_without_it_is_refused(fcos):
    with pytest.raises(ValueError, match="`smoothing` must be 0 for method 'gradcam'"):
        explainer_from_config(fcos, config(), method="gradcam", smoothing=0.1)


def test_explainers_of_a_config_are_those_of_its_options(fcos):
    cfg = config(SMOOTHING=0.3, GROUP_NORM="exact")
    expected = maps_of(build_explainer(fcos, attributes=("score",), smoothing=0.3, group_norm="exact"))
    assert torch.equal(maps_of(explainer_from_config(fcos, cfg, attributes=("score",))), expected)
    comparison = comparison_from_config(fcos, cfg, ["gradcam", "odam", "random"], ("score",))
    torch.testing.assert_close(maps_of(comparison, "odam"), expected, rtol=1e-4, atol=1e-4)
    own = comparison_from_config(fcos, cfg, {"odam": {"smoothing": 0.0}}, ("score",))
    assert own.explainers["odam"].smoothing == 0.0


def test_a_config_asks_for_the_center_prior(fcos):
    cfg = config(CENTER_PRIOR=True)
    assert explainer_from_config(fcos, cfg).center_prior
    assert comparison_from_config(fcos, cfg, ["gradcam", "odam"], ("score",)).explainers["odam"].center_prior
    assert not explainer_from_config(fcos, cfg, center_prior=False).center_prior
