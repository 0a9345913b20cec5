"""What is replayed is what the detector did: its detections bit for bit, and the stages leave just these."""

import pytest
import torch
from torch import nn

from odam_d2 import CallableDetector
from odam_d2.analysis.misses import MissFinder
from odam_d2.analysis.misses.choice import UnknownChoice
from odam_d2.data.augmentations import Padding
from odam_d2.meta_arch.padded import with_padding
from tests.families import FAMILIES, QUERY_FAMILIES
from tests.helpers import compact_detector, random_input
from tests.stand_ins import fcos, forms, heads, queries
from tests.wants import require_package

INPUTS = [random_input(96, 128, 192, 256), random_input(80, 96, seed=1)]


def plain_result(result):
    """Boxes, scores and classes of a result of any form."""
    found = result.get("instances", result.get("proposals")) if isinstance(result, dict) else result
    boxes = found.pred_boxes if found.has("pred_boxes") else found.proposal_boxes
    scores = found.scores if found.has("scores") else found.objectness_logits.sigmoid()
    classes = found.pred_classes if found.has("pred_classes") else torch.zeros(len(found), dtype=torch.int64)
    return getattr(boxes, "tensor", boxes), scores, classes


def assert_replayed(model, inputs=INPUTS, rounding=0.0):
    """Detections are inference's to the last bit; rows are named; what all stages leave are the detections."""
    with torch.no_grad():
        expected = model(inputs)
    replayed = MissFinder(model).replay(inputs)
    assert len(replayed.images) == len(inputs)
    for image, result in zip(replayed.images, expected, strict=True):
        boxes, scores, classes = plain_result(result)
        found = image.detections
        assert torch.allclose(found.pred_boxes.tensor, boxes, rtol=rounding, atol=0.0)
        assert torch.allclose(found.scores, scores, rtol=rounding, atol=0.0)
        assert torch.equal(found.pred_classes, classes)
        assert found.image_size == result.get("instances", result.get("proposals")).image_size
        if image.candidates is not None:
            assert_stages_leave_the_detections(image)
    return replayed


def assert_stages_leave_the_detections(image):
    candidates, found = image.candidates, image.detections
    everyone = torch.arange(len(candidates.scores))
    left = {
        (int(row), label)
        for label in range(candidates.scores.shape[1])
        for row in everyone[candidates.left_at(everyone, label) == len(candidates.choice)]
    }
    # What has no area in the image, post-processing takes out.
    left = {
        pair for pair in left if bool((candidates.last.box_of(*pair)[2:] > candidates.last.box_of(*pair)[:2]).all())
    }
    pairs = list(zip(image.rows.tolist(), found.pred_classes.tolist(), strict=True))
    assert left == set(pairs) and len(pairs) == len(left)
    for (row, label), box, score in zip(pairs, found.pred_boxes.tensor, found.scores, strict=True):
        own = torch.tensor(image.to_output(candidates.last.box_of(row, label)))
        assert torch.allclose(own, box, atol=1e-3) and float(candidates.scores[row, label]) == pytest.approx(
            float(score)
        )
    if candidates.before is not None:
        first = candidates.before
        place = first.left_at(torch.arange(len(first.scores)), 0)
        assert int((place == len(first.choice)).sum()) == len(candidates.scores)


@pytest.mark.parametrize("family", [*FAMILIES, *QUERY_FAMILIES], ids=lambda family: family.name)
def test_every_family(family):
    if family in QUERY_FAMILIES:
        require_package("transformers")
    replayed = assert_replayed(family.detector())
    assert all(image.candidates is not None and image.candidates.is_choice_known for image in replayed.images)
    assert any(len(image.detections) for image in replayed.images)
    if "rcnn" in family.name or "cascade" in family.name:
        assert all(image.candidates.before is not None for image in replayed.images)


@pytest.mark.filterwarnings("ignore:maps are approximate")
@pytest.mark.parametrize("name", ["faster_rcnn", "fcos", "retinanet"])
def test_odam_nms(name):
    options = ("ODAM.NMS.ENABLED", True, "ODAM.NMS.IOU_THRESH", 0.5, "ODAM.NMS.LOW", 0.3, "ODAM.NMS.HIGH", 0.95)
    options += ("ODAM.NMS.MAX_CANDIDATES", 30) + (("ODAM.NMS.REPOOL", 1) if name == "faster_rcnn" else ())
    model = compact_detector(name, *options, detections=6)
    replayed = assert_replayed(model)
    names = [stage.name for stage in replayed.images[0].candidates.choice]
    assert names[-3:] == ["max_candidates", "nms", "max_detections"]


