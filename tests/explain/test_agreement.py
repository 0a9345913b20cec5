"""Explained and reported scores, on numbers."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.structures import Instances

from odam_d2.explain.agreement import ScoresDifferError, require_reported_scores
from odam_d2.structures import Predictions


class Trace(SimpleNamespace):
    def __len__(self):
        return sum(len(found) for found in self.instances)


def trace(*scores, dtype=torch.float32):
    instances = [Instances((8, 8), scores=torch.tensor(one)) for one in scores]
    return Trace(instances=instances, features={"p2": torch.zeros(1, dtype=dtype)}, reported=True)


def said(*scores):
    values = torch.tensor(scores)
    return Predictions(values, values, values[:, None].expand(-1, 4))


def agree(predictions, reported):
    try:
        require_reported_scores(predictions, reported)
    except ScoresDifferError:
        return False
    return True


def test_scores_that_agree():
    assert agree(said(0.5, 0.2, 0.1), trace([0.5, 0.2], [0.1]))
    # 4.9e-5 of .5 is less than a ten-thousandth of it and the absolute millionth; an absolute millionth of nothing too.
    assert agree(said(0.500049, 9e-7), trace([0.5, 0.0]))
    assert not agree(said(0.500049, 2e-6), trace([0.5, 0.0]))
    assert agree(said(), trace([]))


def test_the_worst_of_scores_that_differ_is_named():
    with pytest.raises(ScoresDifferError, match="got 0.211 for box 2 of the batch, reported as 0.447"):
        require_reported_scores(said(0.5, 0.2001, 0.211), trace([0.5, 0.2], [0.447]))
    assert not agree(said(0.50006), trace([0.5]))


def test_half_precision_rounds_by_more():
    # 64 units of 2**-10 are 6 %.
    assert agree(said(0.52), trace([0.5], dtype=torch.float16))
    assert not agree(said(0.55), trace([0.5], dtype=torch.float16))


def test_scores_of_boxes_that_were_pooled_again_are_not_compared():
    again = trace([0.5])
    assert not agree(said(0.9), again)
    again.reported = False
    assert agree(said(0.9), again)
