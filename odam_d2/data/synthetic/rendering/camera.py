"""The ground plane: where something stands in the image decides how large it is."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Camera:
    """A level pinhole camera above a flat ground.

    Attributes:
        horizon: image row of the horizon, pixels.
        height: metres above the ground.
        focal: focal length, pixels.
        heading: angle of the street against the viewing direction, radians.
    """

    horizon: float
    height: float
    focal: float
    heading: float

    def scale(self, y: float) -> float:
        """Image pixels per metre for what stands on the ground at image row `y`."""
        return (y - self.horizon) / self.height

    def row(self, scale: float) -> float:
        """Image row of the ground where things appear at `scale` pixels per metre."""
        return self.horizon + scale * self.height

    def ground(self, rows: np.ndarray, columns: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Ground coordinates of image pixels below the horizon.

        Args:
            rows, columns: arrays of image rows and columns that broadcast.
            width: image width in pixels.

        Returns:
            (across, along) metres in the street's frame.
        """
        depth = self.focal * self.height / np.maximum(rows - self.horizon, 0.5)
        lateral = (columns - width / 2) * depth / self.focal
        c, s = np.float32(np.cos(self.heading)), np.float32(np.sin(self.heading))
        return lateral * c + depth * s, depth * c - lateral * s
