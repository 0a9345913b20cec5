"""Threads that share a detector: every call gives what it gives alone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from odam_d2.explain import build_explainer
from odam_d2.utils.threads import in_this_thread, model_lock
from tests.families import FAMILIES, QUERY_FAMILIES
from tests.helpers import random_input
from tests.wants import require_package

THREADS, CALLS = 4, 8
# Images of several sizes: whatever a call took of another one's would be of another shape, or off by far more.
SIZES = [(64, 96), (96, 64), (64, 64), (96, 96)]
BY_NAME = {family.name: family for family in (*FAMILIES, *QUERY_FAMILIES)}


# A C4 head runs a stage of the backbone on each pooled region; group norm needs more than one value a group, on a level
# of a single cell too.
QUICKER = {
    "faster_rcnn_c4": ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4),
    "mask_rcnn_c4": ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4),
    "fcos_group_norm": ("MODEL.FPN.OUT_CHANNELS", 64),
}


def images(number: int) -> list[dict]:
    return [random_input(*SIZES[number], seed=number)]


def in_threads(work) -> list:
    """What `work(thread)` gives in each of the threads, all at once; an error in one is raised here."""
    with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(work, range(THREADS)))


def assert_same(found: dict, alone: dict) -> None:
    """Equal to single precision's rounding: an operator may add in another order in another thread."""
    found, alone = found["instances"], alone["instances"]
    torch.testing.assert_close(found.pred_boxes.tensor, alone.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
    assert torch.equal(found.pred_classes, alone.pred_classes)
    values = alone.heatmaps.values
    torch.testing.assert_close(found.heatmaps.values, values, rtol=1e-4, atol=float(values.abs().max()) * 1e-5)
    assert torch.equal(found.heatmaps.windows, alone.heatmaps.windows)


@pytest.mark.parametrize("name", BY_NAME)
def test_explaining_and_detecting_at_once_gives_what_each_gives_alone(name):
    if name in {family.name for family in QUERY_FAMILIES}:
        require_package("transformers")
    family = BY_NAME[name]
    if name in QUICKER:
        family = replace(family, options=(*family.options, *QUICKER[name]))
    model = family.detector()
    if hasattr(model, "roi_heads"):
        model.proposal_generator.post_nms_topk = {True: 4, False: 4}  # quick, and no less to mix up
    inputs = [images(number) for number in range(THREADS)]
    explainer = build_explainer(model, attributes=("score",), group_norm=family.group_norm)
    alone = [explainer(one)[0] for one in inputs]

    def call(number: int) -> list[dict]:
        found = []
        for turn in range(CALLS):
            if turn % 2:  # detects between its explanations, while others explain
                with torch.no_grad():
                    model(inputs[number])
            else:
                found += explainer(inputs[number])
        return found

    for number, results in enumerate(in_threads(call)):
        for result in results:
            assert_same(result, alone[number])


@pytest.mark.parametrize("name", ["faster_rcnn_fpn", "retinanet"])
def test_explaining_on_a_named_layer_at_once(name):
    model = BY_NAME[name].detector()
    explainer = build_explainer(model, attributes=("score",), layer="backbone.bottom_up.res4")
    alone = [explainer(images(number))[0] for number in range(THREADS)]

    def call(number: int) -> list[dict]:
        with torch.no_grad():
            model(images(number))
        return [explainer(images(number))[0] for _ in range(3)]

    for number, results in enumerate(in_threads(call)):
        for result in results:
            assert_same(result, alone[number])


def test_a_detector_in_training_mode_is_in_it_again_after_all_threads():
    model = BY_NAME["retinanet"].detector().train()
    frozen = next(module for module in model.modules() if not list(module.children())).eval()
    explainer = build_explainer(model, attributes=("score",))
    in_threads(lambda number: explainer(images(number)))
    assert model.training and not frozen.training
    assert not [m for m in model.modules() if m is not frozen and not m.training]


def test_detectors_that_share_modules_leave_them_as_they_were():
    from odam_d2.meta_arch import OdamProposalNetwork

    model = BY_NAME["faster_rcnn_fpn"].detector()
    network = OdamProposalNetwork.of(model)
    model.train()
    both = [build_explainer(one, attributes=("score",)) for one in (model, network)]
    in_threads(lambda number: [both[number % 2](images(number)) for _ in range(3)])
    assert all(module.training for module in model.backbone.modules())


def test_a_hook_does_nothing_in_other_threads():
    module, seen = torch.nn.ReLU(), []
    module.register_forward_hook(in_this_thread(lambda _m, _i, out: seen.append(out) or out + 1))
    assert in_threads(lambda _number: module(torch.zeros(1)).item()) == [0.0] * THREADS
    assert module(torch.zeros(1)).item() == 1.0 and len(seen) == 1


def test_a_model_has_one_lock():
    module, other = torch.nn.ReLU(), torch.nn.ReLU()
    assert model_lock(module) is model_lock(module) is not model_lock(other)
