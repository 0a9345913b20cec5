"""What the server takes in and keeps, at most."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServeLimits:
    """Limits of the server.

    Attributes:
        image_bytes: of an image's file.
        pixels: of an image.
        side: pixels that an image may be wide or high; JPEG, in which it is shown, has no more.
        json_bytes: of a request in JSON.
        waiting: requests that wait for a detector.
        images: that are held, beside the samples.
        held_pixels: of all these together.
        results: that are held, so that they can be saved as a page.
        boxes: that are given in a request.
        strokes: of a brush in a request.
        points: of all strokes together.
    """

    image_bytes: int = 32 * 2**20
    pixels: int = 40_000_000
    side: int = 65_500
    json_bytes: int = 2**20
    waiting: int = 64
    images: int = 32
    held_pixels: int = 200_000_000
    results: int = 16
    boxes: int = 100
    strokes: int = 500
    points: int = 20_000
