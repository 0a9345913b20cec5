"""Writing files whole or not at all."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Opens a file for writing that appears under its name only once it is complete.

    What is written goes to a temporary file in the same folder, which takes `path`'s place at the end. If the body
    raises, the temporary file is removed and a file that was at `path` before stays untouched.

    Args:
        path: the file to write; its folder is created where missing.
        mode: "w" for text (UTF-8) or "wb" for bytes.

    Yields:
        The open temporary file.

    Raises:
        ValueError: if `mode` is neither of the two.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f'`mode` must be "w" or "wb", since a file is always written whole; got {mode!r}')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Opened by hand: `tempfile` would give the file permissions for its owner alone, which it would then keep.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path` as UTF-8, whole or not at all."""
    with atomic_write(path) as handle:
        handle.write(text)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` to `path` as indented JSON that ends with a newline, whole or not at all.

    Raises:
        TypeError: if `value` holds something that JSON doesn't know, a tensor for example.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")
