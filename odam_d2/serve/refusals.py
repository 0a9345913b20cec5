"""Why a request is refused, in one sentence, and with which status of HTTP."""

from typing import Any

from fastapi.responses import JSONResponse

from ..utils.words import printable


class RefusedError(Exception):
    """A request that isn't answered.

    Args:
        status: of HTTP, 4xx or 5xx.
        sentence: why, for the one who asked.
    """

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


def refusal(status: int, sentence: str) -> JSONResponse:
    """The response that says why."""
    # Who sends too slowly isn't waited for; others must be able to read why, though they are still sending.
    headers = {408: {"Connection": "close"}, 405: {"Allow": "GET, POST"}}.get(status)
    return JSONResponse({"error": sentence}, status, headers)


def sentence_of(errors: list[Any]) -> str:
    """What pydantic finds wrong with a request, as one sentence about the first fault."""
    first = errors[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    name = ".".join(where) or "the request"
    # Names of fields, and what stands in the place of one, are the asker's own words.
    return printable(f"`{name}` can't be used: {first['msg'][:1].lower()}{first['msg'][1:]}")[:400]
