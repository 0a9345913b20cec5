"""tools/research/bundle_weights.py: from a checkpoint to the bundled form."""

import zipfile

import pytest
import torch
from detectron2.utils.file_io import PathManager

from odam_d2.utils.packed import unpack
from tests.helpers import load_tool

NAME = "synthetic/faster_rcnn_compact_FPN"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    tool = load_tool("research/bundle_weights")
    monkeypatch.setattr(tool, "WEIGHTS", tmp_path / "weights")
    return tool


def test_matrices_are_packed_and_the_rest_stays(tool, tmp_path, capsys):
    state = {"w": torch.tensor([[127.0, 2.0]]), "b": torch.tensor([1e6]), "n": torch.tensor(3)}
    torch.save({"model": state, "optimizer": {"state": 1}, "iteration": 5}, tmp_path / "model_final.pth")
    assert tool.main(["--checkpoint", str(tmp_path / "model_final.pth"), "--name", NAME]) == 0
    content = torch.load(tmp_path / "weights" / f"{NAME}.pth", weights_only=True)
    assert content["base"] is None
    assert content["weights"]["w"]["steps"].tolist() == [[127, 2]]
    found = unpack(content)
    assert list(found) == ["w", "b", "n"]
    assert all(torch.equal(found[key], value) for key, value in state.items())
    with zipfile.ZipFile(tmp_path / "weights" / f"{NAME}.pth") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        # Not of the hour: the same weights are the same file.
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert tool.main(["--checkpoint", str(tmp_path / "model_final.pth"), "--name", "nothing"]) == 1
    assert "got 'nothing': choose one of" in capsys.readouterr().err


def test_what_began_with_bundled_weights_is_a_difference_from_them(tool, tmp_path):
    base = f"odam://{NAME}.pth"
    state = torch.load(PathManager.get_local_path(base), weights_only=True)["model"]
    key = "backbone.bottom_up.stem.conv1.weight"
    state = {key: state[key] + 0.001 * torch.randn(state[key].shape, generator=torch.Generator().manual_seed(0))}
    torch.save({"model": state}, tmp_path / "model_final.pth")
    name = "synthetic/mask_rcnn_compact_FPN"
    assert tool.main(["--checkpoint", str(tmp_path / "model_final.pth"), "--name", name, "--levels", "31"]) == 0
    content = torch.load(tmp_path / "weights" / f"{name}.pth", weights_only=True)
    assert content["base"] == base and content["weights"][key]["difference"]
    assert (unpack(content)[key] - state[key]).norm() < 0.005 * state[key].norm()
