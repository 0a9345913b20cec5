"""The report in headless Chromium: it draws lists, boxes and heat, filters and follows links, and finds no fault."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from odam_d2.visualize.report import PageWords, write_report_folder, write_single_file
from tests.helpers import load_tool
from tests.visualize.browsers import element, needs_chromium
from tests.visualize.reports import grey, hot_maps, row, stored, truth, write_run

pytestmark = needs_chromium

DOG, CAT = [32, 16, 96, 64], [0, 0, 32, 16]


@pytest.fixture
def reader(tmp_path):
    """Image 0: a dog in its middle and a cat. Image 1 failed. Image 2: mistakes of each kind, with their maps."""
    mistakes = [
        row(DOG, "dog", 0.8, verdict="classification", annotation=0, iou=0.75, outside=0.5),
        row(DOG, "cat", 0.7, verdict="localisation", annotation=0, iou=0.25, outside=0.125, sentence="Left is off.",
            figures={"off by": 8.5, "roles": {"annotated box": {"attribute": "left"}}}),
        row(CAT, "cat", 0.6, verdict="duplicate", outside=0.0, figures={"roles": {"neighbour": {"row": 1}}}),
        row(CAT, "dog", None, kind="missed", annotation=0, mechanism="called background"),
    ]  # fmt: skip
    attributes = ("score", "left")
    maps = {
        "": ([0, 1, 2, 3], hot_maps([DOG, DOG, CAT, CAT], attributes)),
        "true class": ([0], hot_maps([CAT], attributes)),
        "annotated box": ([1], hot_maps([CAT], attributes)),
        "neighbour": ([2], hot_maps([DOG], attributes)),
    }
    good = [row(DOG, "dog", 0.9, verdict="correct", annotation=0, iou=0.875, outside=0.25), row(CAT, "cat", 0.5)]
    images = [
        stored(0, good, [truth(DOG)], {"": ([0, 1], hot_maps([DOG, CAT], attributes))}, name="street.jpg"),
        stored(1, [], failure="no image", name="torn.jpg"),
        stored(2, mistakes, [truth(DOG, "horse")], maps, name="field.jpg"),
    ]
    return write_run(tmp_path / "run", images)


WORDS = PageWords({"method": "odam", "versions": {"torch": "2"}, "left out": ["2 boxes of no size", "1 other"]})


@pytest.fixture
def report(reader, tmp_path):
    return write_report_folder(reader, tmp_path / "report", WORDS, read_image=grey)


# What the scripts below look with. A page is at rest when its lists are there, and two frames later.
LOOK = """
globalThis.$ = (id) => document.getElementById(id);
globalThis.all = (selector) => [...document.querySelectorAll(selector)];
globalThis.texts = (selector) => all(selector).map((one) => one.textContent);
globalThis.press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
globalThis.set = (id, value) => {
  $(id).value = value;
  $(id).dispatchEvent(new Event($(id).type === "search" ? "input" : "change"));
};
globalThis.frame = () => new Promise(requestAnimationFrame);
globalThis.until = async (met) => { while (!met()) await frame(); await frame(); await frame(); };
"""
AT_REST = """
document.readyState === "complete" && (!document.getElementById("notice").hidden
  || document.getElementById("count").textContent !== "" && document.getElementById("what").textContent !== "")
"""


@pytest.fixture(scope="module")
def browser():
    with load_tool("benchmarks/browser").Browser(1200, 800) as one:
        yield one


def visit(browser, page, script="return null", fragment=""):
    """What `script`, a function's body, returns when the page has come to rest; the console stays silent."""
    browser.open(page, fragment, LOOK)
    browser.wait_for(AT_REST)
    found = browser.run(f"(async () => {{ await frame(); await frame(); {script} }})()")
    assert browser.said == []
    return found


def dom_of(browser):
    return browser.run("document.documentElement.outerHTML")


@pytest.mark.parametrize("kind", ["folder", "single file"])
def test_lists_and_boxes_are_in_the_page(kind, browser, reader, report, tmp_path):
    if kind == "single file":
        report = tmp_path / "x.html"
        write_single_file(reader, report, WORDS, read_image=grey)
    visit(browser, report)
    dom = dom_of(browser)
    assert element(dom, "summary") == "3 images · 6 boxes · odam"
    images, detections = (re.split("<li[ >]", element(dom, f"{name}-list"))[1:] for name in ("image", "detection"))
    assert [name in item for name, item in zip(("street", "torn", "field"), images, strict=True)] == [True] * 3
    assert "2 boxes" in images[0] and "failed" in images[1] and "4 boxes" in images[2]
    assert len(detections) == 2 and "dog" in detections[0] and "correct 0.88" in detections[0]
    assert 'aria-posinset="2"' in detections[1] and "0.500" in detections[1]
    found = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" class="box', element(dom, "boxes")
    )
    assert sorted(tuple(map(float, box)) for box in found) == [(0.0, 0.0, 32.0, 16.0), (32.0, 16.0, 64.0, 48.0)]
    assert element(dom, "open-failures") == "1 failed" and "no image" in element(dom, "run-body")
    verdicts = re.findall(r"<span>(\w+)</span><b>(\d+)</b>", element(dom, "verdicts"))
    assert verdicts == [
        ("correct", "1"),
        ("classification", "1"),
        ("localisation", "1"),
        ("duplicate", "1"),
        ("missed", "1"),
    ]


