"""A window on the workbench, as its tests use it."""

from pathlib import Path

DEMO = Path(__file__).resolve().parents[3] / "datasets" / "demo" / "images"
SAMPLES = ("crowd_demo_000001.jpg", "scene_demo_000001.jpg")
MANY = 650  # boxes of one image of the run: more than two pages of the list


class Visit:
    """A page of the workbench in a window of its own, and what its console said."""

    def __init__(self, context, port, fragment=""):
        self.said, self.port = [], port
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda one: self.said.append(one.text) if one.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.open(fragment)

    def open(self, fragment=""):
        self.page.goto("about:blank")
        self.page.goto(f"http://127.0.0.1:{self.port}/{fragment}")
        self.page.wait_for_selector("body[data-ready]")

    @property
    def answer(self):
        """The answer, once nothing is being asked any more."""
        self.rest()
        return self.page.inner_text("#answer")

    def rest(self):
        """Waits until nothing is being asked any more."""
        self.page.wait_for_selector("#answer-box:not([data-tone=wait])", state="attached")
        self.page.wait_for_selector("#working", state="hidden")

    def says(self, *words):
        """Waits until the answer has all of these words: a step may show itself elsewhere before it is answered."""
        from playwright.sync_api import expect

        self.rest()
        for one in words:
            expect(self.page.locator("#answer")).to_contain_text(one, timeout=20_000)
        self.rest()

    def explain(self, sample=SAMPLES[0]):
        """Opens a sample with its detections."""
        self.page.click("#tab-explain")
        self.page.click(f'[aria-label="Sample image {sample}"]')
        self.page.wait_for_selector("#explain-list .number")
        return self.answer

    def drag(self, box, size=(640, 480)):
        """Drags over a box, in pixels of the image."""
        self.page.wait_for_selector("#layers")
        at = self.page.locator("#layers").bounding_box()
        x1, x2 = (at["x"] + side / size[0] * at["width"] for side in box[::2])
        y1, y2 = (at["y"] + side / size[1] * at["height"] for side in box[1::2])
        mouse = self.page.mouse
        mouse.move(x1, y1)
        mouse.down()
        mouse.move((x1 + x2) / 2, (y1 + y2) / 2)
        mouse.move(x2, y2)
        mouse.up()

    def why(self, box, label):
        """Draws a box and says what it should be."""
        self.drag(box)
        self.page.click(f"#class-buttons button:text-is('{label}')")
        return self.answer

    def texts(self, selector):
        return self.page.locator(selector).all_inner_texts()

    def link(self):
        """The link of the address bar, at rest."""
        self.page.wait_for_timeout(400)
        return "#" + self.page.url.partition("#")[2]

    def wait_for_count(self, selector, count):
        """Waits until there are so many; the page's policy lets no script of text run, as wait_for_function does."""
        from playwright.sync_api import expect

        expect(self.page.locator(selector)).to_have_count(count, timeout=20_000)
