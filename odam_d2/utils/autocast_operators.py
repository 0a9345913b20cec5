"""torchvision's operators under autocast on CPUs, which torchvision before 0.17 knows on GPUs alone."""

import functools

import torch
import torchvision  # noqa: F401  registers them
from torch import Tensor

# They compute in single precision under autocast on GPUs, and on CPUs in later versions.
_OPERATORS = ("nms", "roi_align")
_KEPT: list[torch.library.Library] = []  # what is registered lasts as long as its library


@functools.cache
def cast_operators_on_cpu() -> None:
    """Lets NMS and RoIAlign take mixed precision under autocast on CPUs, where torchvision doesn't do it itself."""
    missing = [
        name
        for name in _OPERATORS
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f"torchvision::{name}", "AutocastCPU")
    ]
    if not missing:
        return
    library = torch.library.Library("torchvision", "IMPL")
    for name in missing:
        library.impl(name, functools.partial(_in_single_precision, name), "AutocastCPU")
    _KEPT.append(library)


def _in_single_precision(name: str, *args: object) -> Tensor:
    first = next(one for one in args if isinstance(one, Tensor))
    with torch.autocast("cpu", enabled=False):
        cast = [one.float() if isinstance(one, Tensor) else one for one in args]
        found = getattr(torch.ops.torchvision, name)(*cast)
    # Rows stay numbers; what was pooled is of the type of the features, as on GPUs.
    return found.to(first.dtype) if found.is_floating_point() else found
