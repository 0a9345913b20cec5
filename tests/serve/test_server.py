"""Many at once, some who leave, and what is left of the model after each of them."""

import gc
import json
import socket
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from odam_d2.serve.guard import LOOPBACK
from odam_d2.serve.run_server import listen, server_of
from odam_d2.serve.workbench import Workbench
from tests.serve.conftest import LIMITS, NAME, png, serving

NOWHERE = [5.0, 5.0, 60.0, 40.0]
WAIT = 30.0


def state_of(model) -> dict:
    """What a request must not change."""
    modules = list(model.named_modules())
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    thresholds = ("test_score_thresh", "test_nms_thresh", "test_topk_per_image")
    return {
        "training": [module.training for _, module in modules],
        "hooks": [len(getattr(module, kind)) for _, module in modules for kind in kinds],
        "forward": ["forward" in vars(module) for _, module in modules],
        "thresholds": [getattr(module, name, None) for _, module in modules for name in thresholds],
        "requires_grad": [one.requires_grad for one in model.parameters()],
        "grad": [one.grad is None for one in model.parameters()],
        "values": [float(one.detach().double().sum()) for one in (*model.parameters(), *model.buffers())],
    }


@pytest.fixture
def unchanged(detector):
    """Makes sure that a test leaves the detector as it was, and torch's switches too."""
    before = state_of(detector.model)
    yield
    assert state_of(detector.model) == before
    assert torch.is_grad_enabled()


def wait_for(condition) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def tensors() -> int:
    """How many tensors there are."""
    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


def begin(client, body: dict) -> socket.socket:
    """A connection over which something was asked."""
    data = json.dumps({"detector": NAME, **body}).encode()
    connection = socket.create_connection(("127.0.0.1", client.port), timeout=WAIT)
    head = f"POST /api/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    connection.sendall(f"{head}\r\n\r\n".encode() + data)
    return connection


def read_until(connection: socket.socket, words: bytes, times: int = 1) -> bytes:
    read = b""
    while read.count(words) < times:
        part = connection.recv(65536)
        assert part, read
        read += part
    return read


def test_twenty_at_once_are_answered_in_their_order(client, bench, image, unchanged, monkeypatch):
    asked, answered, gate = [], [], threading.Event()
    found = bench.before.detect(bench.detectors[NAME], bench.images.find(image), "odam", 0.9)

    def detect(detector, held, method, threshold):
        assert gate.wait(WAIT)
        answered.append(round(threshold, 2))
        return found

    monkeypatch.setattr(bench.before, "detect", detect)
    with ThreadPoolExecutor(20) as pool:
        replies = []
        for number in range(20):
            threshold = number / 100
            asked.append(threshold)
            body = {"ask": "detections", "detector": NAME, "image": image, "threshold": threshold}
            replies.append(pool.submit(client.post, "/api/ask", body))
            wait_for(lambda number=number: bench.queue.length == number + 1)
        gate.set()
        lines = [reply.result().lines() for reply in replies]
    assert answered == asked
    records = [one[-1]["result"] for one in lines]
    assert all(record["detections"] == records[0]["detections"] for record in records)
    for number, one in enumerate(lines):
        places = [line["queued"] for line in one if "queued" in line]
        assert places[0] == number and places == sorted(places, reverse=True) and places[-1] == 0


def test_who_leaves_while_the_detector_works_stops_it(client, bench, image, unchanged):
    before = client.question(ask="detections", image=image)["detections"]
    gc.collect()
    connection = begin(
        client, {"ask": "methods", "image": image, "boxes": [NOWHERE], "label": "dog", "methods": ["drise"]}
    )
    # At the beginning, and after the first masks of a thousand.
    read = read_until(connection, b'"progress":[0,100]', times=2)
    assert b"result" not in read
    connection.close()
    wait_for(lambda: bench.queue.length == 0)
    assert client.question(ask="detections", image=image)["detections"] == before


def test_who_leaves_the_queue_is_not_answered(client, bench, image, unchanged, monkeypatch):
    begun, gate, asked = threading.Event(), threading.Event(), []
    find = bench.before.detect

    def detect(detector, held, method, threshold):
        asked.append(threshold)
        begun.set()
        assert gate.wait(WAIT)
        return find(detector, held, method, threshold)

    monkeypatch.setattr(bench.before, "detect", detect)
    connections = []
    for number, threshold in enumerate((0.7, 0.8, 0.9), 1):
        connections.append(begin(client, {"ask": "detections", "image": image, "threshold": threshold}))
        wait_for(lambda number=number: bench.queue.length == number)
    assert begun.wait(WAIT)
    connections[1].close()
    wait_for(lambda: bench.queue.length == 2)
    gate.set()
    read_until(connections[2], b'"result"')
    assert asked == [0.7, 0.9]
    for one in connections:
        one.close()


