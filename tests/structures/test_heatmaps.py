"""HeatMaps: windows in and pictures out."""

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from torch.nn.functional import interpolate

from odam_d2.structures import HeatMaps

ATTRIBUTES = ("score", "left", "top", "right", "bottom")
GRID, STRIDE = (6, 8), 8.0  # 48 x 64 px with padding; the picture takes 44 x 60 of it
IMAGE, OUTPUT = (44, 60), (88, 120)
WINDOWS = torch.tensor([[1, 2, 3, 4], [0, 0, 6, 8], [4, 5, 2, 3], [2, 2, 0, 0]])


def make(seed: int = 0) -> HeatMaps:
    generator = torch.Generator().manual_seed(seed)
    cells = int((WINDOWS[:, 2] * WINDOWS[:, 3]).sum())
    return HeatMaps(
        torch.rand(len(ATTRIBUTES), cells, generator=generator),
        WINDOWS,
        torch.tensor([GRID] * len(WINDOWS)),
        torch.full((len(WINDOWS), 2), STRIDE),
        ATTRIBUTES,
        IMAGE,
        OUTPUT,
    )


def dense(maps: HeatMaps, attribute: str) -> torch.Tensor:
    """(R, H, W): every window put back on its grid, by a plain loop over cells."""
    row = maps.attributes.index(attribute)
    full, position = torch.zeros(len(maps), *GRID), 0
    for index, (top, left, height, width) in enumerate(maps.windows.tolist()):
        for y in range(height):
            for x in range(width):
                full[index, top + y, left + x] = maps.values[row, position]
                position += 1
    return full


def test_to_image_is_interpolation_of_the_whole_grid_with_the_padding_cut_off():
    maps = make()
    padded = interpolate(dense(maps, "top")[None], (96, 128), mode="bilinear", align_corners=False)[0]
    # 2 x the model input: the picture is the top left 88 x 120 of the padded 96 x 128.
    assert torch.allclose(maps.to_image("top", normalize=False), padded[:, :88, :120], atol=1e-6)


def test_to_image_normalises_each_map_and_leaves_empty_windows_zero():
    pictures = make().to_image("score")
    assert pictures.shape == (4, 88, 120) and pictures.dtype == torch.float32
    assert torch.allclose(pictures[:3].amax((1, 2)), torch.ones(3))
    assert pictures[:3].amin() == 0 and not pictures[3].any()


def test_combined_is_the_maximum_of_the_normalised_parts():
    maps = make()
    expected = torch.stack([maps.to_image(name) for name in ATTRIBUTES]).amax(0)
    assert torch.equal(maps.to_image("combined"), expected)
    assert maps.names == (*ATTRIBUTES, "combined")
    with pytest.raises(ValueError, match="normalize"):
        maps.to_image("combined", normalize=False)


def test_a_size_of_ones_own_stretches_the_picture():
    maps = make()
    # At the model input's own resolution cells of 8 px are sampled 8 times.
    expected = interpolate(dense(maps, "left")[None], (48, 64), mode="bilinear", align_corners=False)[0][:, :44, :60]
    assert torch.allclose(maps.to_image("left", normalize=False, size=IMAGE), expected, atol=1e-6)