# Detectors of other projects: name -> how to build it, and whether its choice is known.
STAND_INS = {
    "stock": (lambda: heads.BY_NAME["faster_rcnn_fpn"].pair()[1], True),
    "own_heads": (lambda: heads.of_classes(heads.Teacher, heads.Branches), True),
    "scores_of_proposals": (heads.detic, True),
    "one_class_a_proposal": (lambda: heads.detic(one_class_per_proposal=True), True),
    "scaled_maps": (lambda: heads.of_classes(heads.Decoupled), True),
    "queries": (lambda: queries.build(queries.Dino), True),
    "softmax": (lambda: queries.build(queries.Detr), True),
    "pixels": (lambda: queries.build(queries.Sparse), True),
    "locations": (lambda: fcos.build(norm="none"), False),
    "settings": (lambda: fcos.build(norm="none", pre_topk=20, topk=7), True),
    "settings_with_centerness": (lambda: fcos.build(pre_topk=20, thresh_with_ctr=True, threshold=0.2), True),
}


@pytest.mark.parametrize("name", STAND_INS)
def test_detectors_of_other_projects(name):
    build, known = STAND_INS[name]
    # Without a graph, torch's transformer layers run as one kernel of their own, which rounds in another way; whoever
    # hears what is said by queries runs them part by part.
    replayed = assert_replayed(build(), rounding=1e-5 if name in ("queries", "softmax") else 0.0)
    for image in replayed.images:
        assert image.candidates is not None and len(image.detections)
        assert image.candidates.is_choice_known == known
        if not known:
            assert isinstance(image.candidates.choice[0], UnknownChoice)


@pytest.mark.parametrize("build", [heads.few_shot, lambda: forms.build(forms.Cells)], ids=["heads", "cells"])
def test_detectors_that_show_nothing(build):
    replayed = assert_replayed(build())
    for image in replayed.images:
        assert image.candidates is None and image.unknown.endswith("shows nothing but its detections")


class Callable(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, 8, 1)

    def forward(self, batched_inputs):
        means = [self.layer(x["image"][None]).mean((0, 2, 3)) for x in batched_inputs]
        boxes = torch.tensor([[10.0, 10, 40, 40], [20, 20, 60, 60]])
        return [{"boxes": boxes + m[:1] * 0, "scores": m[:2].sigmoid(), "classes": torch.tensor([0, 1])} for m in means]


def test_a_callable_detector():
    model = CallableDetector(Callable(), layer="layer", stride=8, frame="input").eval()
    (image,) = assert_replayed(model, INPUTS[:1]).images
    assert image.candidates is None and len(image.rows) == 2


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet"])
def test_images_that_are_padded(name):
    model = with_padding(compact_detector(name, detections=5), Padding(128, 160, 114.0))
    replayed = assert_replayed(model)
    assert [image.image_size for image in replayed.images] == [(96, 128), (80, 96)]
    assert [image.output_size for image in replayed.images] == [(192, 256), (80, 96)]


def test_heads_that_choose_by_themselves():
    """A subclass of ours that overrides `detect` says what it chose; why is not known."""
    model = compact_detector("faster_rcnn", detections=4)
    stock = type(model.roi_heads)

    def detect(self, features, proposals):
        results, stages = stock.detect(self, features, proposals)
        return [one[:2] for one in results], stages

    model.roi_heads.__class__ = type("Own", (stock,), {"detect": detect})
    replayed = MissFinder(model).replay(INPUTS)
    trace = model.trace(INPUTS)
    for image, found in zip(replayed.images, trace.instances, strict=True):
        assert torch.equal(image.detections.pred_boxes.tensor, found.pred_boxes.tensor) and len(found) == 2
        assert not image.candidates.is_choice_known
        assert_stages_leave_the_detections(image)


def test_a_dense_detector_that_chooses_by_itself():
    model = compact_detector("retinanet", detections=4)
    stock = type(model)
    own = {"inference_single_image": lambda self, *args: stock.inference_single_image(self, *args)[:1]}
    model.__class__ = type("Own", (stock,), own)
    replayed = assert_replayed(model)
    assert all(not image.candidates.is_choice_known and len(image.rows) == 1 for image in replayed.images)
