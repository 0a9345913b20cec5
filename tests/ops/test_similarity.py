"""Cosine similarity of maps."""

import numpy as np
import torch
from scipy.spatial.distance import cdist

from odam_d2.ops.similarity import cosine_similarity


def test_is_scipys_cosine():
    maps = torch.rand(6, 40)
    expected = 1 - cdist(maps.numpy(), maps.numpy(), "cosine")
    assert np.allclose(cosine_similarity(maps).numpy(), expected, atol=1e-6)


def test_by_hand_and_zero_maps():
    # (3, 4) and (4, 3) have length 5: (12 + 12) / 25 = .96; the zero map is like nothing, itself included.
    found = cosine_similarity(torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]]))
    assert torch.allclose(found, torch.tensor([[1.0, 0.96, 0.0], [0.96, 1.0, 0.0], [0.0, 0.0, 0.0]]), atol=1e-6)
