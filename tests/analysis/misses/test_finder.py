"""What all detectors have in common: what is asked, what comes back, and what is refused."""

import json
from functools import partial

import pytest
import torch

from odam_d2.analysis.misses import MECHANISMS, MissFinder, MissRules, replay
from odam_d2.analysis.misses.replay import Replayed
from tests.analysis.misses.detectors import BLACK, objects, one_stage, two_stage
from tests.helpers import random_input
from tests.meta_arch.test_callable import tiny, tiny_input
from tests.stand_ins import forms

PLACE, FAR = [20, 20, 60, 60], [80, 40, 120, 80]
LIKELY = [0.8, 0.1, 0.05, 0.05]


def test_mechanisms_are_tried_in_the_order_of_a_detectors_stages():
    assert list(MECHANISMS) == [
        "no_candidate", "regressed_away", "unknown", "other_class", "background", "suppressed", "low_score",
    ]  # fmt: skip


def test_several_images_and_objects():
    """The second image is half as wide and high as the first, and told in twice its size."""
    small = {"image": torch.zeros(3, 48, 64), "height": 96, "width": 128}
    finder = MissFinder(two_stage([[20, 20, 40, 40]], [LIKELY]), compare_maps=False)
    truths = [objects([[20, 20, 40, 40], FAR], [0, 1]), objects([[40, 40, 80, 80], PLACE, FAR], [0, 1, 2])]
    first, second = finder([BLACK, small], truths, [[1], [2, 0]])
    assert [one.object_id for one in first] == ["b"] and [one.object_id for one in second] == ["c", "a"]
    assert second[0].box == tuple(map(float, FAR)) and second[0].label == 2
    # The proposal is at the second image's first object, in its frame.
    assert second[1].evidence.taken == (0,) and first[0].evidence.taken == ()
    assert finder([BLACK, small], truths, [[], []]) == [[], []]


def test_nothing():
    finder = MissFinder(two_stage([], []))
    assert finder([], [], []) == [] and finder.replay([]) == Replayed([])
    ((found,),) = finder([BLACK], [objects([PLACE], [0])], [[0]])
    assert (found.mechanism, found.evidence.detection) == ("no_candidate", None)
    assert finder([BLACK], [objects([], [])], [[]]) == [[]]


def test_detections_that_the_caller_chose_and_numbered():
    """The detector finds both places; the caller counts but the second, and calls it 0."""
    finder = MissFinder(two_stage([FAR, PLACE], [LIKELY, [0.7, 0.2, 0.06, 0.04]]), compare_maps=False)
    replayed = finder.replay([BLACK])
    everything = replayed.images[0].detections
    # cat .8 and dog .1 of the first, cat .7, dog .2 and car .06 of the second, by falling score
    assert everything.scores.tolist() == pytest.approx([0.8, 0.7, 0.2, 0.1, 0.06], abs=1e-5)
    truth = objects([[28, 20, 68, 60], FAR], [0, 0])
    near, far = finder.find(replayed, [truth], [[0, 1]], [everything[[1]]])[0]
    assert (near.evidence.taken, near.evidence.detection) == ((0,), 0)
    assert (far.mechanism, far.stage, far.evidence.limit) == ("suppressed", "left_out", None)
    assert far.sentence.endswith("(score .80) was detected, and left out of the detections that count.")
    # All of them, the other way round.
    near, far = finder.find(replayed, [truth], [[0, 1]], [everything[[4, 3, 2, 1, 0]]])[0]
    assert near.evidence.taken == (3,) and far.evidence.taken == (4,)
    moved = everything[[0]]
    moved.scores = moved.scores + 0.01
    with pytest.raises(
        ValueError, match=r"`detections\[0\]` must be detections of the replayed detector; got class 0 with"
    ):
        finder.find(replayed, [truth], [[0]], [moved])
    with pytest.raises(ValueError, match=r"`detections` must hold something for each of the 1 images; got 2"):
        finder.find(replayed, [truth], [[0]], [everything, everything])


def test_the_rules_threshold_lets_its_own_score_pass():
    model = two_stage([PLACE], [[0.5, 0.1, 0.1, 0.3]])
    score = float(model([BLACK])[0]["instances"].scores[0])
    for threshold, mechanism in ((score, "no_candidate"), (score + 1e-4, "low_score")):
        finder = MissFinder(model, MissRules(score_threshold=threshold), compare_maps=False)
        ((found,),) = finder([BLACK], [objects([PLACE], [0])], [[0]])
        assert found.mechanism == mechanism and found.evidence.taken == ((0,) if mechanism == "no_candidate" else ())


def test_misses_are_json():
    finder = MissFinder(
        two_stage([FAR, PLACE], [LIKELY] * 2, most=1), class_names=("cat", "dog", "car"), compare_maps=False
    )
    ((found,),) = finder([BLACK], [objects([PLACE], [0])], [torch.tensor([0])])
    read = json.loads(json.dumps(found.to_json()))
    assert (read["mechanism"], read["stage"], read["object_id"]) == ("suppressed", "max_detections", "a")
    assert read["evidence"]["limit"] == 1 and read["evidence"]["map_similarity"] is None
    assert read["evidence"]["step_ious"] == pytest.approx({"proposals": 1.0, "box_head": 1.0})
    assert read["box"] == PLACE


