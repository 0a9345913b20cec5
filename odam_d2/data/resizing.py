"""Resizing that leaves every image at least one pixel high and wide."""

import numpy as np
from detectron2.data import transforms as T  # noqa: N812  Detectron2's own habit


class ResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's, bit for bit, but for images so long that their shorter side would be rounded to no pixel at all."""

    @classmethod
    def of(cls, stock: T.ResizeShortestEdge) -> "ResizeShortestEdge":
        """The same resizing as Detectron2's own."""
        style = "range" if stock.is_range else "choice"
        return cls(stock.short_edge_length, stock.max_size, style, stock.interp)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The resizing of an image, (h, w, c) or (h, w)."""
        found = super().get_transform(image)
        if not isinstance(found, T.ResizeTransform) or min(found.new_h, found.new_w) > 0:
            return found
        height, width = image.shape[:2]
        return T.ResizeTransform(height, width, max(found.new_h, 1), max(found.new_w, 1), self.interp)
