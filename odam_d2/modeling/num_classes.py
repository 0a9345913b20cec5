"""How many classes a detector has, whatever its kind."""

import torch

from ..utils.untyped import UntypedModule


def count_classes(model: torch.nn.Module) -> int | None:
    """How many classes a detector tells apart; None for one that proposes regions of no class."""
    heads: UntypedModule = getattr(model, "roi_heads", model)
    return int(heads.num_classes) if hasattr(heads, "num_classes") else None
