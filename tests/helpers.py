"""Detectors and inputs that several tests share."""

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from odam_d2 import model_zoo as zoo
from odam_d2.config import add_odam_config, use_traced_architectures
from odam_d2.data.synthetic import catalog
from odam_d2.data.synthetic import folder as rendered
from odam_d2.explain import METHODS, build_explainer
from odam_d2.explain.windows import GradientWindows
from odam_d2.utils.calibration import calibrate_frozen_norms

# What an elementwise function of a number may differ by in tensors of two shapes, relative to its value: torch takes
# the numbers that fill no vector in a loop of their own, whose exp rounds in another way. An exp is good to one unit in
# the last place, and three roundings follow (a sigmoid, a root of two, a decoded side): four units either way.
ROUNDING = 8 * torch.finfo(torch.float32).eps


@contextmanager
def synthetic_dataset(name: str, profile: str, split: str, folder: Path, num_images: int):
    """Registers a synthetic data set, rendered in this process when it is first read, for the time of a block."""
    workers, rendered._WORKERS = rendered._WORKERS, 0
    catalog.register_synthetic(name, profile, split, str(folder / name), num_images)
    try:
        yield name
    finally:
        rendered._WORKERS = workers
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def load_command(name: str) -> ModuleType:
    """The module of the command ``odam <name>``."""
    return importlib.import_module(f"odam_d2.cli.{name}")


def load_tool(name: str) -> ModuleType:
    """The script ``tools/<name>.py`` as a module, anew at each call; its folder is on the path, as where it is run."""
    path = Path(__file__).resolve().parents[1] / "tools" / f"{name}.py"
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"tool_{name.replace('/', '_')}", path)
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


def compact_detector(name: str, *opts, detections: int = 3):
    """A bundled config with random weights on the CPU, that finds `detections` in any image, quickly."""
    cfg = zoo.get_config(f"synthetic/{name}_compact_FPN", trained=False)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = detections
    cfg.merge_from_list(list(opts))
    use_traced_architectures(cfg)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for module in model.head.modules() if hasattr(model, "head") else ():
        if isinstance(module, torch.nn.Conv2d):  # a fresh dense head says about the same everywhere
            torch.nn.init.normal_(module.weight, std=0.05)
            torch.nn.init.normal_(module.bias, std=0.1)
    return model


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


def window_chunk(
    gradients: torch.Tensor,
    features: torch.Tensor,
    place: tuple[int, int] = (0, 0),
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    stride: float = 1.0,
) -> GradientWindows:
    """One detection's (K, C, h, w) gradients in the window at `place` (top, left) of (C, H, W) features."""
    height, width = gradients.shape[-2:]
    none = torch.zeros(1, dtype=torch.int64)
    return GradientWindows(
        detections=none,
        source=0,
        boxes=torch.tensor([box]),
        features=features[None],
        image_index=none,
        windows=torch.tensor([[*place, height, width]]),
        strides=torch.tensor([stride, stride]),
        gradients=gradients[None],
        adds_up=[False] * len(gradients),
    )


def combined(method: str, chunk: GradientWindows, **options) -> list:
    """What a method makes of :func:`window_chunk` for its first attribute: signed, before the ReLU, as nested lists."""
    explainer = METHODS[method](None, ("score",), None, **options)
    return explainer.combine(chunk)[0, 0].tolist()


def explained_box(model, inputs: list[dict], box: Instances, method: str, **options):
    """One given box by a method and, for its plain twin, by autograd alone.

    Returns:
        The raw score map on the whole level (H, W) as the method gives it; the gradient of the box's score and the
        features of the level, (C, H, W) each; the trace.
    """
    explainer = build_explainer(model, method, attributes=("score",), **options)
    heatmaps = explainer(inputs, [box])[0]["instances"].heatmaps
    found = torch.zeros(*heatmaps.grids[0].tolist())
    top, left, height, width = heatmaps.windows[0].tolist()
    found[top : top + height, left : left + width] = heatmaps.window(0, "score")
    trace = model.trace(inputs, [box])
    level = trace.level_names[int(trace.level_index[0, 0])]
    leaves = {name: feature.clone().requires_grad_() for name, feature in trace.features.items()}
    (gradient,) = torch.autograd.grad(trace.head.predict(leaves, trace).scores[0], leaves[level])
    return found, gradient[0], trace.features[level][0], trace


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


def training_input(height: int, width: int, boxes: list, classes: list | None = None, seed: int = 0) -> dict:
    """One entry of a training batch: an image of :func:`random_input` with annotated boxes (class 0 if not said)."""
    objects = Instances((height, width))
    objects.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4))
    objects.gt_classes = torch.tensor(classes or [0] * len(boxes), dtype=torch.int64)
    return {**random_input(height, width, seed=seed), "instances": objects, "image_id": seed}


def autocast_on_cpu() -> bool:
    """Whether autocast is on for CPUs; torch asks by another function before 2.4 and after."""
    one = torch.ones(1, 1)
    return (one @ one).dtype != torch.float32


def assert_fast_is_plain_and_stock(fast, plain, stock, attributes, bound=3e-6):
    """Two explainers' results of the same images, the second's by autograd: the stock detections, and the same maps."""
    for one, other, result in zip(fast, plain, stock, strict=True):
        assert torch.equal(one["instances"].scores, result["instances"].scores)
        assert torch.equal(one["instances"].pred_boxes.tensor, result["instances"].pred_boxes.tensor)
        for name in attributes:
            found, expected = (r["instances"].heatmaps.to_image(name, normalize=False) for r in (one, other))
            assert relative_error(found, expected) < bound
        assert bool(one["instances"].heatmaps.to_image("score").any())
