"""HeatMaps: windows in and images out."""

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from torch.nn.functional import interpolate

from odam_d2.structures import HeatMaps, heatmaps

ATTRIBUTES = ("score", "left", "top", "right", "bottom")
GRID, STRIDE = (6, 8), 8.0  # 48 x 64 px with padding; the image takes 44 x 60 of it
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
    # 2 x the model input: the image is the top left 88 x 120 of the padded 96 x 128.
    assert torch.allclose(maps.to_image("top", normalize=False), padded[:, :88, :120], atol=1e-6)


def test_to_image_normalises_each_map_and_leaves_empty_windows_zero():
    images = make().to_image("score")
    assert images.shape == (4, 88, 120) and images.dtype == torch.float32
    assert torch.allclose(images[:3].amax((1, 2)), torch.ones(3))
    assert images[:3].amin() == 0 and not images[3].any()


def test_combined_is_the_maximum_of_the_normalised_parts():
    maps = make()
    expected = torch.stack([maps.to_image(name) for name in ATTRIBUTES]).amax(0)
    assert torch.equal(maps.to_image("combined"), expected)
    assert maps.names == (*ATTRIBUTES, "combined")
    with pytest.raises(ValueError, match="normalize"):
        maps.to_image("combined", normalize=False)
    with pytest.raises(ValueError, match=r"`attribute` must be one of \['score', .*\]; got 'combined', which is put"):
        maps.similarity("combined")


@pytest.mark.parametrize("region", [(0, 0, 120, 88), (10, 20, 70, 60), (100, 0, 120, 8), (33, 87, 34, 88)])
def test_a_region_is_cut_out_of_the_image(region):
    """At the original size the samples of a region of whole pixels are those pixels."""
    x1, y1, x2, y2 = region
    for maps in (make(), make()[:0]):
        whole = maps.to_image("left", normalize=False)[:, y1:y2, x1:x2]
        part = maps.to_image("left", normalize=False, size=(y2 - y1, x2 - x1), region=region)
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)


def test_a_region_is_normalised_by_what_is_shown():
    maps, region = make(), (8, 8, 40, 40)
    raw = maps.to_image("score", normalize=False, size=(16, 16), region=region)[1]
    shown = maps.to_image("score", size=(16, 16), region=region)[1]
    torch.testing.assert_close(shown, (raw - raw.min()) / (raw.max() - raw.min()))
    parts = [maps.to_image(name, size=(16, 16), region=region) for name in ATTRIBUTES]
    combined = maps.to_image("combined", size=(16, 16), region=region)
    torch.testing.assert_close(combined, torch.stack(parts).amax(0))


def test_several_attributes_at_once_are_those_one_by_one():
    maps = make()
    found = maps.to_images(["combined", "top"], size=(20, 30))
    assert list(found) == ["combined", "top"] and list(maps.to_images()) == [*ATTRIBUTES, "combined"]
    for name, image in found.items():
        assert torch.equal(image, maps.to_image(name, size=(20, 30)))
    assert maps.to_images([]) == {}


def test_a_size_of_ones_own_stretches_the_image():
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


def test_cells_of_the_padding_never_enter_the_image():
    # Stride 8, an image of 24 px: cells 0 .. 2; cell 3 is padding, and all the heat is there.
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


def test_class_names_travel_along(tmp_path):
    maps = make()
    assert maps.class_names == ()
    maps = HeatMaps(
        maps.values, maps.windows, maps.grids, maps.strides, ATTRIBUTES, IMAGE, OUTPUT, class_names=["cat", "dog"]
    )
    instances = Instances(OUTPUT, heatmaps=maps)
    np.savez(tmp_path / "maps.npz", **maps.to_arrays())
    with np.load(tmp_path / "maps.npz") as arrays:
        read = HeatMaps.from_arrays(arrays)
    for one in (
        instances[1:3].heatmaps,
        instances.to("cpu").heatmaps,
        Instances.cat([instances[:1], instances[3:]]).heatmaps,
        maps[0],
        maps[[]],
        maps.on_one_grid(),
        read,
    ):
        assert one.class_names == ("cat", "dog")


def test_arrays_without_class_names_are_read():
    """Files that were written before the names travelled along."""
    arrays = make().to_arrays()
    del arrays["names_by_class"]
    assert HeatMaps.from_arrays(arrays).class_names == ()


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


