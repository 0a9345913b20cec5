"""What all tests share."""

import logging
import random

import numpy as np
import pytest
import torch

# Small tensors gain nothing from more threads, and on shared cores threads that wait for each other lose much.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seeds every generator anew before each test, so that its numbers don't depend on what ran before."""
    value = 0
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
    return value


@pytest.fixture(autouse=True)
def logs_reach_pytest(monkeypatch):
    """Undoes what a tool's set-up of logging leaves behind in this process: records that end at its own handlers."""
    monkeypatch.setattr(logging.getLogger("odam_d2"), "propagate", True)
