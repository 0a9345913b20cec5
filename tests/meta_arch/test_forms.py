"""Detectors that give their results, or take their images, in another way than Detectron2's."""

import pytest
import torch
from detectron2.structures import Instances

from odam_d2.explain import build_explainer
from odam_d2.meta_arch import register_adapter
from odam_d2.meta_arch.adapters import ADAPTERS
from odam_d2.meta_arch.graph import GraphDetector
from odam_d2.modeling.recorded import UnmatchedError
from odam_d2.modeling.results import read_others, read_results
from odam_d2.predictor import OdamPredictor
from tests.helpers import random_input
from tests.stand_ins.forms import (
    Cells,
    Half,
    LayoutModel,
    ListOfInstances,
    Names,
    OneDict,
    OwnKey,
    Pair,
    PlainBoxes,
    Silent,
    TeacherStudent,
    Tuple,
    build,
)

INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]


@pytest.fixture(scope="module")
def plain():
    return build_explainer(build(Cells), attributes=("score", "left"))(INPUTS)


@pytest.mark.parametrize("kind", [ListOfInstances, OneDict, Tuple, OwnKey, PlainBoxes])
def test_the_form_of_the_results_does_not_matter(kind, plain):
    found = build_explainer(build(kind), attributes=("score", "left"))(INPUTS)
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one["instances"].scores, other["instances"].scores)
        assert torch.equal(one["instances"].heatmaps.values, other["instances"].heatmaps.values)
        assert bool(one["instances"].heatmaps.values.any())


def test_what_else_there_is_goes_to_each_image():
    outputs = build(OneDict)(INPUTS)
    assert read_others(outputs, 2) == [{"features": k, "version": "b"} for k in range(2)]
    assert read_others(build(Tuple)(INPUTS), 2) == [{"embedding": 7}] * 2
    assert read_others(build(Cells)(INPUTS), 2) == [{}, {}]
    assert [result["embedding"] for result in build_explainer(build(Tuple), attributes=("score",))(INPUTS)] == [7, 7]


def test_one_image_without_a_list():
    alone = build(Cells).found(INPUTS[:1])[0]
    assert read_results(alone, 1)[0].scores is alone.scores
    assert read_results({"instances": alone}, 1)[0].scores is alone.scores


def test_what_is_no_result_is_named():
    with pytest.raises(TypeError, match=r"a list of 2 dicts with `instances`.*got a dict with \['names'\]: wrap it in"):
        build_explainer(build(Names))(INPUTS)
    with pytest.raises(TypeError, match=r"got list of 1 Instances"):
        read_results([Instances((2, 2))], 2)
    with pytest.raises(TypeError, match=r"must have `pred_boxes` and `scores`; got \['labels'\]"):
        read_results([Instances((2, 2), labels=torch.zeros(1))], 1)
    with pytest.raises(TypeError, match=r"must find objects.*got only \['panoptic_seg', 'sem_seg'\]"):
        read_results([{"sem_seg": torch.zeros(1)}, {"panoptic_seg": torch.zeros(1)}], 2)
    with pytest.raises(TypeError, match=r"got list of 0 items"):
        read_results([], 1)


@pytest.mark.parametrize("kind", [Half, Pair, Silent])
def test_images_that_are_resized_inside(kind):
    # Whose images are halved before: the same network, the same maps, in the frame of the same output.
    inputs = INPUTS[:1]
    halved = [{**inputs[0], "image": torch.nn.functional.interpolate(inputs[0]["image"][None], scale_factor=0.5,
                                                                     mode="bilinear")[0]}]  # fmt: skip
    found = build_explainer(build(kind), attributes=("score", "left"))(inputs)[0]["instances"]
    expected = build_explainer(build(Cells), attributes=("score", "left"))(halved)[0]["instances"]
    assert bool(expected.heatmaps.values.any())
    for name in ("score", "left"):
        maps = [one.heatmaps.to_image(name, normalize=False) for one in (found, expected)]
        torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-6 * float(maps[1].max()))


@pytest.mark.parametrize("amp", [False, True])
def test_drise_masks_the_images_as_they_are_given(amp):
    options = {"num_masks": 4, "progress": False, "amp": amp}
    found = build_explainer(build(Half), "drise", **options)(INPUTS)
    assert all(bool(one["instances"].heatmaps.to_image("score", normalize=False).any()) for one in found)


def test_images_of_several_sizes_that_are_resized_unseen():
    with pytest.raises(ValueError, match="images of a batch must have one size where the detector resizes them inside"):
        build_explainer(build(Silent))(INPUTS)


def test_a_holder_of_detectors_says_which():
    with pytest.raises(TypeError, match=r"got TeacherStudent, which holds \['modelTeacher', 'modelStudent'\]: hand"):
        build_explainer(build(TeacherStudent))
    with pytest.raises(TypeError, match=r"got LayoutModel, which holds \['model'\]: hand over"):
        build_explainer(LayoutModel())
    model = build(TeacherStudent).modelTeacher
    assert len(build_explainer(model, attributes=("score",))(INPUTS[:1])[0]["instances"].heatmaps) == 3


def test_the_predictor_takes_them():
    predictor = OdamPredictor.of(build(ListOfInstances), min_size=0, attributes=("score",))
    found = predictor(INPUTS[1]["image"].permute(1, 2, 0).byte().numpy())["instances"]
    assert len(found.heatmaps) == 3


class HalfScores(Cells):
    """A user's own, which its adapter knows."""


def test_an_adapter_of_ones_own(caplog):
    caplog.set_level("INFO")
    asked = []

    @register_adapter("test_half_scores")
    class HalfScoresAdapter(GraphDetector):
        how = "as its author knows it"

        @staticmethod
        def why_not(model):
            return None if isinstance(model, HalfScores) else "it is not HalfScores"

        def trace(self, batched_inputs, instances=None):
            asked.append(len(batched_inputs))
            if len(batched_inputs) > 1:
                raise UnmatchedError("several images are beyond it")
            return super().trace(batched_inputs, instances)

    try:
        model = build(HalfScores)
        explainer = build_explainer(model, attributes=("score",))
        assert len(explainer(INPUTS[:1])[0]["instances"].heatmaps) == 3 and asked == [1]
        assert (
            "by autograd on maps p2, p3, as its author knows it" in caplog.messages[-1] or "p3" in caplog.messages[-1]
        )
        assert len(explainer(INPUTS)) == 2 and asked == [1, 2]
        assert caplog.messages[-1].endswith("since several images are beyond it")
        with pytest.raises(AssertionError, match="test_half_scores"):
            register_adapter("test_half_scores")(HalfScoresAdapter)
    finally:
        del ADAPTERS._obj_map["test_half_scores"]
