"""What strokes of a brush do to an image."""

import io
import math
import time

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from odam_d2.data.inputs import InputMaker
from odam_d2.serve.detector import ServedDetector
from odam_d2.serve.edits import edit_image, stroke_mask
from odam_d2.serve.requests import Stroke
from tests.serve.conftest import NAME, png

HEIGHT, WIDTH = 60, 80


def stroke(points, radius=8.0, how="erase") -> Stroke:
    return Stroke(points=points, radius=radius, how=how)


def distance(points) -> np.ndarray:
    """(h, w) the distance of each pixel's centre from a line through points."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    every = []
    for (ax, ay), (bx, by) in zip(points, points[1:] or points):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1) if length else 0.0
        every.append(np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)))
    return np.min(every, 0)


@pytest.mark.parametrize(
    "points", [[(30, 30)], [(10, 20), (60, 40)], [(10, 10), (40, 10), (40, 50)], [(0, 0)], [(-20, 30), (100, 30)]]
)
def test_a_stroke_covers_what_is_nearer_than_its_radius(points):
    mask, far = stroke_mask(stroke(points), HEIGHT, WIDTH).astype(bool), distance(points)
    assert mask[far < 7].all() and not mask[far > 9.5].any()


def test_erased_pixels_have_the_colour_around_them():
    image = np.full((HEIGHT, WIDTH, 3), (10, 120, 200), np.uint8)
    image[20:40, 30:50] = 255  # what is erased
    found = edit_image(image, [stroke([(40, 30)], radius=16)])
    np.testing.assert_array_equal(found, np.full_like(image, (10, 120, 200)))
    assert image[30, 40, 0] == 255  # the original stays


def test_what_is_all_covered_gets_the_mean_of_the_image():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2] = 100
    assert (edit_image(image, [stroke([(40, 30)], radius=500)]) == 50).all()


def by_loop(image: np.ndarray, one: Stroke, mean: tuple[int, int, int]) -> np.ndarray:
    """What a stroke of `erase` or `mean` leaves, pixel by pixel."""
    mask, found = stroke_mask(one, HEIGHT, WIDTH).astype(bool), image.copy()
    inside = [(y, x) for y in range(HEIGHT) for x in range(WIDTH) if mask[y, x]]
    around, total = 0, [0, 0, 0]
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if not mask[y, x] and min(math.hypot(y - b, x - a) for b, a in inside) <= one.radius / 2:
                around, total = around + 1, [a + int(b) for a, b in zip(total, image[y, x])]
    colour = mean if one.how == "mean" else [channel / around for channel in total]
    for y, x in inside:
        found[y, x] = np.rint(colour)
    return found


@pytest.mark.parametrize("how", ["erase", "mean"])
def test_filled_pixels_are_those_of_a_loop(how):
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    one = stroke([(30, 25), (45, 35)], radius=6, how=how)
    found, expected = edit_image(image, [one], (10, 120, 200)), by_loop(image, one, (10, 120, 200))
    # cv2's distances are exact to a few hundredths: a pixel more or less around moves the mean by less than one.
    assert np.abs(found.astype(int) - expected).max() <= (how == "erase")
    assert (found != image).any()


def test_a_mean_colour_must_be_given():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(ValueError, match="name a detector"):
        edit_image(image, [stroke([(5, 5)], how="mean")])


@pytest.mark.parametrize("input_format, mean, rgb", [
    ("BGR", [103.53, 116.28, 123.675], (124, 116, 104)), ("RGB", [103.53, 116.28, 123.675], (104, 116, 124)),
    ("BGR", [0.0, 10.4, 300.0], (255, 10, 0)), ("YUV-BT.601", [0.5, 0.0, 0.0], (127, 127, 127))])  # fmt: skip
def test_the_mean_pixel_is_told_as_the_page_shows_it(input_format, mean, rgb):
    class Model(torch.nn.Module):
        pixel_mean = torch.tensor(mean).view(-1, 1, 1)

    one = object.__new__(ServedDetector)
    one.model, one.make_input = Model(), InputMaker(input_format=input_format)
    assert one.mean_pixel == rgb
    one.__dict__.pop("mean_pixel")
    one.model = torch.nn.Identity()
    assert one.mean_pixel is None


def test_a_detector_s_mean_pixel_fills_an_image(client, image, pixels, detector):
    strokes = [{"points": [[40, 60], [90, 60]], "radius": 12, "how": "mean"}]
    mean = client.get("/api/about").json()["detectors"][0]["mean"]
    assert mean == [round(value) for value in detector.config.node.MODEL.PIXEL_MEAN[::-1]] == [124, 116, 104]
    told = client.post("/api/edits", {"image": image, "strokes": strokes, "detector": NAME}).json()
    shown = np.asarray(Image.open(io.BytesIO(client.get(f"/api/images/{told['image']}").body)))
    expected = pixels[:, :, ::-1].copy()
    expected[stroke_mask(Stroke(**strokes[0]), 240, 320).astype(bool)] = mean
    np.testing.assert_array_equal(shown, expected)
    assert client.post("/api/edits", {"image": image, "strokes": strokes}).status == 422
    assert client.post("/api/edits", {"image": image, "strokes": strokes, "detector": "nobody"}).status == 404


def test_blurred_pixels_are_those_of_a_gaussian_and_others_stay():
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    one = stroke([(40, 30)], radius=6, how="blur")
    found, mask = edit_image(image, [one]), stroke_mask(one, HEIGHT, WIDTH).astype(bool)
    np.testing.assert_array_equal(found[~mask], image[~mask])
    expected = gaussian_filter(image.astype(float), (3, 3, 0), mode="mirror")  # sigma is half of the radius
    # cv2 takes fewer cells of the Gaussian for 8 bits, and rounds.
    assert np.abs(found[mask] - expected[mask]).max() < 4


def test_a_wide_blur_leaves_about_what_a_gaussian_does():
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2] //= 4
    found = edit_image(image, [stroke([(40, 30)], radius=40, how="blur")])
    expected = gaussian_filter(image.astype(float), (20, 20, 0), mode="mirror")
    mask = stroke_mask(stroke([(40, 30)], radius=40), HEIGHT, WIDTH).astype(bool)
    # On a smaller image, whose border is where it was to within a pixel.
    assert np.abs(found[mask] - expected[mask]).mean() < 3


def test_strokes_that_look_at_too_much_are_refused():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    edit_image(image, [stroke([(40, 30)], radius=100)], most=HEIGHT * WIDTH)
    with pytest.raises(ValueError, match="draw fewer"):
        edit_image(image, [stroke([(40, 30)], radius=100)] * 2, most=HEIGHT * WIDTH)
    edit_image(image, [stroke([(400, 30)], radius=100)] * 9, most=HEIGHT * WIDTH)  # outside
    # A brush that goes over the same place again and again paints it each time.
    with pytest.raises(ValueError, match="draw fewer"):
        edit_image(image, [stroke([(40, 30), (41, 30)], radius=100)], most=HEIGHT * WIDTH)


def test_strokes_follow_each_other():
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    both = [stroke([(20, 30)]), stroke([(25, 30)], how="blur")]
    np.testing.assert_array_equal(edit_image(image, both), edit_image(edit_image(image, both[:1]), both[1:]))


@pytest.mark.parametrize("how", ["erase", "mean", "blur"])
def test_strokes_outside_the_image_and_huge_ones_do_no_harm(how):
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    outside = [stroke([(-500, -500), (-400, -500)], how=how), stroke([(1e6, 1e6)], radius=5, how=how)]
    np.testing.assert_array_equal(edit_image(image, outside, (1, 2, 3)), image)
    assert edit_image(image, [stroke([(-1e6, -1e6), (1e6, 1e6)], radius=2000, how=how)], (1, 2, 3)).shape == image.shape
    assert edit_image(image, [stroke([(0.2, 0.2)], radius=1e-9, how=how)], (1, 2, 3)).shape == image.shape


def test_an_edited_image_is_held_beside_the_first(client, image, pixels):
    strokes = [{"points": [[40, 60], [90, 60]], "radius": 12, "how": "erase"}]
    told = client.post("/api/edits", {"image": image, "strokes": strokes}).json()
    assert told["of"] == image and told["image"] != image and told["size"] == [320, 240]
    again = client.post("/api/edits", {"image": image, "strokes": strokes}).json()
    assert again["image"] == told["image"]
    expected = edit_image(pixels, [Stroke(**strokes[0])])
    assert client.get(f"/api/images/{told['image']}").body == client.get(
        f"/api/images/{client.upload(png(expected)).json()['image']}"
    ).body  # fmt: skip


GOOD = {"points": [[1, 1]], "radius": 3, "how": "erase"}


@pytest.mark.parametrize(
    "strokes, status",
    [
        ([], 422),
        ([{**GOOD, "how": "burn"}], 422),
        ([{**GOOD, "radius": 0}], 422),
        ([{**GOOD, "radius": 1e9}], 422),
        ([{**GOOD, "radius": math.nan}], 422),
        ([{**GOOD, "points": []}], 422),
        ([{**GOOD, "points": [[1, math.inf]]}], 422),
        ([{**GOOD, "points": [[1, 2, 3]]}], 422),
        ([{**GOOD, "points": [[1e300, 2]]}], 422),
        ([{**GOOD, "more": 1}], 422),
        ([GOOD] * 501, 422),
        ([{**GOOD, "points": [[1, 1]] * 20_001}], 422),
        ([{**GOOD, "points": [[1, 1]] * 10_001}] * 2, 413),
        ([{**GOOD, "points": [[1.123456, 1.123456]] * 19_000}] * 3, 413),  # of more bytes than a request may have
        ("x", 422),
        (None, 422),
    ],
)
def test_strokes_that_are_none_are_refused(client, image, strokes, status):
    reply = client.post("/api/edits", {"image": image, "strokes": strokes})
    assert reply.status == status and reply.error


def test_thousands_of_faults_are_told_by_the_first(client, image):
    strokes = [{"points": [[]] * 5000, "radius": 3, "how": "erase"}] * 40
    begin = time.perf_counter()
    assert client.post("/api/edits", {"image": image, "strokes": strokes}).status == 422
    assert time.perf_counter() - begin < 2  # all of them took half a minute


@pytest.mark.parametrize("name", ["", "../x", "0123456789abcdeg", 5, None, "0123456789abcdef0"])
def test_images_are_named_by_their_ids(client, name):
    assert client.post("/api/edits", {"image": name, "strokes": [GOOD]}).status == 422
