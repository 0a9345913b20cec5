"""Images that are opened, links that bring back what was seen, what is saved, and two windows at once."""

import io
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from tests.serve.page.visits import DEMO, SAMPLES

MISSED = [531, 206, 556, 280]


def file(name, data, kind):
    return {"name": name, "mimeType": kind, "buffer": data}


def test_a_broken_file_is_told_in_words_and_the_next_one_opens(visit):
    one = visit()
    one.page.click("#tab-explain")
    one.page.set_input_files("#file", file("torn.jpg", b"\xff\xd8\xff no image", "image/jpeg"))
    one.page.wait_for_selector("#notice:visible")
    assert "torn.jpg" in one.page.inner_text("#notice") or "image" in one.page.inner_text("#notice")
    # The browser itself notes the answer 422 on the console; nothing else may be said there.
    assert len(one.said) == 1 and "422" in one.said.pop()
    buffer = io.BytesIO()
    Image.open(DEMO / SAMPLES[1]).resize((320, 240)).save(buffer, "PNG")
    one.page.set_input_files("#file", file("mine.png", buffer.getvalue(), "image/png"))
    one.page.wait_for_selector("#explain-list .number")
    one.says("found")
    assert "found" in one.answer and not one.page.locator("#notice").is_visible()
    assert one.page.locator("#own-list [aria-current]").get_attribute("title") == "mine.png"


def test_an_image_that_is_dropped_is_opened(visit):
    one = visit()
    one.page.click("#tab-explain")
    one.page.evaluate(
        """async (address) => {
          const blob = await (await fetch(address)).blob(), held = new DataTransfer();
          held.items.add(new File([blob], "dropped.jpg", { type: "image/jpeg" }));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: held, bubbles: true, cancelable: true }));
        }""",
        one.page.locator("#welcome-samples img").first.get_attribute("src"),
    )
    one.page.wait_for_selector("#explain-list .number")
    # The same pixels as the sample's: no second image.
    assert one.page.locator("#own-list [aria-current]").get_attribute("title") == SAMPLES[0]


def test_a_link_brings_back_a_question_and_its_answer(visit):
    one = visit()
    one.explain()
    told = one.why(MISSED, "person")
    one.page.click("#attributes button:text-is('top')")
    link = one.link()
    other = visit(link)
    other.says(told)
    assert other.answer == told
    assert other.texts("#attributes [aria-checked=true]") == ["top"]
    assert other.link() == link


def test_a_link_brings_back_strokes_and_a_pair(visit):
    one = visit()
    one.explain()
    one.page.click("#explain-list button >> nth=0")
    one.page.click("#tab-brush")
    one.says("Paint over")
    assert "Paint over" in one.answer
    one.drag([100, 100, 160, 140])
    one.page.wait_for_selector("#strokes:text-is('1 stroke')")
    told, strokes = one.answer, one.page.evaluate("OdamBench.tabs.brush.strokes")
    other = visit(one.link())
    other.says(told)
    assert other.answer == told and other.page.evaluate("OdamBench.tabs.brush.strokes") == strokes
    one.page.click("#tab-nms")
    one.page.click("#pair-list button >> nth=1")
    told = one.answer
    other.open(one.link())
    other.says(told)
    assert other.answer == told


def test_links_to_what_is_gone_say_so(visit):
    one = visit("#" + urlencode({"tab": "explain", "image": "id:0123456789abcdef"}))
    assert "no longer held" in one.page.inner_text("#notice")
    assert len(one.said) == 1 and "404" in one.said.pop()  # the browser's own note
    one.open("#" + urlencode({"tab": "explain", "image": "sample:other.jpg"}))
    assert "sample other.jpg" in one.page.inner_text("#notice")
    assert one.page.locator("#welcome").is_visible()


def test_two_windows_get_their_own_answers(visit):
    first, second = visit(), None
    second = visit(beside=first)
    for one, sample in ((first, SAMPLES[0]), (second, SAMPLES[1])):
        one.page.click("#tab-explain")
        one.page.click(f'[aria-label="Sample image {sample}"]')  # neither waits for the other
    for one in (first, second):
        one.page.wait_for_selector("#explain-list .number")
    labels = [set(one.texts("#explain-list b")) for one in (first, second)]
    assert "person" in labels[0] and "car" not in labels[0] and "car" in labels[1]


def test_what_is_seen_is_saved(visit):
    one = visit()
    one.explain()
    one.page.click("#explain-list button >> nth=0")
    one.page.click("#open-save")
    with one.page.expect_download() as saved:
        one.page.click("#save-png")
    assert saved.value.suggested_filename == "crowd_demo_000001_explain.png"
    image = np.asarray(Image.open(saved.value.path()).convert("RGB")).astype(int)
    x1, y1 = (2 * round(side) for side in one.page.evaluate("OdamBench.subject.box")[:2])
    assert image.shape[1] == 1280 and image.shape[0] > 960  # twice the image's size, and the answer beneath
    assert image[y1 - 1 : y1 + 3, x1 + 20].max() == 255  # the chosen box is white
    with one.page.expect_download() as saved:
        one.page.click("#save-page")
    text = saved.value.path().read_text(encoding="utf-8")
    assert saved.value.suggested_filename == "crowd_demo_000001_explain.html"
    assert "OdamHeat" in text and "crowd_demo_000001" in text
    assert one.texts("#saved") == ["The page is saved."]
