"""The widget that answers questions: its messages, what it leaves where nothing runs, and its page in a browser."""

import json
import sys

import numpy as np
import pytest

from odam_d2 import OdamPredictor
from odam_d2.visualize.pages import TEMPLATES
from tests.helpers import compact_detector
from tests.visualize.browsers import browse, element, needs_chromium
from tests.wants import needs_package

LABELS = ("person", "dog", "car")


@pytest.fixture(scope="module")
def predictor():
    return OdamPredictor.of(compact_detector("faster_rcnn"), 64, 96, class_names=LABELS, attributes=("score", "left"))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def explorer(predictor, image, monkeypatch):
    """The widget, and what it has sent to the browser."""
    found = predictor.explore(image)
    found.sent = []
    monkeypatch.setattr(type(found), "send", lambda self, content: self.sent.append(content))
    return found


def say(explorer, message):
    """What the browser says, and the answer."""
    explorer._handle_custom_msg(message, [])
    return explorer.sent[-1]


@needs_package("anywidget")
def test_a_box_is_answered_as_the_predictor_does(explorer, predictor, image):
    assert explorer.size == [64, 48] and explorer.labels == list(LABELS)
    assert explorer.photo.startswith("data:image/jpeg;base64,") and len(explorer.instances) == 3
    before = explorer.page
    answer = say(explorer, {"ask": "box", "id": 7, "box": [4, 5, 40, 30], "label": "dog"})
    expected = predictor(image, boxes=[[4, 5, 40, 30]], classes=["dog"])["instances"]
    score = float(expected.scores[0])
    assert answer == {"id": 7, "words": f"dog: {score:.3f} for the box 4, 5, 40, 30", "label": "dog", "score": score}
    assert explorer.asked == {"box": [4, 5, 40, 30], "label": "dog"}
    assert explorer.words == answer["words"] and explorer.page != before and "<html" in explorer.page
    found = explorer.instances
    assert found.pred_boxes.tensor.tolist() == [[4, 5, 40, 30]] and found.pred_classes.tolist() == [1]
    for name in ("score", "left"):
        assert np.array_equal(found.heatmaps.to_image(name).numpy(), expected.heatmaps.to_image(name).numpy())
    assert explorer.ask([4, 5, 40, 30], "dog").scores.tolist() == [score]  # from Python
    assert say(explorer, {"ask": "detections", "id": 8})["words"] == "3 detections; draw a box to ask about it"
    assert len(explorer.instances) == 3 and explorer.asked == {}


@needs_package("anywidget")
@pytest.mark.parametrize(
    "message, told",
    [
        ({"ask": "box", "box": [4, 5, 40], "label": "dog"}, "`box` must be x1, y1, x2, y2 with x1 < x2 and y1 < y2"),
        ({"ask": "box", "box": [40, 5, 4, 30], "label": "dog"}, "`box` must be x1, y1, x2, y2"),
        ({"ask": "box", "box": [4, 5, 40, float("nan")], "label": "dog"}, "`box` must be x1, y1, x2, y2"),
        ({"ask": "box", "label": "dog"}, "`box` must be x1, y1, x2, y2"),
        ({"ask": "box", "box": [4, 5, 40, 30], "label": "cat"}, "`classes` must be among the detector's; got 'cat'"),
        ({"ask": "box", "box": [400, 500, 440, 530], "label": "dog"}, "box 0 of `instances[0]` must overlap the image"),
        ({"ask": "weather"}, "`ask` must be 'box' or 'detections'; got 'weather'"),
        ([], "`ask` must be 'box' or 'detections'; got None"),
    ],
)
def test_errors_are_answers_in_a_sentence(explorer, message, told):
    page = explorer.page
    answer = say(explorer, {**message, "id": 3} if message else message)
    assert answer["error"].startswith(told) and answer["id"] == (3 if message else None)
    assert "\n" not in answer["error"] and explorer.page == page


@needs_package("anywidget")
def test_what_is_left_where_nothing_runs(explorer):
    explorer.ask([4, 5, 40, 30], "dog")
    data, _ = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/html"] == explorer.answer._repr_html_() and "<iframe" in data["text/html"]
    assert data["image/png"].startswith(b"\x89PNG") and "1 detections" in data["text/plain"]


@needs_package("anywidget")
def test_names_are_needed_and_bad_images_are_told(image):
    nameless = OdamPredictor.of(compact_detector("faster_rcnn"), 64, 96, attributes=("score",))
    with pytest.raises(ValueError, match="`labels` must name the detector's classes; got none"):
        nameless.explore(image)
    with pytest.raises(ValueError, match="`image` must be"):
        OdamPredictor.of(compact_detector("faster_rcnn"), class_names=LABELS).explore(image[..., 0])


