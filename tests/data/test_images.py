"""Images of every kind that users have, each built here pixel by pixel."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from PIL import Image

from odam_d2.data.images import SUFFIXES, read_image_bgr, read_image_size, read_with_remarks, to_bgr

RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 255]  # RGB


def save(path, pixels, **options):
    Image.fromarray(np.asarray(pixels, dtype=options.pop("dtype", np.uint8))).save(path, **options)
    return path


def chunk(name, data):
    """A part of a PNG, its checksum at the end."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


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


ANY_IMAGE = {
    "bmp": {}, "dib": {}, "gif": {}, "ico": {}, "icns": {}, "jp2": {}, "j2k": {}, "jpg": {}, "jfif": {}, "mpo": {},
    "pcx": {}, "png": {}, "ppm": {}, "pnm": {}, "qoi": {}, "sgi": {}, "tga": {}, "tif": {}, "webp": {"lossless": True},
    "avif": {"quality": 100}, "dds": {},
}  # fmt: skip


@pytest.mark.parametrize("kind", ANY_IMAGE)
def test_formats_of_colour(tmp_path, kind):
    """One colour, which every format keeps: exactly, or within what lossy compression changes."""
    size = (128, 128) if kind == "icns" else (32, 16) if kind != "ico" else (32, 32)
    Image.new("RGB", size, (200, 100, 50)).save(tmp_path / f"a.{kind}", **ANY_IMAGE[kind])
    pixels = read_image_bgr(tmp_path / f"a.{kind}")
    assert f".{kind}" in SUFFIXES and read_image_size(tmp_path / f"a.{kind}") == pixels.shape[:2]
    np.testing.assert_allclose(pixels.reshape(-1, 3).mean(0), [50, 100, 200], atol=3)
    assert pixels.std((0, 1)).max() < 3


