"""Whose detections look at whom: by hand, against plain means, in any order."""

import numpy as np
import pytest

from odam_d2.analysis import ContextMatrix, HeatContext
from odam_d2.evaluation import bootstrap_interval


def context_of(own, on_others, own_objects, even=0.0):
    """From (R,) shares on the own object, and (R, G) on the others; the rest is background."""
    own, on_others = np.array(own, dtype=float), np.array(on_others, dtype=float)
    none = np.full(on_others.shape, np.nan)
    return HeatContext(
        outside=none[:, 0] if none.shape[1] else np.full(len(own), np.nan),
        own=own, background=1 - own - on_others.sum(1), on_others=on_others, even=np.full(on_others.shape, even),
        on_boxes=none, on_masks=none, own_objects=np.array(own_objects), ids=list(range(on_others.shape[1])),
    )  # fmt: skip


def test_by_hand():
    matrix = ContextMatrix(3)
    # Image 0: objects of classes 0, 1, 1. Detections: of object 0, as class 0; of object 1, as class 1; of none.
    first = context_of([0.5, 0.6, 0.0], [[0, 0.2, 0.1], [0.3, 0, 0.1], [0.4, 0.3, 0.2]], [0, 1, -1], even=0.25)
    matrix.add(0, np.array([0, 1, 0]), first, np.array([0, 1, 1]))
    # Image 1: one object of class 0, alone.
    matrix.add(1, np.array([0]), context_of([0.9], [[0.0]], [0]), np.array([0]))
    found = matrix.summary()
    # Rows: class 0 has two detections, one of which has neighbours of class 1, none a neighbour of its own class.
    assert found.counts.tolist() == [[0, 1, 0, 2, 2], [1, 1, 0, 1, 1], [0, 0, 0, 0, 0]]
    assert found.images.tolist() == [[0, 1, 0, 2, 2], [1, 1, 0, 1, 1], [0, 0, 0, 0, 0]]
    nan = float("nan")
    assert np.allclose(found.share[0], [nan, 0.3, nan, 0.7, 0.15], equal_nan=True)
    assert np.allclose(found.share[1], [0.3, 0.1, nan, 0.6, 0.0], equal_nan=True)
    assert np.isnan(found.share[2]).all() and np.isnan(found.low[2]).all()
    # Even heat: two objects of class 1 have .25 each.
    assert found.even[0, 1] == 0.5 and found.even[1].tolist()[:2] == [0.25, 0.5]  # the own one's counts as given
    # Only one image has the pair, whichever are drawn.
    assert found.low[0, 1] == found.high[0, 1] == pytest.approx(0.3)
    assert found.low[0, 3] == 0.5 and found.high[0, 3] == 0.9


def random_images(generator, count=20):
    for image in range(count):
        objects = int(generator.integers(0, 5))
        detections = int(generator.integers(0, 6))
        shares = generator.dirichlet(np.ones(objects + 2), detections)
        own_objects = generator.integers(-1, objects, detections)
        context = context_of(shares[:, 0], shares[:, 2:], own_objects)
        if objects:
            has = own_objects >= 0
            context.on_others[has, own_objects[has]] = 0
        context.own[generator.random(detections) < 0.1] = np.nan  # maps of all zeros
        yield image, generator.integers(0, 3, detections), context, generator.integers(0, 3, objects)


def test_against_plain_means():
    matrix, values = ContextMatrix(3), {}
    for image, classes, context, labels in random_images(np.random.default_rng(0)):
        matrix.add(image, classes, context, labels)
        for r, label in enumerate(classes.tolist()):
            own = context.own_objects[r]
            if own < 0 or np.isnan(context.own[r]):
                continue
            values.setdefault((label, 3), []).append((image, context.own[r]))
            values.setdefault((label, 4), []).append((image, context.background[r]))
            for other in range(3):
                chosen = [g for g in range(len(labels)) if g != own and labels[g] == other]
                if chosen:
                    share = sum(context.on_others[r, g] for g in chosen)
                    values.setdefault((label, other), []).append((image, share))
    found = matrix.summary(resamplings=4000)
    for row in range(3):
        for column in range(5):
            images, shares = map(np.array, zip(*values[row, column]))
            assert found.counts[row, column] == len(shares) and found.images[row, column] == len(set(images.tolist()))
            assert found.share[row, column] == pytest.approx(shares.mean())
            interval = bootstrap_interval(shares, images, resamplings=4000)
            # Other draws of the same: of the row's images here, of the cell's there.
            assert (found.low[row, column], found.high[row, column]) == pytest.approx(interval, abs=0.05)


def test_order_and_processes_make_no_difference():
    images = list(random_images(np.random.default_rng(1)))
    whole, first, second = (ContextMatrix(3) for _ in range(3))
    for one in images:
        whole.add(*one)
    for number in np.random.default_rng(2).permutation(len(images)).tolist():
        (first if number % 3 else second).add(*images[number])
    second.merge(first)
    expected, found = whole.summary(), second.summary()
    for name in ("counts", "images", "share", "low", "high", "even"):
        assert np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True), name


def test_nothing():
    found = ContextMatrix(2).summary()
    assert found.counts.tolist() == [[0] * 4] * 2 and np.isnan(found.share).all() and np.isnan(found.low).all()


def test_a_class_that_the_detector_does_not_know_is_no_column():
    matrix = ContextMatrix(2)
    matrix.add(0, np.array([0]), context_of([0.5], [[0, 0.2, 0.1]], [0]), np.array([0, -1, 5]))
    assert matrix.summary().counts.tolist() == [[0, 0, 1, 1], [0] * 4]
