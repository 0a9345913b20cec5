"""A detector of 80 classes that isn't Detectron2's, on photographs: maps of its three levels, given boxes, and time.

The data is not part of the project, see :mod:`tests.real.test_photographs`; ``nanodet_coco.py`` there holds the
detector, and ``instances.json`` objects of all its classes.
"""

import sys
import time

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from pycocotools.coco import COCO

from odam_d2 import CallableDetector, OdamPredictor
from odam_d2.data.images import read_image_bgr
from odam_d2.utils.imports import import_file_or_module
from tests.real.test_photographs import ROOT
from tests.wants import needs

LEVELS = {"p3": 8, "p4": 16, "p5": 32}
ATTRIBUTES = ("score", "left", "top", "right", "bottom")

pytestmark = [
    pytest.mark.real,
    needs("photographs in ODAM_REAL_DATA", (ROOT / "nanodet_coco.py").is_file()),
]


@pytest.fixture(scope="module")
def net():
    # It imports its neighbour by name.
    sys.path.append(str(ROOT))
    try:
        return import_file_or_module(str(ROOT / "nanodet_coco.py")).NanoDet().eval()
    finally:
        sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def predictor(net):
    model = CallableDetector(net, layers=list(LEVELS), strides=list(LEVELS.values()), frame="input", num_classes=80)
    # What it resizes to itself: then strides are those of its levels.
    return OdamPredictor.of(model, min_size=416, max_size=416, attributes=ATTRIBUTES)


@pytest.fixture(scope="module")
def photographs():
    """For each: the image, boxes, classes 0 .. 79 and masks of its objects."""
    coco = COCO(str(ROOT / "instances.json"))
    numbers = {category: number for number, category in enumerate(sorted(coco.getCatIds()))}
    found = []
    for image_id in coco.getImgIds():
        objects = coco.loadAnns(coco.getAnnIds(image_id, iscrowd=False))
        boxes = torch.tensor([one["bbox"] for one in objects]).view(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        classes = torch.tensor([numbers[one["category_id"]] for one in objects], dtype=torch.int64)
        image = read_image_bgr(ROOT / "images" / coco.loadImgs(image_id)[0]["file_name"])
        found.append((image, boxes, classes, objects, coco))
    return found


def pairs_of(instances: Instances, boxes: torch.Tensor, classes: torch.Tensor) -> list[tuple[int, int]]:
    """One-to-one pairs (detection, object) of one class with IoU above .5; detections choose by falling score."""
    overlap = pairwise_iou(instances.pred_boxes, Boxes(boxes)) * (instances.pred_classes[:, None] == classes)
    pairs = []
    for row in instances.scores.argsort(descending=True).tolist():
        if len(boxes) and float(overlap[row].max()) > 0.5:
            pairs.append((row, int(overlap[row].argmax())))
            overlap[:, pairs[-1][1]] = 0
    return pairs


def plain(net, entry):
    """The levels' maps as leaves, and (R, 5) scalars with a graph to them."""
    leaves = []

    def hook(_module, _inputs, output):
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()

    handles = [getattr(net, name).register_forward_hook(hook) for name in LEVELS]
    (said,) = net([entry])
    for handle in handles:
        handle.remove()
    return leaves, torch.cat([said["scores"][:, None], said["boxes"] * torch.tensor([-1.0, -1.0, 1.0, 1.0])], 1)


def test_the_maximum_lies_in_the_mask(predictor, photographs):
    hits = []
    for image, boxes, classes, objects, coco in photographs:
        instances = predictor(image)["instances"]
        maps = instances.heatmaps.to_image("score", normalize=False)
        for row, number in pairs_of(instances, boxes, classes):
            mask = coco.annToMask(objects[number]).astype(bool)
            hits.append(bool(mask.flat[int(maps[row].argmax())]))
    print(f"\n{len(hits)} detections above .35 of an object; maximum in the mask: {np.mean(hits):.3f}")
    assert len(hits) >= 150
    assert np.mean(hits) >= 0.88


def test_maps_are_those_of_autograd(predictor, net, photographs):
    worst, levels = 0.0, set()
    for image, *_ in photographs[:12]:
        entry = predictor._make_input(image)
        leaves, scalars = plain(net, entry)
        maps = predictor(image)["instances"].heatmaps
        assert len(maps) == len(scalars)
        for row, of_detection in enumerate(scalars):
            one = maps[row]
            for attribute, scalar in zip(ATTRIBUTES, of_detection, strict=True):
                gradients = torch.autograd.grad(scalar, leaves, retain_graph=True)
                # Each prediction is made on one level.
                (level,) = [k for k, gradient in enumerate(gradients) if bool(gradient.any())]
                expected = (gradients[level] * leaves[level].detach())[0].sum(0).clamp(min=0)
                assert one.strides.tolist() == [[list(LEVELS.values())[level]] * 2]
                worst = max(worst, float((one.window(0, attribute) - expected).norm() / expected.norm()))
                levels.add(level)
    assert levels == {0, 1, 2}
    assert worst < 1e-5


def test_given_boxes_have_the_maps_of_the_predictions_that_they_name(predictor, photographs):
    explained = 0
    for image, boxes, classes, *_ in photographs[:12]:
        instances = predictor(image)["instances"]
        chosen = [number for _, number in pairs_of(instances, boxes, classes)]
        found = predictor(image, boxes[chosen], classes[chosen])["instances"]
        rows = found.prediction_index
        assert torch.equal(found.pred_classes, instances.pred_classes[rows])
        assert torch.allclose(found.scores, instances.scores[rows])
        for name in ATTRIBUTES:
            maps, expected = (one.heatmaps.to_image(name, normalize=False) for one in (found, instances[rows]))
            assert torch.allclose(maps, expected, rtol=1e-5, atol=1e-5 * float(expected.max() if len(rows) else 0))
        explained += len(rows)
    assert explained >= 20


def test_the_price_of_a_map(predictor, net, photographs):
    """All score maps of an image against one autograd.grad a detection, in processor time of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ratios = []
    try:
        for image, *_ in photographs[:12]:
            entry = predictor._make_input(image)
            with torch.enable_grad():
                leaves, scalars = plain(net, entry)
                trace = predictor.model.trace([entry])
                start = time.process_time()
                for score in scalars[:, 0]:
                    torch.autograd.grad(score, leaves, retain_graph=True)
                one_by_one = time.process_time() - start
                start = time.process_time()
                predictor.explainer.explain(trace, [entry], None)  # of five attributes
                taken = time.process_time() - start
            ratios += [taken / (5 * one_by_one)] if len(scalars) else []
    finally:
        torch.set_num_threads(threads)
    print(f"\ntime of a map in autograd.grad calls, median of {len(ratios)} images: {np.median(ratios):.2f}")
    assert np.median(ratios) <= 2.5
