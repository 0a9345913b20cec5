"""Random objects on detectors with random weights: what is told of each is what plain loops tell."""

import pytest
import torch

from odam_d2.analysis.misses import MissFinder
from odam_d2.evaluation import TrueObjects
from tests.analysis.misses import raw
from tests.analysis.misses.plain import diagnose
from tests.helpers import compact_detector, random_input

INPUTS = [random_input(96, 128, 192, 256), random_input(80, 96, seed=1)]
TWO_STAGE = ("MODEL.RPN.PRE_NMS_TOPK_TEST", 40, "MODEL.RPN.POST_NMS_TOPK_TEST", 30)


def vary(model):
    """Lets the last layers of a fresh detector say something else everywhere, and boxes move."""
    heads = getattr(model, "roi_heads", None)
    predictors = [] if heads is None else [m for m in heads.modules() if hasattr(m, "cls_score")]
    for predictor in predictors:
        torch.nn.init.normal_(predictor.cls_score.weight, std=0.6)
        torch.nn.init.normal_(predictor.bbox_pred.weight, std=0.25)
    if heads is not None:
        for conv in (
            model.proposal_generator.rpn_head.objectness_logits,
            model.proposal_generator.rpn_head.anchor_deltas,
        ):
            torch.nn.init.normal_(conv.weight, std=0.08)
    return model


DETECTORS = {
    "faster_rcnn": (lambda: vary(compact_detector("faster_rcnn", *TWO_STAGE, detections=6)), raw.of_two_stage),
    "cascade": (lambda: vary(compact_detector("cascade_rcnn", *TWO_STAGE, detections=6)), raw.of_two_stage),
    "retinanet": (lambda: compact_detector("retinanet", "MODEL.RETINANET.TOPK_CANDIDATES_TEST", 40, detections=20),
                  raw.of_one_stage),
    "fcos": (lambda: compact_detector("fcos", "ODAM.FCOS.TOPK_CANDIDATES_TEST", 40, detections=20), raw.of_one_stage),
}  # fmt: skip


def objects_near(raws, sizes, seed):
    """Objects on and near candidates' boxes, and anywhere; in the original frame."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator)

    found = []
    for one, ((height, width), scale) in zip(raws, sizes, strict=True):
        classes = len(one.scores[0])
        pool = [places for _, step in one.steps for places in step if not isinstance(places, tuple)]
        boxes = []
        for k in range(16):
            if k % 4:
                box = pool[int(draw(1) * len(pool))]
                box = box[int(draw(1) * len(box))] if isinstance(box[0], list) else box
                box = torch.tensor(box)
            else:
                centre, half = draw(2) * torch.tensor([width, height]), draw(2) * 30 + 3
                box = torch.cat([centre - half, centre + half])
            box = box + (draw(4) - 0.5) * 0.3 * (box[2:] - box[:2]).repeat(2)
            box = box.clamp(min=0).minimum(torch.tensor([width, height] * 2))
            if bool((box[2:] - box[:2] > 2).all()):
                boxes.append(box * scale)
        labels = (draw(len(boxes)) * classes).long()
        size = (round(height * scale), round(width * scale))
        found.append(TrueObjects(size, torch.stack(boxes), labels, list(range(len(boxes))), [None] * len(boxes), {}))
    return found


@pytest.mark.parametrize("name", DETECTORS)
def test_random_objects(name):
    build, read = DETECTORS[name]
    model = build()
    raws = [read(model, INPUTS, number) for number in range(2)]
    objects = objects_near(raws, [((96, 128), 2), ((80, 96), 1)], 0)
    finder = MissFinder(model, compare_maps=False)
    replayed = finder.replay(INPUTS)
    misses = finder.find(replayed, objects, [range(len(one.boxes)) for one in objects])
    told = set()
    for one, image, truth, own, scale in zip(raws, replayed.images, objects, misses, (2, 1), strict=True):
        assert [
            tuple(pair) for pair in zip(image.rows.tolist(), image.detections.pred_classes.tolist(), strict=True)
        ] == one.final
        everyone = list(zip((truth.boxes / scale).tolist(), truth.classes.tolist(), strict=True))
        for row, miss in enumerate(own):
            expected = diagnose(one, *everyone[row], [other for k, other in enumerate(everyone) if k != row])
            found = {"mechanism": miss.mechanism, "stage": miss.stage, **vars(miss.evidence)}
            for key, value in expected.items():
                if isinstance(value, float) or isinstance(value, dict):
                    assert found[key] == pytest.approx(value, rel=1e-4, abs=1e-4), (row, key, miss)
                else:
                    assert found[key] == value, (row, key, miss, expected)
            told.add((miss.mechanism, miss.stage))
    print(sorted(told))
    assert len(told) > 2
