"""Bootstrap intervals: what is known of them without drawing, and a plain loop."""

import math

import numpy as np
import pytest

from odam_d2.evaluation import bootstrap_interval
from odam_d2.evaluation.bootstrap import bootstrap_intervals


def test_equal_values_leave_no_doubt():
    assert bootstrap_interval(np.full(9, 0.25), np.arange(9)) == (0.25, 0.25)


def test_one_image_leaves_no_doubt_either():
    # Objects of an image are drawn together, so every resampling is the image itself: mean 2.
    assert bootstrap_interval(np.array([1.0, 2.0, 3.0]), np.array(["a", "a", "a"])) == (2.0, 2.0)


def test_nan_is_left_out_and_nothing_gives_nan():
    with_nan = bootstrap_interval(np.array([1.0, np.nan, 3.0]), np.array([0, 1, 2]))
    assert with_nan == bootstrap_interval(np.array([1.0, 3.0]), np.array([0, 2]))
    assert all(math.isnan(v) for v in bootstrap_interval(np.array([np.nan]), np.array([0])))
    assert all(math.isnan(v) for v in bootstrap_interval(np.array([]), np.array([])))


def test_the_width_is_that_of_the_standard_error():
    # 400 images with one value each, variance 1: the interval is 2 * 1.96 / 20 = .196 wide, but for the draws.
    values = np.random.default_rng(0).standard_normal(400)
    values = (values - values.mean()) / values.std()
    low, high = bootstrap_interval(values, np.arange(400))
    assert low < 0 < high and high - low == pytest.approx(0.196, rel=0.1)


def test_images_of_several_objects_against_a_plain_loop():
    generator = np.random.default_rng(1)
    values, images = generator.random(30), generator.integers(0, 8, 30)
    names = np.unique(images)
    means = []
    for _ in range(4000):
        drawn = np.concatenate([values[images == name] for name in generator.choice(names, len(names))])
        means.append(drawn.mean())
    found = bootstrap_interval(values, images, resamplings=4000)
    assert found == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.01)
    assert found == bootstrap_interval(values, images, resamplings=4000)  # seeded


def test_several_means_at_once_are_each_alone(monkeypatch):
    generator = np.random.default_rng(2)
    counts = generator.integers(0, 3, (12, 4))
    counts[:, 0] += 1  # a value in every image, so that both draw from the same images
    counts[:, 3] = 0
    sums = counts * generator.random((12, 4))
    low, high = bootstrap_intervals(sums, counts, seed=5)
    values = np.repeat(sums[:, 0] / counts[:, 0], counts[:, 0])
    alone = bootstrap_interval(values, np.repeat(np.arange(12), counts[:, 0]), seed=5)
    assert (low[0], high[0]) == pytest.approx(alone, rel=1e-12)
    assert np.isnan(low[3]) and np.isnan(high[3])
    draws = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), size=2000)
    for column in (1, 2):
        means = [d @ sums[:, column] / (d @ counts[:, column]) for d in draws if d @ counts[:, column]]
        expected = np.quantile(means, [0.025, 0.975])
        assert (low[column], high[column]) == pytest.approx(tuple(expected), rel=1e-12)
    monkeypatch.setattr("odam_d2.evaluation.bootstrap._DRAWS_AT_ONCE", 100)  # 8 resamplings at a time
    assert np.allclose(bootstrap_intervals(sums, counts, seed=5), (low, high), rtol=1e-12, equal_nan=True)
    assert np.isnan(bootstrap_intervals(np.zeros((0, 2)), np.zeros((0, 2)))).all()
