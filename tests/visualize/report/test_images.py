"""The images of a report: written once, named by their key, and said to be gone where they are."""

import os

import numpy as np
import pytest
from PIL import Image

from odam_d2.store import ImageRow
from odam_d2.utils.files import OutputError
from odam_d2.visualize.report.images import ReportImages, data_uris, jpegs

BLUE = np.full((100, 400, 3), (200, 20, 10), np.uint8)  # BGR


def image_at(path, size=(100, 400), key="k"):
    return ImageRow(0, key, "name", str(path), size, size)


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_both_sizes_are_bounded_and_in_the_right_colours(tmp_path):
    large = np.concatenate([BLUE] * 10, 1)
    name, why = ReportImages(tmp_path).find(image_at("nowhere", (100, 4000)), lambda _: large)
    assert why is None and files_in(tmp_path) == [f"images/{name}", f"thumbs/{name}"]
    with Image.open(tmp_path / "images" / name) as shown, Image.open(tmp_path / "thumbs" / name) as small:
        assert shown.size == (1280, 32) and small.size == (128, 3) and shown.format == small.format == "JPEG"
        np.testing.assert_allclose(np.asarray(shown)[16, 640], [10, 20, 200], atol=3)  # JPEG rounds


def test_small_images_are_not_enlarged():
    assert len(jpegs(BLUE[:8, :9])) == 2
    uris, why = data_uris(image_at("nowhere", (8, 9)), lambda _: BLUE[:8, :9])
    assert why is None and [uri[:23] for uri in uris] == ["data:image/jpeg;base64,"] * 2


def test_an_image_is_read_once_and_again_when_it_was_changed(tmp_path):
    path, asked = tmp_path / "a.png", []
    Image.fromarray(BLUE).save(path)

    def read(image):
        asked.append(image.path)
        return BLUE

    images = ReportImages(tmp_path / "report")
    first = images.find(image_at(path), read)
    assert images.find(image_at(path), read) == first and len(asked) == 1
    written = (tmp_path / "report" / "thumbs" / first[0]).stat().st_mtime
    os.utime(path, (written + 5, written + 5))
    assert images.find(image_at(path), read) == first and len(asked) == 2
    (tmp_path / "report" / "thumbs" / first[0]).unlink()
    images.find(image_at(path), read)
    assert len(asked) == 3
    path.unlink()
    assert images.find(image_at(path), read) == first and len(asked) == 3  # what was kept is shown
    assert images.find(image_at(path, key="other"), read)[0] != first[0]


def test_who_has_the_pixels_writes_them(tmp_path):
    images, image = ReportImages(tmp_path), image_at("nowhere")
    images.write(image, BLUE)
    name, why = images.find(image, lambda _: pytest.fail("it is there already"))
    assert why is None and (tmp_path / "images" / name).is_file()


def test_an_image_that_is_gone_or_another_one(tmp_path):
    images = ReportImages(tmp_path / "report")
    name, why = images.find(image_at(tmp_path / "gone.jpg"))
    assert (
        name is None and why.startswith("The image can't be shown: `path` must be a readable image") and why[-1] == "."
    )
    Image.fromarray(BLUE).save(tmp_path / "wide.png")
    expected = "The image can't be shown: it was 40 x 10 pixels when it was explained, and is 400 x 100 now."
    assert images.find(image_at(tmp_path / "wide.png", (10, 40))) == (None, expected)
    assert data_uris(image_at(tmp_path / "wide.png", (10, 40))) == (None, expected)
    assert data_uris(image_at(tmp_path / "gone.jpg"))[0] is None
    assert not (tmp_path / "report").exists()


def test_a_folder_that_takes_no_files(tmp_path):
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(OutputError, match="must be writable"):
        ReportImages(tmp_path).find(image_at("nowhere"), lambda _: BLUE)
