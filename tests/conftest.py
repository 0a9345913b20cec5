"""What all tests share."""

import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from odam_d2.data import register_datasets
from odam_d2.utils.foreign_warnings import IGNORED
from tests.fresh import fresh  # noqa: F401  a fixture
from tests.wants import pytest_sessionfinish  # noqa: F401  pytest finds this hook here

# Each process takes a gigabyte, so that many cores don't mean as many of them.
MOST_WORKERS = 8

# Small tensors gain nothing from more threads, and on shared cores threads that wait for each other lose much.
torch.set_num_threads(1)

# Some of torch's warnings come once in a process, whichever test is the first to meet them: let it be each of them.
torch.set_warn_always(True)

register_datasets()


def pytest_addoption(parser):
    """Adds what asks for more than every run does."""
    parser.addoption("--zoo", action="store_true", help="all of Detectron2's configs in tests/zoo, not a sample")


def pytest_configure(config):
    """Ignores what the package ignores: pytest sets every test's filters itself, so the package's own don't last."""
    for one in IGNORED:
        config.addinivalue_line("filterwarnings", one.option())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """How many processes ``-n auto`` means: one for each core that this one may keep busy, none but itself for one."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:  # pytest-xdist's own business
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of work in each period, or max
    if share.is_file():
        quota, period = share.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    return 0 if cores == 1 else min(cores, MOST_WORKERS)


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seeds every generator anew before each test, so that its numbers don't depend on what ran before."""
    value = 0
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
    return value


@pytest.fixture
def smooth_relus(monkeypatch) -> None:
    """Softplus for ReLU, for tests that compare gradients of two passes over different numbers of RoIs or images.

    Such passes round differently. Among millions of numbers before a ReLU some lie within rounding of zero: these are
    open in one pass and shut in the other, and gradients differ by whole paths. A function without a kink leaves only
    rounding. Not for the engine of dense heads, which reads the masks of ReLUs.
    """

    def softplus(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        del inplace
        return torch.nn.functional.softplus(x, beta=4.0)

    for name in ("relu", "relu_"):
        monkeypatch.setattr(torch.nn.functional, name, softplus)


@pytest.fixture(autouse=True)
def logs_reach_pytest(monkeypatch):
    """Undoes what a tool's set-up of logging leaves behind in this process: records that end at its own handlers."""
    monkeypatch.setattr(logging.getLogger("odam_d2"), "propagate", True)
