"""What a detection can be, and by which numbers that is decided.

Source: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020 (arXiv 2008.08115),
section 2. Where the paper leaves a choice, it is made as the package ``tidecv`` makes it.
"""

from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """What a detection is. The first that holds, with t_f and t_b the IoUs of :class:`ErrorRules`.

    Attributes:
        TRUE_POSITIVE: by falling score, a detection takes the free object of its class that it overlaps most, if by at
            least t_f.
        LOCALISATION: its best overlap with an object of its class, taken or not, is in [t_b, t_f].
        CLASSIFICATION: it overlaps an object of another class by at least t_f.
        DUPLICATE: it overlaps an object of its class by at least t_f, which a better detection took.
        BACKGROUND: it overlaps no object by more than t_b.
        BOTH: what is left: it overlaps an object of another class, by more than t_b and less than t_f.
        IGNORED: more than t_f of its area lies in a region of its class that is to be ignored, and it isn't a true
            positive. It counts neither for nor against the detector.
        NOT_COUNTED: its image has as many better ones as count.
    """

    TRUE_POSITIVE = 0
    CLASSIFICATION = 1
    LOCALISATION = 2
    BOTH = 3
    DUPLICATE = 4
    BACKGROUND = 5
    IGNORED = 6
    NOT_COUNTED = 7

    @property
    def word(self) -> str:
        """The name as files and pages have it: ``true_positive`` .. ``not_counted``."""
        return self.name.lower()


@dataclass(frozen=True)
class ErrorRules:
    """By which numbers detections are judged.

    Attributes:
        foreground: t_f, the IoU from which on a detection is at an object's place.
        background: t_b, the IoU up to which it is at no object's place.
        max_detections: how many of an image count, the best ones, whatever their classes.

    Raises:
        ValueError: if the numbers are out of range or order.
    """

    foreground: float = 0.5
    background: float = 0.1
    max_detections: int = 100

    def __post_init__(self) -> None:
        if not 0.0 < self.background < self.foreground <= 1.0:
            raise ValueError(
                "`background` and `foreground` must be IoUs above 0, the first below the second; got "
                f"{self.background} and {self.foreground}: .1 and .5 are the paper's"
            )
        if self.max_detections < 1:
            raise ValueError(f"`max_detections` must be at least 1; got {self.max_detections}: 100 is usual")
