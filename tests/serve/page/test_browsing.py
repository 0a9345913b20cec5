"""Run: its images and boxes, filtered and paged by the server; and what is said where something is wanting."""

from tests.serve.page.visits import MANY


def test_a_run_is_browsed_and_filtered(visit):
    one = visit()
    one.says("Correct: it finds an annotated object of its class.")
    assert one.answer == "Correct: it finds an annotated object of its class."
    assert one.texts("#image-list .name b") == ["street.jpg", "field.jpg", "flock.jpg"]
    assert one.texts("#image-list .name small") == ["2 boxes", "2 boxes", f"{MANY} boxes"]
    assert one.texts("#detection-list .label") == ["dog", "cat"]
    one.page.click("#verdicts button:has-text('missed')")
    one.page.wait_for_selector("#detection-list .verdict:text-is('missed')")
    one.says("Called background.")
    assert one.answer == "Called background."
    assert one.texts("#detection-list .label") == ["dog"]
    assert one.texts("#verdicts b") == ["1", f"{MANY + 1}", "1"]  # correct, background, missed: what each would leave
    assert "verdict=missed" in one.link()
    again = visit(one.link())
    again.says("Called background.")
    assert again.answer == "Called background." and again.texts("#count") == [f"1 of {MANY + 4} boxes"]


def test_images_are_found_by_a_part_of_their_name(visit):
    one = visit()
    one.page.click("#scope [data-scope=all]")
    one.page.fill("#image-filter", "STREET")
    one.wait_for_count("#image-list li", 1)
    one.page.wait_for_selector(f"#count:text-is('2 of {MANY + 4} boxes')")
    assert one.texts("#detection-list .label") == ["dog", "cat"]
    one.page.fill("#image-filter", "nowhere")
    one.wait_for_count("#detection-list li", 0)
    assert one.texts("#count") == [f"0 of {MANY + 4} boxes"]


def test_of_a_long_list_only_what_is_in_view_is_fetched_and_exists(visit):
    one = visit()
    requests = []
    one.page.on("request", lambda sent: requests.append(sent.url))
    one.page.click("#scope [data-scope=all]")
    one.page.wait_for_selector(f"#count:text-is('{MANY + 4} boxes')")
    assert one.page.locator("#detection-list li").count() < 40
    offsets = {int(url.split("offset=")[1].split("&")[0]) for url in requests if "/boxes?" in url}
    assert offsets == {0}
    one.page.evaluate("document.getElementById('detection-scroller').scrollTop = 1e9")
    one.page.wait_for_selector(f"#detection-list .number:text-is('{MANY - 1}')")
    offsets = {int(url.split("offset=")[1].split("&")[0]) for url in requests if "/boxes?" in url}
    assert 600 in offsets and len(offsets) < 4


def test_sorting_and_steps(visit):
    one = visit()
    one.page.click("#scope [data-scope=all]")
    one.page.select_option("#sort", "score")
    one.page.wait_for_selector("#detection-list li >> nth=0 >> .score:text-is('0.998')")
    assert one.texts("#detection-list .score")[:3] == [f"{k / MANY:.3f}" for k in (649, 648, 647)]
    one.page.wait_for_selector("#detection-list [aria-current] .score:text-is('0.998')")
    one.page.focus("#stage")
    one.page.keyboard.press("ArrowRight")
    one.page.wait_for_selector("#detection-list [aria-current] .score:text-is('0.997')")


def test_boxes_in_groups(visit):
    one = visit("#tab=run&list=all")
    one.page.click("#more summary")
    one.page.select_option("#group", "verdict")
    one.page.wait_for_selector("#detection-list .group >> nth=0")
    one.page.wait_for_selector("#detection-list li:nth-child(3) .label:text-is('bird')")
    heading = one.page.locator("#detection-list .group").first
    assert heading.inner_text().split() == ["background", str(MANY + 1)]
    assert one.texts("#count") == [f"{MANY + 4} boxes"]
    assert one.texts("#detection-list .label")[:2] == ["cat", "bird"]
    one.page.evaluate("document.getElementById('detection-scroller').scrollTop = 1e9")
    one.page.wait_for_selector("#detection-list .group:has-text('none')")
    last = [text.split() for text in one.texts("#detection-list .group")]
    assert last == [["correct", "1"], ["missed", "1"], ["none", "1"]]
    assert "group=verdict" in one.link()
    again = visit("#tab=run&list=all&group=image")
    again.page.wait_for_selector("#detection-list .group >> nth=2")
    assert [text.split() for text in again.texts("#detection-list .group")] == [
        ["street.jpg", "2"], ["field.jpg", "2"], ["flock.jpg", str(MANY)]]  # fmt: skip
    again.page.focus("#stage")
    again.says("Correct")
    again.page.keyboard.press("ArrowRight")
    again.says("cat, with a score of 0.50.")
    again.page.keyboard.press("ArrowRight")  # over the heading
    again.says("Background")
    assert again.texts("#detection-list [aria-current] .box") == ["field.jpg"]