def test_cmyk_jpeg(tmp_path):
    """Red in CMYK: no cyan, all magenta and yellow."""
    Image.new("CMYK", (32, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    np.testing.assert_allclose(read_image_bgr(tmp_path / "a.jpg").mean((0, 1)), [0, 0, 255], atol=3)


@pytest.mark.parametrize("kind", ["gif", "webp", "apng", "tif"])
def test_of_several_frames_the_first_is_read_and_that_is_said(tmp_path, kind):
    first, second = (Image.new("RGB", (8, 4), colour) for colour in ((255, 255, 255), (0, 0, 0)))
    options = {"lossless": True} if kind == "webp" else {}
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=[second], **options)
    pixels, remarks = read_with_remarks(tmp_path / f"a.{kind}")
    assert pixels.min() == 255 and remarks == ["the first of its frames or pages is read"]
    first.save(tmp_path / f"b.{kind}", **options)
    assert read_with_remarks(tmp_path / f"b.{kind}")[1] == []


def write_deep_colour(path):
    """A PNG of one pixel with 16 bits a channel: 65535, 32896 and 0, which are 255, 128 and 0 of 8 bits."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">HHH", 65535, 32896, 0)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))


def test_sixteen_bits_are_said(tmp_path):
    path = save(tmp_path / "a.png", [[0, 65535]], dtype=np.uint16)
    assert read_with_remarks(path)[1] == ["its 16 bits are scaled to 8 by their full range"]
    write_deep_colour(tmp_path / "b.png")
    pixels, remarks = read_with_remarks(tmp_path / "b.png")
    assert pixels.tolist() == [[[0, 128, 255]]] and remarks == [
        "its 16 bits a channel are scaled to 8 by their full range"
    ]
    assert read_with_remarks(save(tmp_path / "c.png", [[RED]]))[1] == []


def test_remarks_are_logged_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("odam_d2.data.images._said", set())
    for name in ("a.png", "b.png"):
        read_image_bgr(save(tmp_path / name, [[0, 65535]], dtype=np.uint16))
    (record,) = caplog.records
    assert "a.png': its 16 bits are scaled to 8 by their full range; of further" in record.getMessage()


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_twelve_bits_among_sixteen_are_nearly_black_which_is_said(tmp_path, kind):
    path = save(tmp_path / f"a.{kind}", [[0, 4095]], dtype=np.uint16)
    pixels, remarks = read_with_remarks(path)
    assert pixels[0, :, 0].tolist() == [0, 16]  # 4095 / 65535 * 255 = 15.9
    assert remarks == ["its values end below 4096 of 16 bits, so that it is nearly black: save it with 8 bits"]


def test_a_tiff_that_declares_twelve_bits_is_scaled_by_them(tmp_path):
    """Two pixels of 12 bits, 0 and 4095, packed into three bytes."""
    tags = [
        (256, 3, 2),
        (257, 3, 1),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8 + 2 + 8 * 12 + 4),
        (277, 3, 1),
        (279, 4, 3),
    ]
    directory = struct.pack("<H", len(tags))
    for number, kind, value in tags:
        directory += struct.pack("<HHI", number, kind, 1) + struct.pack(
            "<HH" if kind == 3 else "<I", *([value, 0] if kind == 3 else [value])
        )
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + b"\x00\x0f\xff")
    pixels, remarks = read_with_remarks(tmp_path / "a.tif")
    assert pixels[0, :, 0].tolist() == [0, 255] and remarks == ["its 16 bits are scaled to 8 by their full range"]


def test_transparent_pixels_of_sixteen_bits_are_white(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, 16, 0, 0, 0, 0))
    data = chunk(b"tRNS", struct.pack(">H", 300)) + chunk(
        b"IDAT", zlib.compress(b"\0" + struct.pack(">HHH", 300, 65535, 257))
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    assert read_image_bgr(tmp_path / "a.png")[0, :, 0].tolist() == [255, 255, 1]


def test_a_decompression_bomb_is_named(tmp_path):
    """A header of 30000 x 30000 pixels, and nothing behind it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    for read in (read_image_bgr, read_image_size):
        with pytest.raises(ValueError, match=r"a\.png': its header claims 900000000 pixels, and beyond \d+ Pillow"):
            read(tmp_path / "a.png")


def test_programs_are_not_started_for_images(tmp_path, monkeypatch):
    """Pillow gives PostScript to Ghostscript, whatever the file is called."""
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was started"))
    Image.new("RGB", (8, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="its content is of no known image format"):
        read_image_bgr(tmp_path / "a.jpg")


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


def tag(image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


# How each orientation stores [[1, 2, 3], [4, 5, 6]], written down by hand from the EXIF standard: which side of what is
# seen row 0 and column 0 are.
STORED = {
    1: [[1, 2, 3], [4, 5, 6]],  # top, left
    2: [[3, 2, 1], [6, 5, 4]],  # top, right
    3: [[6, 5, 4], [3, 2, 1]],  # bottom, right
    4: [[4, 5, 6], [1, 2, 3]],  # bottom, left
    5: [[1, 4], [2, 5], [3, 6]],  # left, top
    6: [[3, 6], [2, 5], [1, 4]],  # right, top
    7: [[6, 3], [5, 2], [4, 1]],  # right, bottom
    8: [[4, 1], [5, 2], [6, 3]],  # left, bottom
}
LOSSLESS = {
    "png": {},
    "webp": {"lossless": True},
    "tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "deflate.tiff": {"compression": "tiff_adobe_deflate"},
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", LOSSLESS)
def test_every_orientation_in_every_format(tmp_path, kind, orientation):
    grey = np.array(STORED[orientation], np.uint8)
    image = Image.fromarray(np.stack([grey] * 3, 2))
    image.save(tmp_path / f"a.{kind}", **tag(image, orientation), **LOSSLESS[kind])
    seen = read_image_bgr(tmp_path / f"a.{kind}")
    assert seen[:, :, 0].tolist() == STORED[1]
    assert read_image_size(tmp_path / f"a.{kind}") == (2, 3)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_every_orientation_of_pixels_that_pillow_maps_into_memory(tmp_path, mode, orientation):
    """Uncompressed TIFF files of some modes, by their name and as Pillow's own images."""
    grey = Image.fromarray(np.array(STORED[orientation], np.uint8) * 40)
    image = Image.fromarray(np.array(STORED[orientation], np.uint16) * 40 * 257) if mode == "I;16" else grey
    image = image.convert(mode)
    image.save(tmp_path / "a.tif", **tag(image, orientation))
    assert read_image_size(tmp_path / "a.tif") == (2, 3)
    assert (read_image_bgr(tmp_path / "a.tif")[:, :, 1] // 40).tolist() == STORED[1]
    with Image.open(tmp_path / "a.tif") as opened:
        assert (to_bgr(opened)[:, :, 1] // 40).tolist() == STORED[1]
        assert opened.filename == tmp_path / "a.tif" or opened.filename == str(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["jpg", "avif", "mpo", "apng"])
def test_size_is_that_of_the_image_as_it_is_read(tmp_path, kind, orientation):
    image = Image.new("RGB", (50, 30))
    image.save(tmp_path / f"a.{kind}", **tag(image, orientation))
    expected = (50, 30) if orientation > 4 else (30, 50)
    assert read_image_size(tmp_path / f"a.{kind}") == read_image_bgr(tmp_path / f"a.{kind}").shape[:2] == expected


def test_orientation_in_xmp(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    Image.new("RGB", (50, 30)).save(tmp_path / "a.jpg", xmp=xmp)
    assert read_image_size(tmp_path / "a.jpg") == read_image_bgr(tmp_path / "a.jpg").shape[:2] == (50, 30)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"\xff" * 40])
def test_broken_exif_hides_no_image(tmp_path, exif):
    Image.new("RGB", (50, 30)).save(tmp_path / "a.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about the data
        assert read_image_size(tmp_path / "a.jpg") == read_image_bgr(tmp_path / "a.jpg").shape[:2] == (30, 50)


@pytest.mark.parametrize("value", [0, 9, 300])
def test_orientations_that_there_are_not(tmp_path, value):
    image = Image.new("RGB", (50, 30))
    image.save(tmp_path / "a.jpg", **tag(image, value))
    assert read_image_size(tmp_path / "a.jpg") == read_image_bgr(tmp_path / "a.jpg").shape[:2] == (30, 50)


def test_size_of_no_image(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must be a readable image; got .*a\.jpg': No such file"):
        read_image_size(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(ValueError, match=r"a\.jpg': its content is of no known image format"):
        read_image_size(tmp_path / "a.jpg")
