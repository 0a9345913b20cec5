#!/usr/bin/env python
"""Compares layers, sums and paths of the gradient of an RT-DETR: maps of each variant by plain autograd, by metrics.

    tools/research/query_layers.py --config-file synthetic/rtdetr_compact_FPN --dataset synthetic_scene_val \\
        --variants encoder projection "memory, levels 0 and 1" --output output/query_layers.json
    tools/research/query_layers.py --config-file synthetic/rtdetr_compact_FPN --dataset synthetic_scene_val \\
        --variants encoder "encoder, own query" box --drise 300 --metrics deletion insertion

A variant is a layer and, behind commas, what is changed: see LAYERS and WORDS. "box" is a control that knows nothing but
the detected box: a Gaussian in it.
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from torch import Tensor
from tqdm import tqdm

from odam_d2.cli.arguments import add_config, add_output_json, add_seed, count, failure, overlap, script_parser, share
from odam_d2.cli.data_run import DataRun
from odam_d2.env import collect_versions
from odam_d2.evaluation import METRICS, Measuring
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.evaluation.metrics.candidates import object_scorer
from odam_d2.evaluation.runs.paired import paired_differences
from odam_d2.evaluation.runs.summary import format_counts, format_summary, objects_csv, summarise
from odam_d2.explain import build_explainer
from odam_d2.explain.engines.norm_gradients import contiguous_norm_gradients
from odam_d2.meta_arch.detr import OdamDETR, pixel_mask
from odam_d2.modeling import inference_copy
from odam_d2.modeling.detr import RTDetr
from odam_d2.modeling.graph_modes import WholeGraph
from odam_d2.ops.smoothing import gaussian_weights
from odam_d2.structures import HeatMaps
from odam_d2.utils.files import write_json

# Where gradients are taken. `memory` is what the decoder samples; with a number, as its layer of that number reads it.
LAYERS = ("pixels", "stem", "res2", "res3", "res4", "res5", "backbone", "projection", "encoder", "memory")
LAYERS += tuple(f"memory {number}" for number in (1, 2, 3))
# Knows nothing but the detected box: a Gaussian in it.
CONTROL = "box"


@dataclass(frozen=True)
class Variant:
    """How maps are made; each word of :data:`WORDS` sets one of these.

    Attributes:
        layer: one of :data:`LAYERS`.
        cuts: parts of the graph that are constants.
        product: what is summed over channels.
        levels: numbers of the levels that are added; None for all.
        relu_first: whether the ReLU is taken on each level, before they are added.
        smoothing: standard deviation of a Gaussian as a share of the box's sides.
        smoothed: what it smooths: the "gradient", as Phi does, or the "map", behind the ReLU of each level.
    """

    layer: str
    cuts: frozenset[str] = frozenset()
    product: str = "gradient x features"
    levels: tuple[int, ...] | None = None
    relu_first: bool = False
    smoothing: float = 0.0
    smoothed: str = "gradient"


WORDS: dict[str, dict[str, Any]] = {
    # What queries and first boxes were made of, and the boxes of earlier layers, as in training.
    "queries fixed": {"cuts": {"queries"}},
    # The decoder's sampling offsets and attention weights.
    "sampling fixed": {"cuts": {"sampling"}},
    # Keys and values of the decoder's self-attention: the gradient arrives through the explained query alone.
    "own query": {"cuts": {"neighbours"}},
    "positive gradients": {"product": "positive gradients x features"},
    "positive products": {"product": "positive (gradient x (features - features of a black image))"},
    "less black": {"product": "gradient x (features - features of a black image)"},
    "less mean": {"product": "gradient x (features - their mean over the level)"},
    "level 0": {"levels": (0,)},
    "level 1": {"levels": (1,)},
    "level 2": {"levels": (2,)},
    "levels 0 and 1": {"levels": (0, 1)},
    "ReLU a level": {"relu_first": True},
    **{f"{what} smoothed {s}": {"smoothing": s, "smoothed": what} for what in ("gradient", "map") for s in (0.1, 0.2)},
}


def read_variant(name: str) -> Variant:
    """The variant of a name.

    Raises:
        argparse.ArgumentTypeError: if a word is unknown.
    """
    layer, *words = (word.strip() for word in name.split(","))
    if layer not in LAYERS or any(word not in WORDS for word in words):
        raise argparse.ArgumentTypeError(
            f"a variant must be a layer among {list(LAYERS)} and words among {list(WORDS)}; got {name!r}: write e.g. "
            "'encoder, own query'"
        )
    variant = Variant(layer)
    for word in words:
        changes = dict(WORDS[word])
        changes["cuts"] = variant.cuts | changes.get("cuts", set())
        variant = replace(variant, **changes)
    return variant


def variant_name(text: str) -> str:
    """An argument that is a variant's name, or the control's."""
    if text != CONTROL:
        read_variant(text)
    return text


@dataclass
class Pass:
    """One forward pass over an image, with its graph.

    Attributes:
        layers: layer -> its tensors: maps (1, C, H, W), or tokens (1, T, C) of the memory.
        grids: (H, W) of the levels of the memory.
        logits: (Q, K).
        padded: (H, W) of the model input with padding.
    """

    layers: dict[str, list[Tensor]] = field(default_factory=dict)
    grids: list[tuple[int, int]] = field(default_factory=list)
    logits: Tensor = field(default_factory=lambda: torch.zeros(0))
    padded: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, model: OdamDETR, image: Tensor, cuts: frozenset[str]) -> "Pass":
        """Runs the detector on a (3, H, W) image; `cuts` as in :class:`Variant`."""
        found, network = cls(), model.network.model

        def keep(name, _module, _inputs, output):
            found.layers.setdefault(name, []).append(output)

        def keep_maps(name, _module, _inputs, output):
            found.layers[name] = list(output[0])

        def own_copy(name, _module, args, kwargs):
            copy = kwargs["encoder_hidden_states"].clone()
            found.layers[name], found.grids = [copy], kwargs["spatial_shapes_list"]
            return args, {**kwargs, "encoder_hidden_states": copy}

        def constant(_module, _inputs, output):
            return output.data  # WholeGraph lets detach() through

        with ExitStack() as hooks:

            def hook(handle):
                hooks.callback(handle.remove)

            bottom_up = getattr(getattr(model, "backbone", None), "bottom_up", None)
            for name in ("stem", "res2", "res3", "res4", "res5"):
                if hasattr(bottom_up, name):
                    hook(getattr(bottom_up, name).register_forward_hook(partial(keep, name)))
            for one in model.architecture.projections(model.network):
                hook(one.register_forward_pre_hook(lambda _m, args: keep("backbone", None, None, args[0])))
                hook(one.register_forward_hook(partial(keep, "projection")))
            hook(model.architecture.encoder(model.network).register_forward_hook(partial(keep_maps, "encoder")))
            for one in network.decoder_input_proj:
                hook(one.register_forward_hook(partial(keep, "memory")))
            for number, one in enumerate(network.decoder.layers, 1):
                name = f"memory {number}"
                hook(one.register_forward_pre_hook(partial(own_copy, name), with_kwargs=True))
                cross, own = one.encoder_attn, one.self_attn
                fixed = [cross.sampling_offsets, cross.attention_weights] if "sampling" in cuts else []
                fixed += [own.k_proj, own.v_proj] if "neighbours" in cuts else []
                for module in fixed:
                    hook(module.register_forward_hook(constant))
            images = model.preprocess_image([{"image": image}])
            images.tensor.requires_grad_()
            found.layers["pixels"], found.padded = [images.tensor], tuple(images.tensor.shape[-2:])
            with nullcontext() if "queries" in cuts else WholeGraph(), contiguous_norm_gradients(model):
                found.logits = model.network(pixel_values=images.tensor, pixel_mask=pixel_mask(images)).logits[0]
        return found

    def maps(self, values: Tensor) -> list[Tensor]:
        """(R, C, H, W) of each level from what a layer's tensor is like: maps, or tokens of all levels."""
        if values.dim() == 4:
            return [values]
        parts = values.split([height * width for height, width in self.grids], 1)
        return [part.transpose(1, 2).unflatten(2, grid) for part, grid in zip(parts, self.grids, strict=True)]


