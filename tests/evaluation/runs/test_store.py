"""Results on disk: whole, or as if they weren't there."""

import json

import pytest

from odam_d2.evaluation import ResultStore


def test_results_come_back_to_the_last_bit(tmp_path):
    store = ResultStore(tmp_path)
    result = {"values": [0.1 + 0.2, None, 1e-300], "name": "grün"}
    store.images.write(3, result)
    assert store.images.read(3) == result and store.images.read(4) is None


@pytest.mark.parametrize("keep", [0, 10, 64, 65, -5, -2])
def test_a_file_that_was_cut_short_counts_as_none(tmp_path, keep):
    store = ResultStore(tmp_path)
    store.images.write(3, {"values": list(range(50))})
    (file,) = (tmp_path / "images").iterdir()
    file.write_bytes(file.read_bytes()[:keep])
    assert store.images.read(3) is None


def test_names_that_no_file_can_have_stay_apart(tmp_path):
    files = ResultStore(tmp_path).images
    ids = ("a/b", "a_b", "a\\b", "A_b", "x" * 300, "x" * 299, "\U00020000" * 99, "", "..", "con", "a. ", "1.png", "1")
    for name in ids:
        files.write(name, name)
    assert all(files.read(name) == name for name in ids)
    # Also where a file system doesn't tell cases apart.
    assert len({file.name.casefold() for file in files.folder.iterdir()}) == len(ids) and files.unreadable() == []


def test_going_on_needs_the_same_settings(tmp_path):
    store, settings = ResultStore(tmp_path), {"seed": 0, "metrics": ("vea",)}
    store.start(settings, resume=True)
    store.images.write(1, {})
    left = tmp_path / "images" / ".2.json.0123abcd.tmp"  # by a writer that was killed
    left.write_text("{")
    store.start(settings, resume=True)
    assert store.images.read(1) == {} and not left.exists()
    with pytest.raises(ValueError, match=r"same settings to resume; .* differs in \['seed'\]"):
        store.start({**settings, "seed": 1}, resume=True)
    assert store.images.read(1) == {}
    store.start({**settings, "seed": 1}, resume=False)
    assert store.images.read(1) is None and json.loads((tmp_path / "settings.json").read_text())["seed"] == 1


def test_results_without_settings_are_not_trusted(tmp_path):
    store = ResultStore(tmp_path)
    store.images.write(1, {})
    store.start({}, resume=True)
    assert store.images.read(1) is None
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match="differs in"):
        store.start({"seed": 0}, resume=True)


def test_files_that_are_not_whole_are_named(tmp_path):
    files = ResultStore(tmp_path).examples
    assert files.unreadable() == []
    for name in ("3_0", "3_1", "a/b"):
        files.write(name, "crop")
    assert files.unreadable() == []
    for file in (tmp_path / "examples").glob("*.json"):
        if file.stem != "3_0":
            file.write_bytes(file.read_bytes()[:-3])
    first, second = files.unreadable()
    assert first == "3_1" and second.startswith("a_b-")


def test_files_count_for_finished_images_alone(tmp_path):
    store, finished = ResultStore(tmp_path), {1: "1.png (5 bytes)"}
    store.start({}, resume=False, files={**finished, 2: "2.png (missing)"})
    store.images.write(1, {})
    store.start({}, resume=True, files={**finished, 2: "2.png (7 bytes)"})
    store.images.write(2, {})
    message = r"same images to resume; .* in 1 of them, .* '2.png \(missing\)' in place of '2.png \(7 bytes\)'"
    with pytest.raises(ValueError, match=message):
        store.start({}, resume=True, files={**finished, 2: "2.png (missing)"})
    store.start({}, resume=True, files={**finished, 2: "2.png (7 bytes)"})


def test_old_results_go_where_a_run_starts_anew(tmp_path):
    store, results = ResultStore(tmp_path), ("page.html", "curve_*.png")
    kept = {"curve.png", "page.html.txt"}
    for name in ("page.html", "curve_a.png", "curve_b.png", *kept):
        (tmp_path / name).write_text("old")
    store.start({}, resume=False, results=results)
    assert {file.name for file in tmp_path.iterdir()} == {*kept, "settings.json"}
    (tmp_path / "page.html").write_text("new")
    store.start({}, resume=True, results=results)
    assert (tmp_path / "page.html").read_text() == "new"
