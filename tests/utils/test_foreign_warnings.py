"""What Detectron2 and others warn of themselves is ignored by name; users of the package read none of it."""

import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from odam_d2.utils.foreign_warnings import IGNORED, ignore_foreign_warnings

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "datasets/demo/images/scene_demo_000000.jpg"
NOTEBOOK = re.search(r"## In a notebook\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
COMMANDS = {
    "the notebook's cell": ["-c", NOTEBOOK],
    "explain.py": ["tools/explain.py", "--input", IMAGE, "--config-file", "synthetic/faster_rcnn_compact_FPN"],
    "train_net.py": ["tools/train_net.py", "--help"],
}
# What is ignored, in its order: text, category, module.
SAMPLES = [
    ("`torch.jit.script` is deprecated. Please switch", FutureWarning, "torch.jit._script"),
    ("torch.meshgrid: in an upcoming release", UserWarning, "torch.functional"),
    ("pkg_resources is deprecated as an API. See", UserWarning, "LabGym.detectron2.model_zoo.model_zoo"),
    ("You'd better set embed_dim (d_model) in", UserWarning, "transformers.models.rt_detr.modeling_rt_detr"),
    ("The given NumPy array is not writable, and", UserWarning, "detectron2.data.detection_utils"),
    ("Importing from timm.models.layers is deprecated, please", FutureWarning, "timm.models.layers"),
    (
        "__array__ implementation doesn't accept a copy keyword, so",
        DeprecationWarning,
        "detectron2.evaluation.sem_seg_evaluation",
    ),
    ("The 'warn' method is deprecated", DeprecationWarning, "detectron2.evaluation.coco_evaluation"),
    ("unclosed file <_io.TextIOWrapper", ResourceWarning, "LabGym.detectron2.engine.defaults"),
    ("`broadcast_buffers` is deprecated. Use", FutureWarning, "detectron2.engine.defaults"),
    ("__array__ implementation doesn't accept a copy keyword", DeprecationWarning, "pycocotools.mask"),
    ("TypedStorage is deprecated. It will be removed", UserWarning, "torch._utils"),
    ("You are using `torch.load` with `weights_only=False` (the", FutureWarning, "fvcore.common.checkpoint"),
]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_no_warning_reaches_who_uses_it(command, tmp_path):
    """Not even of those kinds that Python keeps to itself if it isn't asked."""
    output = ["--output", str(tmp_path / "out")] if "--input" in command else []
    done = subprocess.run(
        [sys.executable, "-W", "default", *command, *output],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr and "is_fx_tracing" not in done.stderr


@pytest.mark.parametrize("tool", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.stem)
def test_tools_import_the_package_before_detectron2(tool):
    imported = re.findall(r"^(?:from|import) (odam_d2|detectron2)\b", tool.read_text(), re.MULTILINE)
    assert imported[0] == "odam_d2"


@pytest.mark.parametrize("message, category, module", SAMPLES, ids=[module for _, _, module in SAMPLES])
def test_nothing_else_is_ignored(message, category, module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ignore_foreign_warnings()
        warnings.warn_explicit(message, category, "file.py", 1, module)
        for other, place in ((message, "somebody.else"), (f"Else: {message}", module)):
            with pytest.raises(category):
                warnings.warn_explicit(other, category, "file.py", 1, place)


def test_all_that_is_ignored_has_its_sample():
    assert len(SAMPLES) == len(IGNORED)
    assert all(re.match(one.message, message) for one, (message, *_) in zip(IGNORED, SAMPLES, strict=True))


def test_the_configs_of_others_are_warned_of(caplog):
    logger = logging.getLogger("fvcore.common.config")
    for place in ("site-packages/detectron2/model_zoo/configs/Base.yaml", "mine/Base.yaml"):
        logger.warning(f"Loading config /{place} with yaml.unsafe_load. Your machine may be at risk")
    assert [record.getMessage().split()[2] for record in caplog.records] == ["/mine/Base.yaml"]
