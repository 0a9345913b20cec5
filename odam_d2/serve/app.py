"""The application: its addresses, and what becomes of errors."""

import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..utils.words import printable
from ..visualize.pages import TEMPLATES, render_page
from .ask_routes import ask_routes
from .guard import LOOPBACK, Guard
from .image_routes import image_routes
from .refusals import RefusedError, refusal, sentence_of
from .run_routes import run_routes
from .workbench import Workbench

PAGE = Path(__file__).parent / "page"
INDEX = "index.html"
_KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


def static_files() -> dict[str, tuple[bytes, str]]:
    """Name -> content and media type of the page, its scripts and styles: a fixed table; no request names a path.

    The report's scripts are among them; a file of the page takes the place of one of theirs.
    """
    found = [
        *TEMPLATES.glob("*.js"),
        *TEMPLATES.glob("*.css"),
        *PAGE.glob("*.js"),
        *PAGE.glob("*.css"),
    ]
    files = {path.name: path.read_bytes() for path in found}
    files[INDEX] = render_page(INDEX, PAGE).encode()
    return {name: (content, f"{_KINDS[Path(name).suffix]}; charset=utf-8") for name, content in files.items()}


def create_app(bench: Workbench, hosts: Collection[str] = LOOPBACK, token: str | None = None) -> Guard:
    """The application behind its guard.

    Args:
        bench: what it works with; closed with it.
        hosts: see :class:`Guard`.
        token: see :class:`Guard`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        bench.close()

    app = FastAPI(
        title="odam serve", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    for routes in (run_routes, image_routes, ask_routes):
        app.include_router(routes(bench))
    _add_page(app)

    @app.get("/api/about")
    def about() -> Response:
        return JSONResponse(bench.about())

    handlers: dict[Any, Callable] = {
        RefusedError: lambda _, error: refusal(error.status, str(error)),
        RequestValidationError: lambda _, error: refusal(422, sentence_of(error.errors())),
        HTTPException: _unknown,
        Exception: lambda _, error: refusal(500, "the server failed, and says on its terminal how"),
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    return Guard(app, hosts, token)


def _add_page(app: FastAPI) -> None:
    files = static_files()

    @app.get("/")
    def index() -> Response:
        return static(INDEX)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in files:
            raise RefusedError(404, f"there is no file {printable(name)[:80]!r}")
        content, kind = files[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})


def _unknown(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        return refusal(404, f"there is nothing at {printable(request.url.path)[:120]!r}")
    return refusal(error.status_code, f"the request can't be answered: {str(error.detail)[:200]}")