@pytest.mark.parametrize("floats", [1, 200, 4_000_000])
def test_similarity_is_the_same_however_many_windows_fit(floats, monkeypatch):
    expected = of_two_levels().similarity(stride=16.0), make().similarity(stride=8.0)
    monkeypatch.setattr(heatmaps, "CHUNK_FLOATS", floats)
    monkeypatch.setattr(heatmaps, "WINDOW_STEP", 1)
    assert torch.allclose(of_two_levels().similarity(stride=16.0), expected[0], atol=1e-6)
    assert torch.allclose(make().similarity(stride=8.0), expected[1], atol=1e-6)


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


def of_two_levels() -> HeatMaps:
    """Three detections of an image of 16 x 32 px: the first and the last have a window on stride 8 and one on 16.

    In one row of the image, cells at stride 8 are centred at x = 4, 12, 20, 28, at stride 16 at x = 8 and 24.
    """
    return HeatMaps(
        torch.tensor([
            [1.0, -2, 3, 0, 1, 2, 3, 4, -1, -1, 2, 6],
            [0.0, 0, 4, 0, 0, 0, 0, 0, 5, 5, 0, 0],
        ]),
        torch.tensor([[0, 1, 1, 2], [0, 0, 1, 2], [0, 0, 1, 4], [0, 2, 1, 2], [0, 0, 1, 2]]),
        torch.tensor([[2, 4], [1, 2], [2, 4], [2, 4], [1, 2]]),
        torch.tensor([[8.0, 8], [16, 16], [8, 8], [8, 8], [16, 16]]),
        ("score", "mask"), (16, 32), (16, 32), torch.tensor([0, 0, 1, 2, 2]),
    )  # fmt: skip


def test_windows_of_a_detection_are_added_in_the_image_and_then_cut():
    maps = of_two_levels()
    assert len(maps) == 3 and len(maps[0].windows) == 2 and len(maps[1].windows) == 1
    found = maps.to_image("score", normalize=False)
    assert found.shape == (3, 16, 32)
    # Each window by torch's own interpolation of its whole grid; the first has [0 1 -2 0 / 0 0 0 0] on stride 8 and
    # [3 0] on 16, the last [0 0 -1 -1 / 0 ...] and [2 6].
    fine = [torch.tensor([[0.0, 1, -2, 0], [0, 0, 0, 0]]), torch.tensor([[0.0, 0, -1, -1], [0, 0, 0, 0]])]
    coarse = [torch.tensor([[3.0, 0]]), torch.tensor([[2.0, 6]])]
    for index, one, other in zip((0, 2), fine, coarse, strict=True):
        parts = [interpolate(part[None, None], (16, 32), mode="bilinear")[0, 0] for part in (one, other)]
        assert torch.allclose(found[index], (parts[0] + parts[1]).clamp(min=0), atol=1e-6)
    # By hand, in the topmost row: pixels 19 and 20 lie around x = 20, the centre of fine cell 2, at -2; the coarse map
    # falls from 3 at x = 8 to 0 at x = 24, so stands at about .75: cut. Pixels 11 and 12, centred at 11.5 and 12.5:
    # fine 7.5 / 8 and 1 - 3 / 16, coarse 3 * (1 - 3.5 / 16) and 3 * (1 - 4.5 / 16).
    assert found[0, 0, 19:21].tolist() == [0.0, 0.0]
    assert found[0, 0, 11:13].tolist() == pytest.approx([0.9375 + 2.34375, 0.8125 + 2.15625])
    assert float(maps.to_image("score")[0].max()) == 1.0


def test_indexing_takes_all_windows_of_a_detection():
    maps = of_two_levels()
    chosen = maps[[2, 0, 2]]
    assert len(chosen) == 3 and chosen.owners.tolist() == [0, 0, 1, 1, 2, 2]
    assert chosen.windows.tolist() == maps.windows[[3, 4, 0, 1, 3, 4]].tolist()
    whole = maps.to_image("score", normalize=False)
    # A batch of other windows may be multiplied in another order.
    assert torch.allclose(chosen.to_image("score", normalize=False), whole[[2, 0, 2]], atol=1e-6)
    assert torch.allclose(maps[torch.tensor([False, True, True])].to_image("score", False), whole[1:], atol=1e-6)
    assert maps[-1].owners.tolist() == [0, 0] and maps[1:2].owners.tolist() == [0]
    assert len(maps[[]]) == 0 and maps[[]].owners.tolist() == []