def test_boxes_with_and_without_an_annotated_object(visit):
    one = visit("#tab=run&list=all")
    one.page.click("#more summary")
    one.page.select_option("#judged-filter", "with")
    one.page.wait_for_selector(f"#count:text-is('2 of {MANY + 4} boxes')")
    assert one.texts("#detection-list .label") == ["dog", "dog"]
    assert one.texts("#image-list .name small") == ["1 of 2 boxes", "1 of 2 boxes"]
    assert one.texts("#verdicts b") == ["1", "0", "1"]  # correct, background, missed
    again = visit(one.link())
    again.page.wait_for_selector(f"#count:text-is('2 of {MANY + 4} boxes')")
    again.page.click("#more summary")
    again.page.select_option("#judged-filter", "without")
    again.page.wait_for_selector(f"#count:text-is('{MANY + 2} of {MANY + 4} boxes')")
    assert again.texts("#detection-list .label")[:3] == ["cat", "cat", "bird"]


def test_sorting_by_a_figure(visit):
    one = visit("#tab=run&list=all")
    one.page.wait_for_selector("#sort option[value='figure heat own']", state="attached")
    one.page.select_option("#sort", "figure heat own")
    expected = sorted(((7 * k % MANY) / 1000 for k in range(0, MANY, 10)), reverse=True)
    one.page.wait_for_selector(f"#detection-list [aria-current] .verdict:text-is('heat own {expected[0]:.3g}')")
    shown = one.texts("#detection-list .verdict")[:5]
    assert shown == [f"heat own {value:.3g}" for value in expected[:5]]
    again = visit(one.link())
    again.page.wait_for_selector(f"#detection-list .verdict:text-is('heat own {expected[0]:.3g}')")
    assert again.page.input_value("#sort") == "figure heat own"
    assert again.texts("#detection-list .verdict")[:5] == shown


def test_images_are_sorted(visit):
    one = visit()
    for order, names in (("name", ["field.jpg", "flock.jpg", "street.jpg"]),
                         ("boxes", ["flock.jpg", "street.jpg", "field.jpg"])):  # fmt: skip
        one.page.select_option("#image-order", order)
        one.page.wait_for_selector(f"#image-list li:nth-child(1) b:text-is('{names[0]}')")
        assert one.texts("#image-list .name b") == names


def test_the_detector_is_asked_about_a_box_of_the_run(visit):
    one = visit("#tab=run&number=1&det=1")
    one.says("Called background.")
    assert one.answer == "Called background."
    one.page.click("#ask-about")
    one.page.wait_for_selector("#tab-explain[aria-selected=true]")
    one.page.wait_for_selector("#explain-list .number")
    one.says("It is not found as dog.")
    assert one.answer.startswith("It is not found as dog.")
    assert "image=run%3A1" in one.link()
    assert one.texts("#explain-list [aria-current] b") == ["dog"]


def test_what_is_wanting_is_said(visit, bare_port):
    one = visit(port=bare_port)
    one.says("No detector is loaded")
    one.says("odam serve RUN --config-file NAME")
    assert one.answer.startswith("No detector is loaded") and "odam serve RUN --config-file NAME" in one.answer
    one.page.click("#tab-run")
    one.says("No run is loaded.")
    assert one.answer.startswith("No run is loaded.")
    one.page.click("#open-save")
    assert "nothing to save" in one.page.inner_text("#notice")


def test_without_a_box_the_tools_say_what_to_choose(visit):
    one = visit()
    one.explain()
    for tab in ("brush", "methods"):
        one.page.click(f"#tab-{tab}")
        one.says("Choose a box under Explain first")
        assert one.answer.startswith("Choose a box under Explain first")


def test_a_narrow_window_never_scrolls_sideways(visit):
    one = visit(viewport={"width": 390, "height": 844})
    wide = "document.documentElement.scrollWidth"
    seen = {"run": one.page.evaluate(wide)}
    one.explain()
    one.page.click("#explain-list button >> nth=0")
    for tab in ("explain", "brush", "nms", "two"):
        one.page.click(f"#tab-{tab}")
        assert one.answer
        seen[tab] = one.page.evaluate(wide)
    assert seen == dict.fromkeys(seen, 390)


def test_the_page_is_dark_where_the_browser_is(visit):
    colour = "getComputedStyle(document.body).backgroundColor"
    assert visit(color_scheme="dark").page.evaluate(colour) == "rgb(22, 22, 21)"
    assert visit(color_scheme="light").page.evaluate(colour) == "rgb(246, 245, 242)"
