"""Tools that explain single detections: this project, pytorch-grad-cam and captum, each called as its own pages say.

All get the same boxes, layers and canvas; what each takes for its scalar is said with it. The graph ends at the layers
for all of them (:meth:`peer_subject.Subject.cut`).

Shape letters: R objects of an image, (h, w) the image, (H, W) the canvas.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from peer_subject import Scene, Subject
from torch import Tensor
from torchvision.ops import box_iou

from odam_d2 import CallableDetector, OdamPredictor


class Tool(ABC):
    """One way to explain boxes.

    Args:
        subject: the detector.
        strides: pixels of the canvas per cell of each of its layers.

    Attributes:
        name: in the table.
        package: the distribution that it comes from.

    Raises:
        ImportError: if its package can't be imported.
    """

    name: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, subject: Subject, strides: list[float]):
        self.subject, self.strides = subject, strides

    @abstractmethod
    def explain(self, scene: Scene) -> Tensor:
        """(R, h, w) maps of the boxes of a scene, from its image to its image."""


class Odam(Tool):
    """ODAM on all boxes of an image in one call; the scalar is the score of the detection that a box names."""

    name, package, method = "odam_d2 odam", "odam_d2", "odam"

    def __init__(self, subject: Subject, strides: list[float]):
        super().__init__(subject, strides)
        # Boxes are in pixels of the image before it is padded, which is at the right and below.
        model = CallableDetector(subject.net, self._predict, layers=subject.layers, strides=strides, frame="input")
        self.predictor = OdamPredictor.of(
            model, subject.min_size, subject.max_size, "RGB", method=self.method, attributes=("score",)
        )

    def _predict(self, batched_inputs: list[dict]) -> list[dict[str, Tensor]]:
        found = self.subject.net([self.subject.canvas(entry["image"] / 255) for entry in batched_inputs])
        return [{"boxes": one["boxes"], "scores": one["scores"], "classes": one["labels"]} for one in found]

    def explain(self, scene: Scene) -> Tensor:
        """See :meth:`Tool.explain`."""
        result = self.predictor(scene.image, scene.boxes_in_image(), scene.labels)
        return result["instances"].heatmaps.to_image("score", normalize=False)


class OdamOneByOne(Odam):
    """The same with a call for each box, as the others are called: what one forward pass for all boxes is worth."""

    name = "odam_d2 odam, one box a call"

    def explain(self, scene: Scene) -> Tensor:
        """See :meth:`Tool.explain`."""
        return torch.cat([super(OdamOneByOne, self).explain(scene.only(row)) for row in range(len(scene))])


class OwnGradCam(Odam):
    """Grad-CAM of this project: what of a difference is the method's, and what the tool's."""

    name, method = "odam_d2 gradcam", "gradcam"


class BoxByBox(Tool):
    """A tool of another package, which explains one box at a time; its calls are in :meth:`heat`."""

    module: ClassVar[str]

    def __init__(self, subject: Subject, strides: list[float]):
        super().__init__(subject, strides)
        self.home = importlib.import_module(self.module)

    def explain(self, scene: Scene) -> Tensor:
        """See :meth:`Tool.explain`."""
        # Made anew, since this project makes it too, and the clock runs.
        scene = replace(scene, canvas=self.subject.enter(scene.image)[0])
        with torch.enable_grad(), self.subject.cut():
            return scene.in_image(torch.stack([self.heat(scene.only(row)) for row in range(len(scene))]))

    @abstractmethod
    def heat(self, scene: Scene) -> Tensor:
        """(H, W) map of the only box of a scene."""


class PytorchGradCam(BoxByBox):
    """A class of pytorch-grad-cam on all layers; the scalar is the box's IoU with the detection plus its score.

    The package brings each layer's map to [0, 1] and takes the mean over the layers.
    """

    package, module = "grad-cam", "pytorch_grad_cam"
    cam: ClassVar[str]

    def heat(self, scene: Scene) -> Tensor:
        """See :meth:`BoxByBox.heat`."""
        return self.run(scene, self.subject.modules)

    def boxes(self, scene: Scene) -> np.ndarray:
        """(1, 4) box as the target takes it; just as found, where the gradient of the IoU is zero."""
        return scene.boxes.numpy()

    def run(self, scene: Scene, target_layers: list[Any], **options: Any) -> Tensor:
        """(H, W): the class on these layers, with the package's target for the box."""
        target = _submodule(self.home, "utils.model_targets").FasterRCNNBoxScoreTarget(
            labels=scene.labels.tolist(), bounding_boxes=list(self.boxes(scene))
        )
        cam = getattr(self.home, self.cam)(model=self.subject.net, target_layers=target_layers, **options)
        try:
            return torch.from_numpy(cam(input_tensor=scene.canvas[None], targets=[target])[0])
        finally:
            cam.activations_and_grads.release()


