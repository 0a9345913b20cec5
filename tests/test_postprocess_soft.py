"""Soft Odam-NMS inside the detectors: what it reports, what is explained of it, and what can't be done with it."""

import pytest
import torch
from detectron2.modeling.postprocessing import detector_postprocess

from odam_d2.analysis.misses import MissFinder
from odam_d2.explain import build_explainer
from odam_d2.ops.soft_odam_nms import soft_odam_nms
from tests.test_postprocess import INPUTS, assert_same, case, detect  # noqa: F401  (fixture)

SOFT = ("ODAM.NMS.ENABLED", True, "ODAM.NMS.METHOD", "soft")


def test_soft_odam_nms_reports_decayed_scores_and_explains_those_that_were_given(case):  # noqa: F811
    model = case.build(*SOFT, "ODAM.NMS.WEIGHT", 0.4, "ODAM.NMS.SIGMA", 0.3)
    explainer = build_explainer(model, attributes=("score",))
    candidates = model.candidate_trace(INPUTS)
    alike, maps = model.odam_nms.similarities(model, candidates), explainer.heat_maps(candidates)
    explained = [result["instances"] for result in explainer(INPUTS)]
    heatmaps = [result.heatmaps for result in explained]
    for result in explained:
        result.remove("heatmaps")
    assert_same(detect(model), explained)
    decayed = 0
    for found, likeness, heat, result, own in zip(candidates.instances, alike, maps, explained, heatmaps, strict=True):
        about = (found.pred_boxes.tensor, found.scores, found.pred_classes)
        kept, scores = soft_odam_nms(*about, likeness, 0.4, 0.3)
        chosen = found[kept[:45]]
        chosen.scores, chosen.place = scores[:45], kept[:45]
        expected = detector_postprocess(chosen, *result.image_size)
        assert torch.equal(result.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(result.scores, expected.scores) and torch.equal(result.pred_classes, expected.pred_classes)
        decayed += int((scores < found.scores[kept]).sum())
        # The maps are those that were compared, though the scores are others.
        for row, place in enumerate(expected.place[:5].tolist()):
            mine, theirs = own[row].values, heat[place].values
            assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.max()))
    assert decayed > 20


def test_what_soft_odam_nms_can_t_do_is_said(case):  # noqa: F811
    with pytest.raises(ValueError, match=r"`ODAM.NMS.METHOD` must be one of \['hard', 'soft'\]; got 'softer'"):
        case.build("ODAM.NMS.ENABLED", True, "ODAM.NMS.METHOD", "softer")
    with pytest.raises(ValueError, match="`sigma` must be a number > 0; got 0"):
        case.build(*SOFT, "ODAM.NMS.SIGMA", 0.0)
    model = case.build(*SOFT)
    with pytest.raises(ValueError, match="`model` must keep or drop each candidate .*METHOD 'soft'"):
        MissFinder(model)
