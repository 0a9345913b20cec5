"""The address of questions, whose answers come line by line."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from .asks import Question
from .bodies import read_json
from .model_queue import Job
from .requests import Question as QuestionBody
from .workbench import Workbench

_ALIVE = 15.0  # seconds after which a line says that the answer is still to come


def ask_routes(bench: Workbench) -> APIRouter:
    """The address ``/api/ask``."""
    router = APIRouter(prefix="/api")

    @router.post("/ask")
    async def ask(request: Request) -> Response:
        body = await read_json(request, QuestionBody, bench.limits.json_bytes)
        question = bench.question(body.root)
        lines = _Lines(asyncio.get_running_loop())
        job = bench.queue.submit(lambda: answered(question), lines.tell)
        return StreamingResponse(_stream(bench, job, lines), media_type="application/x-ndjson")

    return router


def answered(question: Question) -> bytes:
    """The last line of an answer: in the detector's thread, so that the next answer isn't slowed down by it."""
    begin = time.perf_counter()
    result = question.answer()
    result["seconds"] = round(time.perf_counter() - begin, 4)
    return line({"result": result})


def line(content: dict[str, Any]) -> bytes:
    """A line of JSON."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n"


class _Lines:
    """Carries what the detector's thread tells over to the server's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self.queue: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()

    def tell(self, kind: str, value: Any) -> None:
        """See :class:`odam_d2.serve.model_queue.Job`."""
        text = value if kind == "result" else line({kind: value})
        # The loop may have ended, with the server.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.queue.put_nowait, (text, kind in ("result", "error")))


async def _stream(bench: Workbench, job: Job, lines: _Lines) -> AsyncIterator[bytes]:
    """The lines until the last; whoever stops listening stops the work."""
    try:
        while True:
            try:
                text, is_last = await asyncio.wait_for(lines.queue.get(), _ALIVE)
            except asyncio.TimeoutError:
                text, is_last = b"\n", False
            yield text
            if is_last:
                return
    finally:
        bench.queue.abandon(job)
