"""Which of somebody's files are images: folders as people have them, made here."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from odam_d2.data.image_account import ImageAccount
from odam_d2.data.image_files import find_images
from tests.wants import needs


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(found):
    return [path.name for path in found.paths]


def reasons(found):
    return {path.name: reason for path, reason in found.left_out}


def test_one_image_whatever_its_suffix(tmp_path):
    touch(tmp_path / "a.strange", tmp_path / "._b.jpg")
    assert find_images(tmp_path / "a.strange").paths == [tmp_path / "a.strange"]
    assert find_images(tmp_path / "._b.jpg").paths == [tmp_path / "._b.jpg"]


def test_a_folder_in_natural_order(tmp_path):
    touch(*(tmp_path / n for n in ("10.jpg", "2.PNG", "B1.jpeg", "a1.jpg", "notes.txt", "deeper/3.jpg")))
    (tmp_path / "folder.jpg").mkdir()
    found = find_images(str(tmp_path))
    assert names(found) == ["2.PNG", "10.jpg", "a1.jpg", "B1.jpeg"]
    assert reasons(found) == {"notes.txt": "no image by its suffix"}


def test_a_pattern(tmp_path):
    touch(*(tmp_path / n for n in ("x/10.jpg", "x/9.jpg", "y/1.jpg", "y/1.txt", "y/z/2.jpg")))
    found = find_images(f"{tmp_path}/*/*.jpg").paths
    assert [p.relative_to(tmp_path).as_posix() for p in found] == ["x/9.jpg", "x/10.jpg", "y/1.jpg"]
    assert len(find_images(f"{tmp_path}/**/*.jpg").paths) == 4
    everything = find_images(f"{tmp_path}/**/*")
    assert len(everything.paths) == 4 and list(reasons(everything)) == ["1.txt"]


def test_several_sources_each_image_once(tmp_path):
    touch(*(tmp_path / "x" / n for n in ("1.jpg", "2.jpg", "._2.jpg")), tmp_path / "3.jpg")
    found = find_images([f"{tmp_path}/x/../x/2.jpg", f"{tmp_path}/x", tmp_path / "x" / "1.jpg", tmp_path / "3.jpg"])
    assert names(found) == ["3.jpg", "1.jpg", "2.jpg"] and list(reasons(found)) == ["._2.jpg"]


def test_a_dropping_that_is_named_is_taken(tmp_path):
    touch(tmp_path / "1.jpg", tmp_path / "._1.jpg")
    found = find_images([tmp_path, tmp_path / "._1.jpg"])
    assert names(found) == ["1.jpg", "._1.jpg"] and found.left_out == []


def test_a_name_that_looks_like_a_pattern_is_a_name_first(tmp_path):
    touch(tmp_path / "[1].jpg", tmp_path / "1.jpg", tmp_path / "day [1]" / "2.jpg", tmp_path / "day 1" / "3.jpg")
    assert find_images(tmp_path / "[1].jpg").paths == [tmp_path / "[1].jpg"]
    assert find_images(tmp_path / "day [1]" / "*.jpg").paths == [tmp_path / "day [1]" / "2.jpg"]
    assert find_images(tmp_path / "day [12]" / "*.jpg").paths == [tmp_path / "day 1" / "3.jpg"]


DROPPINGS = (
    "._cat.jpg", "._.DS_Store", ".DS_Store", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", "Icon\r",
    ".~lock.cat.jpg#", ".fuse_hidden0001.jpg",
)  # fmt: skip


def test_what_systems_leave_behind_is_left_out_and_counted(tmp_path):
    touch(tmp_path / "cat.jpg", *(tmp_path / name for name in DROPPINGS))
    found = find_images(tmp_path)
    assert names(found) == ["cat.jpg"]
    assert reasons(found) == dict.fromkeys(DROPPINGS, "left behind by a system or a program")
    (line,) = ImageAccount(1, found.left_out).left_out_lines()
    assert line.startswith("left out: 10 files, left behind by a system or a program, e.g. ")


def test_folders_of_droppings_at_any_depth(tmp_path):
    folders = ("__MACOSX", "a/__MACOSX/b", ".ipynb_checkpoints", "a/@eaDir", ".Trashes")
    touch(tmp_path / "a" / "cat.jpg", *(tmp_path / folder / "dog.jpg" for folder in folders), tmp_path / ".own/cow.jpg")
    found = find_images(f"{tmp_path}/**/*.jpg")
    assert names(found) == ["cat.jpg"]
    assert sorted(reason for _, reason in found.left_out) == [
        "hidden, which patterns leave out", *["left behind by a system or a program"] * 5
    ]  # fmt: skip
    assert find_images(f"{tmp_path}/__MACOSX/*.jpg").paths == [tmp_path / "__MACOSX" / "dog.jpg"]
    assert find_images(f"{tmp_path}/.own/*.jpg").paths == [tmp_path / ".own" / "cow.jpg"]


@pytest.mark.parametrize(
    "name", ["...jpg", "..jpg", ".jpg", ".hidden.jpg", "a.b.c.jpg", "a#b?.jpg", "100%.JPG", " .png"]
)
def test_names_of_images(tmp_path, name):
    touch(tmp_path / name)
    assert names(find_images(tmp_path)) == [name]


def test_both_ways_to_write_an_accent_and_bytes_that_are_no_text(tmp_path):
    own = [unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD")] + [os.fsdecode(b"\xff.jpg")]
    touch(*(tmp_path / name for name in own))
    found = find_images(tmp_path)
    assert sorted(names(found)) == sorted(own)


def test_files_without_a_suffix_are_looked_into(tmp_path):
    for name in ("IMG_1", "frame.0001", "text"):
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(tmp_path / name)
    (tmp_path / "text").write_text("0 0.5 0.5 1 1\n" * 100)
    (tmp_path / "numbers.1").write_bytes(bytes(range(256)) * 20)
    found = find_images(tmp_path)
    assert names(found) == ["frame.0001", "IMG_1"] and sorted(reasons(found)) == ["numbers.1", "text"]


def test_other_formats_are_told_with_a_remedy(tmp_path):
    touch(*(tmp_path / f"a.{suffix}" for suffix in ("jpg", "svg", "CR2", "mp4", "zip", "jxl", "json")))
    assert reasons(find_images(tmp_path)) == {
        "a.svg": "no image of pixels: export one",
        "a.CR2": "a camera's raw data: develop it",
        "a.mp4": "a video: take frames out",
        "a.zip": "an archive: unpack it",
        "a.jxl": "of a format that Pillow doesn't read: save it as PNG",
        "a.json": "no image by its suffix",
    }


@needs("POSIX file types", os.name == "posix")
def test_links_and_pipes(tmp_path):
    touch(tmp_path / "real.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "real.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nothing.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    found = find_images(tmp_path)
    assert names(found) == ["link.jpg", "real.jpg"]
    assert reasons(found) == {"broken.jpg": "a link to nothing", "pipe.jpg": "no regular file"}
    # A link to a folder above doesn't multiply its images.
    assert names(find_images(f"{tmp_path}/**/*.jpg")) == ["link.jpg", "real.jpg"]


@pytest.mark.parametrize("spelling", ["plain", "relative", "link", "dots"])
def test_what_a_run_wrote_is_not_explained(tmp_path, monkeypatch, spelling):
    touch(*(tmp_path / "in" / n for n in ("cat.jpg", "out/cat/overlay.jpg", "out/x.png", "out/cat/notes.jpg")))
    (tmp_path / "other").symlink_to(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    output = {"plain": tmp_path / "in/out", "relative": "in/out", "link": "other/out", "dots": "in/../other/out/"}
    found = find_images(f"{tmp_path}/in/**/*", output[spelling])
    assert names(found) == ["cat.jpg"] and set(reasons(found).values()) == {"drawn by an earlier run"}
    assert len(found.left_out) == 3
    assert names(find_images("other/**/*.jpg", output[spelling])) == ["cat.jpg"]


def test_drawings_of_any_run_are_known_by_the_heat_maps_beside_them(tmp_path):
    own = ("cat/overlay.jpg", "cat/det_000_dog_0.98.jpg", "cat/det_1.jpg", "cat/heatmaps.npz", "dog/overlay.jpg")
    touch(*(tmp_path / n for n in own), *(tmp_path / "m" / n for n in ("metrics.json", "curve_insertion.png", "1.png")))
    for output in (None, tmp_path, tmp_path.parent):  # also where the output is the folder of images, or above it
        found = find_images(f"{tmp_path}/**/*.*", output)
        assert [p.relative_to(tmp_path).as_posix() for p in found.paths] == [
            "cat/det_1.jpg",
            "dog/overlay.jpg",
            "m/1.png",
        ]


@pytest.mark.parametrize(
    "source, reason",
    [
        ("empty", r"a folder with images; got .*empty': it holds no file$"),
        (
            "text",
            r"a folder with images; got .*text': its files are none: 1 no image by its suffix, e\.g\. 'readme.txt'",
        ),
        (
            "above",
            r"it holds no file; subfolders such as 'deeper' are not searched: give '.*above/\*\*/\*' for all depths",
        ),
        ("*.jpg", r"a pattern that matches files; got .*\*\.jpg': no file has such a path"),
        ("text/*", r"a pattern that matches images; got .*, and its files are none: 1 no image by its suffix"),
        ("a.jpg", r"an image, a folder or a glob pattern; got .*a\.jpg': there is no such file or folder"),
    ],
)
def test_nothing_found(tmp_path, source, reason):
    touch(tmp_path / "text" / "readme.txt", tmp_path / "above" / "deeper" / "1.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=reason):
        find_images(tmp_path / source)


@pytest.mark.parametrize("source", ["", "a\0.jpg"])
def test_what_no_path_can_be(source):
    with pytest.raises(ValueError, match="`input` must be an image, a folder or a glob pattern; got "):
        find_images([source])


def test_the_account_is_short_in_print_and_whole_in_json(tmp_path):
    left_out = [(tmp_path / f"{k}.{kind}", f"reason {kind}") for kind in range(9) for k in range(kind + 1)]
    account = ImageAccount(3, left_out)
    account.remark(tmp_path / "a\n.png", ["dark"])
    account.remark(tmp_path / "b.png", ["dark", "first frame"])
    lines = account.left_out_lines()
    assert len(lines) == 7 and lines[0].startswith("left out: 9 files, reason 8, e.g. ")
    assert lines[-1] == "left out: and 3 more kinds, see run.json"
    assert account.remark_lines()[0] == f"read: 2 images, dark, e.g. {tmp_path}/a\\n.png"
    told = account.as_json()
    assert sum(map(len, told["left_out"].values())) == 45 and told["images"] == 3
    assert told["remarks"]["dark"] == [str(tmp_path / "a\n.png"), str(tmp_path / "b.png")]
    assert account.facts()["left out: reason 1"] == f"2: {tmp_path}/0.1, {tmp_path}/1.1"