def test_without_anywidget_that_is_told(predictor, image, monkeypatch):
    monkeypatch.delitem(sys.modules, "odam_d2.visualize.explore", raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ImportError, match="`explore` needs anywidget; got none .*: pip install anywidget"):
        predictor.explore(image)


# What somebody does in the widget, with a stub in place of Python; the image is shown as wide as it is.
VISIT = """
const state = { photo: PHOTO, size: [200, 100], labels: ["person", "<b>dog</b>"], page: "<p>first</p>", words: "hello",
  frame_height: 123, asked: { box: [1, 2, 30, 40], label: "<b>dog</b>" } };
const sent = [], heard = {}, seen = {};
const model = { get: (name) => state[name], send: (one) => sent.push(one), on: (name, what) => { heard[name] = what; },
  off: (name) => { delete heard[name]; } };
const root = document.getElementById("root"), away = render({ model, el: root });
const $ = (what) => root.querySelector(what);
$("img").onload = () => {
  const area = $(".area"), place = area.getBoundingClientRect();
  const at = (kind, x, y) => area.dispatchEvent(new PointerEvent(kind, {
    clientX: place.left + x / 200 * place.width, clientY: place.top + y / 100 * place.height, button: 0,
    bubbles: true }));
  const drag = (a, b) => { at("pointerdown", ...a); at("pointermove", ...b); at("pointerup", ...b); };
  const frame = $("iframe");
  seen.asked = [$("select").value, $("rect").getAttribute("width"), root.querySelectorAll("input")[3].value];
  state.asked = { box: [5, 5, 9, 9], label: "person" };
  heard["change:asked"]();
  seen.again = [$("select").value, $("rect").getAttribute("width"), root.querySelectorAll("input")[3].value];
  seen.first = [$(".words").textContent, frame.srcdoc, frame.style.height, frame.getAttribute("sandbox")];
  seen.options = [...$("select").options].map((one) => one.textContent);
  drag([150, 80], [20, 10]); // backwards
  drag([50, 50], [51, 51]); // a click asks nothing
  seen.sides = [...root.querySelectorAll("input")].map((one) => one.value);
  $("select").selectedIndex = 1;
  $("select").dispatchEvent(new Event("change"));
  drag([100, 50], [500, 500]); // out of the image
  seen.asking = $(".words").textContent;
  heard["msg:custom"]({ id: 1, words: "late" });
  seen.late = $(".words").textContent;
  heard["msg:custom"]({ id: 3, error: "`box` must be <i>good</i>" });
  seen.error = [$(".words").textContent, $(".words").classList.contains("error")];
  root.querySelectorAll("input")[0].value = 110;
  root.querySelectorAll("button")[0].click();
  state.page = "<p>second</p>";
  heard["change:page"]();
  heard["msg:custom"]({ id: 4, words: "dog: 0.5" });
  seen.last = [$(".words").textContent, $(".words").classList.contains("error"), $("iframe").srcdoc];
  root.querySelectorAll("button")[1].click();
  seen.rects = root.querySelectorAll("rect").length;
  seen.sent = sent;
  away();
  seen.left = Object.keys(heard);
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
"""


@needs_chromium
def test_a_box_is_drawn_and_asked_about(tmp_path):
    from odam_d2.visualize.pages import jpeg_uri

    photo = json.dumps(jpeg_uri(np.full((100, 200, 3), 120, np.uint8), 200, 80))
    script = (TEMPLATES / "explore.js").read_text(encoding="utf-8") + VISIT.replace("PHOTO", photo)
    style = (TEMPLATES / "explore.css").read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><style>{style}</style><div id="root"></div><pre id="seen"></pre>'
        f'<script type="module">{script}</script>',
        encoding="utf-8",
    )
    dom, console = browse(page, tmp_path, "--dump-dom")
    assert console == []
    seen = json.loads(element(dom, "seen").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert seen["first"] == ["hello", "<p>first</p>", "123px", "allow-scripts"]
    assert seen["asked"] == ["<b>dog</b>", "29", "40"] and seen["again"] == ["person", "4", "9"]
    assert seen["options"] == ["person", "<b>dog</b>"] and seen["sides"] == ["20", "10", "150", "80"]
    assert seen["sent"] == [
        {"ask": "box", "box": [20, 10, 150, 80], "label": "person", "id": 1},
        {"ask": "box", "box": [20, 10, 150, 80], "label": "<b>dog</b>", "id": 2},
        {"ask": "box", "box": [100, 50, 200, 100], "label": "<b>dog</b>", "id": 3},
        {"ask": "box", "box": [110, 50, 200, 100], "label": "<b>dog</b>", "id": 4},
        {"ask": "detections", "id": 5},
    ]
    assert seen["asking"] == seen["late"] == "asking…"
    assert seen["error"] == ["`box` must be <i>good</i>", True]
    assert seen["last"] == ["dog: 0.5", False, "<p>second</p>"] and seen["rects"] == 0 and seen["left"] == []
