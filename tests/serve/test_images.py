"""Images on their way in and out: bounds that hold before anything is decoded, and broken files."""

import contextlib
import io
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from odam_d2.serve.decoding import decode_image
from odam_d2.serve.held_images import HeldImage, HeldImages
from odam_d2.serve.limits import ServeLimits
from odam_d2.serve.refusals import RefusedError
from tests.serve.conftest import LIMITS, png


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def bomb(width: int, height: int) -> bytes:
    """A small PNG file whose head tells of many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_an_upload_is_what_the_detector_sees(client, pixels):
    reply = client.upload(png(pixels), name="my%20dog.png")
    told = reply.json()
    assert (reply.status, told["name"], told["size"]) == (200, "my dog.png", [320, 240])
    shown = client.get(f"/api/images/{told['image']}")
    assert shown.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown.body)))[:, :, ::-1], pixels)


def test_equal_pixels_are_one_image_whatever_the_file(client, pixels):
    one, other = client.upload(png(pixels)), client.upload(png(pixels, "BMP"), "image/bmp")
    assert one.json()["image"] == other.json()["image"]
    # Of another shape, though the bytes are the same.
    turned = pixels.reshape(pixels.shape[1], pixels.shape[0], 3)
    assert client.upload(png(turned)).json()["image"] != one.json()["image"]


@pytest.mark.parametrize("name, shown", [("", "image"), ("%3Cb%3E%0A", "<b>"), ("..%2Fetc", "../etc"),
                                         ("%E2%80%AEgpj.exe", "gpj.exe"), ("x" * 300, "x" * 119 + "…")])  # fmt: skip
def test_names_are_words_to_show_and_nothing_else(client, pixels, name, shown):
    assert client.upload(png(pixels), name=name).json()["name"] == shown


def test_too_many_bytes_are_refused_by_what_the_head_says(client):
    reply = client.upload(b"x" * (LIMITS.image_bytes + 1))
    assert reply.status == 413 and str(LIMITS.image_bytes) in reply.error


def test_too_many_bytes_are_refused_while_they_come(client):
    parts = iter([b"x" * 100_000] * 50)  # without a length, in chunks
    try:
        reply = client.upload(parts)
    except (BrokenPipeError, ConnectionResetError):
        pytest.skip("the server closed the connection before it was read")
    assert reply.status == 413


def raw(port: int, head: str, body: bytes, ends: bool = False) -> bytes:
    """What the server answers to bytes, after which the connection is closed if it `ends`."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return connection.recv(4000)


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999", "9" * 3000, "0x10", "5, 6", "٣"])
def test_lengths_that_are_none_are_refused(client, length):
    head = f"POST /api/images HTTP/1.1\nHost: localhost\nContent-Type: image/png\nContent-Length: {length}\n"
    assert raw(client.port, head, b"abc").split(b" ")[1][:1] == b"4"


def test_less_than_was_said_is_no_image(client):
    head = "POST /api/images HTTP/1.1\nHost: localhost\nContent-Type: image/png\nContent-Length: 1000\n"
    assert b"200 OK" not in raw(client.port, head, b"abc", ends=True)
    assert client.get("/api/about").status == 200


@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_000), (1_000, 201)])
def test_too_many_pixels_are_refused_before_they_are_decoded(client, monkeypatch, size):
    monkeypatch.setattr("odam_d2.serve.decoding.to_bgr", lambda _: pytest.fail("it was decoded"))
    reply = client.upload(bomb(*size))
    assert reply.status == 413 and "million pixels" in reply.error


@pytest.mark.parametrize("size", [(65_501, 1), (1, 65_501)])
def test_sides_that_no_jpeg_has_are_refused(client, size):
    reply = client.upload(bomb(*size))
    assert reply.status == 413 and "sides of at most 65500 pixels" in reply.error


def test_the_longest_sides_are_shown():
    image = HeldImage.of_pixels("long", np.zeros((16, LIMITS.side, 3), np.uint8))
    assert image.encoded[1] == "image/jpeg"


def test_who_sends_too_slowly_loses_the_turn(client, pixels, monkeypatch):
    monkeypatch.setattr("odam_d2.serve.bodies._PATIENCE", 0.3)
    head = "POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", client.port), 20)) for _ in range(8)]
        for one in slow:  # all turns of those who read
            one.sendall(head.encode())
        assert slow[-1].recv(4000).startswith(b"HTTP/1.1 408")
        assert client.upload(png(pixels)).status == 200


