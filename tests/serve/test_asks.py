"""Questions, whose answers are those of the package called directly."""

import base64
import json
import math

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms, box_iou

from odam_d2 import OdamPredictor
from odam_d2.analysis.misses import MissFinder, MissRules
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.loading.limits import detecting_from
from odam_d2.serve.detector import ServedDetector
from odam_d2.serve.workbench import Workbench
from odam_d2.visualize.report.records import encode_maps
from tests.serve.conftest import LIMITS, NAME, png, serving, small_config

NOWHERE = [5.0, 5.0, 60.0, 40.0]


@pytest.fixture(scope="module")
def predictor():
    """The same detector, without a server."""
    return OdamPredictor(small_config().node, score_threshold=0.5)


@pytest.fixture(scope="module")
def found(predictor, pixels):
    """What it detects."""
    return predictor(pixels)["instances"]


def told_maps(heatmaps) -> list[dict]:
    """Maps as JSON has them."""
    return json.loads(json.dumps(encode_maps(heatmaps)))


def test_detections_are_those_of_the_predictor(client, image, found):
    record = client.question(ask="detections", image=image)
    assert len(record["detections"]) == len(found) >= 4
    assert [one["score"] for one in record["detections"]] == [round(score, 6) for score in found.scores.tolist()]
    boxes = [[round(side, 2) for side in box] for box in found.pred_boxes.tensor.tolist()]
    assert [one["box"] for one in record["detections"]] == boxes
    names = [found.heatmaps.class_names[label] for label in found.pred_classes]
    assert [one["label"] for one in record["detections"]] == names
    # Bit for bit: the same function on the same shapes.
    assert [one["maps"]["odam"][""] for one in record["detections"]] == told_maps(found.heatmaps)
    assert record["size"] == [320, 240] and record["image"] == f"/api/images/{image}" and record["seconds"] > 0


def test_detections_say_which_classes_they_might_have_been(client, image, found):
    for one in client.question(ask="detections", image=image)["detections"]:
        best = one["classes"]
        assert best[0] == {"label": one["label"], "score": one["score"]}
        scores = [other["score"] for other in best]
        assert len(best) == 3 and scores == sorted(scores, reverse=True) and sum(scores) <= 1.001


def test_the_threshold_decides_how_many_there_are(client, image, found):
    for threshold in (0.0, 0.6, 1.0):
        rows = client.question(ask="detections", image=image, threshold=threshold)["detections"]
        assert all(one["score"] >= threshold for one in rows)
        if threshold == 0.6:
            assert len(rows) == int((found.scores >= 0.6).sum())
    assert len(client.question(ask="detections", image=image)["detections"]) == len(found)


def test_a_given_box_is_scored_and_explained_as_the_predictor_does(client, image, predictor, pixels):
    boxes = [NOWHERE, [100.0, 60.0, 180.0, 200.0]]
    result = client.question(ask="box", image=image, boxes=boxes, label="dog", threshold=1.0)
    expected = predictor(pixels, boxes=boxes, classes="dog")["instances"]
    rows = result["record"]["detections"]
    # Beside them others are explained, what was preferred: other shapes.
    assert [one["score"] for one in rows] == pytest.approx(expected.scores.tolist(), abs=2e-6)
    for one, maps in zip(rows, told_maps(expected.heatmaps), strict=True):
        own = one["maps"]["odam"][""]
        assert own["window"] == maps["window"] and own["peaks"] == pytest.approx(maps["peaks"], rel=1e-4, abs=1e-9)
        for ours, theirs in zip(own["maps"], maps["maps"], strict=True):
            ours, theirs = (np.frombuffer(base64.b64decode(one), np.uint8).astype(int) for one in (ours, theirs))
            assert np.abs(ours - theirs).max() <= 1
        assert one["kind"] == "annotation" and one["box"] in boxes


def test_why_a_box_is_not_found_is_what_the_analysis_says(client, image, detector, pixels):
    result = client.question(ask="box", image=image, boxes=[NOWHERE], label="dog")
    finder = MissFinder(detector.model, MissRules(score_threshold=0.5), detector.class_names)
    truth = TrueObjects((240, 320), torch.tensor([NOWHERE]), torch.tensor([1]), [0], [None], {})
    ((miss,),) = finder([detector.make_input(pixels)], [truth], [[0]])
    assert detector.class_names[1] == "dog"
    assert result["why"]["mechanism"] == miss.mechanism and result["why"]["stage"] == miss.stage
    assert result["words"] == f"It is not found as dog. {miss.sentence}"
    assert result["record"]["detections"][0]["mechanism"] == miss.mechanism


