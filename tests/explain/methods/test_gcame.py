"""G-CAME: by hand, and by plain autograd and loops."""

import pytest
import torch

from tests.helpers import combined, compact_detector, explained_box, given, random_input, relative_error, window_chunk

INPUTS, BOX = [random_input(96, 128)], given((96, 128), [[20, 15, 90, 80]], [1])


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


def test_by_hand():
    # One channel in a row of four cells, its gradient [1 3] in cells 1 and 2: the mean is 1, the maximum at cell 2.
    # A box of 8 pixels, 4 cells of 2 pixels, and a width of 1/4: sigma is one cell. At a distance of d cells the
    # Gaussian is exp(-d^2 / 2): exp(-2), exp(-1/2), 1, exp(-1/2), times features of 1, 2, 3, 4.
    features = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    chunk = window_chunk(torch.tensor([[[[1.0, 3.0]]]]), features, (0, 1), box=(0.0, 0.0, 8.0, 2.0), stride=2.0)
    expected = torch.tensor([1.0, 2.0, 3.0, 4.0]) * torch.tensor([-2.0, -0.5, 0.0, -0.5]).exp()
    assert combined("gcame", chunk)[0] == pytest.approx(expected.tolist())


def test_gaussians_are_at_least_half_a_cell_wide():
    chunk = window_chunk(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[1.0, 1.0]]]), box=(0.0, 0.0, 0.1, 0.1))
    # exp(-1 / (2 / 4)) = exp(-2), by the mean of 1 / 2.
    assert combined("gcame", chunk)[0] == pytest.approx([0.5, 0.5 * float(torch.tensor(-2.0).exp())])


def test_against_plain_autograd(model):
    found, gradient, features, trace = explained_box(model, INPUTS, BOX, "gcame", width=0.3)
    stride = trace.strides[trace.level_names[int(trace.level_index[0, 0])]]
    left, top, right, bottom = trace.boxes[0].tolist()
    spread_y, spread_x = 0.3 * (bottom - top) / stride, 0.3 * (right - left) / stride
    height, width = features.shape[1:]
    y, x = torch.arange(height)[:, None], torch.arange(width)
    expected = torch.zeros(height, width)
    for g, a in zip(gradient, features, strict=True):
        near = (g.abs() >= 0.999 * g.abs().max()).nonzero().float().mean(0)  # RoIAlign's neighbours tie
        gaussian = (-((y - near[0]) ** 2) / (2 * spread_y**2) - (x - near[1]) ** 2 / (2 * spread_x**2)).exp()
        expected += g.mean() * gaussian * a
    assert relative_error(found[None], expected.clamp(min=0)[None]) < 1e-4


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_that_is_none(model, width):
    with pytest.raises(ValueError, match="`width` must be a number > 0"):
        explained_box(model, INPUTS, BOX, "gcame", width=width)