def gradients(run: Pass, scores: Tensor, layers: Sequence[str]) -> dict[str, list[Tensor]]:
    """Layer -> of each of its tensors the gradients of R scores, a call of autograd for each of them."""
    tensors = [tensor for layer in layers for tensor in run.layers[layer]]
    rows = [torch.autograd.grad(score, tensors, retain_graph=True, materialize_grads=True) for score in scores]
    columns = iter([torch.cat(column) for column in zip(*rows, strict=True)])
    return {layer: [next(columns) for _ in run.layers[layer]] for layer in layers}


def smooth(values: Tensor, sigma: Tensor) -> Tensor:
    """(R, ..., H, W) by Gaussians with (R, 2) standard deviations along y, x in cells."""
    height, width = values.shape[-2:]
    along = gaussian_weights(sigma[:, 0], height, height, 0), gaussian_weights(sigma[:, 1], width, width, 0)
    return torch.einsum("r...yx,ryv,rxu->r...vu", values, *along)


def multiply(product: str, gradient: Tensor, features: Tensor, black: Tensor) -> Tensor:
    """(R, H, W) from (R, C, H, W) gradients and (1, C, H, W) features, those of a black image beside them."""
    if product == WORDS["positive gradients"]["product"]:
        return (gradient.clamp(min=0) * features).sum(1)
    if product == WORDS["positive products"]["product"]:
        return (gradient * (features - black)).clamp(min=0).sum(1)
    if product == WORDS["less black"]["product"]:
        return (gradient * (features - black)).sum(1)
    if product == WORDS["less mean"]["product"]:
        return (gradient * (features - features.mean((2, 3), keepdim=True))).sum(1)
    return (gradient * features).sum(1)


