"""Less precision for a detector that is only asked for its detections, many times over."""

import torch

from .autocast_operators import cast_operators_on_cpu


def low_precision(device: torch.device, enabled: bool = True) -> torch.autocast:
    """PyTorch's automatic mixed precision with the type that the device is quick in.

    Args:
        device: of the detector: bfloat16 on a CPU, half precision on a GPU.
        enabled: False for a context in which the precision of the weights counts, also inside of somebody else's.
    """
    if enabled and device.type == "cpu":
        cast_operators_on_cpu()
    dtype = torch.bfloat16 if device.type == "cpu" else torch.float16
    return torch.autocast(device.type, dtype=dtype, enabled=enabled)
