"""Warnings that point at the line of the user's code, however deep in the package they arise."""

import os
import sys
import warnings
from types import FrameType

import detectron2
import torch

# Folders whose frames are never the user's: this package, and what calls it back (modules' hooks, evaluation loops).
_NOT_THE_USERS = tuple(
    os.path.join(os.path.dirname(os.path.abspath(file)), "")
    for file in (os.path.dirname(__file__), detectron2.__file__, torch.__file__)
    if file is not None
)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """``warnings.warn`` for the innermost line outside this package, Detectron2 and torch.

    What Python 3.12 has as ``skip_file_prefixes``. If everything on the stack lies inside, it is the outermost line.

    Args:
        message: what to say.
        category: of the warning.
    """
    frame = _user_frame(sys._getframe(1))
    warnings.warn_explicit(
        message,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _user_frame(frame: FrameType) -> FrameType:
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(_NOT_THE_USERS):
        frame = frame.f_back
    return frame