def levels_of(variant: Variant, run: Pass, black: Pass, found: list[Tensor], boxes: Tensor) -> list[Tensor]:
    """(R, H, W) of each level that is added, before the ReLU of the sum.

    Args:
        variant: how.
        run: of the image.
        black: of a black image.
        found: gradients at the variant's layer.
        boxes: (R, 4) XYXY in model-input pixels.
    """
    extent, levels = (boxes[:, 2:] - boxes[:, :2]).flip(1), []
    for gradient, features, nothing in zip(found, run.layers[variant.layer], black.layers[variant.layer], strict=True):
        parts = (run.maps(one.detach()) for one in (gradient, features, nothing))
        for g, a, b in zip(*parts, strict=True):
            sigma = (
                variant.smoothing
                * extent
                * boxes.new_tensor([a.shape[-2] / run.padded[0], a.shape[-1] / run.padded[1]])
            )
            if variant.smoothing and variant.smoothed == "gradient":
                g = smooth(g, sigma)
            heat = multiply(variant.product, g, a, b)
            if variant.smoothing and variant.smoothed == "map":
                heat = smooth(heat.clamp(min=0), sigma)
            levels.append(heat.clamp(min=0) if variant.relu_first else heat)
    return levels if variant.levels is None else [levels[number] for number in variant.levels]


def as_heat_maps(levels: Sequence[Tensor], padded: Sequence[int], image_size, output_size) -> HeatMaps:
    """R HeatMaps from (R, H, W) of each level."""
    count, values, windows, strides = len(levels[0]), [], [], []
    for row in range(count):
        for level in levels:
            height, width = level.shape[-2:]
            # Where several are added, the ReLU waits for their sum.
            values.append((level[row].clamp(min=0) if len(levels) == 1 else level[row]).flatten())
            windows.append([0, 0, height, width])
            strides.append([padded[0] / height, padded[1] / width])
    windows = torch.tensor(windows).view(-1, 4)
    owners = torch.arange(count).repeat_interleave(len(levels))
    flat = torch.cat([*values, torch.zeros(0)])[None]
    sizes = (image_size, output_size)
    return HeatMaps(flat, windows, windows[:, 2:], torch.tensor(strides).view(-1, 2), ("score",), *sizes, owners)


def box_maps(boxes: Tensor, height: int, width: int) -> Tensor:
    """(R, height, width): a Gaussian in each box, a quarter of its sides wide."""
    (x1, y1, x2, y2), axes = boxes.unbind(1), []
    for low, high, size in ((y1, y2, height), (x1, x2, width)):
        centre, sigma = (low + high)[:, None] / 2, (high - low)[:, None] / 4
        axes.append(torch.exp(-0.5 * ((torch.arange(size) + 0.5 - centre) / sigma) ** 2))
    return axes[0][:, :, None] * axes[1][:, None]