def test_a_server_that_stops_tells_all_who_wait_at_once(detector, pixels, monkeypatch):
    begun, gate = threading.Event(), threading.Event()
    bench = Workbench(detectors=[detector], limits=LIMITS)

    def detect(*_):
        begun.set()
        gate.wait(WAIT)

    monkeypatch.setattr(bench.before, "detect", detect)
    try:
        with ThreadPoolExecutor(3) as pool, serving(bench) as client:
            held = client.upload(png(pixels)).json()["image"]
            body = {"ask": "detections", "detector": NAME, "image": held}
            replies = [pool.submit(client.post, "/api/ask", body) for _ in range(3)]
            wait_for(lambda: bench.queue.length == 3 and begun.is_set())
            upload = socket.create_connection(("127.0.0.1", client.port), timeout=WAIT)
            upload.sendall(
                b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n"
            )
            begin = time.monotonic()
        took = time.monotonic() - begin
        lines = [reply.result().lines()[-1] for reply in replies]
        assert lines == [{"error": "the server is being stopped"}] * 3
        # A second for what is under way, half a one for the detector, and what uvicorn needs.
        assert took < 3 and not bench.queue.close(0.0)
    finally:
        gate.set()
    assert upload.recv(4000).startswith(b"HTTP/1.1 503")
    upload.close()
    assert bench.queue.close(WAIT)
    # It has closed all of its connections.
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
    assert [str(one.message) for one in left] == []


def test_a_server_that_stops_closes_the_connections_of_those_who_neither_send_nor_read(detector):
    listener = listen("127.0.0.1", 0)
    server = server_of(Workbench(detectors=[detector], limits=LIMITS), LOOPBACK, None)
    kept = []
    shutdown = server.shutdown

    async def watched(sockets=None):
        kept.extend(server.server_state.connections)
        # As a response that nobody takes would leave it.
        kept[0].transport.set_write_buffer_limits(high=0)
        kept[0].transport.write(b"x" * 20_000_000)
        await shutdown(sockets)

    server.shutdown = watched
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_for(lambda: server.started)
        idle = socket.create_connection(listener.getsockname(), timeout=WAIT)
        wait_for(lambda: len(server.server_state.connections) == 1)
    finally:
        server.should_exit = True
        thread.join(WAIT)
        listener.close()
    idle.close()
    assert len(kept) == 1 and kept[0].transport.get_extra_info("socket").fileno() == -1


def test_too_many_who_wait_are_refused(client, bench, image, monkeypatch):
    monkeypatch.setattr(bench.queue, "most", 0)
    reply = client.post("/api/ask", {"ask": "detections", "detector": NAME, "image": image})
    assert reply.status == 503 and "ask again later" in reply.error


@pytest.mark.parametrize("ask", ["detections", "box", "class", "methods", "suppression"])
def test_a_request_that_fails_leaves_the_model_as_it_was(client, detector, image, unchanged, monkeypatch, ask):
    body = {"boxes": [NOWHERE], "label": "dog"} if ask in ("box", "methods") else {}
    body |= {"methods": ["gradcam"]} if ask == "methods" else {"row": 0} if ask == "class" else {}
    head = detector.model.roi_heads.box_head
    handle = head.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("it broke")))
    try:
        reply = client.post("/api/ask", {"ask": ask, "detector": NAME, "image": image, "threshold": 0.63, **body})
    finally:
        handle.remove()
    assert "it broke" in reply.lines()[-1]["error"]
    assert "result" in client.post("/api/ask", {"ask": "detections", "detector": NAME, "image": image}).lines()[-1]


def test_requests_leave_no_tensors_behind(client, detector, image, unchanged):
    def ask_and_fail():
        handle = detector.model.roi_heads.box_head.register_forward_hook(lambda *_: 1 / 0)
        try:
            client.post(
                "/api/ask", {"ask": "box", "detector": NAME, "image": image, "boxes": [NOWHERE], "label": "dog"}
            )
        finally:
            handle.remove()

    ask_and_fail()
    before = tensors()
    ask_and_fail()
    # The one that went last may not have let go of all yet.
    wait_for(lambda: tensors() <= before)
    assert tensors() <= before


def test_every_answer_is_one_line_of_json(client, pixels):
    grey = np.full_like(pixels, 128)
    image = client.upload(png(grey)).json()["image"]
    reply = client.post("/api/ask", {"ask": "detections", "detector": NAME, "image": image, "threshold": 1.0})
    assert reply.headers["content-type"] == "application/x-ndjson" and reply.headers["cache-control"] == "no-store"
    assert reply.body.endswith(b"\n") and reply.lines()[-1]["result"]["detections"] == []
