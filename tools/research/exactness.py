#!/usr/bin/env python
"""Compares the fast engine's maps with those of plain autograd, and prints the largest difference.

    tools/research/exactness.py --config-file synthetic/faster_rcnn_compact_FPN
    tools/research/exactness.py --config-file COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml MODEL.MASK_ON True
    tools/research/exactness.py --config-file synthetic/fcos_compact_FPN --group-norm --images 20

A detector with bundled weights looks at a synthetic scene; others get random weights, with norms calibrated so that
outputs are finite, and a random image. Differences are relative to each map's maximum. Group norm is taken as
ODAM.GROUP_NORM says, while autograd is always exact.

With --group-norm the maps with group norm carried, and at its frozen statistics, are compared with exact ones
instead, for what is detected, by level: the L2 norm of the difference relative to that of the exact map, and its
maximum relative to that map's.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2.structures import Boxes, Instances
from tabulate import tabulate
from tqdm import tqdm

from odam_d2.cli.arguments import add_config, add_seed, count, failure, script_parser
from odam_d2.cli.config import build_bundled_or_random, read_config
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.explain import TARGETS
from odam_d2.explain.engines.dense import GROUP_NORMS
from odam_d2.loading import DetectorConfig
from odam_d2.model_zoo.addresses import PREFIX
from odam_d2.modeling.provenance import UnreachedBoxError
from odam_d2.structures import HeatMaps

# Smallest maximum that a map is compared relative to; below, it is zero but for rounding.
TINY = 1e-12


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add_config(parser)
    add_seed(parser, "weights, image and boxes")
    add = parser.add_argument
    add("--boxes", type=count, default=24, metavar="N",
        help="boxes over all sizes and borders (default: %(default)s)")  # fmt: skip
    add("--size", type=count, nargs=2, default=(480, 640), metavar=("H", "W"),
        help="height and width of the random image (default: 480 640)")  # fmt: skip
    add("--group-norm", action="store_true", help="compare group norm carried and frozen with group norm in full")
    add("--images", type=count, default=1, metavar="N", help="synthetic scenes for --group-norm (default: %(default)s)")
    return parser


def build_subject(args: argparse.Namespace) -> tuple[torch.nn.Module, DetectorConfig, list[dict]]:
    """The detector, its config and its images."""
    torch.manual_seed(args.seed)
    config = read_config(args, trained=True)
    if config.weights.startswith(PREFIX):
        scenes = SyntheticScenes("scene", "val")
        images = [torch.as_tensor(scenes[k][0].transpose(2, 0, 1).astype("float32")) for k in range(args.images)]
    else:
        coarse = torch.rand(1, 3, args.size[0] // 16, args.size[1] // 16)
        images = [torch.nn.functional.interpolate(coarse, tuple(args.size), mode="bilinear")[0] * 255]
    inputs = [{"image": image, "height": image.shape[1], "width": image.shape[2]} for image in images]
    return build_bundled_or_random(config, inputs), config, inputs


def boxes_everywhere(count: int, height: int, width: int) -> Instances:
    """Boxes with sides log-uniform from 8 pixels to 1.2 images, centred anywhere in it: many cross its borders."""
    longest = torch.tensor([float(width), float(height)])
    sides = torch.exp(torch.rand(count, 2) * (1.2 * longest / 8).log()) * 8
    centres = torch.rand(count, 2) * longest
    boxes = Boxes(torch.cat([centres - sides / 2, centres + sides / 2], 1))
    return Instances((height, width), pred_boxes=boxes, pred_classes=torch.arange(count) % 3)


def reached(model: torch.nn.Module, entry: dict, given: Instances) -> Instances:
    """Those of some boxes that the detector can explain: a dense one explains what fits one of its anchors.

    Raises:
        ValueError: if it can explain none.
    """
    fitting = []
    for k in range(len(given)):
        with contextlib.suppress(UnreachedBoxError):
            model.trace([entry], [given[k]])
            fitting.append(k)
    if not fitting:
        raise ValueError(f"a box must fit an anchor of the detector; got {len(given)} that don't: give more --boxes")
    if len(fitting) < len(given):
        print(f"{len(given) - len(fitting)} of {len(given)} boxes fit no anchor and are left out")
    return given[fitting]


def differences(fast: HeatMaps, plain: HeatMaps, attribute: str) -> torch.Tensor:
    """(R,) largest difference of each map, relative to the plain map's maximum."""
    found, expected = (maps.to_image(attribute, normalize=False, size=maps.image_size) for maps in (fast, plain))
    return (found - expected).abs().amax((1, 2)) / expected.amax((1, 2)).clamp(min=TINY)


def group_norm_table(model: torch.nn.Module, config: DetectorConfig, inputs: list[dict], attributes: list[str]) -> str:
    """How far group norm carried and frozen are from exact, by the level's stride, for what is detected."""
    explainers = {
        kind: config.explainer(model, method="odam", attributes=attributes, group_norm=kind) for kind in GROUP_NORMS
    }
    rows: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for entry in tqdm(inputs, desc="images"):
        made = {kind: explain([entry])[0]["instances"].heatmaps for kind, explain in explainers.items()}
        exact = made.pop("exact")
        strides = exact.strides[:, 0].int().tolist()
        for kind, maps in made.items():
            for name in attributes if len(exact) else ():
                found, expected = (
                    one.to_image(name, normalize=False, size=one.image_size).flatten(1) for one in (maps, exact)
                )
                distance = (found - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=TINY)
                largest = (found - expected).abs().amax(1) / expected.amax(1).clamp(min=TINY)
                for stride, *pair in zip(strides, distance.tolist(), largest.tolist(), strict=True):
                    rows.setdefault((kind, stride), []).append(tuple(pair))
    body = []
    for kind, stride in sorted(rows):
        distance, largest = torch.tensor(rows[kind, stride]).unbind(1)
        figures = [f(v) for v in (distance, largest) for f in (torch.median, lambda v: v.quantile(0.9), torch.max)]
        body.append([kind, stride, len(distance), *(f"{float(v):.1e}" for v in figures)])
    names = [f"{what} {of}" for what in ("L2", "largest:") for of in ("median", "90 %", "max")]
    return tabulate(body, ["group norm", "stride", "maps", *names], tablefmt="github", disable_numparse=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    args = argument_parser().parse_args(argv)
    try:
        compare(args)
    except (ValueError, ImportError) as error:
        return failure(error)
    return 0


def compare(args: argparse.Namespace) -> None:
    """Prints the table that the arguments ask for."""
    model, config, inputs = build_subject(args)
    attributes = list(TARGETS)
    if args.group_norm:
        print(group_norm_table(model, config, inputs, attributes[:6]))
        return
    inputs = inputs[:1]
    drawn = boxes_everywhere(args.boxes, inputs[0]["height"], inputs[0]["width"])
    given = [reached(model, inputs[0], drawn)]
    explainers = (
        config.explainer(model, method="odam", attributes=attributes, engine=engine) for engine in ("auto", "autograd")
    )
    fast, plain = (explain(inputs, given)[0]["instances"].heatmaps for explain in explainers)
    rows = []
    for name in attributes:
        found = differences(fast, plain, name)
        rows.append([name, len(found), f"{float(found.median()):.1e}", f"{float(found.max()):.1e}"])
    strides, counts = fast.strides[:, 0].unique(return_counts=True)
    print(tabulate(rows, ["attribute", "maps", "median", "largest"], tablefmt="github"))
    print(f"Boxes by stride: {dict(zip(strides.int().tolist(), counts.tolist(), strict=True))}")


if __name__ == "__main__":
    sys.exit(main())
