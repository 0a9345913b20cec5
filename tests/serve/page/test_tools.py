"""Brush, methods, NMS and two detectors, against what the server says without the page."""

import re

import pytest


@pytest.fixture
def chosen(visit):
    """The page with the first detection chosen."""
    one = visit()
    one.explain()
    one.page.click("#explain-list button >> nth=0")
    return one


def box_of(one):
    return one.page.evaluate("OdamBench.subject")["box"]


def test_what_is_painted_over_changes_the_score_and_undo_brings_it_back(chosen, ask, image):
    one = chosen
    one.page.click("#tab-brush")
    before = one.answer
    assert re.match(r"person scores 0\.\d\d here\.|person scores 1\.00 here\.", before)
    x1, y1, x2, y2 = box_of(one)
    one.page.fill("#radius", "20")
    one.drag([x1, y1, x2, (y1 + y2) / 2])
    one.page.wait_for_selector("#strokes:text-is('1 stroke')")
    told = one.answer
    (stroke,) = one.page.evaluate("OdamBench.tabs.brush.strokes")
    assert stroke["how"] == "erase" and stroke["radius"] == 20
    edited = ask("/api/edits", {"image": image, "strokes": [stroke]})["image"]
    body = {"ask": "box", "detector": "faster_rcnn", "boxes": [[x1, y1, x2, y2]], "label": "person"}
    scores = [ask("/api/ask", {**body, "image": each})["record"]["detections"][0]["score"] for each in (image, edited)]
    assert scores[1] < scores[0] - 0.01  # else the sentence couldn't be wrong
    assert told.startswith(f"person: {scores[0]:.2f} before, {scores[1]:.2f} now (−{scores[0] - scores[1]:.2f}).")
    assert one.texts("#minis figcaption") == [f"Before: person {scores[0]:.2f}", f"Now: person {scores[1]:.2f}"]
    maps = [one.page.evaluate(f"document.getElementById('{name}').toDataURL()") for name in ("before", "after")]
    assert maps[0] != maps[1]
    one.page.click("#undo")
    one.says(before)
    assert one.answer == before and one.page.locator("#undo").is_disabled()


def test_keys_paint_too(chosen):
    one = chosen
    one.page.click("#tab-brush")
    one.says("Paint over")
    assert "Paint over" in one.answer
    one.page.focus("#stage")
    one.page.keyboard.press("ArrowDown")
    assert one.page.locator("#drawing circle.draft").count() == 1
    one.page.keyboard.press("Space")
    one.page.wait_for_selector("#strokes:text-is('1 stroke')")
    one.says("before")
    assert "before" in one.answer


def test_methods_side_by_side_and_a_slow_one_is_stopped(chosen):
    one = chosen
    one.page.click("#tab-methods")
    one.says("methods")
    assert "methods" in one.answer
    for box in one.page.locator("#methods-list input").all():
        box.set_checked(box.get_attribute("value") in ("odam", "gradcam"))
    one.page.click("#compare-methods")
    one.wait_for_count(".multiple", 2)
    one.says("By 2 methods")
    assert one.answer.startswith("By 2 methods")
    assert one.texts(".multiple") == ["odam", "gradcam"]
    pixels = [one.page.evaluate(f"document.querySelectorAll('.multiple canvas')[{k}].toDataURL()") for k in (0, 1)]
    assert pixels[0] != pixels[1]
    one.page.check("#methods-list input[value=drise]")
    one.page.click("#compare-methods")
    one.page.wait_for_selector("#working-words:text-matches('^[0-9]+ of [0-9]+')")
    one.page.click("#stop")
    one.says("Stopped.")
    assert one.answer == "Stopped."
    one.page.click("#tab-explain")  # the detector is free again
    one.page.click("#explain-list button >> nth=1")
    one.says("Found: ")
    assert one.answer.startswith("Found: ")


def test_pairs_that_nms_and_odam_nms_remove(visit, ask, image):
    one = visit()
    one.explain()
    one.page.click("#tab-nms")
    one.page.wait_for_selector("#pair-list button")
    found = ask("/api/ask", {"ask": "suppression", "detector": "faster_rcnn", "image": image, "threshold": 0.5})
    kept = [len(found[rule]["kept"]) for rule in ("nms", "odam_nms")]
    assert one.texts("#nms-figures td") == [str(count) for count in (len(found["candidates"]), *kept)]
    differ = [
        pair for pair in found["pairs"]
        if (pair["removed"] in found["nms"]["kept"]) != (pair["removed"] in found["odam_nms"]["kept"])
    ]  # fmt: skip
    assert differ and one.page.locator("#pair-list button").count() == len(differ)
    first = differ[0]
    one.says(f"IoU of {first['iou']:.2f}")
    one.says(f"alike by {first['similarity']:.2f}")
    assert f"IoU of {first['iou']:.2f}" in one.answer and f"alike by {first['similarity']:.2f}" in one.answer
    assert [text.split(":")[0] for text in one.texts(".multiple")] == ["kept", "removed"]
    one.page.click("#pair-kind button:text-is('All pairs')")
    assert one.page.locator("#pair-list button").count() == len(found["pairs"])


