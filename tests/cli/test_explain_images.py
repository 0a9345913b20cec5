"""tools/explain.py on folders as people have them: which images are explained, and what is said of the others."""

import json
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_explain import image, left_overs, report_data, run, run_json, tool, weights  # noqa: F401

# Letters of four bytes each; the longest name that a file can have is 255 bytes.
LONG = "𠀀" * 62


def names(output):
    return [os.path.basename(told["file"]) for told in run_json(output)["images"]]


def test_a_folder_of_all_sorts(run, tmp_path, capsys):  # noqa: F811
    folder = tmp_path / "in"
    for name in ("a.png", "b.bmp", "c.webp", "d.tif", "._a.png", "__MACOSX/a.png"):
        image(folder / name)
    for name in ("Thumbs.db", ".DS_Store", "labels.txt", "clip.mp4"):
        (folder / name).write_text("0 0 0")
    Image.fromarray(np.array([[0.5]], np.float32)).save(folder / "float.tiff")
    Image.fromarray(np.array([[0, 65535]] * 2, np.uint16)).save(folder / "deep.png")
    (folder / "torn.jpg").write_bytes(image(tmp_path / "whole.jpg").read_bytes()[:300])
    code, output = run(folder)
    printed, told = capsys.readouterr(), run_json(output)
    assert code == 1 and names(output) == ["a.png", "b.bmp", "c.webp", "d.tif", "deep.png"]
    assert [os.path.basename(one["file"]) for one in told["failures"]] == ["float.tiff", "torn.jpg"]
    account = told["image_files"]
    assert account["images"] == 7 and {k: len(v) for k, v in account["left_out"].items()} == {
        "left behind by a system or a program": 3, "no image by its suffix": 1, "a video: take frames out": 1,
    }  # fmt: skip
    assert "left out: 3 files, left behind by a system or a program, e.g. " in printed.out
    assert "read: 1 image, its 16 bits are scaled to 8 by their full range, e.g. " in printed.out
    assert "7 images, 10 detections, 2 failed" in printed.out
    facts = report_data(output)["run"]["image files"]
    assert facts["left out: a video: take frames out"] == f"1: {folder / 'clip.mp4'}"


@pytest.mark.parametrize("where", ["in/out", "in", "link/out", "."])
def test_own_drawings_are_not_explained_on_a_second_run(run, tmp_path, monkeypatch, where):  # noqa: F811
    image(tmp_path / "in" / "cat.png")
    image(tmp_path / "in" / "deeper" / "dog.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        code, output = run("in/**/*", "--output", where)
        assert code == 0 and names(tmp_path / where) == ["cat.png", "dog.png"]


def test_images_in_the_output_are_never_overwritten(run, tmp_path):  # noqa: F811
    """Images called as our own files, in a folder that would be another image's; a file called like a folder."""
    own = [image(tmp_path / "in" / name, seed=k) for k, name in enumerate(("cat/overlay.jpg", "cat/det_000_a.jpg"))]
    image(tmp_path / "in" / "cat.png")
    (tmp_path / "in" / "Dog").write_bytes(image(tmp_path / "in" / "dog.png").read_bytes())
    before = [path.read_bytes() for path in own]
    for _ in range(2):
        code, _ = run(tmp_path / "in" / "**" / "*", "--output", tmp_path / "in")
        assert code == 0 and [path.read_bytes() for path in own] == before
        folders = [told["folder"] for told in run_json(tmp_path / "in")["images"]]
        assert sorted(folders) == ["Dog-2", "cat-2", "det_000_a", "dog-3", "overlay"]


def test_names_of_all_sorts_stay_apart(run, tmp_path):  # noqa: F811
    own = [
        "a#b?.png", "100%.png", "it's \"q\".png", "a b.png", "a.b.c.png", "...png", "a|b`c`.png", "$x$.png",
        f"{LONG}a.png", f"{LONG}b.png", "Cat.png", "cat.png", "cat.bmp", unicodedata.normalize("NFC", "é.png"),
        unicodedata.normalize("NFD", "é.png"), os.fsdecode(b"\xff.png"), os.fsdecode(b"\xfe.png"), "é\u202e.png",
        "a\nb.png",
    ]  # fmt: skip
    for k, name in enumerate(own):
        (tmp_path / "in").mkdir(exist_ok=True)
        image(tmp_path / f"plain{name[-4:]}", seed=k).rename(tmp_path / "in" / name)
    code, output = run(tmp_path / "in")
    told = run_json(output)
    assert code == 0 and sorted(names(output)) == sorted(own)
    folders = [one["folder"] for one in told["images"]]
    assert len({unicodedata.normalize("NFC", folder).casefold() for folder in folders}) == len(own)
    for one in told["images"]:
        made = {path.name for path in (output / one["folder"]).iterdir()}
        assert {"heatmaps.npz", "overlay.jpg"} < made and max(len(os.fsencode(name)) for name in made) < 256
    assert not left_overs(output) and "\\xff.png" in {one["name"] for one in report_data(output)["images"]}


@pytest.mark.parametrize("size", [(1, 90), (90, 1), (1, 1), (3, 700), (1, 9000)])
def test_images_of_any_shape_are_explained(run, tmp_path, size):  # noqa: F811
    code, output = run(image(tmp_path / "thin.png", *size))
    assert code == 0 and run_json(output)["images"][0]["detections"] == 2
    Image.open(output / "thin" / "overlay.jpg").load()


def test_several_inputs_and_options_behind_them(tool, weights, tmp_path, monkeypatch):  # noqa: F811
    """As the shell spells a pattern out, and with the config's options right behind."""
    paths = [image(tmp_path / name) for name in ("a.png", "b.png")]
    options = ["--config-file", "synthetic/faster_rcnn_compact_FPN", "--output", tmp_path / "out", "--input", *paths]
    options += ["MODEL.WEIGHTS", weights, "INPUT.MIN_SIZE_TEST", "32", "INPUT.MAX_SIZE_TEST", "64"]
    assert tool.main([str(one) for one in options]) == 0
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert names(tmp_path / "out") == ["a.png", "b.png"] and told["input"] == [str(path) for path in paths]
    assert told["weights"] == str(weights)


def test_links_keep_their_own_names(run, tmp_path):  # noqa: F811
    image(tmp_path / "store" / "0001.png")
    (tmp_path / "in").mkdir()
    for name in ("cat.png", "dog.png"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "store" / "0001.png")
    _, output = run(tmp_path / "in")
    assert [one["name"] for one in report_data(output)["images"]] == ["cat.png", "dog.png"]


def test_a_run_anew_shows_its_own_images(run, tmp_path):  # noqa: F811
    """Other images of the same names, older than what an earlier run drew: the report has those that were explained."""
    for folder, colour in (("red", (200, 30, 10)), ("blue", (10, 30, 200))):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (60, 40), colour).save(tmp_path / folder / "a.png")
        os.utime(tmp_path / folder / "a.png", (1e9, 1e9))
        code, output = run(tmp_path / folder)
        (drawn,) = (output / "report" / "images").rglob("*.jpg")
        pixels = np.asarray(Image.open(drawn).convert("RGB")).astype(int).reshape(-1, 3)
        assert code == 0 and (abs(pixels - colour) <= 12).all(1).mean() > 0.9


def test_a_single_file_of_many_images_is_refused_at_once(run, tmp_path, capsys):  # noqa: F811
    for number in range(51):
        image(tmp_path / "many" / f"{number}.png", 9, 9)
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "many", "--single-file")
    assert "--single-file must be of at most 50 images; got 51: leave it out, or name fewer" in capsys.readouterr().err
