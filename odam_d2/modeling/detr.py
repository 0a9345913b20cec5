"""The query detectors of Hugging Face transformers that are known, and how each differs from the others.

Shape letters: Q queries, K classes.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..utils.untyped import UntypedModule
from .query_architecture import NetworkSize, QueryArchitecture, register_architecture, require_transformers


@register_architecture("DetrForObjectDetection")
class Detr(QueryArchitecture):
    """DETR (Carion et al., ECCV 2020): a softmax with "no object" as last class."""

    config_name = "DetrConfig"

    def probabilities(self, logits: Tensor) -> Tensor:
        """(..., K): the softmax without "no object"."""
        return self.of_classes(logits.softmax(-1)[..., :-1])

    def background(self, logits: Tensor) -> Tensor:
        """See :meth:`QueryArchitecture.background`."""
        return logits.softmax(-1)[..., -1]

    def select(self, logits: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Each query in its likeliest class."""
        scores, classes = self.probabilities(logits).max(-1)
        best, queries = scores.topk(min(most, len(scores)))
        return best, queries, classes[queries]


@register_architecture("ConditionalDetrForObjectDetection")
class ConditionalDetr(QueryArchitecture):
    """Conditional DETR (Meng et al., ICCV 2021): sigmoid scores, pairs of query and class compete."""

    config_name = "ConditionalDetrConfig"

    def keys_and_values(self, network: UntypedModule) -> list[nn.Module]:
        """See :meth:`QueryArchitecture.keys_and_values`; what positions add to keys is learned."""
        layers = network.model.decoder.layers
        return [module for layer in layers for module in (layer.sa_kcontent_proj, layer.sa_v_proj)]


@register_architecture("RTDetrForObjectDetection")
class RTDetr(QueryArchitecture):
    """RT-DETR (Zhao et al., CVPR 2024): three maps in, three maps out of the encoder, deformable attention to them.

    Padding isn't masked, and boxes are fractions of the padded batch.
    """

    config_name = "RTDetrConfig"
    backbone_maps = 3
    size_divisibility = 32
    boxes_of_padded = True

    def config_arguments(self, size: NetworkSize) -> dict[str, Any]:
        """See :meth:`QueryArchitecture.config_arguments`."""
        common = super().config_arguments(size)
        common["backbone_config"] = require_transformers().RTDetrResNetConfig(
            embedding_size=size.backbone_stem,
            hidden_sizes=list(size.backbone_widths),
            depths=list(size.backbone_depths),
            layer_type=size.backbone_block,
            out_features=["stage2", "stage3", "stage4"],
        )
        return common | {
            "encoder_hidden_dim": size.d_model,
            "encoder_in_channels": list(size.backbone_widths[1:]),
            "decoder_in_channels": [size.d_model] * 3,
            "num_denoising": size.num_denoising,
            "freeze_backbone_batch_norms": size.freeze_backbone_norms,
        }

    def build(self, size: NetworkSize) -> UntypedModule:
        """See :meth:`QueryArchitecture.build`; initialised so that it can be trained.

        transformers draws convolutions, linear layers and even the weights of batch norms from a normal distribution of
        width .01, through which no signal passes: that is meant to be overwritten by a checkpoint.
        """
        network = super().build(size)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.Conv2d):
                module.reset_parameters()
            # What it sets on purpose has a bias (prior scores) or begins at zero (offsets, box deltas).
            elif isinstance(module, nn.Linear) and bool(module.weight.any()) and not bool(module.bias.any()):
                nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(network.model.enc_bbox_head.layers[-1].weight)
        return network

    def loss(self, stock: Callable, *args, **kwargs):
        """The stock loss, which would match the denoising queries of the last layer with objects: they stay out."""
        logits, labels, device, pred_boxes, *others = args
        denoising = kwargs.get("denoising_meta_values")
        if denoising is not None:
            queries = denoising["dn_num_split"][1]
            logits, pred_boxes = logits[:, -queries:], pred_boxes[:, -queries:]
        return stock(logits, labels, device, pred_boxes, *others, **kwargs)

    def weighted(self, losses: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
        """They are weighted already."""
        return dict(losses)

    def backbone(self, network: UntypedModule) -> nn.Module:
        """See :meth:`QueryArchitecture.backbone`."""
        return network.model.backbone

    def put_backbone(self, network: UntypedModule, backbone: nn.Module) -> None:
        """See :meth:`QueryArchitecture.put_backbone`."""
        network.model.backbone = backbone

    def projections(self, network: UntypedModule) -> list[nn.Module]:
        """See :meth:`QueryArchitecture.projections`."""
        return list(network.model.encoder_input_proj)

    def earlier_boxes(self, output: Any) -> dict[str, Tensor]:
        """See :meth:`QueryArchitecture.earlier_boxes`: each layer of the decoder moves them."""
        layers = output.intermediate_reference_points[:, :-1].unbind(1)
        first = {"encoder": _token_boxes(output.init_reference_points)}
        return first | {f"decoder_layer_{number}": boxes for number, boxes in enumerate(layers, 1)}

    def tokens(self, output: Any) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`QueryArchitecture.tokens`: those with the highest score of any class."""
        logits = output.enc_outputs_class
        chosen = logits.max(-1).values.topk(output.pred_boxes.shape[1], dim=1).indices
        return _token_boxes(output.enc_outputs_coord_logits), self.probabilities(logits), chosen

    def encoder_maps(self, output: Any, projected: list[Tensor]) -> list[Tensor]:
        """It gives maps."""
        return list(output[0])

    def encoder_output(self, output: Any, maps: list[Tensor]) -> Any:
        """See :meth:`QueryArchitecture.encoder_output`."""
        return type(output)(last_hidden_state=list(maps))


def _token_boxes(logits: Tensor) -> Tensor:
    """(..., 4) boxes of RT-DETR's encoder; NaN where it makes none, in the outermost cells: their logits are huge."""
    return logits.sigmoid().masked_fill((logits > 1e6).all(-1, keepdim=True), float("nan"))


@register_architecture("RTDetrV2ForObjectDetection")
class RTDetrV2(RTDetr):
    """RT-DETR v2 (Lv et al., 2024): the same stages, another way to sample in the decoder."""

    config_name = "RTDetrV2Config"
