"""The time at which what was asked for is done, and the memory that it took."""

import resource
import sys
import time
from pathlib import Path

import torch


def now() -> float:
    """Seconds, from any start; on a machine with GPUs when they have done what they were given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_mib(device: torch.device) -> float:
    """Most memory in MiB that this process has held so far: on a GPU there, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.is_file():  # Linux' ru_maxrss starts at the parent's peak, which is that of whoever started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
