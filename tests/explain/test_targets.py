"""Attribute names and their scalars."""

import torch

from odam_d2.explain.targets import target_scalars
from odam_d2.structures import Predictions


def test_scalars_by_hand():
    predictions = Predictions(
        scores=torch.tensor([0.9, 0.1]),
        logits=torch.tensor([2.0, -1.0]),
        boxes=torch.tensor([[1.0, 2.0, 30.0, 40.0], [5.0, 6.0, 7.0, 8.0]]),
    )
    expected = {
        "score": [0.9, 0.1], "logit": [2.0, -1.0],
        # how far the box reaches outward: more is further out on every side
        "left": [-1.0, -5.0], "top": [-2.0, -6.0], "right": [30.0, 7.0], "bottom": [40.0, 8.0],
        "x1": [1.0, 5.0], "y1": [2.0, 6.0], "x2": [30.0, 7.0], "y2": [40.0, 8.0],
    }  # fmt: skip
    found = target_scalars(predictions, list(expected))
    for scalars, values in zip(found, expected.values(), strict=True):
        assert torch.equal(scalars, torch.tensor(values))
