"""Reads the body of a request, never more of it than is allowed, and never for ever."""

import asyncio
import time
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from .refusals import RefusedError, sentence_of

Asked = TypeVar("Asked", bound=BaseModel)
# Who sends nothing for long would keep others from their turn.
_PATIENCE = 15.0  # seconds
_SLOWEST = 32 * 1024  # bytes a second, on average


async def read_body(request: Request, most: int) -> bytes:
    """The body.

    Args:
        request: the request.
        most: bytes that it may have. What it says of its length is believed where that is too much, and counted anyway.

    Raises:
        RefusedError: with 413 if it has more, 400 if it is cut off, 408 if it comes too slowly.
    """
    said = request.headers.get("content-length", "")
    # A number of thousands of digits would take long to read.
    if said and (len(said) > 15 or not said.isascii() or not said.isdigit() or int(said) > most):
        raise _too_large(most)
    parts, size, coming, end = [], 0, request.stream(), time.monotonic() + _PATIENCE
    try:
        while True:
            left = end + size / _SLOWEST - time.monotonic()
            part = await asyncio.wait_for(anext(coming), max(0.0, left))
            size += len(part)
            if size > most:
                raise _too_large(most)
            parts.append(part)
    except StopAsyncIteration:
        pass
    except asyncio.TimeoutError as error:
        raise RefusedError(
            408, f"what is posted must come within {_PATIENCE:g} s; got {size} bytes of it: send it again"
        ) from error
    except ClientDisconnect as error:
        raise RefusedError(400, "the request must be whole; got one that was cut off") from error
    return b"".join(parts)


async def read_json(request: Request, model: type[Asked], most: int) -> Asked:
    """What a request asks.

    Args:
        request: the request.
        model: what it must hold.
        most: bytes that it may have.

    Raises:
        RefusedError: with 413 if it has more, 422 if it holds something else.
    """
    return parsed(model, await read_body(request, most))


def parsed(model: type[Asked], body: bytes) -> Asked:
    """A body in JSON as a `model`; raises RefusedError with 422 where it is none."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise RefusedError(
            422, sentence_of(error.errors(include_url=False, include_context=False, include_input=False))
        ) from error


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, f"what is posted must have at most {most} bytes; got more: make it smaller")
