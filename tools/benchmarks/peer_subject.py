"""What tools are compared on: one detector of torchvision's form, and the objects that it finds in annotated images.

Shape letters: R objects of an image, (h, w) the image, (H, W) the canvas: the image resized and padded, which every
tool gives to the detector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from odam_d2.data.images import read_image_bgr
from odam_d2.data.inputs import InputMaker
from odam_d2.data.matching import match_detections
from odam_d2.evaluation.ground_truth import TrueObjects


@dataclass
class Scene:
    """An image and the objects in it that are explained, the same for all tools.

    Attributes:
        name: of the image.
        image: (h, w, 3) uint8 BGR.
        canvas: (3, H, W) float32 RGB in [0, 1].
        inner: height and width of the part of the canvas that shows the image.
        boxes: (R, 4) float32 XYXY in the canvas, to the last bit as the detector finds them.
        labels: (R,) int64, the detector's.
        levels: of each box the layer that its score depends on most.
        masks: (R, h, w) bool, of the annotated objects.
        inside: (R, h, w) bool, the pixels of their annotated boxes.
    """

    name: str
    image: np.ndarray
    canvas: Tensor
    inner: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    levels: list[str]
    masks: Tensor
    inside: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def only(self, row: int) -> Scene:
        """The same image with one of its objects."""
        rows = slice(row, row + 1)
        names = ("boxes", "labels", "levels", "masks", "inside")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def boxes_in_image(self) -> Tensor:
        """(R, 4) XYXY in pixels of the image."""
        height, width = self.image.shape[:2]
        return self.boxes * self.boxes.new_tensor([width / self.inner[1], height / self.inner[0]] * 2)

    def in_image(self, maps: Tensor) -> Tensor:
        """(R, h, w) of (R, H, W) maps: the padding is cut off, the rest resized bilinearly."""
        shown = maps[None, :, : self.inner[0], : self.inner[1]]
        return nn.functional.interpolate(shown, self.image.shape[:2], mode="bilinear", align_corners=False)[0]


class Subject:
    """A detector in eval mode whose parameters are frozen, and the layers that it is explained on.

    Images are resized and padded here, not by the detector: a tool that stretches a layer's map over its input would
    else stretch the padding with it.

    Args:
        net: takes N images (3, H, W) RGB in [0, 1], gives N dicts of ``boxes``, ``labels`` and ``scores`` with a graph;
            its ``transform`` is torchvision's ``GeneralizedRCNNTransform``.
        layers: paths of its modules, each of which gives one map; together they are what every score depends on.

    Raises:
        ValueError: if the detector has no such transform, or there is no such layer.
    """

    def __init__(self, net: nn.Module, layers: Sequence[str]):
        transform: Any = getattr(net, "transform", None)
        wanted = ("min_size", "max_size", "size_divisible", "image_mean")
        if not all(hasattr(transform, name) for name in wanted):
            raise ValueError(
                f"`--model` must build a detector with torchvision's `transform`; got {type(net).__name__} without: "
                "give it a GeneralizedRCNNTransform that says how its images are resized and padded"
            )
        modules = dict(net.named_modules())
        if lost := [path for path in layers if path not in modules]:
            raise ValueError(
                f"`--layers` must be modules of the detector; got {lost}, which it lacks: print(model) names them"
            )
        self.net: Any = net.eval().requires_grad_(False)
        self.layers = list(layers)
        self.modules = [modules[path] for path in self.layers]
        self.transform = transform
        # Kept, since the hook changes them.
        self.min_size, self.max_size = int(transform.min_size[-1]), int(transform.max_size)
        net.register_forward_pre_hook(self._leave_size)

    def enter(self, image: np.ndarray) -> tuple[Tensor, tuple[int, int]]:
        """The canvas of an image (h, w, 3) uint8 BGR, and height and width of the part that shows the image."""
        pixels = InputMaker(self.min_size, self.max_size, "RGB")(image)["image"] / 255
        return self.canvas(pixels), (pixels.shape[1], pixels.shape[2])

    def canvas(self, pixels: Tensor) -> Tensor:
        """(3, H, W) of a resized image (3, h', w'), RGB in [0, 1]: padded with what becomes zero when normalised."""
        step = self.transform.size_divisible
        height, width = (-(-side // step) * step for side in pixels.shape[-2:])
        canvas = pixels.new_tensor(self.transform.image_mean)[:, None, None].repeat(1, height, width)
        canvas[:, : pixels.shape[1], : pixels.shape[2]] = pixels
        return canvas

    def _leave_size(self, _net: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Before each call: what is of its size already mustn't be scaled again."""
        sides = inputs[0][0].shape[-2:]
        self.transform.min_size, self.transform.max_size = (min(sides),), max(sides)

    @contextmanager
    def cut(self) -> Iterator[list[Tensor]]:
        """Ends graphs at the layers while it is entered; yields the list of their maps, in the order of the calls.

        Without, nothing would have a gradient in a frozen detector, and in another the backbone behind the layers would
        take a part of the time.
        """
        leaves: list[Tensor] = []

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            leaves.append(output.detach().requires_grad_())
            return leaves[-1]

        with ExitStack() as stack:
            for module in self.modules:
                stack.callback(module.register_forward_hook(hook).remove)
            yield leaves

    def strides(self, canvas: Tensor) -> list[float]:
        """Pixels of the canvas per cell of each layer."""
        with torch.no_grad(), self.cut() as leaves:
            self.net([canvas])
        return [canvas.shape[-1] / leaf.shape[-1] for leaf in leaves]

    def scene(self, record: dict, threshold: float, iou_threshold: float) -> Scene:
        """The objects of a record that are found, one-to-one: of the same class with more than this IoU.

        Args:
            record: of :mod:`odam_d2.data.coco`, whose ``category_id`` are the detector's labels.
            threshold: lowest score of a detection.
            iou_threshold: a pair must overlap by more than this.
        """
        image, objects = read_image_bgr(record["file_name"]), TrueObjects.of(record)
        canvas, inner = self.enter(image)
        with torch.enable_grad(), self.cut() as leaves:
            (found,) = self.net([canvas])
            sizes = image.shape[0] / inner[0], image.shape[1] / inner[1]
            there = (found["scores"] >= threshold).nonzero()[:, 0]
            boxes = found["boxes"].detach()[there]
            scaled = boxes * boxes.new_tensor([sizes[1], sizes[0]] * 2)
            about = (found["scores"].detach()[there], found["labels"][there])
            matches = match_detections(scaled, *about, objects.boxes, objects.classes, iou_threshold)
            # An object without a mask has none to point at.
            kept = objects.has_mask[matches.objects]
            rows, numbers = matches.detections[kept], matches.objects[kept]
            levels = [self._level_of(found["scores"][there[row]], leaves) for row in rows]
        masks, inside = objects.masks[numbers], objects.inside_boxes[numbers]
        return Scene(record["file_name"], image, canvas, inner, boxes[rows], about[1][rows], levels, masks, inside)

    def _level_of(self, score: Tensor, leaves: Sequence[Tensor]) -> str:
        gradients = torch.autograd.grad(score, leaves, retain_graph=True, materialize_grads=True)
        return self.layers[int(torch.stack([gradient.norm() for gradient in gradients]).argmax())]