STEPS = """
const first = document.querySelector("#detection-list button"), box = document.querySelector("#boxes .box"), seen = [];
for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "b", "b"]) {
  press(key);
  const selected = all("#boxes .box.selected").map((b) => b.getAttribute("x"));
  const chosen = texts("#detection-list [aria-current] .number");
  seen.push([chosen.join(), selected.join(), all("#boxes .box").length].join("/"));
  if (key === "ArrowLeft") seen.push(first.isConnected && box.isConnected);
}
return seen;
"""


def test_stepping_moves_what_is_chosen_and_makes_nothing_anew(browser, report):
    """Detections 0 and 1: one step, round to the first, and back; then boxes off and on again."""
    assert visit(browser, report, STEPS) == ["1/0/2", "0/32/2", "1/0/2", True, "1//0", "1/0/2"]


FILTERING = """
const seen = {}, look = (name) => {
  seen[name] = [texts("#detection-list .label").join(), $("count").textContent, texts("#image-list b").join()];
};
press("l");
look("all images");
document.querySelectorAll("#verdicts button")[1].click(); // classification
look("an error type");
document.querySelectorAll("#verdicts button")[1].click();
set("class-filter", [...$("class-filter").options].find((one) => one.text.startsWith("cat")).value);
look("a class");
seen.left = texts("#verdicts b");
set("class-filter", "");
set("least-outside", "0.1");
set("sort", "outside");
look("heat outside, greatest first");
$("direction").click();
look("least first");
document.querySelector(".clear").click();
set("mechanism-filter", "1");
look("a mechanism");
document.querySelector(".clear").click();
set("judged-filter", "without");
look("without an annotated object");
document.querySelector(".clear").click();
set("sort", "score");
set("group", "label");
seen.groups = all("#detection-list li").map((one) => one.className || one.querySelector(".score").textContent);
set("group", "");
set("image-filter", "FIE");
look("a name");
await until(() => location.hash.includes("FIE"));
seen.link = decodeURIComponent(location.hash);
set("image-filter", "nothing of this name");
look("nothing");
seen.none = [$("image-list").dataset.none, $("detection-list").dataset.none, $("what").textContent];
return seen;
"""


def test_filters_orders_and_groups(browser, report):
    seen = visit(browser, report, FILTERING)
    both = "street.jpg,field.jpg"
    assert seen["all images"] == ["dog,cat,dog,cat,cat,dog", "6 boxes", "street.jpg,torn.jpg,field.jpg"]
    assert seen["an error type"] == ["dog", "1 of 6 boxes", "field.jpg"]
    assert seen["a class"] == ["cat,cat,cat", "3 of 6 boxes", both]
    assert seen["left"] == ["0", "0", "1", "1", "0"]  # what each error type would leave beside the class
    assert seen["heat outside, greatest first"] == ["dog,dog,cat", "3 of 6 boxes", both]
    assert seen["least first"] == ["cat,dog,dog", "3 of 6 boxes", both]
    assert seen["a mechanism"] == ["dog", "1 of 6 boxes", "field.jpg"]
    assert seen["without an annotated object"] == ["cat,cat", "2 of 6 boxes", both]
    # Greatest score first in each class; what has no score comes last.
    assert seen["groups"] == ["group", "0.700", "0.600", "0.500", "group", "0.900", "0.800", ""]
    assert seen["a name"] == ["dog,cat,cat,dog", "4 of 6 boxes", "field.jpg"]
    assert seen["link"] == "#image=2&det=0&attr=score&name=FIE&sort=-score&list=all"
    assert seen["nothing"] == ["", "0 of 6 boxes", ""]
    assert seen["none"] == ["No image has this in its name.", "None passes the filters.", "Nothing to explain here."]


