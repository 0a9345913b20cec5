"""Lines of `.odgt` files, and the JSON objects in them, whatever encoding a tool wrote them in."""

import codecs
import json
import math
import os
from collections.abc import Iterator
from typing import Any

from .json_files import encoding_of
from .values import UnusableError, shown


def odgt_lines(odgt: str | os.PathLike) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that aren't blank.

    Args:
        odgt: in UTF-8; or in UTF-16 or UTF-32, with or without a byte order mark.

    Yields:
        The number of a line, from 1, and the line in UTF-8 without its end and without a mark.

    Raises:
        ValueError: if the file can't be read.
    """
    try:
        with open(odgt, "rb") as file:
            encoding = encoding_of(file.peek(4)[:4])[1]
            lines = file if encoding == "utf-8" else _in_utf8(file.read(), encoding)
            for number, line in enumerate(lines, 1):
                text = line.removeprefix(codecs.BOM_UTF8).strip()
                if text:
                    yield number, text
    except OSError as error:
        raise ValueError(
            f"`odgt` must be a text file in CrowdHuman's format; got {os.fspath(odgt)!r}: {error.strerror or error}; "
            "datasets/README.md says where CrowdHuman's files belong"
        ) from error


def parse_line(line: bytes) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        UnusableError: if it holds something else.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnusableError("is no UTF-8", f"{error.reason} at byte {error.start + 1}") from error
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        detail = f"{error.msg} at character {error.pos + 1}"
        if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
            raise UnusableError("is no JSON but ends in the middle", detail) from error
        raise UnusableError("is no JSON", detail) from error
    except RecursionError as error:
        raise UnusableError("is nested too deeply") from error
    except ValueError:  # a number of more digits than Python reads
        found = json.loads(text, parse_int=_whole)
    if not isinstance(found, dict):
        raise UnusableError("is no JSON object", shown(found))
    return found


def _in_utf8(data: bytes, encoding: str) -> list[bytes]:
    # Its line ends have several bytes. What isn't in the encoding becomes a character that no JSON has outside of text:
    # its line is named, not the file.
    return [line.encode("utf-8") for line in data.decode(encoding, "replace").split("\n")]


def _whole(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return math.inf
