"""The central questions to detectors of other kinds than the first, against the package called directly."""

import pytest
import torch

from odam_d2 import OdamPredictor
from odam_d2.analysis.misses import MissFinder, MissRules
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.serve.detector import ServedDetector
from odam_d2.serve.workbench import Workbench
from tests.serve.conftest import LIMITS, png, serving, small_config
from tests.serve.test_asks import NOWHERE, told_maps
from tests.serve.test_server import state_of
from tests.wants import RTDETR

SIZES = {"fcos": "240", "retinanet": "240", "rtdetr": "120"}  # pixels; the slowest works on the smallest


@pytest.fixture(scope="module", params=["fcos", "retinanet", RTDETR])
def asked(request, pixels):
    """ask(**question) of a detector that has one image, the served detector, and a predictor of the same config."""
    kind, size = request.param, ("INPUT.MIN_SIZE_TEST", SIZES[request.param])
    detector = ServedDetector(kind, small_config(kind, *size))
    with serving(Workbench(detectors=[detector], limits=LIMITS)) as client:
        image = client.upload(png(pixels)).json()["image"]

        def ask(**body):
            return client.question(**{"detector": kind, "image": image, "threshold": 0.4, **body})

        before = state_of(detector.model)
        yield ask, client, image, detector, OdamPredictor(small_config(kind, *size).node, score_threshold=0.4)
        assert state_of(detector.model) == before


def test_detections_are_those_of_the_predictor(asked, pixels):
    ask, _, _, detector, predictor = asked
    found, rows = predictor(pixels)["instances"], ask(ask="detections")["detections"]
    assert len(rows) == len(found) >= 2
    assert [one["score"] for one in rows] == [round(score, 6) for score in found.scores.tolist()]
    assert [one["box"] for one in rows] == [
        [round(side, 2) for side in box] for box in found.pred_boxes.tensor.tolist()
    ]
    assert [one["maps"]["odam"][""] for one in rows] == told_maps(found.heatmaps)
    for one in rows if detector.name != "rtdetr" else []:  # which tells no other classes
        best = one["classes"]
        assert best[0] == {"label": one["label"], "score": pytest.approx(one["score"], abs=2e-6)}


def test_why_a_box_is_not_found_is_what_the_analysis_says(asked, pixels):
    ask, _, _, detector, _ = asked
    result = ask(ask="box", boxes=[NOWHERE], label="dog")
    finder = MissFinder(detector.model, MissRules(score_threshold=0.4), detector.class_names)
    label = detector.class_names.index("dog")
    truth = TrueObjects((240, 320), torch.tensor([NOWHERE]), torch.tensor([label]), [0], [None], {})
    ((miss,),) = finder([detector.make_input(pixels)], [truth], [[0]])
    assert result["why"]["mechanism"] == miss.mechanism
    assert result["words"] == f"It is not found as dog. {miss.sentence}"
    box, name = (ask(ask="detections")["detections"][0][key] for key in ("box", "label"))
    assert ask(ask="box", boxes=[box], label=name)["why"]["mechanism"] == "found"


def test_what_another_class_would_look_at(asked, pixels):
    ask, _, _, detector, predictor = asked
    record, first = ask(ask="class", row=0), ask(ask="detections")["detections"][0]
    (one,) = record["detections"]
    assert one["maps"]["odam"][""] == first["maps"]["odam"][""]
    scores = detector.scores_at(pixels, first["box"])
    scores[detector.class_names.index(first["label"])] = -1
    assert record["other"]["label"] == detector.class_names[int(scores.argmax())]
    if detector.name != "rtdetr":
        assert first["classes"][1] == {"label": record["other"]["label"], "score": record["other"]["score"]}
    found = predictor(pixels)["instances"]
    told = predictor(pixels, boxes=found.pred_boxes.tensor[:1].tolist(), classes=record["other"]["label"])["instances"]
    assert record["other"]["score"] == round(float(told.scores[0]), 6)
    assert one["maps"]["odam"]["other class"] == told_maps(told.heatmaps)[0]


@pytest.mark.filterwarnings("ignore:maps are approximate")
def test_pairs_of_duplicates_are_told_where_there_are_any(asked):
    ask, client, image, detector, _ = asked
    if detector.name == "rtdetr":  # a query detector removes none
        assert not detector.abilities.odam_nms
        reply = client.post("/api/ask", {"ask": "suppression", "detector": "rtdetr", "image": image})
        assert reply.status == 422 and "removes no duplicates" in reply.error
        return
    result, rows = ask(ask="suppression"), ask(ask="detections")["detections"]
    candidates = result["candidates"]
    # What plain suppression keeps are the detections.
    assert [candidates[kept]["box"] for kept in result["nms"]["kept"]] == [one["box"] for one in rows]
    assert len(candidates) > len(rows) and result["pairs"]
    for pair in result["pairs"]:
        assert candidates[pair["kept"]]["label"] == candidates[pair["removed"]]["label"]
        assert pair["kept"] < pair["removed"] and -1e-6 <= pair["similarity"] <= 1.0001


def test_what_is_painted_over_scores_less(asked):
    ask, client, image, detector, _ = asked
    first = ask(ask="detections")["detections"][0]
    x1, y1, x2, y2 = first["box"]
    radius = (y2 - y1) / 2
    stroke = {"points": [[x1 + radius, y1 + radius], [x2 - radius, y1 + radius]], "radius": radius, "how": "mean"}
    body = {"image": image, "detector": detector.name, "strokes": [stroke]}
    edited = client.post("/api/edits", body).json()["image"]
    (before, after) = (
        ask(ask="box", image=one, boxes=[first["box"]], label=first["label"])["record"]["detections"][0]["score"]
        for one in (image, edited)
    )
    assert after < before - 0.05
