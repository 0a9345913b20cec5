"""What the query detectors of Hugging Face transformers have in common; each of them is a subclass in ``detr.py``.

All of them are backbone -> projection -> encoder -> decoder with one query an object. What comes out of the first three
stages can be read off, and given back in its place, without a word of the network's own code.

Shape letters: N images, Q queries, K classes, C channels, (H, W) a feature grid, S the maps of a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..utils.registry import NamedRegistry
from ..utils.untyped import UntypedModule

# Where the features to explain on can be taken from, in the data's order.
STAGES = ("backbone", "projection", "encoder")
ARCHITECTURES: NamedRegistry[type[QueryArchitecture]] = NamedRegistry("ARCHITECTURES")
AnyArchitecture = TypeVar("AnyArchitecture", bound="QueryArchitecture")


def require_transformers() -> ModuleType:
    """The package transformers.

    Raises:
        ImportError: if it isn't installed; names the extra.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise ImportError(
            "OdamDETR needs transformers, which isn't installed: `pip install 'odam_d2[detr]'`", name="transformers"
        ) from None
    return transformers


def register_architecture(name: str) -> Callable[[type[AnyArchitecture]], type[AnyArchitecture]]:
    """Class decorator: makes a :class:`QueryArchitecture` reachable as ``ODAM.DETR.ARCHITECTURE``.

    Raises:
        AssertionError: if the name is taken.
    """

    def named(cls: type[QueryArchitecture]) -> type[QueryArchitecture]:
        cls.name = name
        return cls

    return ARCHITECTURES.register_as(name, named)


def find_architecture(name: str) -> QueryArchitecture:
    """The architecture called `name`.

    Raises:
        ValueError: if it is unknown; lists the known ones.
    """
    if name not in ARCHITECTURES:
        raise ValueError(
            f"`architecture` must be one of {sorted(ARCHITECTURES)}; got {name!r}: choose one, or register your own"
        )
    return ARCHITECTURES[name]()


@dataclass
class NetworkSize:
    """How large a network with random weights is; every architecture turns it into its own config.

    Attributes:
        num_classes: classes without "no object".
        num_queries: Q, objects that can be found at most.
        d_model: channels of encoder and decoder.
        encoder_layers, decoder_layers: how many of each.
        attention_heads: in every attention; must divide `d_model`.
        feedforward_dim: hidden units behind every attention.
        dropout: in [0, 1).
        auxiliary_loss: also a loss for every decoder layer but the last.
        num_denoising: queries made of noisy ground truth in training, for RT-DETR.
        backbone_stem: channels of the ResNet's stem (stride 4).
        backbone_widths: channels of its four stages (strides 4, 8, 16, 32).
        backbone_depths: blocks of its four stages.
        backbone_block: ``basic`` or ``bottleneck``.
        freeze_backbone_norms: for RT-DETR; the others always freeze them.
        extra: further arguments of the architecture's own config.
    """

    num_classes: int
    num_queries: int
    d_model: int
    encoder_layers: int
    decoder_layers: int
    attention_heads: int
    feedforward_dim: int
    dropout: float
    auxiliary_loss: bool
    num_denoising: int
    backbone_stem: int
    backbone_widths: Sequence[int]
    backbone_depths: Sequence[int]
    backbone_block: str
    freeze_backbone_norms: bool
    extra: Mapping[str, Any] = field(default_factory=dict)


