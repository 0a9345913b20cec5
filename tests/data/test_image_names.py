"""Which image an entry means, however its tool wrote the name; nothing is guessed where two could be meant."""

from pathlib import Path

import pytest

from odam_d2.data.image_names import ImageName, ImageNames, name_parts


def match(names, paths):
    """Numbers of the entries that found an image -> (its number, what was repaired)."""
    index = ImageNames({k: one if isinstance(one, ImageName) else ImageName(one) for k, one in enumerate(names)})
    given = [Path("/root") / path for path in paths]
    found = index.match(given)
    return {k: (given.index(path), found.repairs.get(k)) for k, path in found.paths.items()}


SEPARATOR = "`\\` and `..` in its file name taken as folders"
ELSEWHERE = "found by its file name in another folder"
UPLOADED = "the prefix of an upload, 8 hex digits and a dash, dropped from its file name"
FOLDED = "found by its file name in other case, or with escaped characters"


@pytest.mark.parametrize(
    "name, path, repair",
    [
        ("x.jpg", "x.jpg", None),
        ("x.jpg", "a/b/x.jpg", None),
        ("./a/x.jpg", "a/x.jpg", None),
        ("a\\x.jpg", "a/x.jpg", SEPARATOR),
        ("C:\\data\\a\\x.jpg", "data/a/x.jpg", SEPARATOR),
        ("../a/x.jpg", "a/x.jpg", SEPARATOR),
        ("JPEGImages/x.jpg", "images/x.jpg", ELSEWHERE),
        ("..\\..\\media\\upload\\7\\1a2b3c4d-x.jpg", "images/x.jpg", UPLOADED),
        ("/data/upload/1/1a2b3c4d-1a2b3c4d-x.jpg", "1a2b3c4d-x.jpg", UPLOADED),
        ("1a2b3c4d-x.jpg", "1a2b3c4d-x.jpg", None),  # its own name
        ("IMG_1.JPG", "img_1.jpg", FOLDED),
        ("my%20dog.jpg", "my dog.jpg", FOLDED),
        ("caf\u00e9.jpg", "cafe\u0301.jpg", FOLDED),  # as macOS writes it
        (ImageName("x_jpg.rf.0123.jpg", "x.jpg"), "x.jpg", "found by `extra.name`"),
        (ImageName("x.jpg", "y.jpg"), "x.jpg", None),
    ],
)
def test_one_image(name, path, repair):
    assert match([name], [path]) == {0: (0, repair)}


@pytest.mark.parametrize("name", ["y.jpg", "x.png", "1a2b3c4-x.jpg", "1a2b3c4d-", "zz2b3c4d-x.jpg", "..", "x.jpg/"])
def test_no_image(name):
    assert match([name], ["a/x.jpg"]) == ({} if name != "x.jpg/" else {0: (0, None)})


def test_folders_tell_images_of_one_name_apart():
    assert match(["a/x.jpg", "b/x.jpg"], ["b/x.jpg", "a/x.jpg"]) == {0: (1, None), 1: (0, None)}
    # Other folders above, the same below.
    found = match(["train/a/x.jpg", "train/b/x.jpg"], ["val/b/x.jpg", "val/a/x.jpg"])
    assert found == {0: (1, ELSEWHERE), 1: (0, ELSEWHERE)}
    # The surer way comes first; an image of a third folder is nobody's.
    assert match(["a/x.jpg", "b/x.jpg"], ["a/x.jpg", "c/x.jpg"]) == {0: (0, None)}
    assert match(["x.jpg", "a/x.jpg"], ["a/x.jpg", "b/x.jpg"]) == {0: (1, None), 1: (0, None)}
    assert match(["a/x.jpg"], ["a/x.jpg", "b/x.jpg"]) == {0: (0, None)}


def test_what_can_not_be_told_apart_is_an_error_with_both():
    with pytest.raises(ValueError, match=r"image 0, 'x.jpg', could be '.*a/x.jpg' or '.*b/x.jpg'"):
        match(["x.jpg"], ["a/x.jpg", "b/x.jpg"])
    with pytest.raises(ValueError, match=r"name an image once; got \['a/x.jpg', 'b/x.jpg'\] for '.*c/x.jpg'"):
        match(["a/x.jpg", "b/x.jpg"], ["c/x.jpg"])
    for same in (["a/x.jpg", "a\\x.jpg"], ["x.jpg", "x.jpg"], ["./x.jpg", "x.jpg"]):
        with pytest.raises(ValueError, match="images 0 and 1 both have the file name"):
            match(same, [])


def test_a_loose_way_counts_only_where_it_finds_one_image():
    assert match(["1a2b3c4d-x.jpg", "5e6f7a8b-x.jpg"], ["x.jpg"]) == {}  # two uploads of that name
    assert match(["1a2b3c4d-x.jpg"], ["a/x.jpg", "b/x.jpg"]) == {}
    assert match([ImageName("u.jpg", "x.jpg"), ImageName("v.jpg", "x.jpg")], ["x.jpg"]) == {}
    assert match(["X.jpg", "x.JPG"], ["x.jpg"]) == {}
    # An image that has an entry is no other's.
    assert match(["1a2b3c4d-x.jpg", "x.jpg"], ["x.jpg"]) == {1: (0, None)}


def test_parts_of_names():
    assert name_parts("C:\\a\\..\\b/./x.jpg") == ("a", "b", "x.jpg") and name_parts("..") == ()
