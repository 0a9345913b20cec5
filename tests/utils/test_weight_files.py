"""Files that are no checkpoint, or are damaged, are told in one sentence with a remedy."""

import argparse
import gzip
import io
import json
import logging
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from odam_d2.utils.weight_files import CheckpointError, read_weights_file
from tests.utils.payloads import Calls

STATE = {"w": torch.arange(6.0), "b": torch.ones(2)}


def saved(legacy=False, **more):
    buffer = io.BytesIO()
    torch.save({"model": STATE, **more}, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def archive(kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("model.pth", saved())
    else:
        with tarfile.open(fileobj=buffer, mode="w") as file:
            file.addfile(tarfile.TarInfo("model.pth"))
    return buffer.getvalue()


def program():
    """The files in an archive by which torch itself knows a TorchScript program."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            file.writestr(f"a/{name}", "")
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
BROKEN = {
    "empty": (b"", "is an empty file: copy or download it again"),
    "lfs": (POINTER, r"is a Git LFS pointer, not the file that it stands for: run `git lfs pull`"),
    "web page": (b"\n <!DOCTYPE html><html>404</html>", "is a web page, perhaps one about an error: download"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "text": (b"hello", "begins with b'hello'"),
    "json": (b'{"message": "not found"}', "is cut short or damaged|begins with"),
    "gzip": (gzip.compress(saved()), "is a gzip archive: unpack it first"),
    "zip": (archive("zip"), r"is a zip archive of \['model.pth'\]: unpack it"),
    "tar": (archive("tar"), "is a tar archive: unpack it"),
    "cut": (saved()[:700], r"is cut short or damaged \(700 bytes; .*: copy or download it again"),
    "cut before torch 1.6": (saved(legacy=True)[:-10], r"is cut short or damaged"),
    "cut soon": (saved()[:3], "begins with|is cut short"),
    "cut pickle": (pickle.dumps({"model": {"w": np.ones(99)}})[:300], "is cut short or damaged"),
    "zeros": (bytes(1000), "begins with|is cut short"),
    "program": (program(), "is a TorchScript program: save the weights alone"),
    "object": (saved() and pickle.dumps(argparse.Namespace()), "holds 'argparse.Namespace', which weights don't need"),
}


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".ckpt"])
@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_checkpoint_is_told_in_one_sentence(kind, suffix, tmp_path):
    content, message = BROKEN[kind]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=f"^the weights must be a checkpoint; got '.*a{suffix}', which ({message})"
    ) as told:
        read_weights_file(path)
    assert "\n" not in str(told.value) and len(str(told.value)) < 500


@pytest.mark.parametrize("legacy", [False, True])
def test_every_cut_is_told(legacy, tmp_path):
    whole = saved(legacy)
    for length in range(1, len(whole), 37 if legacy else 101):
        (tmp_path / "a.pth").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="which (is cut short|begins with)"):
            read_weights_file(tmp_path / "a.pth")


def test_folders_and_missing_files(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="is a folder: name a file$"):
        read_weights_file(tmp_path)
    (tmp_path / "model_final.pth").write_bytes(saved())
    with pytest.raises(CheckpointError, match="is a folder: name a file in it, e.g. 'model_final.pth'"):
        read_weights_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"got 'none.pth', which doesn't exist in '{tmp_path}'"):
        read_weights_file("none.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.pkl", "a.bin", "a", "a#b%20c.pth"])
@pytest.mark.parametrize("kind", ["archive", "legacy", "pickle", "safetensors"])
def test_the_content_tells_the_kind_not_the_name(name, kind, tmp_path):
    path = tmp_path / name
    if kind == "safetensors":
        save_file(STATE, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({k: v.numpy() for k, v in STATE.items()}))
    else:
        path.write_bytes(saved(kind == "legacy"))
    found = read_weights_file(path)
    found = found.get("model", found)
    assert all(torch.equal(torch.as_tensor(found[k]), v) for k, v in STATE.items())


def test_damaged_safetensors(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    for content in (whole[:-4], whole[:9], json.dumps({}).encode(), b"\xff" * 40):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match="is damaged, or no safetensors file"):
            read_weights_file(tmp_path / "a.safetensors")


def test_what_is_left_out_is_told(tmp_path, caplog):
    (tmp_path / "a.pth").write_bytes(saved(args=argparse.Namespace(lr=1)))
    with caplog.at_level(logging.WARNING):
        assert set(read_weights_file(tmp_path / "a.pth", "shown.pth")) == {"model"}
    assert caplog.messages == ["shown.pth: beside the weights there are argparse.Namespace, which are left out"]


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_code_is_refused_with_its_name_and_the_remedy(tmp_path, suffix):
    content = {"model": STATE, "more": Calls("os.system", tmp_path / "written")}
    path = tmp_path / f"a{suffix}"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(
        CheckpointError, match=r"holds '(posix|nt)\.system', which weights don't need and which is not run: save"
    ):
        read_weights_file(path)
    assert not (tmp_path / "written").exists()
