"""Addresses of images: choosing, showing, editing, saving."""

import asyncio
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from ..utils.words import one_line, shortened, visible
from ..visualize.report.single import render_stored
from .bodies import read_body, read_json
from .decoding import decode_image
from .edits import edit_image
from .held_images import HeldImage
from .refusals import RefusedError
from .requests import Edits, PageAsked
from .workbench import Workbench

# At a time: each may need the memory of a large file, or of a large image.
_READERS, _DECODERS = 8, 2


def image_routes(bench: Workbench) -> APIRouter:
    """The addresses of images and of the pages that are made of them."""
    router = APIRouter(prefix="/api")
    limits, reading, turns = bench.limits, asyncio.Semaphore(_READERS), asyncio.Semaphore(_DECODERS)

    @router.post("/images")
    async def upload(request: Request, name: Annotated[str, Query(max_length=300)] = "") -> Response:
        async with reading:
            data = await read_body(request, limits.image_bytes)
            async with turns:
                pixels = await run_in_threadpool(decode_image, data, limits)
        async with turns:
            called = shortened(visible(one_line(name)), 120) or "image"
            image = await run_in_threadpool(HeldImage.of_pixels, called, pixels)
        return JSONResponse(bench.images.add(image).told())

    @router.get("/images/{image}")
    def shown(image: Annotated[str, InPath(pattern="^[0-9a-f]{16}$")]) -> Response:
        data, kind = bench.images.find(image).encoded
        # What an id stands for never changes.
        return Response(data, media_type=kind, headers={"Cache-Control": "private, max-age=3600, immutable"})

    @router.post("/edits")
    async def edits(request: Request) -> Response:
        asked = await read_json(request, Edits, limits.json_bytes)
        if sum(len(stroke.points) for stroke in asked.strokes) > limits.points:
            raise RefusedError(413, f"all strokes together must have at most {limits.points} points; got more")
        held, mean = bench.images.find(asked.image), None
        if any(stroke.how == "mean" for stroke in asked.strokes):
            mean = bench.require_mean_pixel(asked.detector)[::-1]
        async with turns:
            try:
                pixels = await run_in_threadpool(edit_image, held.pixels, asked.strokes, mean)
            except ValueError as error:
                raise RefusedError(413, str(error)) from error
            image = await run_in_threadpool(HeldImage.of_pixels, held.name, pixels, held.id)
        return JSONResponse(bench.images.add(image).told())

    @router.post("/page")
    async def page(request: Request) -> Response:
        asked = await read_json(request, PageAsked, limits.json_bytes)
        html, name = await run_in_threadpool(_page, bench, asked)
        told = f"attachment; filename=\"page.html\"; filename*=UTF-8''{quote(name, safe='')}.html"
        return Response(html, media_type="text/html; charset=utf-8", headers={"Content-Disposition": told})

    return router


def _page(bench: Workbench, asked: PageAsked) -> tuple[str, str]:
    """A result as a page of its own, and what its file is called."""
    key, title = asked.record.key, shortened(visible(one_line(asked.title)), 120)
    if key.startswith("run-"):
        number, run = int(key.removeprefix("run-")), bench.require_run()
        stored, pixels = run.stored(number), run.pixels(number)
    else:
        answer = bench.answers.find(key)
        stored, pixels = answer.stored, bench.images.find(answer.image).pixels
    name = title or stored.image.name
    return render_stored(stored, pixels, name), name
