"""Detectors and inputs that several tests share."""

import importlib.util
from pathlib import Path
from types import ModuleType

import torch
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from odam_d2.config import add_odam_config, use_traced_architectures
from odam_d2.utils.calibration import calibrate_frozen_norms


def load_tool(name: str) -> ModuleType:
    """The script ``tools/<name>.py`` as a module, anew at each call."""
    path = Path(__file__).resolve().parents[1] / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"tool_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def zoo_config(name: str, *opts, traced: bool = True):
    """A config of Detectron2's zoo on the CPU, without weights; `traced` puts ours in the stock detectors' place."""
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.merge_from_file(model_zoo.get_config_file(name))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.merge_from_list(list(opts))
    if traced:
        use_traced_architectures(cfg)
    return cfg


def random_detector(cfg, seed: int = 0):
    """A detector with random weights whose features have about unit variance, so that its outputs are finite."""
    torch.manual_seed(seed)
    model = build_model(cfg).eval()
    calibrate_frozen_norms(model, [random_input(192, 256, seed=seed)])
    return model


def random_input(height: int, width: int, out_height: int | None = None, out_width: int | None = None, seed: int = 0):
    """One entry of `batched_inputs`: smooth blobs, not noise, so that features vary from place to place."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 16 + 2, width // 16 + 2, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0] * 255
    return {"image": image, "height": out_height or height, "width": out_width or width}


def given(size: tuple[int, int], boxes: list, classes: list) -> Instances:
    """Boxes and classes to explain, in the original frame of (h, w) `size`."""
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference of each map, relative to the expected map's maximum; the worst of all maps."""
    difference = (found - expected).abs().flatten(1).amax(1)
    return float((difference / expected.flatten(1).amax(1).clamp(min=1e-30)).max())


# A query detector that is built and run in a moment.
TINY_DETR = (
    "NUM_CLASSES", 3, "NUM_QUERIES", 6, "D_MODEL", 32, "ENCODER_LAYERS", 1, "DECODER_LAYERS", 2, "ATTENTION_HEADS", 2,
    "FEEDFORWARD_DIM", 32, "NUM_DENOISING", 8, "SCORE_THRESH_TEST", 0.0, "RESNET.STEM_WIDTH", 8,
    "RESNET.WIDTHS", (8, 8, 16, 16), "RESNET.DEPTHS", (1, 1, 1, 1), "RESNET.BLOCK", "basic",
)  # fmt: skip


def query_config(architecture: str, *opts):
    """A config of a tiny query detector of transformers; `opts` are keys below ODAM.DETR and their values."""
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE, cfg.TEST.DETECTIONS_PER_IMAGE = "OdamDETR", "cpu", 5
    keys = ("ARCHITECTURE", architecture, *TINY_DETR, *opts)
    cfg.merge_from_list([f"ODAM.DETR.{key}" if k % 2 == 0 else key for k, key in enumerate(keys)])
    return cfg
