"""Eight bits are enough for eyes, and cold borders go."""

import numpy as np
import torch

from odam_d2.structures import HeatMaps
from odam_d2.visualize.encoding import eight_bit_maps


def one_map(values, top=3, left=4):
    values = torch.tensor(values, dtype=torch.float32)
    _, height, width = values.shape
    return HeatMaps(
        values.flatten(1),
        torch.tensor([[top, left, height, width]]),
        torch.tensor([[20, 20]]),
        torch.tensor([[8.0, 8.0]]),
        [f"a{k}" for k in range(len(values))],
        (160, 160),
        (160, 160),
    )


def test_each_map_is_scaled_by_its_own_maximum():
    # 2 / 4 * 255 = 127.5 rounds to the even 128; 1 / 4 * 255 = 63.75 to 64; .001 of .002 likewise to 128.
    (encoded,) = eight_bit_maps(one_map([[[1.0, 2.0, 4.0]], [[0.002, 0.001, 0.0]]]))
    assert encoded.maps.tolist() == [[[64, 128, 255]], [[255, 128, 0]]]
    np.testing.assert_array_equal(encoded.peaks, np.array([4.0, 0.002], np.float32))
    assert encoded.window == (3, 4, 1, 3)


def test_borders_go_where_all_maps_are_cold():
    # The first map is warm in column 1, the second in row 2, column 2; .001 of 1 rounds to zero.
    first = [[0.001, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.001]]
    second = [[0.0] * 4, [0.0] * 4, [0.0, 0.0, 5.0, 0.0], [0.0] * 4]
    (encoded,) = eight_bit_maps(one_map([first, second]))
    assert encoded.window == (3 + 1, 4 + 1, 2, 2)
    assert encoded.maps.tolist() == [[[255, 0], [0, 0]], [[0, 0], [0, 255]]]


def test_empty_maps_stay_as_they_are():
    (encoded,) = eight_bit_maps(one_map(np.zeros((2, 2, 3))))
    assert encoded.window == (3, 4, 2, 3) and encoded.peaks.tolist() == [0.0, 0.0] and not encoded.maps.any()


def test_of_several_detections_each_is_as_alone():
    one, two = one_map(np.eye(3)[None]), one_map(np.ones((1, 1, 2)), top=0, left=9)
    both = eight_bit_maps(HeatMaps.cat([one, two]))
    for found, alone in zip(both, (one, two), strict=True):
        (expected,) = eight_bit_maps(alone)
        assert found.window == expected.window and found.maps.tolist() == expected.maps.tolist()
    assert both[1].window == (0, 9, 1, 2) and eight_bit_maps(one[:0]) == []
