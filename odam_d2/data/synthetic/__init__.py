"""Images drawn by this package, with exact annotations: streets and crowds."""

from .scenes import SyntheticScenes

__all__ = ["SyntheticScenes"]