def test_a_box_that_is_found_is_said_to_be(client, image, found):
    box, score = found.pred_boxes.tensor[0].tolist(), float(found.scores[0])
    label = found.heatmaps.class_names[int(found.pred_classes[0])]
    why = client.question(ask="box", image=image, boxes=[box], label=label)["why"]
    assert why["mechanism"] == "found" and why["score"] == round(score, 6) and why["iou"] == 1.0
    # The very same box, asked for as another class, and with a threshold that its score doesn't reach.
    other = next(name for name in found.heatmaps.class_names if name != label)
    wrong = client.question(ask="box", image=image, boxes=[box], label=other)
    assert wrong["why"]["mechanism"] == "other_class" and wrong["why"]["preferred"]["label"] == label
    preferred = wrong["record"]["detections"][0]
    assert set(preferred["maps"]["odam"]) == {"", "preferred class"}
    assert preferred["roles"]["preferred class"]["label"] == label
    high = client.question(ask="box", image=image, boxes=[box], label=label, threshold=1.0)["why"]
    assert high["mechanism"] == "low_score" and high["threshold"] == 1.0


def test_a_box_that_a_neighbour_s_detection_may_stand_for_is_told_both(client, image, found, detector, pixels):
    x1, y1, x2, y2 = found.pred_boxes.tensor[0].tolist()
    label = int(found.pred_classes[0])
    # Moved by a fourth of its width: an IoU of .75 / 1.25.
    box = [x1 - (x2 - x1) / 4, y1, x2 - (x2 - x1) / 4, y2]
    assert box[0] >= 0
    name = found.heatmaps.class_names[label]
    result = client.question(ask="box", image=image, boxes=[box], label=name)
    assert result["why"]["iou"] == pytest.approx(0.6, abs=1e-4) and result["why"]["mechanism"] != "found"
    # As the analysis says if the detection counts for another object.
    finder = MissFinder(detector.model, MissRules(score_threshold=0.5), detector.class_names)
    objects = torch.tensor([box, [x1, y1, x2, y2]])
    truth = TrueObjects((240, 320), objects, torch.tensor([label, label]), [0, 1], [None] * 2, {})
    ((miss,),) = finder([detector.make_input(pixels)], [truth], [[0]])
    assert result["words"].startswith("It is found: a detection of ")
    assert result["words"].endswith(f" overlaps it by .60. If that is its neighbour: {miss.sentence}")


def test_what_another_class_would_look_at(client, image, found, predictor, pixels):
    record = client.question(ask="class", image=image, row=0)
    every = client.question(ask="detections", image=image)["detections"][0]
    (one,) = record["detections"]
    assert one["maps"]["odam"][""] == every["maps"]["odam"][""] and record["row"] == 0
    assert record["other"]["label"] == every["classes"][1]["label"]
    box = found.pred_boxes.tensor[:1].tolist()
    expected = predictor(pixels, boxes=box, classes=record["other"]["label"])["instances"]
    assert record["other"]["score"] == round(float(expected.scores[0]), 6)
    assert one["maps"]["odam"]["other class"] == told_maps(expected.heatmaps)[0]
    assert one["roles"]["other class"]["label"] == record["other"]["label"]
    named = client.question(ask="class", image=image, row=0, label=every["classes"][2]["label"])
    assert named["other"]["label"] == every["classes"][2]["label"]


def test_methods_side_by_side(client, image, detector, pixels):
    body = {
        "ask": "methods",
        "image": image,
        "boxes": [NOWHERE],
        "label": "dog",
        "methods": ["odam", "gradcam", "odam"],
    }
    lines = client.post("/api/ask", {"detector": NAME, **body}).lines()
    progress = [one["progress"] for one in lines if "progress" in one]
    assert progress == [[0, 200], [100, 200], [100, 200], [200, 200]]
    (one,) = lines[-1]["result"]["detections"]
    assert list(one["maps"]) == ["odam", "gradcam"]
    for method in one["maps"]:
        explainer = detector.config.explainer(detector.model, method=method)
        given = detector.explain(pixels, [NOWHERE], [1], method)
        asked = given[[0]]
        asked.remove("heatmaps"), asked.remove("class_scores")
        (result,) = explainer([detector.make_input(pixels)], [asked])
        assert one["maps"][method][""] == told_maps(result["instances"].heatmaps)[0]


def test_maps_of_boxes_end_at_the_image(client, image):
    body = {"ask": "methods", "image": image, "label": "dog", "methods": ["odam"]}
    (far,) = client.question(boxes=[[-1e6, -1e6, 1e6, 1e6]], **body)["detections"]
    (whole,) = client.question(boxes=[[0, 0, 320, 240]], **body)["detections"]
    assert far["box"] == whole["box"] and far["maps"] == whole["maps"]