class QueryArchitecture:
    """One class of transformers: how it is configured, where its stages are, what its numbers mean.

    Attributes:
        name: the class in transformers.
        config_name: its config's class.
        backbone_maps: S, how many maps of the backbone it reads, the last ones.
        size_divisibility: what height and width of the padded batch must be a multiple of; 0 for nothing.
        boxes_of_padded: whether boxes are fractions of the padded batch, or of each image without padding.
        labels: the network's label of each class, where they are not the same.
    """

    name: str
    config_name: str
    backbone_maps = 1
    size_divisibility = 0
    boxes_of_padded = False
    labels: Sequence[int] = ()

    # ------------------------------------------------------------------------------------------------ making networks
    def config_arguments(self, size: NetworkSize) -> dict[str, Any]:
        """Arguments of the config for a network of that size, backbone included."""
        transformers = require_transformers()
        backbone = transformers.ResNetConfig(
            embedding_size=size.backbone_stem,
            hidden_sizes=list(size.backbone_widths),
            depths=list(size.backbone_depths),
            layer_type=size.backbone_block,
            out_features=["stage4"],
        )
        return {
            "backbone_config": backbone,
            "backbone": None,
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "num_labels": size.num_classes,
            "num_queries": size.num_queries,
            "d_model": size.d_model,
            "encoder_layers": size.encoder_layers,
            "decoder_layers": size.decoder_layers,
            "encoder_attention_heads": size.attention_heads,
            "decoder_attention_heads": size.attention_heads,
            "encoder_ffn_dim": size.feedforward_dim,
            "decoder_ffn_dim": size.feedforward_dim,
            "dropout": size.dropout,
            "auxiliary_loss": size.auxiliary_loss,
        }

    def build(self, size: NetworkSize) -> UntypedModule:
        """A network with random weights; nothing is fetched from anywhere."""
        transformers = require_transformers()
        config = getattr(transformers, self.config_name)(**{**self.config_arguments(size), **size.extra})
        return self.prepare(getattr(transformers, self.name)(config))

    def load(self, name_or_folder: str) -> nn.Module:
        """A network as ``from_pretrained`` gives it: config and weights, from a folder or by name."""
        return self.prepare(getattr(require_transformers(), self.name).from_pretrained(name_or_folder))

    def prepare(self, network: UntypedModule) -> nn.Module:
        """Lets the loss be computed in single precision: matching and boxes don't bear autocast."""
        stock = network.loss_function

        def loss_function(logits, labels, device, pred_boxes, config, *outputs, **kwargs):
            with torch.autocast(logits.device.type, enabled=False):
                return self.loss(
                    stock, *_single((logits, labels, device, pred_boxes, config, *outputs)), **_single(kwargs)
                )

        network.loss_function = loss_function
        return network

    # ---------------------------------------------------------------------------------------------------- its numbers
    def loss(self, stock: Callable, *args, **kwargs):
        """The stock loss; all in single precision."""
        return stock(*args, **kwargs)

    def weighted(self, losses: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
        """What the stock loss names, as summands of its total."""
        weights = {
            "loss_ce": 1.0,
            "loss_bbox": config.bbox_loss_coefficient,
            "loss_giou": config.giou_loss_coefficient,
        }
        kinds = {name: "_".join(name.split("_")[:2]) for name in losses}
        return {name: losses[name] * weights[kind] for name, kind in kinds.items() if kind in weights}

    def probabilities(self, logits: Tensor) -> Tensor:
        """(..., K) scores as they are reported, from all of the network's logits."""
        return self.of_classes(logits.sigmoid())

    def of_classes(self, values: Tensor) -> Tensor:
        """(..., K) from what the network has for each of its labels."""
        return values[..., list(self.labels)] if self.labels else values

    def background(self, logits: Tensor) -> Tensor | None:
        """(...) the score of there being no object, from all of the network's logits; None where it has none."""
        del logits
        return None

    def earlier_boxes(self, output: Any) -> dict[str, Tensor]:
        """Where the queries' boxes were before the last layer of the decoder: step -> (N, Q, 4) as ``pred_boxes``.

        Args:
            output: what the network gave. Here it doesn't say; NaN is a box that stands for nothing.
        """
        del output
        return {}

    def tokens(self, output: Any) -> tuple[Tensor, Tensor, Tensor] | None:
        """What queries were chosen among, where the network chooses them among the T tokens of its encoder.

        Args:
            output: what the network gave.

        Returns:
            (N, T, 4) boxes as ``pred_boxes``, (N, T, K) scores, and (N, Q) int64, the token of each query; None for
            queries that are the same for every image.
        """
        del output
        return None

    def select(self, logits: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """The candidates of one image, from its (Q, ...) logits.

        Returns:
            (R,) scores, (R,) int64 queries and (R,) int64 classes; at most `most`, by falling score.
        """
        scores = self.probabilities(logits)
        best, index = scores.flatten().topk(min(most, scores.numel()))
        return best, index // scores.shape[1], index % scores.shape[1]

    # ----------------------------------------------------------------------------------------------------- its stages
    def backbone(self, network: UntypedModule) -> nn.Module:
        """The module that gives ``[(map (N, C, H, W), mask (N, H, W)), ...]`` for pixels and their mask."""
        return network.model.backbone.conv_encoder

    def put_backbone(self, network: UntypedModule, backbone: nn.Module) -> None:
        """Puts a module that does the same in its place."""
        network.model.backbone.conv_encoder = backbone

    def projections(self, network: UntypedModule) -> list[nn.Module]:
        """S modules, each of which projects one map."""
        return [network.model.input_projection]

    def encoder(self, network: UntypedModule) -> nn.Module:
        """The encoder."""
        return network.model.encoder

    def keys_and_values(self, network: UntypedModule) -> list[nn.Module]:
        """Modules through which the decoder's queries see each other: what makes keys and values of them."""
        attentions = [layer.self_attn for layer in network.model.decoder.layers]
        return [module for attention in attentions for module in (attention.k_proj, attention.v_proj)]

    def encoder_maps(self, output: Any, projected: list[Tensor]) -> list[Tensor]:
        """What the encoder gave, as maps (N, C, H, W); here it gives tokens (N, H W, C)."""
        return [output[0].transpose(1, 2).unflatten(2, projected[0].shape[-2:])]

    def encoder_output(self, output: Any, maps: list[Tensor]) -> Any:
        """The other way round: `output` with other maps in it."""
        return type(output)(last_hidden_state=maps[0].flatten(2).transpose(1, 2))


def _single(value: Any) -> Any:
    """Every floating-point tensor in tuples, lists and dicts in single precision."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(_single(v) for v in value)
    if isinstance(value, dict):
        return {key: _single(v) for key, v in value.items()}
    return value