def test_a_class_that_the_detector_does_not_have():
    finder = MissFinder(two_stage([PLACE], [LIKELY]), class_names=("cat", "dog", "car"))
    for label in (-1, 3):
        ((found,),) = finder([BLACK], [objects([PLACE], [label])], [[0]])
        assert (found.mechanism, found.stage, found.label) == ("unknown", "unknown", label)
        assert found.sentence == (
            "What became of it is not known, since the detector has no such class. The nearest is detection 0, cat "
            "(.80), which overlaps it by 1.00."
        )
    # As another object of the image it is no hindrance.
    ((found,),) = finder([BLACK], [objects([FAR, PLACE], [0, 3])], [[0]])
    assert found.mechanism == "no_candidate"


def test_detectors_that_show_nothing_are_not_guessed_at():
    model = forms.build(forms.Cells)
    entry = random_input(96, 128)
    found = model([entry])[0]["instances"]
    ((miss,),) = MissFinder(model)([entry], [objects([[0, 0, 4, 4]], [0])], [[0]])
    assert (miss.mechanism, miss.stage) == ("unknown", "unknown")
    assert "since Cells shows nothing but its detections." in miss.sentence
    assert miss.evidence.start_iou is None and miss.evidence.threshold is None
    # At the place of a detection it is named.
    box = found.pred_boxes.tensor[0]
    ((miss,),) = MissFinder(model)([entry], [objects([box.tolist()], [0])], [[0]])
    assert miss.evidence.detection == 0 and miss.evidence.detection_iou == pytest.approx(1.0, abs=1e-4)
    assert miss.evidence.detection_score == pytest.approx(float(found.scores[0]))


def test_a_project_registers_its_own_detector():
    class Own(forms.Cells):
        def trace(self, batched_inputs, instances=None):
            raise AssertionError("it is not asked")

    @replay.register
    def of_own(detector: Own, batched_inputs):
        return replay(two_stage([PLACE], [LIKELY]), batched_inputs)

    ((found,),) = MissFinder(forms.build(Own))([BLACK], [objects([FAR], [0])], [[0]])
    assert found.mechanism == "no_candidate"


def test_modes_do_not_matter():
    """Under inference mode and autocast the same is found, with maps; the detector stays as it was."""
    model = two_stage([PLACE], [LIKELY])
    finder, truth = MissFinder(model), objects([FAR], [0])
    expected = finder([BLACK], [truth], [[0]])
    with torch.inference_mode(), torch.autocast("cpu"):
        assert finder([{**BLACK, "image": torch.zeros(3, 96, 128)}], [truth], [[0]]) == expected
    assert all(not parameter.grad_fn and parameter.grad is None for parameter in model.parameters())
    model.train()
    try:
        with pytest.raises(RuntimeError, match="must be in eval mode to be replayed; got training mode"):
            finder.replay([BLACK])
    finally:
        model.eval()


@pytest.mark.parametrize(
    "truths, missed, message",
    [
        ([], [[0]], r"`objects` must hold something for each of the 1 images; got 0: give an entry an image"),
        ([objects([PLACE], [0])], [], r"`missed` must hold something for each of the 1 images; got 0"),
        (
            [objects([PLACE], [0], (96, 100))],
            [[0]],
            r"`objects\[0\]` must be of an image of 128 x 96; got one of 100 x 96",
        ),
        (
            [objects([PLACE], [0])],
            [[1]],
            r"`missed\[0\]` must number the image's 1 objects from 0; got 1: give their rows",
        ),
        (
            [objects([[5, 5, 5, 9]], [0])],
            [[0]],
            r"boxes of `objects\[0\]` must have x1 < x2 and y1 < y2; got \[5.0, 5.0",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(truths, missed, message):
    finder = MissFinder(two_stage([PLACE], [LIKELY]))
    with pytest.raises(ValueError, match=message):
        finder.find(finder.replay([BLACK]), truths, missed)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"iou_threshold": 0.0}, r"`iou_threshold` must be in \(0, 1\]; got 0.0"),
        ({"background_score": 1.5}, r"`background_score` must be in \[0, 1\]; got 1.5"),
        ({"score_threshold": -0.1}, r"`score_threshold` must be in \[0, 1\]; got -0.1"),
        ({"max_detections": 0}, r"`max_detections` must be at least 1; got 0"),
    ],
)
def test_rules_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        MissRules(**options)


def test_objects_of_the_same_place_do_not_meet():
    """An annotated object of its own class at its own place is no hindrance, nor is one of another without a score."""
    build = partial(one_stage, "retinanet", [(0, 6, 8, 1, 1, 0.8, (0.0,) * 4)])
    place = [48, 32, 80, 64]
    ((found,),) = MissFinder(build(), compare_maps=False)([BLACK], [objects([place, place], [0, 0])], [[0]])
    assert found.mechanism == "other_class"
    # The dog is there: of two objects at one place the box speaks for both.
    ((found,),) = MissFinder(build(), compare_maps=False)([BLACK], [objects([place, place], [0, 1])], [[0]])
    assert found.mechanism == "other_class"


def test_a_network_without_parameters():
    """Frozen weights may all be buffers."""
    model = tiny()
    for module in model.modules():
        for name in list(module._parameters):
            weight = module._parameters.pop(name)
            module.register_buffer(name, None if weight is None else weight.detach())
    assert not list(model.parameters())
    ((miss,),) = MissFinder(model)(
        [tiny_input(0.8, 0.4, 0.2, 3.0, size=(96, 128))], [objects([[16, 12, 112, 84]], [2])], [[0]]
    )
    assert miss.mechanism == "unknown" and miss.object_id == "a"
