"""Outlines and the drawing board, on shapes whose pixels can be counted."""

import numpy as np

from odam_d2.data.synthetic.rendering.board import Board, Sprite, oval, rounded, tight_box, tube


def test_tight_box_is_pixel_edges():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:5] = True
    assert tight_box(mask) == (2, 1, 5, 3)
    assert tight_box(np.zeros((5, 6), bool)) is None


def test_tube_is_the_hull_of_two_discs():
    outline = tube([0, 0], [3, 0], 1, 0.5)
    assert np.allclose([outline[:, 0].min(), outline[:, 0].max()], [-1, 3.5])  # a disc of 1 at 0, one of .5 at 3
    assert np.allclose([outline[:, 1].min(), outline[:, 1].max()], [-1, 1])


def test_tube_without_length_is_a_disc():
    outline = tube([2, 1], [2, 1], 0.5, 0.5)
    assert np.allclose(np.linalg.norm(outline - [2, 1], axis=1), 0.5)


def test_oval_keeps_its_radii():
    outline = oval([1, 2], 3, 0.5)
    assert np.allclose(outline.min(axis=0), [-2, 1.5]) and np.allclose(outline.max(axis=0), [4, 2.5])


def test_rounded_cuts_corners():
    # one round replaces each corner by points a quarter along its two sides
    expected = {(0.25, 0), (0.75, 0), (1, 0.25), (1, 0.75), (0.75, 1), (0.25, 1), (0, 0.75), (0, 0.25)}
    assert {tuple(p) for p in rounded([[0, 0], [1, 0], [1, 1], [0, 1]], rounds=1)} == expected


def test_sprite_covers_what_was_filled_and_stands_on_its_anchor():
    board = Board(1, 1, 2, 0.2, scale=20)
    board.fill([[-0.5, 0], [0.5, 0], [0.5, 1.5], [-0.5, 1.5]], (10, 200, 30))
    board.fill(oval([0, 1.2], 0.2, 0.2), (250, 0, 0), head=True)
    sprite = board.finish(np.random.default_rng(0), grain=0)
    x1, y1, x2, y2 = sprite.tight_box
    # 1 m x 1.5 m at 20 pixels a metre, up to one pixel of rounding on each side
    assert abs((x2 - x1) - 20) <= 2 and abs((y2 - y1) - 30) <= 2
    assert abs(y2 - sprite.anchor[1]) <= 1 and abs((x1 + x2) / 2 - sprite.anchor[0]) <= 1
    hx1, hy1, hx2, hy2 = sprite.head
    assert abs((hx2 - hx1) - 8) <= 2 and abs((hy2 - hy1) - 8) <= 2
    inner = sprite.color[y2 - 10 : y2 - 4, x1 + 4 : x2 - 4].astype(int)
    assert np.abs(inner - [10, 200, 30]).max() <= 1
    assert not sprite.color[sprite.alpha == 0].any()  # colours are multiplied by alpha


def test_origin_places_the_anchor():
    sprite = Sprite(np.zeros((4, 3, 3), np.uint8), np.zeros((4, 3), np.uint8), (1.0, 4.0))
    assert sprite.origin(10, 20) == (9, 16)