@pytest.mark.parametrize(
    "item, rows",
    [
        (2, [2]),
        (-1, [3]),
        (np.int64(1), [1]),
        (torch.tensor(2), [2]),
        (slice(1, 3), [1, 2]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        (torch.tensor([2, 0, 2]), [2, 0, 2]),
        ([3, 1], [3, 1]),
        (np.array([1, 1]), [1, 1]),
        (torch.tensor([], dtype=torch.int64), []),
    ],
)
def test_indexing_takes_whole_maps(item, rows):
    maps = make()
    chosen = maps[item]
    assert chosen.windows.tolist() == WINDOWS[rows].tolist()
    for attribute in ATTRIBUTES:
        assert torch.equal(dense(chosen, attribute), dense(maps, attribute)[rows])


def test_index_out_of_range():
    with pytest.raises(IndexError, match="4 heat maps"):
        make()[4]


def test_cells_of_the_padding_never_enter_the_picture():
    # Stride 8, a picture of 24 px: cells 0 .. 2; cell 3 is padding, and all the heat is there.
    maps = HeatMaps(
        torch.tensor([[0.0, 0.0, 1.0, 100.0]]),
        torch.tensor([[0, 0, 1, 4]]),
        torch.tensor([[1, 4]]),
        torch.tensor([[8.0, 8.0]]),
        ("score",),
        (8, 24),
        (8, 24),
    )
    assert maps.to_image("score", normalize=False).amax() == 1.0


def test_window_is_the_raw_map():
    maps = make()
    assert torch.equal(maps.window(2, "right"), dense(maps, "right")[2, 4:6, 5:8])


def test_cat_undoes_slicing():
    maps = make()
    joined = HeatMaps.cat([maps[:2], maps[2:]])
    assert torch.equal(joined.values, maps.values) and torch.equal(joined.windows, maps.windows)
    other = make()
    other.output_size = (1, 1)
    with pytest.raises(ValueError, match="share"):
        HeatMaps.cat([maps, other])


def test_travels_in_instances():
    instances = Instances(OUTPUT, heatmaps=make(), scores=torch.arange(4.0))
    chosen = instances[instances.scores > 1.5]
    assert chosen.heatmaps.windows.tolist() == WINDOWS[2:].tolist()
    joined = Instances.cat([chosen, instances[:1]]).to("cpu")
    assert joined.heatmaps.windows.tolist() == WINDOWS[[2, 3, 0]].tolist()


def test_arrays_there_and_back(tmp_path):
    maps = make()
    np.savez(tmp_path / "maps.npz", **maps.to_arrays())
    with np.load(tmp_path / "maps.npz") as arrays:
        back = HeatMaps.from_arrays(arrays)
    for name in ("values", "windows", "grids", "strides"):
        assert torch.equal(getattr(back, name), getattr(maps, name))
    assert (back.attributes, back.image_size, back.output_size) == (ATTRIBUTES, IMAGE, OUTPUT)


def test_similarity_is_the_cosine_on_the_grid():
    maps = make()
    flat = dense(maps, "score")[:, :, :8].flatten(1).double().numpy()
    length = np.linalg.norm(flat, axis=1)
    lengths = length[:, None] * length
    expected = np.divide(flat @ flat.T, lengths, where=lengths > 0, out=np.zeros((4, 4)))
    assert np.allclose(maps.similarity(stride=8.0).numpy(), expected, atol=1e-6)


def test_similarity_of_maps_on_different_levels_by_hand():
    # A cell of 16 px at (0, 0), and the four cells of 8 px that cover the same square: the same map.
    # A third one covers one quarter of it: cosine 1 / (1 * 2) = .5.
    maps = HeatMaps(
        torch.tensor([[3.0, 5.0, 5.0, 5.0, 5.0, 1.0]]),
        torch.tensor([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 1, 1]]),
        torch.tensor([[2, 2], [4, 4], [4, 4]]),
        torch.tensor([[16.0, 16.0], [8.0, 8.0], [8.0, 8.0]]),
        ("score",),
        (32, 32),
        (32, 32),
    )
    expected = torch.tensor([[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]])
    assert torch.allclose(maps.similarity(), expected, atol=1e-6)


def test_no_detections():
    maps = HeatMaps.empty(ATTRIBUTES, IMAGE, OUTPUT)
    assert len(maps) == 0 and len(maps[[]]) == 0
    assert maps.to_image("combined").shape == (0, 88, 120)
    assert maps.similarity().shape == (0, 0)
    assert len(HeatMaps.cat([maps, make()])) == 4


def test_errors_name_what_is_wrong():
    maps = make()
    with pytest.raises(ValueError, match="objectness"):
        maps.to_image("objectness")
    with pytest.raises(ValueError, match=r"\(5, 66\)"):
        HeatMaps(maps.values[:, :-1], maps.windows, maps.grids, maps.strides, ATTRIBUTES, IMAGE, OUTPUT)
