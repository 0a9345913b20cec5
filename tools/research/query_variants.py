"""The variants that query_layers.py compares: where a gradient is taken, which of its paths are cut, what is summed.

Shape letters: R detections of an image, Q queries, K classes, T tokens of all levels, C channels, (H, W) a grid.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from odam_d2.explain.engines.norm_gradients import contiguous_norm_gradients
from odam_d2.meta_arch.detr import OdamDETR, pixel_mask
from odam_d2.modeling.graph_modes import WholeGraph
from odam_d2.modeling.query_architecture import STAGES
from odam_d2.ops.smoothing import gaussian_weights

# Where gradients are taken. `memory` is what the decoder samples; with a number, as its layer of that number reads it.
LAYERS = ("pixels", "stem", "res2", "res3", "res4", "res5", "backbone", "projection", "encoder", "memory")
LAYERS += tuple(f"memory {number}" for number in (1, 2, 3))
# Without gradients: a Gaussian in the detected box, which knows nothing else, and what occlusion says.
BOX = "box"
OCCLUSION = {f"occlusion of {stage}": stage for stage in ("pixels", *STAGES)}


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
    """An argument that is a variant's name, or that of a reference."""
    if text != BOX and text not in OCCLUSION:
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

        # Where maps are made of each other (an encoder's, a ResNet's), only what reads them behind their layer counts.
        def copied_input(name, _module, args):
            copy = args[0].clone()
            keep(name, _module, args, copy)
            return copy, *args[1:]

        def copied_maps(name, _module, _inputs, output):
            found.layers[name] = [one.clone() for one in output[0]]
            return model.architecture.encoder_output(output, found.layers[name])

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
                hook(one.register_forward_pre_hook(partial(copied_input, "backbone")))
                hook(one.register_forward_hook(partial(keep, "projection")))
            hook(model.architecture.encoder(model.network).register_forward_hook(partial(copied_maps, "encoder")))
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
