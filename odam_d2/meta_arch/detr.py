"""Query detectors of Hugging Face transformers as a Detectron2 architecture."""

import math
from functools import partial

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from ..modeling.provenance import (
    ROW_FIELD,
    given_boxes,
    given_results,
    image_index_of,
    input_and_output_sizes,
    input_frame_boxes,
    take_field,
    write_scores,
)
from ..modeling.query_architecture import NetworkSize, QueryArchitecture, find_architecture
from ..modeling.query_backbone import Detectron2Backbone
from ..modeling.query_head import LAYERS, recording
from ..modeling.query_rules import best_query
from ..structures import DetectionTrace
from ..utils.untyped import UntypedModule


@META_ARCH_REGISTRY.register()
class OdamDETR(nn.Module):
    """A detector of transformers behind Detectron2's interface: dicts in, ``Instances`` out, losses in training.

    Args:
        network: e.g. a ``DetrForObjectDetection``.
        architecture: what is particular about it.
        backbone: a Detectron2 backbone in place of the network's own; None keeps that.
        in_features: the maps of `backbone` that the network reads, fine to coarse.
        pixel_mean, pixel_std: of each channel, in the order of the images' channels.
        score_threshold: only detections above it are reported, in [0, 1].
        max_detections: that are reported of one image.
        labels: the network's label of each class; empty where they are the same.
        layer: what to explain on, a key of :data:`odam_d2.modeling.query_head.LAYERS`.
    """

    # Batched, it is what these detectors are explained by: there is nothing quicker to look for.
    default_engine = "autograd"
    pixel_mean: torch.Tensor

    @configurable
    def __init__(
        self,
        *,
        network: UntypedModule,
        architecture: QueryArchitecture,
        backbone: Backbone | None = None,
        in_features: tuple[str, ...] = (),
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        score_threshold: float,
        max_detections: int,
        labels: tuple[int, ...] = (),
        layer: str,
    ):
        super().__init__()
        if layer not in LAYERS:
            raise ValueError(f"`layer` must be one of {list(LAYERS)}; got {layer!r}: choose one of these")
        self.network = network
        self.architecture = architecture
        self.backbone = backbone
        if backbone is not None:
            architecture.put_backbone(network, Detectron2Backbone(backbone, in_features))
        architecture.labels = tuple(labels)
        self.num_classes: int = len(labels) or network.config.num_labels
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.layer = layer
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Arguments from a yaml config: ``ODAM.DETR`` and the usual keys of ``MODEL`` and ``TEST``."""
        options = cfg.ODAM.DETR
        architecture = find_architecture(options.ARCHITECTURE)
        (widths, depths), backbone = (options.RESNET.WIDTHS, options.RESNET.DEPTHS), None
        if options.IN_FEATURES:
            backbone = build_backbone(cfg)
            # The network's own ResNet is built in these widths for the projections' sake, and thrown away.
            found = [backbone.output_shape()[name].channels for name in options.IN_FEATURES]
            widths, depths = [found[0]] * (4 - len(found)) + found, [1] * 4
        size = NetworkSize(
            num_classes=options.NUM_CLASSES,
            num_queries=options.NUM_QUERIES,
            d_model=options.D_MODEL,
            encoder_layers=options.ENCODER_LAYERS,
            decoder_layers=options.DECODER_LAYERS,
            attention_heads=options.ATTENTION_HEADS,
            feedforward_dim=options.FEEDFORWARD_DIM,
            dropout=options.DROPOUT,
            auxiliary_loss=options.AUXILIARY_LOSS,
            num_denoising=options.NUM_DENOISING,
            backbone_stem=options.RESNET.STEM_WIDTH,
            backbone_widths=widths,
            backbone_depths=depths,
            backbone_block=options.RESNET.BLOCK,
            freeze_backbone_norms=options.RESNET.FREEZE_NORMS,
            extra=dict(options.EXTRA),
        )
        pretrained = options.FROM_PRETRAINED
        return {
            "network": architecture.load(pretrained) if pretrained else architecture.build(size),
            "architecture": architecture,
            "backbone": backbone,
            "in_features": tuple(options.IN_FEATURES),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "score_threshold": options.SCORE_THRESH_TEST,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
            "labels": tuple(options.LABELS),
            "layer": options.LAYER,
        }

    @property
    def device(self) -> torch.device:
        """Where images are brought to."""
        return self.pixel_mean.device

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalised images, padded with zeros to the largest and to what architecture and backbone ask for."""
        images = [(x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        divisors, constraints = [self.architecture.size_divisibility], None
        if self.backbone is not None:
            divisors.append(self.backbone.size_divisibility)
            constraints = self.backbone.padding_constraints
        divisor = math.lcm(*(one for one in divisors if one > 0))
        return ImageList.from_tensors(images, divisor, padding_constraints=constraints)

    def forward(self, batched_inputs: list[dict]) -> list[dict] | dict[str, Tensor]:
        """Detects, or in training gives the losses.

        Args:
            batched_inputs: dicts with ``image`` (3, H, W) in ``INPUT.FORMAT``; ``height`` and ``width`` of the
                original image, or ``instances`` with ``gt_boxes`` and ``gt_classes`` in training.

        Returns:
            N dicts ``{"instances": Instances}`` in the original frame; in training the losses by name, weighted.
        """
        images = self.preprocess_image(batched_inputs)
        if self.training:
            return self.losses(images, [x["instances"].to(self.device) for x in batched_inputs])
        output = self.network(pixel_values=images.tensor, pixel_mask=pixel_mask(images))
        sizes = input_and_output_sizes(batched_inputs, images)
        results = self.detections(output.logits, self.decode(output.pred_boxes, images), *sizes)
        take_field(results, ROW_FIELD)
        return [{"instances": result} for result in results]

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or finds the queries of the boxes that the caller gives, and keeps what an explanation needs.

        Args:
            batched_inputs: as for :meth:`forward`.
            instances: boxes and classes to explain in place of the detections, in the original frame; see
                :func:`odam_d2.modeling.provenance.given_boxes`. Each is explained through the query whose box overlaps
                it most; results name it in ``query_index``.

        Returns:
            The trace. ``features`` are the maps that come out of the stage of :attr:`layer`, every detection has all of
            them as sources, and ``rows`` are queries; its ``instances`` are bit for bit what :meth:`forward` gives, or,
            for given boxes, these boxes with the detector's ``scores`` for their classes.

        Raises:
            ValueError: if given boxes are not usable; UnreachedBoxError, which is one, if no query's box overlaps one.
            RuntimeError: if the detector is in training mode.
        """
        if self.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        with torch.no_grad():
            images = self.preprocess_image(batched_inputs)
            pixels = (images.tensor, pixel_mask(images))
            with recording(self.network, self.architecture) as record:
                output = self.network(pixel_values=pixels[0], pixel_mask=pixels[1])
            decode = partial(self.decode, images=images)
            boxes = decode(output.pred_boxes)
            image_sizes, output_sizes = input_and_output_sizes(batched_inputs, images)
            if instances is None:
                results = self.detections(output.logits, boxes, image_sizes, output_sizes)
                rows = take_field(results, ROW_FIELD)
            else:
                given, classes = given_boxes(instances, image_sizes, output_sizes, self.num_classes, self.device)
                results = given_results(instances, classes, output_sizes)
                rows = [best_query(*pair, number) for number, pair in enumerate(zip(given, boxes, strict=True))]
                for result, row in zip(results, rows, strict=True):
                    result.query_index = row
            image_index = image_index_of([len(row) for row in rows], self.device)
            query = torch.cat(rows)
            stage, head_class = LAYERS[self.layer]
            maps = record.maps(stage, self.architecture)
            names = tuple(f"{stage}{k}" for k in range(len(maps)))
            padded = tuple(images.tensor.shape[-2:])
            head = head_class(self.network, self.architecture, stage, record, pixels, decode)
            trace = DetectionTrace(
                instances=results,
                features=dict(zip(names, maps, strict=True)),
                strides={name: _stride(padded, feature) for name, feature in zip(names, maps, strict=True)},
                image_index=image_index,
                level_index=torch.arange(len(maps), device=self.device).expand(len(query), len(maps)),
                references=boxes[image_index, query],
                boxes=input_frame_boxes(results, image_sizes, output_sizes),
                rows=query,
                classes=torch.cat([result.pred_classes for result in results]),
                level_names=names,
                image_sizes=image_sizes,
                padded_size=padded,
                output_sizes=output_sizes,
                head=head,
                compute_features=partial(self._features, pixels, names),
            )
            if instances is not None:
                write_scores(trace, head.of_rows(output.logits, boxes, trace).scores)
        return trace

    def candidates(self, batched_inputs: list[dict]) -> list[tuple[Tensor, Tensor]]:
        """What all queries say, before the best are chosen.

        Args:
            batched_inputs: as for :meth:`forward`.

        Returns:
            For each image (Q, 4) XYXY boxes in model-input pixels, not clipped to the image, and (Q, K) scores.
        """
        images = self.preprocess_image(batched_inputs)
        output = self.network(pixel_values=images.tensor, pixel_mask=pixel_mask(images))
        boxes, scores = self.decode(output.pred_boxes, images), self.architecture.probabilities(output.logits)
        return list(zip(boxes, scores, strict=True))

    def _features(self, pixels: tuple[Tensor, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
        """The stage's maps once more, from (N, 3, H, W) pixels and their mask."""
        with recording(self.network, self.architecture) as record:
            self.network(pixel_values=pixels[0], pixel_mask=pixels[1])
        return dict(zip(names, record.maps(LAYERS[self.layer][0], self.architecture), strict=True))

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """The network's own losses, weighted, each under its own name."""
        labels = []
        for instances, frame in zip(targets, self.box_frames(images), strict=True):
            corners = instances.gt_boxes.tensor / frame
            boxes = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
            known = self.architecture.labels
            classes = instances.gt_classes.new_tensor(known)[instances.gt_classes] if known else instances.gt_classes
            labels.append({"class_labels": classes, "boxes": boxes})
        output = self.network(pixel_values=images.tensor, pixel_mask=pixel_mask(images), labels=labels)
        return self.architecture.weighted(output.loss_dict, self.network.config)

    def box_frames(self, images: ImageList) -> Tensor:
        """(N, 4): width, height, width, height in model-input pixels of what boxes are fractions of."""
        if self.architecture.boxes_of_padded:
            sizes = [tuple(images.tensor.shape[-2:])] * len(images)
        else:
            sizes = images.image_sizes
        return torch.tensor([[w, h, w, h] for h, w in sizes], dtype=torch.float32, device=self.device)

    def decode(self, boxes: Tensor, images: ImageList) -> Tensor:
        """(N, Q, 4) XYXY in model-input pixels, not clipped, from centres and sizes as fractions."""
        centres, half = boxes[..., :2], boxes[..., 2:] / 2
        return torch.cat([centres - half, centres + half], -1) * self.box_frames(images)[:, None]

    def detections(self, logits: Tensor, boxes: Tensor, image_sizes: list, output_sizes: list) -> list[Instances]:
        """Results in the original frame, with the query of each detection in the field ``odam_row``.

        Args:
            logits: (N, Q, ...), all that the network has.
            boxes: (N, Q, 4) XYXY in model-input pixels.
            image_sizes, output_sizes: N times (h, w) of the model input and of the original image.
        """
        results = []
        for logit, box, image_size, output_size in zip(logits, boxes, image_sizes, output_sizes, strict=True):
            scores, queries, classes = self.architecture.select(logit, self.max_detections)
            above = scores > self.score_threshold
            found = Instances(image_size)
            found.pred_boxes = Boxes(box[queries[above]])
            found.scores = scores[above]
            found.pred_classes = classes[above]
            found.set(ROW_FIELD, queries[above])
            results.append(detector_postprocess(found, *output_size))
        return results


def pixel_mask(images: ImageList) -> Tensor:
    """(N, H, W) int64: 1 on images, 0 on padding."""
    mask = torch.zeros(len(images), *images.tensor.shape[-2:], dtype=torch.int64, device=images.tensor.device)
    for one, (height, width) in zip(mask, images.image_sizes, strict=True):
        one[:height, :width] = 1
    return mask


def _stride(padded_size: tuple[int, int], feature: Tensor) -> float:
    """Model-input pixels per cell: the power of two that it is but for rounding at the edge."""
    return float(2 ** round(math.log2(padded_size[0] / feature.shape[-2])))
