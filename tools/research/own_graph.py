#!/usr/bin/env python
"""Compares the maps of a CallableDetector with plain autograd, one call a scalar: the same numbers, and what they cost.

    tools/research/own_graph.py --config-file my.py --input images/ --score-threshold 0.35 --output output/graph.json

`my.py` is a LazyConfig whose model is a CallableDetector. Times are processor time of one thread, medians of
--repeats; each is divided by the number of detections times the time of one torch.autograd.grad of a score with respect
to all layers: that of all score maps of an image, that of the maps of score and sides (also by five), and of both with
detection. Images without detections are left out.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor
from tqdm import tqdm

from odam_d2.cli.arguments import add_config, add_output_json, count, failure, script_parser, share
from odam_d2.cli.config import read_run_config
from odam_d2.data.image_files import find_images
from odam_d2.data.images import read_image_bgr
from odam_d2.env import collect_versions
from odam_d2.explain import build_explainer
from odam_d2.meta_arch import CallableDetector
from odam_d2.structures import HeatMaps
from odam_d2.utils.files import write_json

ATTRIBUTES = ("score", "left", "top", "right", "bottom")


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add_config(parser)
    add = parser.add_argument
    add("--input", nargs="+", required=True, metavar="PATH", help="images, folders of images, or patterns")
    add("--score-threshold", type=share, default=0.5, metavar="S", help="lowest score of a detection (default: 0.5)")
    add("--max-images", type=count, metavar="N", help="the first N images (default: all)")
    add("--repeats", type=count, default=3, metavar="N", help="timed runs of each kind (default: %(default)s)")
    add_output_json(parser)
    return parser


def run_plainly(model: CallableDetector, entry: dict) -> tuple[list[Tensor], Tensor]:
    """The layers' maps of an image as leaves, and (R, 5) scalars with a graph to them, without this package's trace."""
    leaves: list[Tensor] = []

    def hook(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()

    handles = [model.model.get_submodule(path).register_forward_hook(hook) for path in model.layers]
    try:
        (said,) = model.ask([entry])
    finally:
        for handle in handles:
            handle.remove()
    (height, width), size = entry["image"].shape[-2:], (entry["height"], entry["width"])
    scale = [1.0] * 4 if model.frame == "input" else [width / size[1], height / size[0]] * 2
    outward = said["boxes"] * said["boxes"].new_tensor(scale) * said["boxes"].new_tensor([-1.0, -1.0, 1.0, 1.0])
    return leaves, torch.cat([said["scores"][:, None], outward], 1)


def expected_values(leaves: Sequence[Tensor], scalars: Tensor) -> Tensor:
    """(5, T) of one detection: maps on the layers that any of its scalars depends on, one autograd call a scalar."""
    maps, there = [], []
    for scalar in scalars:
        gradients = torch.autograd.grad(scalar, leaves, retain_graph=True, materialize_grads=True)
        there.append([bool(gradient.any()) for gradient in gradients])
        maps.append([(g * leaf.detach())[0].sum(0).flatten() for g, leaf in zip(gradients, leaves, strict=True)])
    used = [k for k in range(len(leaves)) if any(row[k] for row in there)] or [0]
    values = [torch.cat([row[k] for k in used]) for row in maps]
    # Where several maps are added, the ReLU waits for their sum.
    return torch.stack([v if sum(row) > 1 else v.clamp(min=0) for v, row in zip(values, there, strict=True)])


def differences(found: HeatMaps, leaves: Sequence[Tensor], scalars: Tensor) -> list[float]:
    """The L2 norm of the difference of each of R x 5 maps from autograd's, relative to that of autograd's."""
    errors = []
    for number, of_detection in enumerate(scalars):
        expected = expected_values(leaves, of_detection)
        distance = (found[number].values - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=1e-30)
        errors += distance.tolist()
    return errors


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Median processor time of several runs."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def measure(model: CallableDetector, entry: dict, repeats: int) -> dict[str, Any] | None:
    """Figures of an image; None where nothing is detected."""
    alone, both = (build_explainer(model, attributes=names) for names in (ATTRIBUTES[:1], ATTRIBUTES))
    found = both([entry])[0]["instances"]
    if len(found) == 0:
        return None
    leaves, scalars = run_plainly(model, entry)
    errors = differences(found.heatmaps, leaves, scalars)
    scores = scalars[:, 0]

    def grads() -> None:
        for score in scores:
            torch.autograd.grad(score, leaves, retain_graph=True)

    one = seconds(grads, repeats) / len(found)
    with torch.no_grad():
        detect = seconds(lambda: model([entry]), repeats)
    with torch.enable_grad():
        trace = model.trace([entry])
        maps = [seconds(partial(e.explain, trace, [entry], None), repeats) for e in (alone, both)]
    whole = seconds(lambda: alone([entry]), repeats)
    each = one * len(found)
    return {
        "detections": len(found),
        "one_grad": one,
        "score": maps[0] / each,
        "five": maps[1] / (5 * each),
        "score_and_detection": whole / each,
        "detection": detect / each,
        "errors": errors,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    args = argument_parser().parse_args(argv)
    torch.set_num_threads(1)
    try:
        config = read_run_config(args, args.score_threshold, 100)
        config.device = "cpu"
        model = config.build()
        if not isinstance(model, CallableDetector):
            raise ValueError(
                f"`--config-file` must build a CallableDetector; got {type(model).__name__}: wrap it in one"
            )
        config.load_weights(model)
        make_input, paths = config.make_input(), find_images(args.input).paths[: args.max_images]
        rows = [measure(model, make_input(read_image_bgr(path)), args.repeats) for path in tqdm(paths, desc="images")]
    except (ValueError, ImportError, OSError) as error:
        return failure(error)
    kept = [row for row in rows if row is not None]
    if not kept:
        return failure(ValueError(f"images must show something that is detected; got {len(rows)} without: name others"))
    errors = [error for row in kept for error in row["errors"]]
    table = []
    for name in ("score", "five", "detection", "score_and_detection"):
        values = np.array([row[name] for row in kept])
        table.append([name.replace("_", " "), *(f"{q:.2f}" for q in np.quantile(values, [0.5, 0.25, 0.75, 0, 1]))])
    detections = sum(row["detections"] for row in kept)
    print(tabulate(table, ["time in autograd.grad", "median", "25 %", "75 %", "least", "most"], tablefmt="github"))
    print(f"{len(kept)} of {len(rows)} images with {detections} detections; one autograd.grad takes "
          f"{1e3 * statistics.median(row['one_grad'] for row in kept):.1f} ms (median); largest relative L2 of "
          f"{len(errors)} maps: {max(errors):.1e}")  # fmt: skip
    if args.output:
        write_json(args.output, {"arguments": vars(args), "images": kept, "versions": collect_versions()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
