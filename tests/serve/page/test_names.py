"""Names that would be markup, or turn the line around, and links that name what every object has."""

import pytest

from tests.serve.page.conftest import serving
from tests.serve.page.visits import DEMO, SAMPLES

MARKUP = "<img src=x onerror=window.hit=1>person"
NAMES = (MARKUP, "\u202edog</script><script>window.hit=1</script>", "&amp;\"'`${1}car")


@pytest.fixture(scope="module")
def odd_port():
    """Where a workbench is served whose detector and classes have such names."""
    from odam_d2.serve.detector import ServedDetector
    from odam_d2.serve.workbench import Workbench
    from tests.serve.conftest import small_config

    detector = ServedDetector("<b>A</b>", small_config())
    detector.class_names = NAMES
    with serving(
        Workbench(None, [detector], None, [DEMO / SAMPLES[0]], "</title><script>window.hit=1</script>")
    ) as port:
        yield port


def test_names_are_words_wherever_they_are_shown(visit, odd_port):
    one = visit(port=odd_port)
    data = (DEMO / SAMPLES[0]).read_bytes()
    one.page.set_input_files("#file", {"name": "\u202e<b>a.jpg", "mimeType": "image/jpeg", "buffer": data})
    one.page.wait_for_selector("#explain-list .number")
    one.page.click("#explain-list button >> nth=0")
    one.says(f"Found: {MARKUP}, with a score of")
    assert MARKUP in one.texts("#explain-list button >> nth=0")[0]
    one.drag([5, 5, 80, 80])
    one.page.click("#class-buttons button >> nth=1")
    one.says("It is not found as dog</script>")  # the character that turns the line is left out
    one.page.click("#tab-methods")
    one.says("By ")
    one.page.click("#tab-brush")
    one.says("dog</script>")
    assert one.page.title() == "</title><script>window.hit=1</script>"
    assert (
        one.page.evaluate("window.hit") is None
        and one.page.locator("#answer *, #explain-list img, script:not([src])").count() == 0
    )


@pytest.mark.parametrize("name", ["__proto__", "constructor", "toString"])
def test_links_that_name_what_every_object_has_open_the_page(visit, odd_port, name):
    one = visit(f"#tab={name}&image={name}&methods={name}&class={name}&attr={name}&method={name}", port=odd_port)
    assert one.page.locator("#tab-explain").get_attribute("aria-selected") == "true"
    one.explain()
    one.says("found")
