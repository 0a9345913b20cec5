"""Words of users (names of files and classes) on their way into lines of text, Markdown and addresses.

Such a word can hold anything: line breaks, control characters, text from right to left, and halves of surrogate pairs,
by which Python stands for the bytes of a file name that are no text.
"""

import os
import re
import unicodedata
from urllib.parse import quote

# Characters that turn the direction of all that follows on the line.
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PICTURES = {**{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}, 127: 0x2421}
_MARKDOWN = re.compile(r"[\\`|*<>\[\]#~$&]|(?<![^\W_])_|_(?![^\W_])")


def printable(text: str | os.PathLike) -> str:
    """A word for one line of a terminal or a log: what would break the line, or command the terminal, is escaped."""
    return "".join(_escaped(letter) if _is_unprintable(letter) else letter for letter in os.fspath(text))


def _is_unprintable(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in _TURNS


def _escaped(letter: str) -> str:
    """As in a Python string; the half of a pair that stands for a byte as that byte."""
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 126 else repr(letter)[1:-1]


def visible(text: str) -> str:
    """A word for a page: of control characters, which browsers drop, their pictures; line breaks and tabs stay."""
    return "".join(_escaped(one) if "\ud800" <= one <= "\udfff" else one for one in text.translate(_PICTURES))


def one_line(text: str) -> str:
    """A word as one line to be drawn: white space becomes single spaces; what can't be seen is left out."""
    seen = (" " if letter.isspace() else letter for letter in text)
    kept = (letter for letter in seen if unicodedata.category(letter) not in ("Cc", "Cs") and letter not in _TURNS)
    return " ".join("".join(kept).split())


def shortened(text: str, most: int) -> str:
    """A word of at most `most` characters: a longer one ends with an ellipsis; no letter loses its accents alone."""
    if len(text) <= most:
        return text
    end = max(most - 1, 0)
    while end > 0 and (unicodedata.combining(text[end]) or text[end] in "\u200d\ufe0e\ufe0f"):
        end -= 1
    return text[:end].rstrip("\u200d ") + "…"


def markdown_text(text: str) -> str:
    """A word inside a line, or a table's cell, of Markdown, where it is read as it is."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", printable(text))


def file_address(path: str | os.PathLike) -> str:
    """The address of a file for a page's link, from its path in the form of the system, relative or absolute."""
    return quote(os.fsencode(os.fspath(path).replace(os.sep, "/")))
