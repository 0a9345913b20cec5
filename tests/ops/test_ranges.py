"""Numbers one behind the other."""

import torch

from odam_d2.ops.ranges import ranges


def test_ranges_follow_each_other_as_chosen():
    first, length = torch.tensor([10, 0, 7]), torch.tensor([2, 3, 0])
    assert ranges(first, length, torch.tensor([1, 0, 2, 0])).tolist() == [0, 1, 2, 10, 11, 10, 11]
    assert ranges(first, length, torch.zeros(0, dtype=torch.int64)).tolist() == []
