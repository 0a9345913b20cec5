"""What detectors found a moment ago: who asks about one of the detections needn't wait for all of them again."""

import threading
from collections import OrderedDict

from detectron2.structures import Instances

from .detector import ServedDetector
from .held_images import HeldImage

_MOST = 8


class FoundBefore:
    """Holds the last detections with their maps. It may be used by several threads."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str, str, float], Instances] = OrderedDict()
        self._lock = threading.Lock()

    def detect(self, detector: ServedDetector, image: HeldImage, method: str, threshold: float) -> Instances:
        """Asks the detector, and holds what it finds; see :meth:`ServedDetector.detect`."""
        found = detector.detect(image.pixels, method, threshold)
        with self._lock:
            self._held[detector.name, image.id, method, threshold] = found
            while len(self._held) > _MOST:
                self._held.popitem(last=False)
        return found

    def find(self, detector: ServedDetector, image: HeldImage, method: str, threshold: float) -> Instances:
        """What was found; asks where that isn't held."""
        with self._lock:
            held = self._held.get((detector.name, image.id, method, threshold))
        return self.detect(detector, image, method, threshold) if held is None else held