def explain(model: OdamDETR, entry: dict, wanted: Any, names: Sequence[str], drise: Any) -> dict[str, Any]:
    """What :class:`Measuring` takes of an image: the matched detections, and their maps by each variant.

    Args:
        model: the detector.
        entry: the image, as it takes it.
        wanted: from its detections to the (R,) rows of those that are measured.
        names: of the variants.
        drise: an explainer to compare with; None for none.
    """
    with torch.no_grad():
        trace = model.trace([entry])
    chosen = wanted(trace.instances[0])
    instances, boxes, maps = trace.instances[0][chosen], trace.boxes[chosen], {}
    variants = {name: read_variant(name) for name in names if name != CONTROL}
    sizes = (trace.image_sizes[0], trace.output_sizes[0])
    for cuts in dict.fromkeys(variant.cuts for variant in variants.values()) if len(chosen) else ():
        alike = {name: variant for name, variant in variants.items() if variant.cuts == cuts}
        with torch.enable_grad():
            run = Pass.of(model, entry["image"], cuts)
            black = Pass.of(model, torch.zeros_like(entry["image"]), cuts)
            scores = model.architecture.probabilities(run.logits)[trace.rows[chosen], trace.classes[chosen]]
        if not torch.allclose(scores.detach(), instances.scores, atol=1e-4):
            raise ValueError(
                "`--config-file` must give the same scores with a graph; got others: its layers are unknown"
            )
        found = gradients(run, scores, list(dict.fromkeys(variant.layer for variant in alike.values())))
        for name, variant in alike.items():
            levels = levels_of(variant, run, black, found[variant.layer], boxes)
            maps[name] = as_heat_maps(levels, run.padded, *sizes)
    if CONTROL in names and len(chosen):
        maps[CONTROL] = as_heat_maps([box_maps(boxes, *trace.padded_size)], trace.padded_size, *sizes)
    if drise is not None and len(chosen):
        maps["drise"] = drise([entry])[0]["instances"].heatmaps[chosen]
    order = [*names, *(["drise"] if drise is not None else [])]
    return {"instances": instances, "heatmaps": {name: maps.get(name) for name in order}}


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add_config(parser, "synthetic/rtdetr_compact_FPN")
    add = parser.add_argument
    add("--dataset", default="synthetic_scene_val", metavar="NAME", help="registered (default: %(default)s)")
    add("--max-images", type=count, default=16, metavar="N", help="the first N images (default: %(default)s)")
    add("--variants", nargs="+", type=variant_name, default=["encoder"], metavar="NAME",
        help="e.g. 'encoder, own query'; others are compared with the first (default: encoder)")  # fmt: skip
    add("--metrics", nargs="+", choices=list(METRICS), metavar="NAME",
        default=["pointing_mask", "energy_mask", "compactness", "vea"], help="see odam evaluate")  # fmt: skip
    add("--drise", type=count, metavar="N", help="also D-RISE with N masks (default: without)")
    add("--iou-threshold", type=overlap, default=0.5, metavar="T",
        help="IoU that a detection and its object must exceed (default: %(default)s)")  # fmt: skip
    add("--score-threshold", type=share, default=0.5, metavar="S", help="lowest score of a detection (default: 0.5)")
    add("--max-detections", type=count, default=100, metavar="N", help="most of an image (default: %(default)s)")
    add_seed(parser, "noise, masks and error bars")
    add_output_json(parser)
    return parser


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The figures, as they go to JSON."""
    args.annotations = args.images = None
    run = DataRun(args)
    model = run.model.eval()
    if not isinstance(model, OdamDETR) or not isinstance(model.architecture, RTDetr):
        raise ValueError(f"`--config-file` must be of an RT-DETR; got {type(model).__name__}: choose one of those")
    score = object_scorer(inference_copy(model)) if any(METRICS[n].needs_detector for n in args.metrics) else None
    measuring = Measuring(tuple(args.metrics), args.iou_threshold, score=score, seed=args.seed)
    drise = build_explainer(model, method="drise", attributes=("score",), num_masks=args.drise, seed=args.seed,
                            progress=False) if args.drise else None  # fmt: skip
    records, results, names = run.records[: args.max_images], [], list(args.variants)
    for record, entry in zip(tqdm(records, desc="measuring", unit="image"), run.inputs(records), strict=True):
        truth = TrueObjects.of(record)
        output = explain(model, entry, lambda found: measuring._match(found, truth).detections, names, drise)
        results.append(measuring.measure(record, entry["image"], output)[0])
    methods = [*names, *(["drise"] if drise is not None else [])]
    summary = summarise(results, methods, args.metrics, args.seed)
    rows = list(csv.DictReader(io.StringIO(objects_csv(results, methods, args.metrics))))
    differences = {
        name: [asdict(one) | {"verdict": one.verdict} for one in
               paired_differences(rows, args.metrics, name, methods[0], args.seed)]
        for name in methods[1:]
    }  # fmt: skip
    return {**summary, "methods": methods, f"less {methods[0]}": differences}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    args = argument_parser().parse_args(argv)
    try:
        figures = measure(args)
    except (ValueError, ImportError, OSError) as error:
        return failure(error)
    methods = figures["methods"]
    print(format_summary(figures, methods))
    print(format_counts(figures["counts"]))
    for name, differences in figures[f"less {methods[0]}"].items():
        told = (f"{d['metric']} {d['mean']:+.3f} [{d['interval'][0]:+.3f}, {d['interval'][1]:+.3f}] {d['verdict']}"
                for d in differences)  # fmt: skip
        print(f"{name} less {methods[0]}: {', '.join(told)}")
    if args.output:
        versions = {name: value for name, value in collect_versions().items() if name != "detectron2_path"}
        settings = {name: value for name, value in vars(args).items() if name != "output"}
        write_json(args.output, {**figures, "settings": settings, "versions": versions})
    return 0


if __name__ == "__main__":
    sys.exit(main())
