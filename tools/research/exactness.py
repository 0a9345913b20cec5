#!/usr/bin/env python
"""Compares the fast engine's maps with those of plain autograd, and prints the largest difference.

    tools/research/exactness.py --config-file synthetic/faster_rcnn_compact_FPN
    tools/research/exactness.py --config-file COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml MODEL.MASK_ON True
    tools/research/exactness.py --config-file synthetic/fcos_compact_FPN --group-norm --images 20

A name of the model zoo comes with its trained weights and looks at a synthetic scene; other configs get random weights,
with norms calibrated so that outputs are finite, and a random image. Differences are relative to each map's maximum.

With --group-norm it tells instead how far maps with group norm at its frozen statistics are from exact ones, for what
is detected, by level: the L2 norm of the difference relative to the exact map's, and its maximum relative to that
map's.
"""

import argparse
import sys
from pathlib import Path

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2 import model_zoo as detectron2_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from tabulate import tabulate
from tqdm import tqdm

from odam_d2 import model_zoo
from odam_d2.config import add_odam_config, use_traced_architectures
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.explain import TARGETS, explainer_from_config
from odam_d2.structures import HeatMaps
from odam_d2.utils.calibration import calibrate_frozen_norms
from odam_d2.utils.imports import import_file_or_module

# Smallest maximum that a map is compared relative to; below, it is zero but for rounding.
TINY = 1e-12


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", required=True, metavar="YAML", help="a yaml file, or a name of either model zoo")
    add("--boxes", type=int, default=24, help="boxes over all sizes and borders (default: %(default)s)")
    add("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"), help="of the random image")
    add("--group-norm", action="store_true", help="compare group norm at its frozen statistics with group norm in full")
    add("--images", type=int, default=1, help="with --group-norm, synthetic scenes (default: %(default)s)")
    add("--seed", type=int, default=0, help="of weights, image and boxes (default: %(default)s)")
    add("--import", dest="imports", action="append", default=[], metavar="FILE_OR_MODULE", help="import this first")
    add("opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="changes to the config, at the end")
    return parser


def build_subject(args: argparse.Namespace) -> tuple[torch.nn.Module, CfgNode, list[dict]]:
    """The detector, its config and its images."""
    torch.manual_seed(args.seed)
    if args.config_file in model_zoo.available():
        scenes = SyntheticScenes("scene", "val")
        images = [torch.as_tensor(scenes[k][0].transpose(2, 0, 1).astype("float32")) for k in range(args.images)]
        cfg = model_zoo.get_config(args.config_file)
        cfg.merge_from_list(args.opts)
        model = build_model(cfg).eval()
        DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        inputs = [{"image": image, "height": image.shape[1], "width": image.shape[2]} for image in images]
        return model, cfg, inputs
    cfg = get_cfg()
    add_odam_config(cfg)
    is_file = Path(args.config_file).is_file()
    cfg.merge_from_file(args.config_file if is_file else detectron2_zoo.get_config_file(args.config_file))
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.merge_from_list(args.opts)
    use_traced_architectures(cfg)
    model = build_model(cfg).eval()
    coarse = torch.rand(1, 3, args.size[0] // 16, args.size[1] // 16)
    image = torch.nn.functional.interpolate(coarse, tuple(args.size), mode="bilinear")[0] * 255
    inputs = [{"image": image, "height": args.size[0], "width": args.size[1]}]
    calibrate_frozen_norms(model, inputs)
    return model, cfg, inputs


def boxes_everywhere(count: int, height: int, width: int) -> Instances:
    """Boxes with sides log-uniform from 8 pixels to 1.2 images, centred anywhere in it: many cross its borders."""
    longest = torch.tensor([float(width), float(height)])
    sides = torch.exp(torch.rand(count, 2) * (1.2 * longest / 8).log()) * 8
    centres = torch.rand(count, 2) * longest
    boxes = Boxes(torch.cat([centres - sides / 2, centres + sides / 2], 1))
    return Instances((height, width), pred_boxes=boxes, pred_classes=torch.arange(count) % 3)


def differences(fast: HeatMaps, plain: HeatMaps, attribute: str) -> torch.Tensor:
    """(R,) largest difference of each map, relative to the plain map's maximum."""
    found, expected = (maps.to_image(attribute, normalize=False, size=maps.image_size) for maps in (fast, plain))
    return (found - expected).abs().amax((1, 2)) / expected.amax((1, 2)).clamp(min=TINY)


def group_norm_table(model: torch.nn.Module, cfg: CfgNode, inputs: list[dict], attributes: list[str]) -> str:
    """How far frozen group norm is from exact, by the stride of the level, for what is detected in the images."""
    explainers = [
        explainer_from_config(model, cfg, method="odam", attributes=attributes, group_norm=name)
        for name in ("frozen", "exact")
    ]
    rows: dict[int, list[tuple[float, float]]] = {}
    for entry in tqdm(inputs, desc="images"):
        frozen, exact = (explain([entry])[0]["instances"].heatmaps for explain in explainers)
        for name in attributes if len(exact) else ():
            found, expected = (m.to_image(name, normalize=False, size=m.image_size).flatten(1) for m in (frozen, exact))
            distance = (found - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=TINY)
            largest = (found - expected).abs().amax(1) / expected.amax(1).clamp(min=TINY)
            for stride, *pair in zip(exact.strides[:, 0].tolist(), distance.tolist(), largest.tolist(), strict=True):
                rows.setdefault(int(stride), []).append(tuple(pair))
    body = []
    for stride in sorted(rows):
        distance, largest = torch.tensor(rows[stride]).unbind(1)
        figures = [f(v) for v in (distance, largest) for f in (torch.median, lambda v: v.quantile(0.9), torch.max)]
        body.append([stride, len(distance), *(f"{float(v):.1e}" for v in figures)])
    names = [f"{what} {of}" for what in ("L2", "largest:") for of in ("median", "90 %", "max")]
    return tabulate(body, ["stride", "maps", *names], tablefmt="github", disable_numparse=True)


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    args = argument_parser().parse_args(argv)
    for name in args.imports:
        import_file_or_module(name)
    model, cfg, inputs = build_subject(args)
    attributes = list(TARGETS)
    if args.group_norm:
        print(group_norm_table(model, cfg, inputs, attributes[:6]))
        return 0
    inputs = inputs[:1]
    given = [boxes_everywhere(args.boxes, inputs[0]["height"], inputs[0]["width"])]
    explainers = (
        explainer_from_config(model, cfg, method="odam", attributes=attributes, engine=engine)
        for engine in ("auto", "autograd")
    )
    fast, plain = (explain(inputs, given)[0]["instances"].heatmaps for explain in explainers)
    rows = []
    for name in attributes:
        found = differences(fast, plain, name)
        rows.append([name, len(found), f"{float(found.median()):.1e}", f"{float(found.max()):.1e}"])
    strides, counts = fast.strides[:, 0].unique(return_counts=True)
    print(tabulate(rows, ["attribute", "maps", "median", "largest"], tablefmt="github"))
    print(f"Boxes by stride: {dict(zip(strides.int().tolist(), counts.tolist(), strict=True))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
