"""Fonts for text of any script, as far as one is installed: Pillow's own, matplotlib's, and those of the system."""

import logging
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from PIL import ImageFont, features

_LOGGER = logging.getLogger(__name__)
# Faces that are taken last among those that have a letter.
_SPECIAL = ("bold", "italic", "oblique", "black", "heavy", "light", "thin", "mono", "serif", "condensed", "symbol")
_NOT_LETTERS = ("lastresort", "blank")  # faces that have a box, or nothing, for every character there is
Font = ImageFont.FreeTypeFont


@dataclass(frozen=True)
class Face:
    """A font of any size.

    Attributes:
        path: its file; None for Pillow's own.
        letters: numbers of the characters that it has.
    """

    path: str | None
    letters: frozenset[int]

    def font(self, size: int) -> Font:
        """The font, `size` pixels high."""
        return _font(self.path, size)

    def has(self, text: str) -> bool:
        """Whether it can draw a text; what is never seen doesn't count."""
        return all(ord(letter) in self.letters or is_unseen(letter) for letter in text) and (
            self.path is None or _leaves_ink(self.path, text)
        )


def is_unseen(letter: str) -> bool:
    """Whether a character only says how others are drawn: a joiner, a direction, a variant."""
    return unicodedata.category(letter) == "Cf" or "\ufe00" <= letter <= "\ufe0f"


def reads_from_right(text: str) -> bool:
    """Whether a text has letters of Hebrew, Arabic or another script from right to left."""
    return any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text)


@lru_cache(maxsize=1)
def lays_out_scripts() -> bool:
    """Whether Pillow can join and order letters of scripts from right to left."""
    return bool(features.check_feature("raqm")) and bool(features.check_feature("fribidi"))


@lru_cache(maxsize=64)
def _font(path: str | None, size: int) -> Font:
    # Cached: loading takes longer than drawing a label.
    return cast(Font, ImageFont.load_default(size)) if path is None else ImageFont.truetype(path, size)


@lru_cache(maxsize=4096)
def _leaves_ink(path: str, text: str) -> bool:
    """Whether drawing leaves anything; fonts of coloured emoji have letters that Pillow draws as nothing."""
    try:
        return text.isspace() or _font(path, 20).getmask(text).getbbox() is not None
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=1)
def own_face() -> Face:
    """Pillow's own face, for English."""
    content = cast(BinaryIO, _font(None, 20).path)
    content.seek(0)
    return Face(None, _letters(content))


def faces() -> Iterator[Face]:
    """All faces: the first that has a letter draws it. Those of the system are read only when they are asked for."""
    yield own_face()
    # Here, since it takes a noticeable time to import and few labels need it.
    import matplotlib

    for path in (os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), *_system_fonts()):
        face = _face(path)
        if face is not None:
            yield face


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    from matplotlib import font_manager

    def order(path: str) -> tuple[int, str]:
        name = Path(path).stem.lower()
        return sum(word in name for word in _SPECIAL), name

    real = (path for path in font_manager.findSystemFonts() if not any(word in path.lower() for word in _NOT_LETTERS))
    return tuple(sorted(real, key=order))


@cache
def _face(path: str) -> Face | None:
    try:
        letters = _letters(path)
        ImageFont.truetype(path, 20)
    except Exception as error:  # a font that is broken, or of fixed sizes, isn't there for us
        _LOGGER.debug(f"Font {path!r} can't be used: {error}")
        return None
    return Face(path, letters)


def _letters(source: str | BinaryIO) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(source).get_charmap())