def test_two_detectors_on_one_image(visit, ask, image):
    one = visit()
    one.explain()
    one.page.click("#tab-two")
    one.page.wait_for_selector("#two-list button")
    both = [
        ask("/api/ask", {"ask": "detections", "detector": name, "image": image})["detections"]
        for name in ("faster_rcnn", "fcos")
    ]
    counts = [f"{len(rows)} detection{'s' * (len(rows) != 1)}" for rows in both]
    assert one.texts(".multiple") == [f"{counts[0]}: faster_rcnn", f"{counts[1]}: fcos"]
    scores = [text.split("\n")[-1].split(" | ") for text in one.texts("#two-list button")]
    for k, rows in enumerate(both):
        listed = sorted(pair[k] for pair in scores if pair[k] != "–")
        assert listed == sorted(f"{each['score']:.2f}" for each in rows)
    alone = next(k for k, pair in enumerate(scores) if pair[1] == "–")
    one.page.click(f"#two-list button >> nth={alone}")
    one.page.wait_for_selector(".multiple:has-text('not found')")
    one.says("finds this person")
    one.says("fcos")
    assert "finds this person" in one.answer and "fcos" in one.answer


def test_two_detectors_by_several_methods(visit, ask, image):
    one = visit()
    one.explain()
    one.page.click("#tab-two")
    one.page.wait_for_selector("#two-list button")
    about = ask("/api/about")["detectors"]
    known, others = ([each["name"] for each in detector["methods"]] for detector in about)
    values = "boxes => boxes.map((box) => box.value)"
    listed = one.page.eval_on_selector_all("#two-methods input", values)
    assert listed == [name for name in known if name in others]
    assert one.page.eval_on_selector_all("#two-methods input:checked", values) == ["odam"]
    found = one.page.locator("#two-list button:not(:has-text('–'))")
    found.first.click()
    one.says("Both find this")
    assert one.page.locator(".multiple").count() == 2 and "methods=" not in one.link()
    assert one.texts("#two-by summary") == ["Maps by odam"]
    one.page.click("#two-by summary")
    one.page.check("#two-methods input[value=gradcam]")
    one.page.click("#compare-two")
    one.wait_for_count(".multiple", 4)
    one.says("Both find this")
    titles = one.texts(".multiple")
    assert [title.split(": ")[1] for title in titles] == [
        "faster_rcnn, odam", "fcos, odam", "faster_rcnn, gradcam", "fcos, gradcam"
    ]  # fmt: skip
    # The maps are the server's own.
    shown = one.page.evaluate("OdamBench.tabs.two.panels().map(({ scene }) => scene.record.detections[scene.row])")
    for number, (detector, method) in enumerate(
        (detector, method) for method in ("odam", "gradcam") for detector in ("faster_rcnn", "fcos")
    ):
        body = {"ask": "detections", "detector": detector, "image": image, "method": method}
        every = ask("/api/ask", body)["detections"]
        (expected,) = [each for each in every if each["box"] == shown[number]["box"]]
        assert list(expected["maps"]) == [method] and shown[number]["maps"] == expected["maps"]
        assert f"{expected['score']:.2f}" in titles[number]
    # A link brings all of it back.
    link = one.link()
    assert "methods=odam%2Cgradcam" in link
    other = visit(link)
    other.wait_for_count(".multiple", 4)
    other.says("Both find this")
    assert other.texts(".multiple") == titles


def test_a_slow_method_of_two_detectors_is_stopped(visit):
    one = visit()
    one.explain()
    one.page.click("#tab-two")
    one.page.click("#two-list button >> nth=0")
    one.says("this person")
    one.page.click("#two-by summary")
    one.page.check("#two-methods input[value=drise]")
    one.page.click("#compare-two")
    one.page.wait_for_selector("#working-words:text-matches('^[0-9]+ of [0-9]+')")
    one.page.click("#stop")
    one.says("Stopped.")
    assert one.answer == "Stopped."
    # What was answered before stays.
    assert "no map" in one.texts(".multiple")[-1] and "no map" not in one.texts(".multiple")[0]


def test_the_brush_fills_with_the_detector_s_mean_pixel(chosen, ask, image):
    one = chosen
    one.page.click("#tab-brush")
    one.says("Paint over")
    one.page.click("#brush-how button:text-is('Mean')")
    one.page.focus("#stage")
    one.page.keyboard.press("Space")
    one.says("before", "now")
    (stroke,) = one.page.evaluate("OdamBench.tabs.brush.strokes")
    assert stroke["how"] == "mean"
    edited = ask("/api/edits", {"image": image, "strokes": [stroke], "detector": "faster_rcnn"})["image"]
    assert one.page.evaluate("OdamBench.tabs.brush.record.image") == f"/api/images/{edited}"
    link = one.link()
    assert "strokes=m12%3A" in link
    one.open(link)
    one.says("before", "now")
    assert one.page.evaluate("OdamBench.tabs.brush.record.image") == f"/api/images/{edited}"
