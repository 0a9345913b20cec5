"""odam:// addresses: a plain checkpoint in the cache folder, whatever state that is in."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from detectron2.utils.file_io import PathManager

import odam_d2  # noqa: F401  registers the addresses
from odam_d2.model_zoo import addresses
from odam_d2.model_zoo.addresses import BundledWeights, weights_checksum
from odam_d2.utils.files import atomic_write
from odam_d2.utils.packed import pack, unpack

ADDRESS = "odam://family/detector.pth"


def write_packed(folder, value):
    content = pack({"w": torch.full((2, 3), value), "b": torch.tensor([0.1])})
    with atomic_write(folder / "family" / "detector.pth", "wb") as file:
        torch.save(content, file)
    return unpack(content)


@pytest.fixture
def folder(tmp_path):
    write_packed(tmp_path / "package", 0.3)
    return tmp_path / "package"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def local_path(folder):
    return Path(BundledWeights(folder)._get_local_path(ADDRESS))


def assert_right(path, folder):
    found = torch.load(path, weights_only=True)
    assert list(found) == ["model"]
    wanted = unpack(torch.load(folder / "family" / "detector.pth", weights_only=True))
    assert list(found["model"]) == list(wanted)
    for key, value in wanted.items():
        assert torch.equal(found["model"][key], value)


def test_a_plain_checkpoint_is_made_once(folder, cache):
    before = sorted(folder.rglob("*"))
    path = local_path(folder)
    assert path.is_relative_to(cache)
    assert_right(path, folder)
    made = path.stat()
    assert local_path(folder) == path and path.stat().st_mtime_ns == made.st_mtime_ns
    assert sorted(folder.rglob("*")) == before  # the package's folder may be read-only
    assert list(cache.rglob("*.pth")) == [path]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "gone"])
def test_a_damaged_one_is_made_again(folder, cache, damage):
    path = local_path(folder)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "flip":
        where = content.index(torch.load(path, weights_only=True)["model"]["w"].numpy().tobytes())
        path.write_bytes(content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :])
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    assert local_path(folder) == path
    assert_right(path, folder)


def test_other_weights_under_the_same_name_are_another_file(folder, cache):
    first = local_path(folder)
    write_packed(folder, 0.7)
    second = local_path(folder)
    assert first != second
    assert_right(second, folder)


def test_many_at_once(folder, cache):
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: local_path(folder), range(16)))
    assert len(set(paths)) == 1
    assert_right(paths[0], folder)
    assert [file.name for file in paths[0].parent.iterdir()] == [paths[0].name]  # nothing half done is left


def test_a_cache_that_cannot_be_written(folder, cache, caplog):
    cache.write_text("a file where the folder should be")
    path = local_path(folder)
    assert "can't be written" in caplog.text and not path.is_relative_to(cache)
    assert_right(path, folder)
    assert path.parent.stat().st_mode & 0o077 == 0  # nobody else may put a file there
    assert local_path(folder) == path


def test_the_path_manager_knows_addresses(folder, cache, monkeypatch):
    # Twice, as when the package is imported under two names.
    handler = BundledWeights(folder)
    for _ in range(2):
        PathManager.register_handler(handler, allow_override=True)
    try:
        assert PathManager.isfile(ADDRESS) and PathManager.exists(ADDRESS)
        assert not PathManager.isfile("odam://family/nothing.pth")
        assert_right(PathManager.get_local_path(ADDRESS), folder)
        with PathManager.open(ADDRESS, "rb") as file:
            assert_right(file, folder)
        with pytest.raises(ValueError, match="only read; got 'wb'"):
            PathManager.open(ADDRESS, "wb")
        for wrong in ("odam://family/nothing.pth", "odam://../package/family/detector.pth", "odam://"):
            with pytest.raises(FileNotFoundError, match=f"got '{wrong}': choose of {ADDRESS}"):
                PathManager.get_local_path(wrong)
    finally:
        PathManager.register_handler(addresses.BUNDLED, allow_override=True)
    assert PathManager.isfile("odam://synthetic/faster_rcnn_compact_FPN.pth")


def test_checksums_tell_weights_apart(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(addresses, "BUNDLED", BundledWeights(folder))
    wanted = hashlib.sha256((folder / "family" / "detector.pth").read_bytes()).hexdigest()
    assert weights_checksum(ADDRESS) == wanted
    assert weights_checksum(str(folder / "family" / "detector.pth")) == wanted
    assert weights_checksum("detectron2://a.pkl") == "detectron2://a.pkl"
