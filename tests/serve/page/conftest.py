"""One server with two detectors and a run, and one browser, for all tests of the workbench's page."""

import contextlib
import http.client
import json
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.serve.page.visits import DEMO, MANY, SAMPLES, Visit
from tests.visualize.browsers import CHROMIUM, needs_chromium
from tests.visualize.reports import hot_maps, row, stored, truth, write_run
from tests.wants import needs_package

DOG, CAT = [32, 16, 96, 64], [0, 0, 32, 16]

NEEDED = [needs_chromium, needs_package("playwright"), needs_package("fastapi"), needs_package("uvicorn")]


def pytest_collection_modifyitems(items):
    """Marks every test of this folder with what it needs."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for mark in NEEDED:
                item.add_marker(mark)


@contextlib.contextmanager
def serving(bench):
    """The port of a server around a workbench, which runs in a thread."""
    from odam_d2.serve.guard import LOOPBACK
    from odam_d2.serve.run_server import listen, server_of

    with listen("127.0.0.1", 0) as listener:
        server = server_of(bench, LOOPBACK)
        server.install_signal_handlers = lambda: None
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        end = time.monotonic() + 30
        while not server.started and time.monotonic() < end:
            time.sleep(0.02)
        assert server.started
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(20)


def figures(k):
    """Of a bird; the fewest have one."""
    return {"heat": {"own": (7 * k % MANY) / 1000}} if k % 10 == 0 else {}


def make_run(folder):
    """Three images: a dog and a cat that are found, a dog that is missed beside a false cat, and many birds."""
    mistakes = [
        row(CAT, "cat", 0.7, verdict="background", outside=0.5),
        row(DOG, "dog", 0.125, kind="missed", verdict="missed", annotation=0, mechanism="background",
            sentence="Called background."),
    ]  # fmt: skip
    maps = {"": ([0, 1], hot_maps([DOG, CAT], ("score", "left")))}
    images = [
        stored(0, [row(DOG, "dog", 0.9, verdict="correct", annotation=0, iou=0.875), row(CAT, "cat", 0.5)],
               [truth(DOG)], maps, name="street.jpg"),
        stored(1, mistakes, [truth(DOG)], maps, name="field.jpg"),
        stored(2, [row(CAT, "bird", k / MANY, verdict="background", figures=figures(k)) for k in range(MANY)], [], {},
               name="flock.jpg"),
    ]  # fmt: skip
    for number, one in enumerate(images):
        path = folder / f"{number}.jpg"
        Image.new("RGB", (128, 96), (90, 120, 60 * number)).save(path)
        images[number] = one.__class__(
            one.image.__class__(number, one.image.key, one.image.name, str(path), (96, 128), (96, 128), None),
            one.annotations, one.detections, one.maps,
        )  # fmt: skip
    write_run(folder / "run", images)
    return folder / "run"


@pytest.fixture(scope="session")
def port(tmp_path_factory):
    """Where the workbench is served."""
    from odam_d2.loading import read_detector_config
    from odam_d2.serve.detector import ServedDetector
    from odam_d2.serve.limits import ServeLimits
    from odam_d2.serve.run_view import RunView
    from odam_d2.serve.workbench import Workbench

    def served(name):
        opts = ["INPUT.MIN_SIZE_TEST", "240"]  # half of what they are meant for, in a quarter of the time
        config = read_detector_config(f"synthetic/{name}_compact_FPN", opts, trained=True)
        config.limit(0.05, 100)
        return ServedDetector(name, config)

    limits = ServeLimits()
    run = RunView(make_run(tmp_path_factory.mktemp("workbench")), limits)
    bench = Workbench(run, [served("faster_rcnn"), served("fcos")], limits, [DEMO / name for name in SAMPLES])
    with serving(bench) as found:
        yield found


@pytest.fixture(scope="session")
def bare_port():
    """Where a workbench with neither a run nor a detector is served."""
    from odam_d2.serve.workbench import Workbench

    with serving(Workbench()) as found:
        yield found


@pytest.fixture(scope="session")
def chromium():
    """One browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, port):
    """visit(fragment, **options of the window): opens the workbench; at the end its console must have been silent."""
    with contextlib.ExitStack() as stack:
        visits = []

        def open_one(fragment="", port=port, beside=None, **options):
            context = beside.page.context if beside else chromium.new_context(
                viewport=options.pop("viewport", {"width": 1280, "height": 720}), **options
            )  # fmt: skip
            if beside is None:
                stack.callback(context.close)
            visits.append(Visit(context, port, fragment))
            return visits[-1]

        yield open_one
        assert [one.said for one in visits] == [[]] * len(visits)


@pytest.fixture
def ask(port):
    """ask(path, body): the server's own answer, without the page; of a question its result."""

    def asked(path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            content = None if body is None else json.dumps(body)
            method = "GET" if body is None else "POST"
            connection.request(method, path, content, {"Content-Type": "application/json"})
            text = connection.getresponse().read()
        if path != "/api/ask":
            return json.loads(text)
        return json.loads(text.splitlines()[-1])["result"]

    return asked


@pytest.fixture
def image(ask):
    """The id of the first sample."""
    return next(each["image"] for each in ask("/api/about")["samples"] if each["name"] == SAMPLES[0])