def test_suppressions_are_those_of_both_rules(client, image):
    result = client.question(ask="suppression", image=image)
    candidates, pairs = result["candidates"], result["pairs"]
    assert len(candidates) > len(result["nms"]["kept"]) and result["left_out"] == 0
    boxes = torch.tensor([one["box"] for one in candidates])
    scores = torch.tensor([one["score"] for one in candidates])
    names = sorted({one["label"] for one in candidates})
    classes = torch.tensor([names.index(one["label"]) for one in candidates])
    # Boxes are told to two digits: IoUs at the threshold would be another matter.
    iou = box_iou(boxes, boxes)
    threshold = result["nms"]["iou_threshold"]
    assert ((iou - threshold).abs() > 1e-4).all()
    assert result["nms"]["kept"] == sorted(batched_nms(boxes, scores, classes, threshold).tolist())
    assert [one["score"] for one in candidates] == sorted(scores.tolist(), reverse=True)
    removed = {rule: set(range(len(candidates))) - set(result[rule]["kept"]) for rule in ("nms", "odam_nms")}
    for rule in removed:
        told = [pair["removed"] for pair in pairs if pair["by"] in (rule, "both")]
        assert sorted(told) == sorted(removed[rule])
    for pair in pairs:
        assert candidates[pair["kept"]]["label"] == candidates[pair["removed"]]["label"]
        assert pair["kept"] < pair["removed"] and 0 <= pair["similarity"] <= 1.0001
        assert pair["iou"] == pytest.approx(float(iou[pair["kept"], pair["removed"]]), abs=2e-3)


def test_odam_nms_removes_what_its_thresholds_say(client, image):
    result = client.question(ask="suppression", image=image, threshold=0.7)
    kept, rule = result["odam_nms"]["kept"], result["odam_nms"]
    for pair in result["pairs"]:
        if pair["by"] == "nms":
            continue
        limit = rule["low"] if pair["iou"] > rule["iou_threshold"] else rule["high"]
        assert pair["kept"] in kept and pair["similarity"] >= limit - 1e-3


def test_a_detector_with_odam_nms_is_told_by_its_own_likeness(pixels):
    config = small_config(NAME, "ODAM.NMS.ENABLED", "True", "ODAM.NMS.REPOOL", "1")
    detector = ServedDetector(NAME, config)
    with serving(Workbench(detectors=[detector], limits=LIMITS)) as client:
        held = client.upload(png(pixels)).json()["image"]
        result = client.question(ask="suppression", image=held, threshold=0.3)
    with detecting_from(detector.model, 0.3):
        (trace,) = [detector.model.candidate_trace([detector.make_input(pixels)])]
        (alike,) = detector.model.odam_nms.similarities(detector.model, trace)
        (kept,) = detector.model.odam_nms.keep(detector.model, trace)
    order = trace.instances[0].scores.sort(descending=True, stable=True).indices
    alike = alike[order[:, None], order]
    assert result["odam_nms"]["kept"] == sorted((order[None] == kept[0][:, None]).nonzero()[:, 1].tolist())
    assert len(result["candidates"]) == len(order) and result["pairs"]
    for pair in result["pairs"]:
        assert pair["similarity"] == pytest.approx(float(alike[pair["kept"], pair["removed"]]), abs=1e-3)
    # Maps of the proposals would say otherwise.
    plain = small_config(NAME, "ODAM.NMS.ENABLED", "True")
    other = ServedDetector(NAME, plain)
    with detecting_from(other.model, 0.3):
        (unlike,) = other.model.odam_nms.similarities(
            other.model, other.model.candidate_trace([other.make_input(pixels)])
        )
    assert float((unlike[order[:, None], order] - alike).abs().max()) > 0.05


