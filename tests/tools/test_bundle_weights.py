"""tools/bundle_weights.py: from a checkpoint to the bundled form."""

import zipfile

import pytest
import torch

from tests.helpers import load_tool


def test_matrices_are_halved_and_the_rest_stays(tmp_path, monkeypatch):
    state = {"w": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([1e6]), "n": torch.tensor(3)}
    torch.save({"model": state, "optimizer": {"state": 1}, "iteration": 5}, tmp_path / "model_final.pth")
    tool = load_tool("bundle_weights")
    monkeypatch.setattr(tool, "WEIGHTS", tmp_path / "weights")
    name = "synthetic/faster_rcnn_compact_FPN"
    assert tool.main(["--checkpoint", str(tmp_path / "model_final.pth"), "--name", name]) == 0
    found = torch.load(tmp_path / "weights" / f"{name}.pth", weights_only=True)
    assert set(found) == {"model"}
    assert found["model"]["w"].dtype == torch.float16 and found["model"]["w"].tolist() == [[1.0, 2.0]]
    assert torch.equal(found["model"]["b"], state["b"]) and torch.equal(found["model"]["n"], state["n"])
    with zipfile.ZipFile(tmp_path / "weights" / f"{name}.pth") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    with pytest.raises(ValueError, match="nothing"):
        tool.main(["--checkpoint", str(tmp_path / "model_final.pth"), "--name", "nothing"])
