"""Explain: from the first screen to why a person was missed, by pointer and by keys; what a box could else be."""

import re

MISSED = [531, 206, 556, 280]  # a person whom the detector doesn't find
EMPTY = [300, 20, 400, 90]  # a wall


def test_five_minutes_from_the_first_screen_to_the_reason(visit, ask, image):
    one = visit()
    one.page.click("#tab-explain")
    assert "Draw a box around what is missing" in " ".join(one.texts(".welcome li")).replace("\n", " ")
    found = one.explain()
    assert re.fullmatch(r"\d+ objects are found\. Is something missing\? Draw a box around it\.", found)
    one.drag(MISSED)
    assert one.page.inner_text("#answer").startswith("What should be in the box?")
    one.page.click("#class-buttons button:text-is('person')")
    told = ask(
        "/api/ask", {"ask": "box", "detector": "faster_rcnn", "image": image, "boxes": [MISSED], "label": "person"}
    )
    one.says(told["words"])
    assert told["words"].startswith("It is not found as person. ") and one.answer == told["words"]
    assert one.texts("#explain-list [aria-current] b") == ["person"]
    assert one.page.locator("#boxes .box.missed.selected").count() == 1
    assert one.page.locator("#heat").is_visible()
    assert one.page.get_attribute("#answer", "aria-live") == "polite"


def test_a_person_that_is_found_is_said_to_be(visit, ask, image):
    one = visit()
    one.explain()
    first = ask("/api/ask", {"ask": "detections", "detector": "faster_rcnn", "image": image})["detections"][0]
    assert one.why(first["box"], first["label"]).startswith("It is found: a detection of person")
    one.page.click("#explain-list button >> nth=0")
    one.says(f"Found: person, with a score of {first['score']:.2f}.")
    assert one.answer.startswith(f"Found: person, with a score of {first['score']:.2f}.")
    assert one.texts("#explain-list button >> nth=0")[0].split("\n") == ["0", "person", f"{first['score']:.2f}"]


def test_keys_alone_lead_to_the_reason(visit):
    one = visit()
    keyboard = one.page.keyboard
    keyboard.press("2")
    for _ in range(40):
        keyboard.press("Tab")
        if (one.page.evaluate("document.activeElement.ariaLabel") or "").startswith("Sample image"):
            break
    keyboard.press("Enter")
    one.page.wait_for_selector("#explain-list .number")
    one.says("Draw a box around it.")
    assert one.answer.endswith("Draw a box around it.")
    keyboard.press("d")
    before = one.page.locator("#drawing .draft").bounding_box()
    for key in ("ArrowUp", "ArrowRight", "Shift+ArrowDown"):
        keyboard.press(key)
    after = one.page.locator("#drawing .draft").bounding_box()
    assert after["y"] < before["y"] and after["x"] > before["x"] and after["height"] > before["height"]
    keyboard.press("Enter")
    assert one.page.evaluate("document.activeElement.textContent") == "person"
    keyboard.press("Enter")
    one.says("person")
    assert "person" in one.answer and one.texts("#explain-list [aria-current] .number") == ["?"]
    keyboard.press("ArrowLeft")
    one.says("Found: ")
    assert one.answer.startswith("Found: ")
    keyboard.press("?")
    assert one.page.locator("#help").is_visible()
    keyboard.press("Escape")
    assert not one.page.locator("#help").is_visible()


def test_what_is_drawn_can_be_dropped_or_given_by_numbers(visit):
    one = visit()
    one.explain()
    one.drag(EMPTY)
    assert one.page.locator("#choose-class").is_visible()
    one.page.keyboard.press("Escape")
    one.says("Draw a box")
    assert not one.page.locator("#choose-class").is_visible() and "Draw a box" in one.answer
    one.page.click("#by-numbers summary")
    for k, side in enumerate((300, 20, 301, 90)):
        one.page.fill(f"#side-{k}", str(side))
    one.page.click("#use-numbers")
    assert "at least 2 pixels" in one.page.inner_text("#notice")
    one.page.fill("#side-2", "400")
    one.page.click("#use-numbers")
    rect = one.page.locator("#drawing rect.draft")
    assert [rect.get_attribute(name) for name in ("x", "y", "width", "height")] == ["300", "20", "100", "70"]


def test_a_detection_beside_the_class_that_it_nearly_was(visit, ask, image):
    one = visit()
    one.explain()
    one.page.click("#explain-list button >> nth=0")
    other = one.texts("#nearly-list button >> nth=0")[0].split("\n")[0]
    one.page.click("#nearly-list button >> nth=0")
    one.page.wait_for_selector(".multiple")
    body = {"ask": "class", "detector": "faster_rcnn", "image": image, "row": 0, "label": other}
    score = ask("/api/ask", body)["other"]["score"]
    assert one.texts(".multiple")[1] == f"{other} {score:.2f}"
    one.says(f"as {other} {score:.2f}")
    assert f"as {other} {score:.2f}" in one.answer
    one.page.click("#back")
    assert one.page.locator("#frame").is_visible() and not one.page.locator("#multiples").is_visible()


def test_another_attribute_has_another_map(visit):
    one = visit()
    one.explain()
    one.page.click("#explain-list button >> nth=0")
    heat = "document.getElementById('heat').toDataURL()"
    score = one.page.evaluate(heat)
    one.page.click("#attributes button:text-is('left')")
    assert one.page.evaluate(heat) != score
    assert "outward, to the left" in one.page.inner_text("#why")
    one.page.click("#attributes button:text-is('score')")
    assert one.page.evaluate(heat) == score


def test_the_threshold_leaves_what_scores_as_much(visit, ask, image):
    one = visit()
    one.explain()
    body = {"ask": "detections", "detector": "faster_rcnn", "image": image, "threshold": 0.9}
    sure = len(ask("/api/ask", body)["detections"])
    assert one.page.locator("#explain-list li").count() > sure
    one.page.fill("#threshold", "0.9")
    one.wait_for_count("#explain-list li", sure)
    assert one.texts("#explain-count") == [f"{sure} detections"]
