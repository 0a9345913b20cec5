"""The time at which what was asked for is done."""

import time

import torch


def now() -> float:
    """Seconds, from any start; on a machine with GPUs when they have done what they were given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