def test_an_icon_of_other_pixels_than_its_head_tells_is_refused():
    inside = bomb(30_000, 30_000)
    head = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22)
    with pytest.raises(RefusedError, match="known format") as caught:
        decode_image(head + inside, LIMITS)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "content"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "known format"),
        (b"<html><script>alert(1)</script></html>", "known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "known format"),
        (b"\x89PNG\r\n\x1a\n", "known format"),
        (bomb(99, 99), "can't be read"),
        (b"\x00\x00\x01\x00" + bytes(100), "known format"),
    ],
    ids=["empty", "svg", "html", "eps", "head alone", "few pixels", "icon"],
)
@pytest.mark.parametrize("kind", ["image/png", "image/svg+xml", "image/anything"])
def test_what_is_no_whole_image_is_told(client, data, words, kind):
    reply = client.upload(data, kind)
    assert reply.status == 422 and words in reply.error
    assert "\n" not in reply.error


def test_a_truncated_photograph_is_told(client, pixels):
    whole = png(pixels, "JPEG")
    reply = client.upload(whole[: len(whole) // 2], "image/jpeg")
    assert reply.status == 422 and "truncated" in reply.error


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1", "LA"])
def test_every_mode_becomes_a_colour_image(mode):
    source = Image.new("RGB", (20, 10), (200, 30, 40))
    image = Image.new("I;16", (20, 10), 30_000) if mode == "I;16" else source.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    found = decode_image(buffer.getvalue(), LIMITS)
    assert (found.shape, found.dtype) == ((10, 20, 3), np.uint8)


@pytest.mark.parametrize(
    "path",
    [
        "/api/images/..%2f..%2fetc%2fpasswd", "/api/images/0123456789abcde", "/api/images/0123456789abcdeg",
        "/api/images/0123456789ABCDEF", "/api/images/", "/static/..%2f..%2fapp.py", "/static/../app.py",
        "/static/%2e%2e/%2e%2e/setup.py", "/static/app.py", "/static/report.html", "/static/", "/static//etc/passwd",
        "/static/heat.js%00.css", "/static/C:%5Cwindows", "/..%2f..%2fetc/passwd", "//etc/passwd", "/api", "/docs",
        "/openapi.json", "/api/run/image/..%2f1", "/api/run/photo/1.jpg",
    ],
)  # fmt: skip
def test_no_address_names_a_file(client, path):
    reply = client.get(path)
    assert reply.status in (404, 422), (path, reply.body[:200])
    assert len(reply.error) < 400


def test_an_image_that_is_no_longer_held_is_said_to_be(client):
    reply = client.get("/api/images/0123456789abcdef")
    assert reply.status == 404 and "choose it again" in reply.error


def test_images_that_were_used_longest_ago_go():
    held = HeldImages(ServeLimits(images=2, held_pixels=1000))
    made = [HeldImage.of_pixels(str(k), np.full((10, 20, 3), k, np.uint8)) for k in range(4)]
    pinned = held.pin(made[3])
    held.add(made[0]), held.add(made[1]), held.find(made[0].id), held.add(made[2])
    assert held.find(made[0].id) is made[0] and held.find(made[2].id) is made[2]
    with pytest.raises(RefusedError, match="no longer held"):
        held.find(made[1].id)
    assert held.find(pinned.id) is pinned
    assert held.add(HeldImage.of_pixels("again", pinned.pixels)) is pinned


def test_images_go_where_their_pixels_are_too_many():
    held = HeldImages(ServeLimits(images=9, held_pixels=450))  # two of 200
    made = [held.add(HeldImage.of_pixels(str(k), np.full((10, 20, 3), k, np.uint8))) for k in range(3)]
    with pytest.raises(RefusedError):
        held.find(made[0].id)
    large = held.add(HeldImage.of_pixels("large", np.zeros((30, 30, 3), np.uint8)))  # 900 alone
    assert held.find(large.id) is large


def test_large_images_are_shown_as_jpeg():
    image = HeldImage.of_pixels("large", np.zeros((1001, 1000, 3), np.uint8))
    assert image.encoded[1] == "image/jpeg"
    assert Image.open(io.BytesIO(image.encoded[0])).size == (1000, 1001)