def test_cat_counts_owners_on():
    maps = of_two_levels()
    joined = HeatMaps.cat([maps[2], maps[:2], HeatMaps.empty(("score", "mask"), (16, 32), (16, 32))])
    assert joined.owners.tolist() == [0, 0, 1, 1, 2]
    expected = maps.to_image("score", normalize=False)[[2, 0, 1]]
    assert torch.allclose(joined.to_image("score", normalize=False), expected, atol=1e-6)
    travelled = Instances.cat([Instances((16, 32), heatmaps=maps)[1:], Instances((16, 32), heatmaps=maps)[:1]])
    assert travelled.heatmaps.to("cpu").owners.tolist() == [0, 1, 1, 2, 2]


def test_several_windows_travel_through_a_file(tmp_path):
    maps = of_two_levels()
    np.savez(tmp_path / "maps.npz", **maps.to_arrays())
    with np.load(tmp_path / "maps.npz") as arrays:
        back = HeatMaps.from_arrays(arrays)
    assert torch.equal(back.owners, maps.owners) and len(back) == 3
    maps.class_names = ("cat",)
    assert maps.on_one_grid().class_names == ("cat",)
    assert torch.equal(back.to_image("mask", False), maps.to_image("mask", False))


def test_on_one_grid_adds_on_the_finest_grid():
    one = of_two_levels().on_one_grid()
    assert len(one.windows) == len(one) == 3
    assert one.strides.tolist() == [[8.0, 8.0]] * 3 and one.windows[0].tolist() == [0, 0, 2, 4]
    # Coarse [3 0] at the fine centres 4, 12, 20, 28: 3 (nothing lies further out), 3 * .75, 3 * .25, 0.
    # On top of it in the first row 0, 1, -2, 0; the second row of the grid has the coarse map alone.
    expected = torch.tensor([[3.0, 3.25, 0.0, 0.0], [3.0, 2.25, 0.75, 0.0]])
    assert torch.allclose(one.window(0, "score"), expected, atol=1e-6)
    # A detection with one window stays as it is.
    assert one.windows[1].tolist() == [0, 0, 1, 4]
    assert one.window(1, "score").tolist() == [[1.0, 2.0, 3.0, 4.0]]
    # [2 6] at the fine centres: 2, 3, 5, 6; -1 and -1 on the last two of the first row.
    assert torch.allclose(one.window(2, "score"), torch.tensor([[2.0, 3, 4, 5], [2, 3, 5, 6]]), atol=1e-6)


def test_similarity_adds_windows_before_it_compares():
    # On a common grid of 16 px, two cells: the fine windows' four cells under each are averaged.
    # First: [(0 + 1) / 4 + 3, -2 / 4 + 0] cut = [3.25, 0]. Second: [(1 + 2) / 4, (3 + 4) / 4] = [.75, 1.75].
    # Third: [2, -2 / 4 + 6] = [2, 5.5].
    rows = np.array([[3.25, 0.0], [0.75, 1.75], [2.0, 5.5]])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.allclose(of_two_levels().similarity(stride=16.0).numpy(), rows @ rows.T, atol=1e-5)


@pytest.mark.parametrize("owners", [[0, 0, 0, 0], [1, 1, 2, 2, 3], [0, 0, 2, 2, 2], [0, 1, 0, 1, 2], [0, 0, 1, 1, -1]])
def test_owners_that_do_not_count_up(owners):
    maps = of_two_levels()
    with pytest.raises(ValueError, match="`owners` must name the detection of each of the 5 windows"):
        HeatMaps(
            maps.values, maps.windows, maps.grids, maps.strides, maps.attributes, (16, 32), (16, 32),
            torch.tensor(owners),
        )  # fmt: skip


def test_a_raw_window_is_asked_of_one_window_only():
    maps = of_two_levels()
    assert maps.window(1, "score").tolist() == [[1.0, 2.0, 3.0, 4.0]]
    with pytest.raises(ValueError, match="got 0 with 2: take on_one_grid"):
        maps.window(0, "score")
