"""Images of every kind that users have, each built here pixel by pixel."""

import os
import struct
import zlib

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from PIL import Image

from odam_d2.data.images import find_images, read_image_bgr, read_image_size, to_bgr

RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 255]  # RGB


def save(path, pixels, **options):
    Image.fromarray(np.asarray(pixels, dtype=options.pop("dtype", np.uint8))).save(path, **options)
    return path


def test_colour_is_bgr(tmp_path):
    pixels = read_image_bgr(save(tmp_path / "a.png", [[RED, BLUE]]))
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert pixels.tolist() == [[[0, 0, 255], [255, 0, 0]]]


def test_an_image_in_any_form(tmp_path):
    bgr = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(bgr[:, :, ::-1]).save(tmp_path / "x.png")
    forms = (
        (bgr, False), (bgr[:, :, ::-1], True), (tmp_path / "x.png", False), (str(tmp_path / "x.png"), True),
        (Image.open(tmp_path / "x.png"), True),
    )  # fmt: skip
    for form, rgb in forms:
        pixels = to_bgr(form, rgb)
        assert pixels.tolist() == bgr.tolist() and pixels.flags.c_contiguous


def test_grey(tmp_path):
    assert read_image_bgr(save(tmp_path / "a.png", [[0, 7]])).tolist() == [[[0, 0, 0], [7, 7, 7]]]


def test_black_and_white(tmp_path):
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "a.png")
    assert read_image_bgr(tmp_path / "a.png").tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    assert read_image_bgr(tmp_path / "a.png").tolist() == [[[30, 20, 10], [60, 50, 40]]]


def test_transparency_is_blended_onto_white(tmp_path):
    # Alpha 0 shows the white, 255 the colour, 51 = 1/5 leaves 4/5 of white: 0 * .2 + 255 * .8 = 204.
    path = save(tmp_path / "a.png", [[[*RED, 0], [*RED, 255], [*BLUE, 51]]])
    assert read_image_bgr(path).tolist() == [[[255, 255, 255], [0, 0, 255], [255, 204, 204]]]


def test_transparent_palette_entry_is_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=1)
    assert read_image_bgr(tmp_path / "a.png").tolist() == [[[30, 20, 10], [255, 255, 255]]]


def test_grey_with_alpha(tmp_path):
    assert read_image_bgr(save(tmp_path / "a.png", [[[9, 255], [9, 0]]])).tolist() == [[[9] * 3, [255] * 3]]


def test_sixteen_bits_are_scaled_by_their_full_range(tmp_path):
    # 257 * k is k / 255 of the full range exactly; 256 is 0.996 of a step, rounded to 1.
    path = save(tmp_path / "a.png", [[0, 257, 257 * 100, 65535, 256]], dtype=np.uint16)
    assert read_image_bgr(path)[0, :, 0].tolist() == [0, 1, 100, 255, 1]


def test_floating_point_is_refused(tmp_path):
    path = save(tmp_path / "a.tif", [[0.5]], dtype=np.float32)
    with pytest.raises(ValueError, match=r"a\.tif'.*floating-point.*8 or 16 bits"):
        read_image_bgr(path)


def test_integers_beyond_sixteen_bits_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", [[0, 70000]], dtype=np.int32)
    with pytest.raises(ValueError, match="from 0 to 70000, beyond 16 bits"):
        read_image_bgr(path)


@pytest.mark.parametrize(
    "orientation, expected",
    [
        (1, [[1, 2, 3], [4, 5, 6]]),  # as it is
        (3, [[6, 5, 4], [3, 2, 1]]),  # turned by 180 degrees
        (6, [[4, 1], [5, 2], [6, 3]]),  # to be turned clockwise
        (8, [[3, 6], [2, 5], [1, 4]]),  # to be turned counter-clockwise
    ],
)
def test_exif_orientation(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[274] = orientation
    path = save(tmp_path / "a.png", [[1, 2, 3], [4, 5, 6]], exif=exif)
    assert read_image_bgr(path)[:, :, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK"])
def test_ordinary_images_read_as_in_detectron2(tmp_path, mode):
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(noise).convert(mode).save(path)
    np.testing.assert_array_equal(read_image_bgr(path), read_image(str(path), "BGR"))


def test_one_pixel_and_very_wide(tmp_path):
    assert read_image_bgr(save(tmp_path / "a.png", [[RED]])).shape == (1, 1, 3)
    assert read_image_bgr(save(tmp_path / "b.png", np.zeros((3, 8000, 3)))).shape == (3, 8000, 3)


def test_zero_bytes(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match=r"a\.jpg': the file is empty$"):
        read_image_bgr(tmp_path / "a.jpg")


def test_no_image_at_all(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.jpg': its content is of no known image format$"):
        read_image_bgr(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{suffix}", noise)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=rf"a\.{suffix}': .*truncated"):
        read_image_bgr(path)


def test_broken_inside(tmp_path):
    # A PNG whose pixel data is no zlib stream, with correct checksums: the decoder itself must stumble.
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"nonsense") + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"`path` must be a readable image; got .*a\.png': ."):
        read_image_bgr(tmp_path / "a.png")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg': No such file or directory"):
        read_image_bgr(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="Is a directory"):
        read_image_bgr(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_image_as_it_is_read(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (5, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image_size(tmp_path / "a.jpg") == read_image_bgr(tmp_path / "a.jpg").shape[:2]


def test_size_of_no_image(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must be a readable image; got .*a\.jpg': No such file"):
        read_image_size(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(ValueError, match=r"a\.jpg': its content is of no known image format"):
        read_image_size(tmp_path / "a.jpg")


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_find_one_image_whatever_its_suffix(tmp_path):
    touch(tmp_path / "a.strange")
    assert find_images(tmp_path / "a.strange") == [tmp_path / "a.strange"]


def test_find_in_folder_in_natural_order(tmp_path):
    touch(*(tmp_path / n for n in ("10.jpg", "2.PNG", "B1.jpeg", "a1.jpg", "notes.txt", "deeper/3.jpg")))
    (tmp_path / "folder.jpg").mkdir()
    assert [p.name for p in find_images(str(tmp_path))] == ["2.PNG", "10.jpg", "a1.jpg", "B1.jpeg"]


def test_find_by_glob(tmp_path):
    touch(*(tmp_path / n for n in ("x/10.jpg", "x/9.jpg", "y/1.jpg", "y/1.txt", "y/z/2.jpg")))
    found = find_images(f"{tmp_path}/*/*.jpg")
    assert [p.relative_to(tmp_path).as_posix() for p in found] == ["x/9.jpg", "x/10.jpg", "y/1.jpg"]
    assert len(find_images(f"{tmp_path}/**/*.jpg")) == 4


def test_a_name_that_looks_like_a_glob_is_a_name_first(tmp_path):
    touch(tmp_path / "[1].jpg", tmp_path / "1.jpg")
    assert find_images(tmp_path / "[1].jpg") == [tmp_path / "[1].jpg"]


@pytest.mark.parametrize(
    "source, reason",
    [
        ("empty", r"a folder with images; got .*empty': of its files none ends in \.bmp"),
        ("*.jpg", r"a pattern that matches files; got .*\*\.jpg': no file has such a path"),
        ("a.jpg", r"an image, a folder or a glob pattern; got .*a\.jpg': there is no such file or folder"),
    ],
)
def test_nothing_found(tmp_path, source, reason):
    touch(tmp_path / "empty" / "readme.txt")
    with pytest.raises(ValueError, match=reason):
        find_images(tmp_path / source)
