"""Colours and noise."""

import numpy as np
import pytest

from odam_d2.data.synthetic.rendering.textures import cloth, fractal_noise, hsv


@pytest.mark.parametrize(
    "hue, saturation, value, bgr",
    [
        (0, 1, 1, (0, 0, 255)),
        (120, 1, 1, (0, 255, 0)),
        (240, 1, 1, (255, 0, 0)),
        (60, 1, 0.5, (0, 127.5, 127.5)),  # yellow at half brightness
        (200, 0, 0.4, (102, 102, 102)),  # grey has no hue
    ],
)
def test_hsv(hue, saturation, value, bgr):
    np.testing.assert_allclose(hsv(hue, saturation, value), bgr, atol=1e-9)


def test_noise_is_seeded_and_has_no_offset():
    first, second = (fractal_noise(np.random.default_rng(1), 120, 160, 20) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (120, 160) and first.dtype == np.float32
    assert abs(first.mean()) < 0.15 and 0.2 < first.std() < 0.7


def test_cloth_is_a_colour_or_a_texture_of_the_board():
    kinds = set()
    for seed in range(12):
        brush = cloth(np.random.default_rng(seed), (40, 30), 100.0)
        kinds.add(brush.ndim)
        assert brush.shape in ((3,), (40, 30, 3))
        assert brush.min() >= 0 and brush.max() <= 255
    assert kinds == {1, 3}
