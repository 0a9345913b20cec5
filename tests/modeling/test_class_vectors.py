"""What heads say of all classes, which D-RISE compares: beside the scores that they report."""

import pytest
import torch

from tests.helpers import compact_detector, given, random_input

INPUTS = [random_input(96, 128), random_input(64, 96, seed=1)]


@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn", "cascade_rcnn", "retinanet"])
def test_the_reported_score_is_that_of_the_detected_class(name):
    model = compact_detector(name)
    trace = model.trace(INPUTS)
    vectors = trace.head.class_vectors(trace)
    assert vectors.shape == (len(trace), 3) and not vectors.requires_grad
    scores = torch.cat([found.scores for found in trace.instances])
    assert torch.allclose(vectors[torch.arange(len(trace)), trace.classes], scores, atol=1e-5)


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet", "fcos"])
def test_of_no_detection(name):
    trace = compact_detector(name).trace(INPUTS[:1], [given((96, 128), [], [])])
    assert trace.head.class_vectors(trace).shape == (0, 3)


@torch.no_grad()
def test_a_point_tells_its_classes_without_centerness():
    model = compact_detector("fcos", "ODAM.FCOS.SCORE_THRESH_TEST", "0.0")
    trace = model.trace(INPUTS)
    vectors = trace.head.class_vectors(trace)
    predictions = trace.head.predict(trace.features, trace)
    scores = (vectors[torch.arange(len(trace)), trace.classes] * predictions.extras["centerness"]).sqrt()
    assert torch.allclose(scores, predictions.scores, atol=1e-5)


@pytest.mark.parametrize("name", ["faster_rcnn", "cascade_rcnn", "retinanet"])
def test_every_class_is_that_of_a_given_box(name):
    """The vector of one box, a class at a time: what the detector says when asked for that class."""
    model = compact_detector(name)
    trace = model.trace(INPUTS[:1], [given((96, 128), [[20, 15, 60, 50]] * 3, [0, 1, 2])])
    vectors = trace.head.class_vectors(trace)
    assert torch.allclose(vectors[0], trace.instances[0].scores, atol=1e-5)
