"""Who hides whom, how boxes overlap, and how distance decides size."""

import numpy as np
import pytest

from odam_d2.data.synthetic.rendering.board import Sprite
from odam_d2.data.synthetic.rendering.camera import Camera
from odam_d2.data.synthetic.rendering.placement import (
    Item,
    iou,
    overlapping_pairs,
    place_crowd,
    place_scene,
    visible_ids,
)


def block(x, y, width=4, height=6, kind="person"):
    """A full rectangle that stands with the middle of its lower side at (x, y)."""
    alpha = np.full((height, width), 255, np.uint8)
    return Item(
        kind, Sprite(np.zeros((height, width, 3), np.uint8), alpha, (width / 2, height), (0, 0, width, 1)), x, y
    )


def test_box_is_where_the_sprite_stands():
    assert block(10, 8).box() == (8, 2, 12, 8)
    assert block(10, 8).head_box() == (8, 2, 12, 3)
    assert block(1, 3).box() == (-1, -3, 3, 3)  # beyond the image


def test_nearer_items_hide_farther_ones():
    far, near = block(10, 8), block(12, 9)
    ids = visible_ids([near, far], 20, 12)  # the order of the list doesn't matter, the ground row does
    assert (ids == 0).sum() == 24  # all of the near block
    assert (ids == 1).sum() == 24 - 2 * 5  # columns 10, 11 and rows 3 .. 7 are hidden
    assert ids[2, 8] == 1 and ids[8, 13] == 0 and ids[0, 0] == -1


def test_items_beyond_the_image_are_cut():
    assert (visible_ids([block(0, 3)], 20, 12) == 0).sum() == 2 * 3
    assert (visible_ids([block(20, 14)], 20, 12) == 0).sum() == 2 * 4
    assert (visible_ids([block(40, 8), block(-40, 8), block(5, -3), block(5, 40)], 20, 12) == -1).all()


def test_iou():
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(2 / 6)
    assert iou((0, 0, 2, 2), (2, 0, 4, 2)) == 0


def test_overlapping_pairs_counts_people_who_are_seen():
    # shifted by one of four columns: IoU 3 / 5, and 1 of 4 columns stays visible
    assert overlapping_pairs([block(10, 8), block(11, 8)], 20, 12) == [(0, 1)]
    assert overlapping_pairs([block(10, 8), block(12, 8)], 20, 12) == []  # IoU 2 / 6
    assert overlapping_pairs([block(10, 8), block(10, 8)], 20, 12) == []  # the first one isn't seen at all
    assert overlapping_pairs([block(10, 8), block(11, 8, kind="furniture")], 20, 12) == []


def test_camera_scale_and_row_are_inverse():
    camera = Camera(horizon=100, height=2.0, focal=500, heading=0.0)
    assert camera.scale(300) == 100  # 200 rows below the horizon of a camera 2 m high: 100 pixels a metre
    assert camera.row(100) == 300


def test_ground_coordinates():
    camera = Camera(horizon=100, height=2.0, focal=500, heading=0.0)
    across, along = camera.ground(np.array([[300.0]]), np.array([[320.0, 420.0]]), 640)
    np.testing.assert_allclose(along, [[5, 5]])  # focal * height / 200 rows
    np.testing.assert_allclose(across, [[0, 1]])  # 100 columns at 100 pixels a metre


def test_sparse_crowds_are_given_their_pairs():
    for seed in range(3):
        _, items = place_crowd(np.random.default_rng(seed), 640, 480, least_pairs=6)
        assert len(overlapping_pairs(items, 640, 480)) >= 6


def test_scene_items_stand_on_the_ground_below_the_horizon():
    camera, items = place_scene(np.random.default_rng(3), 640, 480)
    assert all(item.y > camera.horizon for item in items)
    assert 3 <= sum(item.kind in ("person", "dog", "car") for item in items) <= 8
