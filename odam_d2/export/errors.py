"""Which verdicts are errors."""

from ..store import DetectionRow

# The six types of TIDE; other verdicts say that a detection is right, or that it isn't judged.
ERROR_TYPES = ("classification", "localisation", "both", "duplicate", "background", "missed")


def error_of(box: DetectionRow) -> str | None:
    """The type of error that a box is; None where it is none, or isn't judged. A missed object is always one."""
    if box.verdict in ERROR_TYPES:
        return box.verdict
    return "missed" if box.kind == "missed" else None
