"""OpenCV, which reads and writes videos: asked for here alone, and without its chatter."""

import os
from types import ModuleType

# FFmpeg inside OpenCV prints what is wrong with a file; we say it in a sentence. Somebody who has set it wants it.
_QUIET = "-8"


def opencv() -> ModuleType:
    """The module ``cv2``, quiet about files that it can't read or write.

    Raises:
        ImportError: if it isn't installed.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _QUIET)
    try:
        import cv2
        from cv2.utils import logging
    except ImportError as error:
        raise ImportError(
            f"OpenCV must be installed to read and write videos; got none ({error}): pip install opencv-python-headless"
        ) from error
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    return cv2
