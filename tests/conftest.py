"""What all tests share."""

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