TOLD = """
const panels = () => $("multiples").hidden ? [] : texts("#multiples .multiple"), seen = [];
for (const row of [0, 1, 2, 3]) {
  document.querySelectorAll("#detection-list button")[row].click();
  const figures = ["figures", "further"].map((list) => texts(`#${list} div`).join("; "));
  seen.push([$("told").textContent, ...figures, panels().join(" | "), $("what").textContent]);
}
document.querySelectorAll("#detection-list button")[1].click();
document.querySelectorAll("#multiples .multiple")[1].click(); // the other map alone, on the stage
seen.push([$("multiples").hidden, $("frame").hidden, $("heat").hidden, $("peak").textContent]);
press("c");
seen.push($("multiples").hidden);
return seen;
"""


def test_mistakes_are_told_and_compared(browser, report):
    *rows, single, pair = visit(browser, report, TOLD, "#image=2&det=0&attr=score")
    assert rows[0] == [
        "Classification: it lies on an annotated object of another class.",
        "judged againstannotated horse; IoU0.75; heat outside the box50 %",
        "",
        "as it is: dog | true class: horse",
        "score of 0 dog 0.800",
    ]
    assert rows[1][0] == "Left is off." and rows[1][2] == "off by8.5"
    assert rows[1][3:] == ["as it is: cat | annotated box: horse", "left of 1 cat 0.700"]  # the side that is told of
    assert rows[2][3:] == ["as it is: cat | neighbour: cat", "score of 2 cat 0.600"] and "judged" not in rows[2][1]
    assert rows[3][0] == "Missed: no detection finds this annotated object. Why: called background."
    assert rows[3][3] == ""  # it has no other map, so that the stage shows it
    assert single == [True, False, False, "1"] and pair is False


LINKS = {
    "#image=0&det=1&attr=score": "1/cat/score of 1 cat 0.500/image/false",
    "#image=2&det=3&attr=left": "3/dog/left of 3 dog /image/false",
    # Filters, order and list come back; the box is shown though it isn't the first.
    "#image=2&det=2&attr=score&label=cat&sort=-score&list=all&view=all": "2/cat/score of 2 cat 0.600/all/true",
    "#image=2&label=cat": "1/cat/left of 1 cat 0.700/image/false",
    "#image=99&det=99&attr=none&score=x..y&sort=no&group=no&mechanism=no": "0/dog/score of 0 dog 0.900/image/false",
    "": "0/dog/score of 0 dog 0.900/image/false",
}
SEEN = """return [
  ...["number", "label"].map((part) => texts(`#detection-list [aria-current] .${part}`)), $("what").textContent,
  document.querySelector("#scope [aria-checked=true]").dataset.scope, $("switch-all").getAttribute("aria-pressed"),
].join("/");"""


def test_links_bring_back_what_was_seen(browser, report):
    """The page follows one link after the other, as by the address bar; each is what a page opened with it shows."""
    script = f"""
    const look = () => {{ {SEEN} }}, seen = [look()];
    const pause = async () => {{ for (let k = 0; k < 12; k++) await frame(); }};
    for (const link of {json.dumps(list(LINKS)[1:])}) {{ location.hash = link; await pause(); seen.push(look()); }}
    return seen;"""
    assert visit(browser, report, script, next(iter(LINKS))) == list(LINKS.values())


def test_the_heat_is_seen(browser, report):
    visit(browser, report, "await until(() => $('photo').complete)")
    pixels = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("RGB")).astype(int)
    assert pixels.shape == (800, 1200, 3)
    # The middle of the window shows the chosen detection: turbo's dark red, the highest heat, over grey.
    red, green, blue = np.moveaxis(pixels[200:600, 300:900], -1, 0)
    assert np.count_nonzero((red > green + 50) & (red > blue + 50)) > 1000
    assert np.count_nonzero((red == green) & (green == blue)) > 1000


LONG = """
const scroller = $("detection-scroller"), items = () => document.querySelectorAll("#detection-list li").length;
const seen = { few: items(), height: scroller.scrollHeight };
scroller.scrollTop = scroller.scrollHeight;
await until(() => true);
seen.last = [...document.querySelectorAll("#detection-list li")].at(-1).getAttribute("aria-posinset");
seen.fewStill = items();
press("ArrowLeft"); // from the first box round to the last
press("ArrowLeft");
await until(() => true);
seen.chosen = texts("#detection-list [aria-current] .number");
const [top, item] = [scroller, all("#detection-list [aria-current]")[0]].map((one) => one.getBoundingClientRect());
seen.inView = item.top >= top.top - 1 && item.bottom <= top.bottom + 1;
seen.order = all("#detection-list li").map((one) => Number(one.getAttribute("aria-posinset")));
seen.reachable = document.querySelectorAll("#detection-list button[tabindex='0']").length;
return seen;
"""