@pytest.mark.parametrize(
    "body, status, words",
    [
        ({"ask": "detections", "detector": "nobody"}, 404, "`detector`"),
        ({"ask": "detections", "method": "magic"}, 422, "`method`"),
        ({"ask": "detections", "threshold": 1.5}, 422, "threshold"),
        ({"ask": "detections", "threshold": math.nan}, 422, "threshold"),
        ({"ask": "detections", "image": "0123456789abcdef"}, 404, "choose it again"),
        ({"ask": "detections", "image": "../../etc/passwd"}, 422, "image"),
        ({"ask": "detections", "extra": 1}, 422, "extra"),
        ({"ask": "everything"}, 422, "ask"),
        ({}, 422, "ask"),
        ({"ask": "box", "boxes": [NOWHERE], "label": "unicorn"}, 422, "`label`"),
        ({"ask": "box", "boxes": [], "label": "dog"}, 422, "boxes"),
        ({"ask": "box", "boxes": [NOWHERE] * 101, "label": "dog"}, 422, "boxes"),
        ({"ask": "box", "boxes": [[math.nan, 1, 2, 3]], "label": "dog"}, 422, "boxes"),
        ({"ask": "box", "boxes": [[1, 1, math.inf, 3]], "label": "dog"}, 422, "boxes"),
        ({"ask": "box", "boxes": [[1e308, 1, 1e308, 3]], "label": "dog"}, 422, "boxes"),
        ({"ask": "box", "boxes": [[9, 9, 5, 5]], "label": "dog"}, 422, "at least a pixel"),
        ({"ask": "box", "boxes": [[900, 900, 950, 950]], "label": "dog"}, 422, "must meet the image"),
        ({"ask": "box", "boxes": [[-10, 5, 0.5, 60]], "label": "dog"}, 422, "within the image of 320 x 240"),
        ({"ask": "detections", "x\n\u202ey": 1}, 422, "x\\n\\u202ey"),
        ({"ask": "\u202e\n"}, 422, "\\u202e\\n"),
        ({"ask": "box", "boxes": [[1, 2, 3]], "label": "dog"}, 422, "boxes"),
        ({"ask": "class", "row": -1}, 422, "row"),
        ({"ask": "class", "row": 10**30}, 422, "row"),
        ({"ask": "class", "row": "0"}, 422, "row"),
        ({"ask": "class", "row": 0, "label": "unicorn"}, 422, "`label`"),
        ({"ask": "methods", "boxes": [NOWHERE], "label": "dog", "methods": []}, 422, "methods"),
        ({"ask": "methods", "boxes": [NOWHERE], "label": "dog", "methods": ["odam"] * 33}, 422, "methods"),
        ({"ask": "methods", "boxes": [NOWHERE], "label": "dog", "methods": ["../odam"]}, 422, "`method`"),
    ],
)
def test_what_can_not_be_asked_is_told_at_once(client, image, body, status, words):
    reply = client.post("/api/ask", {"detector": NAME, "image": image, **body})
    assert reply.status == status, reply.body
    assert words in reply.error and "\n" not in reply.error


def test_what_only_the_detector_can_tell_comes_as_the_last_line(client, image):
    reply = client.post("/api/ask", {"detector": NAME, "image": image, "ask": "class", "row": 999})
    assert reply.status == 200 and "`row` must be one of" in reply.lines()[-1]["error"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"ask":' * 5000, b"[" * 100_000, b"1" * 5000]
)
def test_bodies_that_are_none_are_refused(client, body):
    reply = client.ask("POST", "/api/ask", body, {"Content-Type": "application/json"})
    assert reply.status == 422 and reply.error


def test_a_result_is_saved_as_a_page(client, image):
    record = client.question(ask="detections", image=image)
    reply = client.post("/api/page", {"record": record, "title": "</script><b>dog"})
    assert reply.status == 200 and "attachment" in reply.headers["content-disposition"]
    text = reply.body.decode()
    assert "<html" in text and "</script><b>dog" not in text and "data:image/jpeg;base64," in text
    assert record["detections"][0]["maps"]["odam"][""]["maps"][0] in text
    assert client.post("/api/page", {"record": {"key": "0" * 16}}).status == 404
    assert client.post("/api/page", {"record": {"key": "../x"}}).status == 422
    assert client.post("/api/page", {"record": {"key": "run-1"}}).status == 404  # the server shows no run


def test_only_the_last_results_are_held(client, image):
    first = client.question(ask="detections", image=image)
    for _ in range(4):
        client.question(ask="detections", image=image, threshold=0.99)
    assert client.post("/api/page", {"record": {"key": first["key"]}}).status == 404


def test_a_page_of_an_image_that_is_no_longer_held_is_not_made(client, image):
    key = client.question(ask="detections", image=image, threshold=0.99)["key"]
    for number in range(LIMITS.images):
        client.upload(png(np.full((8, 8, 3), number, np.uint8)))
    reply = client.post("/api/page", {"record": {"key": key}})
    assert reply.status == 404 and "choose it again" in reply.error


def test_what_the_page_is_told_of_the_detector(client, detector):
    (one,) = client.get("/api/about").json()["detectors"]
    assert one["name"] == NAME and one["classes"] == ["person", "dog", "car"]
    assert one["misses"] and one["odam_nms"] and one["attributes"][-1] == "combined" and len(one["combined"]) == 5
    assert {"name": "odam", "slow": False} == one["methods"][0] and {"name": "drise", "slow": True} in one["methods"]
