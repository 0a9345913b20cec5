"""What detectors that are already built say before they choose: every detection is among it."""

from functools import partial

import pytest
import torch
from detectron2.structures import Boxes

from odam_d2.evaluation import object_scorer
from odam_d2.explain.adoption import as_traced
from tests.helpers import random_input
from tests.stand_ins import fcos, forms, queries
from tests.stand_ins.heads import BY_NAME, detic

INPUTS = [random_input(128, 160), random_input(96, 128, seed=1)]
DETECTORS = {
    "stock": lambda: BY_NAME["faster_rcnn_fpn"].pair()[1],
    "heads": detic,
    "queries": partial(queries.build, queries.Dino),
    "pixels": partial(queries.build, queries.Sparse),
    "locations": partial(fcos.build, norm="none"),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detection_is_among_the_candidates(name):
    model = DETECTORS[name]()
    with torch.no_grad():
        results, candidates = model(INPUTS), as_traced(model).candidates(INPUTS)
    for result, (boxes, scores), x in zip(results, candidates, INPUTS, strict=True):
        found = result["instances"]
        assert len(found) and len(boxes) == len(scores)
        for box, score, label in zip(found.pred_boxes.tensor, found.scores, found.pred_classes, strict=True):
            of_class = boxes if boxes.dim() == 2 else boxes[:, label]
            clipped = Boxes(of_class.clone())
            clipped.clip(x["image"].shape[-2:])
            apart = torch.maximum((clipped.tensor - box).abs().amax(1) / 160, (scores[:, label] - score).abs())
            assert float(apart.min()) < 1e-5
    # The score of an object is that of the best candidate on it.
    found = results[0]["instances"]
    scored = object_scorer(model)(INPUTS[0]["image"][None], found.pred_classes[:1], found.pred_boxes.tensor[:1],
                                  torch.tensor([0]))  # fmt: skip
    assert float(scored) >= float(found.scores[0]) - 1e-5


def test_a_detector_of_unknown_kind_has_none():
    with pytest.raises(TypeError, match="`model` must give its candidates before suppression; got BuiltCells"):
        object_scorer(forms.build(forms.Cells))
