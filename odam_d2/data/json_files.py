"""Reads files of JSON in the encodings that tools write, and says what is wrong with the others."""

import codecs
import json
import math
import os
from pathlib import Path
from typing import Any

# The longer mark first: the one of UTF-16 begins that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_json(path: str | os.PathLike) -> tuple[Any, str | None]:
    """What a file of JSON holds.

    Args:
        path: the file, in UTF-8; or in UTF-16 or UTF-32, with or without a byte order mark.

    Returns:
        Its content; and in words what was done to read it, None for a plain file.

    Raises:
        ValueError: if it can't be read; what is wrong, without the file's name.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{error.strerror or error}: name a file that is there and may be read") from error
    if not data.strip():
        raise ValueError("the file is empty: write it again")
    mark, encoding = encoding_of(data)
    try:
        content = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ValueError(
                f"it begins in {encoding.upper()} and goes on otherwise at byte {error.start + len(mark) + 1}: it was "
                "cut off or mixed, so copy or write it again"
            ) from error
        raise ValueError(_not_utf8(path, data, error)) from error
    if mark:
        return _parse(content), f"the byte order mark of {encoding.upper()} was left out"
    return _parse(content), None if encoding == "utf-8" else f"it was read as {encoding.upper()}"


def encoding_of(data: bytes) -> tuple[bytes, str]:
    """The byte order mark that text of JSON begins with, empty where it has none, and its encoding.

    Args:
        data: the text, or at least its first four bytes.
    """
    return next((one for one in _MARKS if data.startswith(one[0])), (b"", json.detect_encoding(data)))


def _parse(content: str) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        if error.pos >= len(content.rstrip()) or error.msg.startswith("Unterminated string"):
            raise ValueError(
                f"the file ends in the middle, at line {error.lineno} ({error.msg}): it was cut off, so copy or write "
                "it again"
            ) from error
        raise ValueError(
            f"it is no JSON at line {error.lineno}, column {error.colno} ({error.msg}): mend it there, or write it "
            "again"
        ) from error
    except RecursionError as error:
        raise ValueError("its lists are nested too deeply: write them flat") from error
    except ValueError:  # a number of more digits than Python reads
        return json.loads(content, parse_int=_whole)


def _whole(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return math.inf


def _not_utf8(path: str | os.PathLike, data: bytes, error: UnicodeDecodeError) -> str:
    line = data[: error.start].count(b"\n") + 1
    name = Path(path).name
    return (
        f"it is not in UTF-8 (byte {error.start + 1}, in line {line}, is {data[error.start]:#04x}): if it was written "
        f"in Latin-1, re-encode it by iconv -f LATIN1 -t UTF-8 {name!r} > new.json"
    )
