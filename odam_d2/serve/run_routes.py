"""Addresses of the run."""

import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import JSONResponse

from ..store.columns import GROUPS, IMAGE_ORDERS
from ..store.filters import ORDERS, Filter, Range
from .run_figures import FIGURE
from .workbench import Workbench

# A column, or any figure.
_ORDER = f"^(?:{'|'.join(ORDERS)}|{FIGURE}[^\\x00]*)$"

Number = Annotated[int, InPath(ge=0, le=2**31)]
Bound = Annotated[float | None, Query(allow_inf_nan=False, ge=-1e12, le=1e12)]
Words = Annotated[list[Annotated[str, Query(max_length=500)]], Query(max_length=200)]
Offset = Annotated[int, Query(ge=0, le=2**31)]


class BoxFilter:
    """The filter that an address names: words may be repeated, an empty one stands for boxes without.

    Attributes:
        filter: it.
        name: a part of the names of the boxes' images, in any case.
    """

    def __init__(
        self,
        kind: Words = [],  # noqa: B006  FastAPI makes it anew for each request
        label: Words = [],  # noqa: B006
        verdict: Words = [],  # noqa: B006
        mechanism: Words = [],  # noqa: B006
        image: Annotated[list[Annotated[int, Query(ge=0, le=2**31)]], Query(max_length=200)] = [],  # noqa: B006
        score_min: Bound = None,
        score_max: Bound = None,
        iou_min: Bound = None,
        iou_max: Bound = None,
        occlusion_min: Bound = None,
        occlusion_max: Bound = None,
        outside_min: Bound = None,
        outside_max: Bound = None,
        area_min: Bound = None,
        area_max: Bound = None,
        judged: Literal["with", "without"] | None = None,
        name: Annotated[str, Query(max_length=500)] = "",
    ):
        self.name = name
        self.filter = Filter(
            _words(kind),
            _words(label),
            _words(verdict),
            _words(mechanism),
            tuple(sorted(set(image))) or None,
            _range(score_min, score_max),
            _range(iou_min, iou_max),
            _range(occlusion_min, occlusion_max),
            _range(outside_min, outside_max),
            _range(area_min, area_max),
            None if judged is None else judged == "with",
        )


def _words(given: list[str]) -> tuple[str | None, ...] | None:
    return tuple(sorted({word or None for word in given}, key=str)) or None


def _range(low: float | None, high: float | None) -> Range | None:
    return None if low is None and high is None else (low, high)


def run_routes(bench: Workbench) -> APIRouter:
    """The addresses below ``/api/run``."""
    router = APIRouter(prefix="/api/run")
    asked = Annotated[BoxFilter, Depends(BoxFilter)]

    @router.get("/images")
    def images(
        chosen: asked,  # type: ignore[valid-type]
        offset: Offset = 0,
        limit: Annotated[int, Query(ge=0, le=1000)] = 200,
        order_by: Literal[IMAGE_ORDERS] = "place",  # type: ignore[valid-type]
    ) -> Response:
        return JSONResponse(bench.require_run().images(chosen.filter, chosen.name, order_by, offset, limit))

    @router.get("/boxes")
    def boxes(
        chosen: asked,  # type: ignore[valid-type]
        offset: Offset = 0,
        limit: Annotated[int, Query(ge=0, le=500)] = 100,
        order_by: Annotated[str, Query(max_length=500, pattern=_ORDER)] = "place",
        descending: bool = False,
        group_by: Literal[GROUPS] | None = None,  # type: ignore[valid-type]
    ) -> Response:
        run = bench.require_run()
        return JSONResponse(run.boxes(chosen.filter, chosen.name, order_by, descending, group_by, offset, limit))

    @router.get("/rows/{number}")
    def rows(number: Number, chosen: asked) -> Response:  # type: ignore[valid-type]
        return JSONResponse({"rows": bench.require_run().rows(number, chosen.filter, chosen.name)})

    @router.get("/figures")
    def figures() -> Response:
        return JSONResponse({"figures": bench.require_run().figures()})

    @router.get("/image/{number}")
    def image(number: Number) -> Response:
        return JSONResponse(bench.require_run().record(number))

    @router.get("/photo/{number}")
    def photo(number: Number, request: Request, thumb: bool = False) -> Response:
        data = bench.require_run().photo(number, thumb)
        # Numbers begin anew with each run: a browser asks whether the photograph that it has is still this one.
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        headers = {"Cache-Control": "private, no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type="image/jpeg", headers=headers)

    @router.post("/open/{number}")
    def open_image(number: Number) -> Response:
        return JSONResponse(bench.images.add(bench.require_run().opened(number)).told())

    return router
