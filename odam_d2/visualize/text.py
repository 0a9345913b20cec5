"""Text of users drawn into images: on one line, in fonts that have its letters, cut with an ellipsis.

A text is drawn from left to right, and what stands between FSI and PDI (see :func:`isolated`) in its own direction.
"""

import logging
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from PIL import ImageDraw

from ..utils.words import one_line, printable, shortened
from .fonts import Face, faces, is_unseen, lays_out_scripts, own_face, reads_from_right

_MOST = 40  # characters of a name in a label
_ISOLATE, _END = "\u2068", "\u2069"
_PART = re.compile(f"{_ISOLATE}([^{_END}]*){_END}?")
_JOINER = "\u200d"
_said: set[str] = set()


def drawn_name(number: int, name: str) -> str:
    """The name of a class as labels in images have it.

    Args:
        number: of the class.
        name: any text.

    Returns:
        The name on one line, cut where it is long; ``class 7`` where no installed font has its letters, which is said
        once.
    """
    text = shortened(one_line(unicodedata.normalize("NFC", name)), _MOST)
    if text and _runs(text) is not None:
        return isolated(text)
    if text and not _said:
        _said.add(name)
        logging.getLogger(__name__).warning(
            f"No installed font has all letters of the class name '{printable(name)}': images show the number of such "
            "a class instead, and this isn't said again. Install a font that has them, e.g. Noto Sans CJK"
        )
    return f"class {number}"


def isolated(text: str) -> str:
    """A text that keeps its direction to itself: what stands before and behind one from right to left stays there."""
    return f"{_ISOLATE}{text}{_END}" if reads_from_right(text) else text


def text_box(text: str, size: int) -> tuple[float, float, float, float]:
    """The box (left, top, right, bottom) that a text's ink fills, from where its line begins on the base line."""
    boxes, at = [], 0.0
    for face, run in _runs(text) or ():
        font = face.font(size)
        left, top, right, bottom = font.getbbox(run, anchor="ls")
        boxes.append((at + left, top, at + right, bottom))
        at += font.getlength(run)
    if not boxes:
        return 0.0, 0.0, 0.0, 0.0
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def text_width(text: str, size: int) -> float:
    """How wide a text is, in pixels."""
    return sum(face.font(size).getlength(run) for face, run in _runs(text) or ())


def draw_text(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    ink: tuple[int, ...],
    size: int,
    middle: bool = True,
) -> None:
    """Draws a text.

    Args:
        pen: draws.
        place: (x, y) where its line begins.
        text: what to draw.
        ink: its colour.
        size: height of the font, in pixels.
        middle: whether y is the middle of the line; else it is its base line.
    """
    x, y = place
    if middle:
        ascent, descent = own_face().font(size).getmetrics()
        y += (ascent - descent) / 2
    for face, run in _runs(text) or ():
        font = face.font(size)
        pen.text((x, y), run, ink, font, anchor="ls")
        x += font.getlength(run)


def fitting(text: str, size: int, width: float) -> str:
    """The text, or as much of its beginning as fits into a width in pixels, with an ellipsis."""
    if text_width(text, size) <= width:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if text_width(shortened(text, middle), size) <= width:
            fits = middle
        else:
            too_long = middle
    return shortened(text, max(fits, 1))


@lru_cache(maxsize=4096)
def _runs(text: str) -> tuple[tuple[Face, str], ...] | None:
    """The text in runs of one face each; None where no face has one of its letters."""
    runs: list[tuple[Face, str]] = []
    at = 0
    for part in [*_PART.finditer(text), None]:
        pieces = [(text[at : part.start() if part else len(text)], False), (part[1] if part else "", True)]
        at = part.end() if part else at
        for piece, alone in pieces:
            found = _runs_of(piece, alone) if piece else []
            if found is None:
                return None
            runs += found
    return tuple(runs)


def _runs_of(text: str, alone: bool) -> list[tuple[Face, str]] | None:
    if reads_from_right(text):
        if not lays_out_scripts():
            return None
        alone = True
    # A single face can order the letters of several scripts.
    whole = next((face for face in faces() if face.has(text)), None) if alone else None
    if whole is not None:
        return [(whole, text)]
    runs: list[tuple[Face, str]] = []
    for cluster in _clusters(text):
        face = next((face for face in faces() if face.has(cluster)), None)
        if face is None:
            return None
        if runs and runs[-1][0] == face:
            runs[-1] = (face, runs[-1][1] + cluster)
        else:
            runs.append((face, cluster))
    # Pillow's own face is laid out without a thought for what isn't seen.
    return [(face, run if face.path else "".join(c for c in run if not is_unseen(c))) for face, run in runs]


def _clusters(text: str) -> Iterator[str]:
    """Letters with the accents, joiners and joined letters that belong to them."""
    cluster = ""
    for letter in text:
        belongs = unicodedata.category(letter) in ("Mn", "Mc", "Me") or is_unseen(letter) or cluster.endswith(_JOINER)
        if cluster and not belongs and not "\U0001f3fb" <= letter <= "\U0001f3ff":
            yield cluster
            cluster = ""
        cluster += letter
    if cluster:
        yield cluster
