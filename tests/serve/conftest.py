"""What the tests of the server share: one detector, and one server around it, asked over HTTP as browsers ask."""

import contextlib
import http.client
import io
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.loading import read_detector_config
from odam_d2.serve.detector import ServedDetector
from odam_d2.serve.guard import LOOPBACK
from odam_d2.serve.limits import ServeLimits
from odam_d2.serve.run_server import listen, server_of
from odam_d2.serve.workbench import Workbench

NAME = "faster_rcnn"
LIMITS = ServeLimits(image_bytes=300_000, pixels=200_000, images=6, results=4)
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.body.splitlines() if line.strip()]

    @property
    def error(self) -> str:
        return self.json()["error"]


class Client:
    """Asks a server, each time over a connection of its own."""

    def __init__(self, port: int):
        self.port = port

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, content: Any) -> Reply:
        return self.ask("POST", path, json.dumps(content), JSON)

    def upload(self, data: Any, kind: str = "image/png", name: str = "a.png") -> Reply:
        return self.ask("POST", f"/api/images?name={name}", data, {"Content-Type": kind})

    def question(self, **body: Any) -> dict:
        """The result of a question; fails where there is none."""
        reply = self.post("/api/ask", {"detector": NAME, **body})
        assert reply.status == 200, reply.body
        assert "result" in reply.lines()[-1], reply.lines()[-1]
        return reply.lines()[-1]["result"]


@contextlib.contextmanager
def serving(bench: Workbench, token: str | None = None, hosts=LOOPBACK) -> Iterator[Client]:
    """A server in a thread of its own."""
    listener = listen("127.0.0.1", 0)
    server = server_of(bench, hosts, token)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield Client(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


def small_config(name: str = NAME, *opts: str):
    """The config of a bundled detector that works on small images."""
    changes = ["INPUT.MIN_SIZE_TEST", "240", *opts]
    read = read_detector_config(f"synthetic/{name}_compact_FPN", changes, trained=True)
    read.limit(0.05, 100)
    return read


@pytest.fixture(scope="session")
def detector() -> ServedDetector:
    """A trained detector."""
    return ServedDetector(NAME, small_config())


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """(h, w, 3) uint8 BGR: an image with several objects."""
    return np.ascontiguousarray(SyntheticScenes("scene", "val")[3][0][::2, ::2])


@pytest.fixture(scope="session")
def bench(detector) -> Workbench:
    """What is served."""
    return Workbench(detectors=[detector], limits=LIMITS)


@pytest.fixture(scope="session")
def client(bench) -> Iterator[Client]:
    """What asks the server of all tests, which has a detector and no run."""
    with serving(bench) as client:
        yield client


@pytest.fixture
def image(client, pixels) -> str:
    """The id of the image, which the server holds."""
    return client.upload(png(pixels)).json()["image"]


def png(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """(h, w, 3) uint8 BGR as a file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1])).save(buffer, kind, **options)
    return buffer.getvalue()