def test_of_a_long_list_only_what_is_in_view_exists(browser, tmp_path):
    reader = write_run(tmp_path / "run", [stored(0, [row(DOG, "dog", k / 3000) for k in range(3000)])])
    page = write_report_folder(reader, tmp_path / "report", read_image=grey)
    seen = visit(browser, page, LONG)
    assert seen["few"] < 40 and seen["fewStill"] < 40 and seen["height"] == 3000 * 50 and seen["last"] == "3000"
    assert seen["chosen"] == ["2998"] and seen["inView"] is True and seen["reachable"] == 1
    assert seen["order"] == list(range(seen["order"][0], seen["order"][0] + len(seen["order"])))


def test_a_list_that_is_longer_than_browsers_let_elements_be(browser, report):
    """As if elements could be no longer than 200 pixels: the last item still comes into view at the end."""
    text = report.read_text(encoding="utf-8")
    assert text.count("const LONGEST = 8e6") == 1
    report.write_text(text.replace("const LONGEST = 8e6", "const LONGEST = 60"), encoding="utf-8")
    script = """
    const scroller = $("detection-scroller");
    Object.assign(scroller.style, { flex: "none", height: "50px" });
    await until(() => true);
    press("l"); // six items of 50 pixels
    const seen = [scroller.scrollHeight];
    for (const top of [0, 5, 10]) {
      scroller.scrollTop = top;
      await until(() => true);
      const area = scroller.getBoundingClientRect();
      const inside = ({ top, bottom }) => top < area.bottom - 1 && bottom > area.top + 1;
      const shown = all("#detection-list li").filter((one) => inside(one.getBoundingClientRect()));
      seen.push(shown.map((one) => one.getAttribute("aria-posinset")).join());
    }
    return seen;"""
    assert visit(browser, report, script) == [60, "1", "3,4", "6"]


def test_few_records_are_kept(browser, tmp_path):
    """After 40 images 24 are in memory; one that was dropped is loaded again."""
    reader = write_run(tmp_path / "run", [stored(n, [row(DOG, f"c{n}")]) for n in range(40)])
    page = write_report_folder(reader, tmp_path / "report", read_image=grey)
    script = """
    const kept = () => [...Array(40).keys()].filter((n) => OdamRun.peek(n)).length;
    for (let k = 0; k < 39; k++) { press("n"); await OdamRun.record(k + 1); }
    await until(() => true);
    const seen = [kept(), OdamRun.peek(0) === null, $("what").textContent];
    const before = document.head.childElementCount;
    press("n");
    await until(() => true);
    return [...seen, kept(), $("what").textContent, document.head.childElementCount - before];"""
    assert visit(browser, page, script) == [24, True, "0 c39 0.500", 24, "0 c0 0.500", 0]


def test_what_is_missing_beside_the_page_is_told(browser, reader, tmp_path):
    page = write_report_folder(reader, tmp_path / "report", WORDS)  # no image can be read
    told = visit(browser, page, "return [$('gone').textContent, $('photo').hidden, $('heat').hidden]")
    assert told[0].startswith("The image can't be shown: `path` must be a readable image; got 'nowhere/0.jpg'")
    assert told[1:] == [True, False]
    page = write_report_folder(reader, tmp_path / "report", WORDS, read_image=grey)
    lost = [
        path for pattern in ("images/*/*", "data-*/0/2.js", "data-*/rows-0.js") for path in page.parent.glob(pattern)
    ]
    for path in lost:
        path.unlink()
    browser.open(page, before=LOOK)
    browser.wait_for("document.readyState === 'complete' && !$('gone').hidden && !$('notice').hidden")
    gone, notice, what = browser.run("['gone', 'notice', 'what'].map((id) => $(id).textContent)")
    assert re.fullmatch(r"The image can't be shown: images/.*\.jpg can't be loaded\.", gone)
    assert re.fullmatch(r"data-\w+/rows-0\.js can't be loaded: it must lie beside this page\.", notice)
    assert what == "score of 0 dog 0.900"  # the image's boxes are there
    assert all("ERR_FILE_NOT_FOUND" in line for line in browser.said)
    browser.open(page, "#image=2", LOOK)
    message = browser.wait_for("document.readyState === 'complete' && !$('message').hidden && $('message').textContent")
    assert re.fullmatch(r"data-\w+/0/2\.js can't be loaded: it must lie beside this page\.", message)


def test_a_fault_in_a_script_is_noticed(browser, report):
    text = report.read_text(encoding="utf-8")
    report.write_text(text.replace("OdamHeat.decode(facts.luts[name])", "OdamHeat.nothing()"), encoding="utf-8")
    browser.open(report)
    browser.wait_for("document.readyState === 'complete'")
    assert "OdamHeat.nothing is not a function" in "".join(browser.said)
    assert element(dom_of(browser), "detection-list") == ""
