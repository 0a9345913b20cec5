"""Folders of synthetic images are rendered once, completely or not at all."""

import json

import pytest

from odam_d2.data.synthetic import folder as folder_module
from odam_d2.data.synthetic.folder import render_dataset
from odam_d2.data.synthetic.scenes import SyntheticScenes


@pytest.fixture(autouse=True)
def render_alone(monkeypatch):
    """Renders in this process: quicker for one or two images, and its failures are plain ones."""
    monkeypatch.setattr(folder_module, "_WORKERS", 0)


class Breaking(SyntheticScenes):
    """Fails at the second image, as a full disk or Ctrl-C would."""

    def __getitem__(self, index):
        if index == 1:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_what_is_there_is_not_rendered_again(tmp_path):
    scenes = SyntheticScenes("scene", "val", 1)
    folder = tmp_path / "scenes"
    assert render_dataset(scenes, "scenes", str(folder)) is True
    assert sorted(path.name for path in folder.iterdir()) == [
        "annotations.odgt",
        "coco.json",
        "images",
        "manifest.json",
    ]
    assert render_dataset(scenes, "scenes", str(folder)) is False


def test_interrupted_rendering_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "scenes"
    with pytest.raises(KeyboardInterrupt):
        render_dataset(Breaking("scene", "val", 2), "scenes", str(folder))
    assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    assert render_dataset(SyntheticScenes("scene", "val", 2), "scenes", str(folder)) is True


def test_stale_partial_and_left_over_folders_are_replaced(tmp_path):
    folder, killed = tmp_path / "scenes", tmp_path / ".scenes.killed"
    killed.mkdir()  # of a process that couldn't tidy up
    (folder / "images").mkdir(parents=True)  # without a manifest: not complete
    (folder / "images" / "old.jpg").write_bytes(b"")
    assert render_dataset(SyntheticScenes("scene", "val", 1), "scenes", str(folder)) is True
    assert not killed.exists()
    assert [path.name for path in (folder / "images").iterdir()] == ["scenes_000000.jpg"]
    assert render_dataset(SyntheticScenes("scene", "val", 1, seed=1), "scenes", str(folder)) is True
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "generator_version": 0}))
    assert render_dataset(SyntheticScenes("scene", "val", 1, seed=1), "scenes", str(folder)) is True
