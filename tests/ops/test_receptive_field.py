"""Windows of gradients, against torch's own convolutions and autograd."""

import torch
from torch.nn.functional import conv2d

from odam_d2.ops.receptive_field import crop_windows, step_back


def test_windows_by_hand():
    # A 2 x 3 grid holding 0 .. 5; around its first and last cell, with zeros beyond.
    maps = torch.arange(6.0).view(1, 2, 3, 1)
    found = crop_windows(maps, torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0, 2]), 1)
    assert found[:, 0].tolist() == [
        [[0, 0, 0], [0, 0, 1], [0, 3, 4]],
        [[1, 2, 0], [4, 5, 0], [0, 0, 0]],
    ]


def test_windows_of_several_pictures_and_channels():
    maps = torch.randn(2, 5, 7, 3)
    found = crop_windows(maps, torch.tensor([1]), torch.tensor([2]), torch.tensor([3]), 2)
    assert torch.equal(found[0], maps[1, 0:5, 1:6].permute(2, 0, 1))
    none = torch.zeros(0, dtype=torch.int64)
    assert crop_windows(maps, none, none, none, 1).shape == (0, 3, 3, 3)


def test_two_layers_back_are_autograds_also_at_the_border():
    weight1, weight2 = torch.randn(6, 4, 3, 3), torch.randn(5, 6, 3, 3)
    features = torch.randn(1, 4, 6, 8, requires_grad=True)
    hidden = conv2d(features, weight1, padding=1).relu()
    outputs = conv2d(hidden, weight2, padding=1)
    mask = (hidden > 0).permute(0, 2, 3, 1)
    zero = torch.tensor([0])
    for y, x, channel in ((0, 0, 1), (3, 4, 2), (5, 7, 4), (0, 7, 0)):
        (expected,) = torch.autograd.grad(outputs[0, channel, y, x], features, retain_graph=True)
        place = (zero, torch.tensor([y]), torch.tensor([x]))
        found = step_back(weight2[channel][None], crop_windows(mask, *place, 1).float(), weight1)
        assert found.shape == (1, 4, 5, 5)
        wanted = crop_windows(expected.permute(0, 2, 3, 1), *place, 2)
        inside = crop_windows(torch.ones(1, 6, 8, 1), *place, 2)
        assert torch.allclose(found * inside, wanted, atol=1e-5)
