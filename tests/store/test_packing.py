"""Heat maps as bytes."""

import numpy as np
import pytest
import torch

from odam_d2.store.packing import pack, unpack
from odam_d2.structures import HeatMaps

ATTRIBUTES = ("score", "left")


def maps_of(values: list, window: tuple, grid=(6, 8), stride=8.0) -> HeatMaps:
    """One detection with one window."""
    return HeatMaps(torch.tensor(values), torch.tensor([window]), torch.tensor([grid]), torch.tensor([[stride] * 2]),
                    ATTRIBUTES[: len(values)], (48, 64), (96, 128))  # fmt: skip


def random_maps(number: int, windows: int, seed: int = 0) -> HeatMaps:
    """Detections with several windows each, some values below zero, with zeros around."""
    random = np.random.default_rng(seed)
    where, values = [], []
    for _ in range(number * windows):
        height, width = random.integers(1, 6, 2)
        where.append((*random.integers(0, 3, 2), height, width))
        block = random.normal(size=(2, height, width)).astype(np.float32)
        block[:, random.random((height, width)) < 0.5] = 0.0
        values.append(block.reshape(2, -1))
    total = number * windows
    return HeatMaps(torch.from_numpy(np.concatenate(values, 1)), torch.tensor(np.array(where)),
                    torch.tensor([[9, 9]] * total), torch.full((total, 2), 8.0), ATTRIBUTES, (70, 72), (140, 144),
                    torch.arange(number).repeat_interleave(windows))  # fmt: skip


def test_every_value_is_off_by_at_most_half_a_step():
    # 0 .. 10 in 255 steps: a step is 10 / 255, so that nothing is off by more than 10 / 510.
    one = maps_of([[0.0, 1.0, 2.5, 10.0]], (1, 2, 2, 2))
    back = unpack([pack(one)], ATTRIBUTES[:1], (48, 64), (96, 128))
    assert back.windows.tolist() == [[1, 2, 2, 2]]
    assert (back.values - one.values).abs().max() <= 10 / 510 * (1 + 1e-5)
    assert back.values[0, 0] == 0 and back.values[0, 3] == pytest.approx(10, rel=1e-6)


def test_cells_that_are_zero_in_every_map_are_cut_off_at_the_border():
    score, left = [[0, 0, 0], [0, 5, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    one = maps_of([np.float32(score).ravel().tolist(), np.float32(left).ravel().tolist()], (2, 3, 3, 3))
    back = unpack([pack(one)], ATTRIBUTES, (48, 64), (96, 128))
    assert back.windows.tolist() == [[3, 4, 2, 2]]
    torch.testing.assert_close(back.values, torch.tensor([[5.0, 0, 0, 0], [0, 0, 0, 1.0]]))
    torch.testing.assert_close(back.to_image("score"), one.to_image("score"))


@pytest.mark.parametrize("windows", [1, 3])
def test_several_windows_keep_their_signs_and_places(windows):
    maps = random_maps(4, windows)
    back = unpack([pack(maps[k]) for k in range(4)], ATTRIBUTES, (70, 72), (140, 144), ["cat"])
    assert back.owners.tolist() == maps.owners.tolist() and back.class_names == ("cat",)
    for name in ATTRIBUTES:
        before, after = maps.to_image(name, normalize=False), back.to_image(name, normalize=False)
        # Half a step of each window's range; a pixel takes from at most all windows of its detection.
        spans = [float(v.max() - min(v.min(), 0)) for v in maps.values]
        assert (before - after).abs().max() <= windows * max(spans) / 510 * (1 + 1e-4)
        assert after.abs().max() > 0.5  # there was something to lose


def test_a_map_of_zeros_stays_zero():
    one = maps_of([[0.0] * 6, [0.0] * 6], (1, 1, 2, 3))
    back = unpack([pack(one)], ATTRIBUTES, (48, 64), (96, 128))
    assert len(back) == 1 and not back.values.any() and not back.to_image("score").any()


def test_no_detection_at_all():
    back = unpack([], ATTRIBUTES, (48, 64), (96, 128))
    assert len(back) == 0 and back.attributes == ATTRIBUTES and back.output_size == (96, 128)


def test_a_map_of_a_usual_size_takes_less_than_4_kilobytes():
    # A window as large as an object of a third of a 640 x 480 image at stride 8, five smooth maps.
    y, x = np.mgrid[0:35, 0:47].astype(np.float32)
    maps = [np.exp(-((y - 5 * k) ** 2 + (x - 8 * k) ** 2) / 60).ravel() for k in range(1, 6)]
    one = HeatMaps(torch.from_numpy(np.stack(maps)), torch.tensor([[3, 2, 35, 47]]), torch.tensor([[60, 80]]),
                   torch.tensor([[8.0, 8.0]]), ["a", "b", "c", "d", "e"], (480, 640), (480, 640))  # fmt: skip
    assert len(pack(one)) / 5 < 4096


def test_what_can_not_be_packed_or_read_says_so():
    two = random_maps(2, 1)
    with pytest.raises(ValueError, match="must be the heat maps of one detection; got 2"):
        pack(two)
    with pytest.raises(ValueError, match="finite"):
        pack(maps_of([[float("nan")]], (0, 0, 1, 1)))
    data = pack(two[0])
    with pytest.raises(ValueError, match="must be whole"):
        unpack([data[:-4]], ATTRIBUTES, (70, 72), (140, 144))
    with pytest.raises(ValueError, match="must name the 2 stored maps; got 1"):
        unpack([data], ATTRIBUTES[:1], (70, 72), (140, 144))
