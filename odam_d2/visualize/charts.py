"""Words of users in matplotlib's charts: never a formula, on one line, in fonts that have their letters."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib import font_manager, style

from ..utils.words import one_line, shortened
from .fonts import faces, is_unseen

_MOST = 60  # characters


@contextmanager
def plain_words(*words: str) -> Iterator[None]:
    """For the time of a block matplotlib takes texts as they are, and has fonts for the letters of `words`.

    All else is as matplotlib has it by default, whatever style the caller has set: a large font leaves charts no room.

    Both making the texts and drawing them belong into the block.
    """
    families = list(matplotlib.rcParamsDefault["font.family"])
    wanted = {letter for word in words for letter in chart_word(word) if not is_unseen(letter)}
    for face in faces():
        if not wanted:
            break
        found = {letter for letter in wanted if face.has(letter)}
        if found and face.path is not None:
            font_manager.fontManager.addfont(face.path)
            families.append(font_manager.FontProperties(fname=face.path).get_name())
        wanted -= found
    words_as_they_are = {"text.parse_math": False, "text.usetex": False, "font.family": families}
    with style.context(["default", words_as_they_are]):
        yield


def chart_word(word: str, most: int = _MOST) -> str:
    """A word as a chart has it: on one line of at most `most` characters, letters that no font has replaced."""
    line = shortened(one_line(word), most)
    line = "".join(one if is_unseen(one) or any(face.has(one) for face in faces()) else "\ufffd" for one in line)
    # Legends leave words out that begin with an underscore.
    return f" {line}" if line.startswith("_") else line