class GradCam(PytorchGradCam):
    """Grad-CAM: one weight for each channel."""

    name, cam = "grad-cam GradCAM", "GradCAM"


class HiResCam(PytorchGradCam):
    """HiResCAM: gradient times features, which is ODAM's formula."""

    name, cam = "grad-cam HiResCAM", "HiResCAM"


class WholePixelHiResCam(HiResCam):
    """The same for a box in whole pixels, as boxes are that somebody drew: then the IoU has a gradient too."""

    name = "grad-cam HiResCAM, whole pixels"

    def boxes(self, scene: Scene) -> np.ndarray:
        """See :meth:`PytorchGradCam.boxes`."""
        return np.int32(scene.boxes.numpy())


class ReshapedGradCam(PytorchGradCam):
    """Grad-CAM on the backbone as a whole, whose levels the package's reshape transform brings together."""

    name, cam = "grad-cam GradCAM, reshape transform", "GradCAM"

    def heat(self, scene: Scene) -> Tensor:
        """See :meth:`BoxByBox.heat`."""
        transform = _submodule(self.home, "utils.reshape_transforms").fasterrcnn_reshape_transform
        return self.run(scene, [self.subject.net.backbone], reshape_transform=transform)


class ReshapedEigenCam(ReshapedGradCam):
    """Eigen-CAM with the same, the package's own way for Faster R-CNN: no gradients, one map for all boxes."""

    name, cam = "grad-cam EigenCAM, reshape transform", "EigenCAM"

    def explain(self, scene: Scene) -> Tensor:
        """See :meth:`Tool.explain`; called once, since the map is the same for every box."""
        return super().explain(scene.only(0)).expand(len(scene), -1, -1)


class Captum(BoxByBox):
    """A class of captum; the scalar is the score of the detection of the box's class that overlaps it most."""

    package, module = "captum", "captum.attr"

    def score_of(self, scene: Scene) -> Callable[[Tensor], Tensor]:
        """The forward function: (1,) of (1, 3, H, W)."""

        def score(images: Tensor) -> Tensor:
            (found,) = self.subject.net(images)
            overlap = box_iou(scene.boxes, found["boxes"].detach()) * (found["labels"] == scene.labels[:, None])
            return found["scores"][overlap.argmax()][None]

        return score

    def to_canvas(self, heat: Tensor, scene: Scene) -> Tensor:
        """(1, 1, H, W) of a layer's map (1, 1, H_l, W_l), by the package's interpolation."""
        size = tuple(scene.canvas.shape[-2:])
        return self.home.LayerAttribution.interpolate(heat, size, interpolate_mode="bilinear")


class CaptumGradCam(Captum):
    """LayerGradCam, which knows one layer at a time: it is told the one that the score depends on."""

    name = "captum LayerGradCam, told the layer"

    def heat(self, scene: Scene) -> Tensor:
        """See :meth:`BoxByBox.heat`."""
        layer = self.subject.net.get_submodule(scene.levels[0])
        attribute = self.home.LayerGradCam(self.score_of(scene), layer).attribute
        return self.to_canvas(attribute(scene.canvas[None], relu_attributions=True), scene)[0, 0].detach()


class CaptumGradientTimesActivation(Captum):
    """LayerGradientXActivation on all layers, summed over channels and layers: ODAM's formula."""

    name = "captum LayerGradientXActivation"

    def heat(self, scene: Scene) -> Tensor:
        """See :meth:`BoxByBox.heat`."""
        attribute = self.home.LayerGradientXActivation(self.score_of(scene), self.subject.modules).attribute
        maps = [self.to_canvas(one.sum(1, keepdim=True), scene) for one in attribute(scene.canvas[None])]
        return torch.stack(maps).sum(0)[0, 0].clamp(min=0).detach()


# ODAM comes first: the others are compared with it.
TOOLS: tuple[type[Tool], ...] = (
    Odam,
    OdamOneByOne,
    OwnGradCam,
    GradCam,
    HiResCam,
    WholePixelHiResCam,
    ReshapedGradCam,
    ReshapedEigenCam,
    CaptumGradCam,
    CaptumGradientTimesActivation,
)


def _submodule(package: ModuleType, name: str) -> ModuleType:
    return importlib.import_module(f"{package.__name__}.{name}")
