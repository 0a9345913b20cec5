"""From an image to detections with heat maps in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from omegaconf import DictConfig
from torch import Tensor, nn

from . import model_zoo
from .data.images import ImageLike, to_bgr
from .data.inputs import InputMaker
from .explain import Explainer, build_explainer
from .explain.checks import unwrap_detector
from .loading import read_detector_config
from .loading.read import of_node
from .meta_arch.padded import with_padding
from .modeling.num_classes import count_classes
from .utils.checkpoint import OdamCheckpointer
from .utils.downloads import fetch_weights

if TYPE_CHECKING:
    from .visualize.explore import Explorer


class OdamPredictor:
    """Detects and explains: ``DefaultPredictor`` with heat maps.

    It loads the weights of the config and takes images as they are. On the same config its boxes, scores and classes
    are bit for bit those of ``DefaultPredictor``; ``heatmaps`` is one more field.

    Args:
        cfg: a yaml config with the node ``ODAM``, a LazyConfig, or the path or name of either (see
            :func:`odam_d2.loading.read_detector_config`); in a copy of it, stock detectors are replaced by their twins
            that can be explained. ``MODEL.WEIGHTS``, or ``train.init_checkpoint``, is loaded.
        class_names: the name of each class, by its number; None for those of the config's data sets.
        score_threshold: lowest score of a detection, in [0, 1]; None for the config's.
        options: arguments of :func:`odam_d2.explain.build_explainer`, e.g. ``attributes``; they override ``cfg.ODAM``,
            or a LazyConfig's ``odam`` (:func:`odam_d2.config.odam_node`).

    Raises:
        ValueError: if the weights can't be read, or none of them fits; where some don't, the log names them.
        FileNotFoundError: if ``MODEL.WEIGHTS`` is no file.

    Attributes:
        model: the detector, in eval mode.
        explainer: the explainer of its detections.
        class_names: the name of each class, by its number; empty where they aren't known. The heat maps of results
            carry them.

    Examples:
        ::

            predictor = OdamPredictor.from_zoo("synthetic/faster_rcnn_compact_FPN")
            image = cv2.imread("street.jpg")
            result = predictor(image)
            show(image, result["instances"])                                            # at the end of a notebook cell
            result["instances"].heatmaps.to_image("combined")                           # (R, h, w)
            predictor("street.jpg", boxes=[[10, 20, 110, 220]], classes=["dog"])        # boxes that you name
    """

    def __init__(
        self,
        cfg: CfgNode | DictConfig | str | os.PathLike,
        class_names: Sequence[str] | None = None,
        score_threshold: float | None = None,
        **options: Any,
    ):
        read = read_detector_config(cfg) if isinstance(cfg, str | os.PathLike) else of_node(cfg)
        if class_names is not None:
            read.given_class_names = tuple(class_names)
        read.limit(score_threshold, None)
        model = read.build()
        if read.weights:
            fetch_weights(read.weights, read.weights_key)
        OdamCheckpointer(model).load(read.weights)
        self._setup(
            model, build_explainer(model, **read.explainer_options(**options)), read.make_input(),
            read.class_names(model) or (),
        )  # fmt: skip

    def _setup(
        self,
        model: nn.Module,
        explainer: Explainer,
        make_input: InputMaker,
        class_names: Sequence[str],
    ) -> None:
        self.model = model
        self.explainer = explainer
        self.class_names = tuple(class_names)
        self._make_input = make_input

    @classmethod
    def from_zoo(cls, name: str, score_threshold: float | None = None, **options: Any) -> OdamPredictor:
        """Builds a detector of a model zoo with its trained weights, on a GPU if there is one.

        Args:
            name: a bundled detector, e.g. ``synthetic/faster_rcnn_compact_FPN``, or a yaml or LazyConfig of
                Detectron2's model zoo, e.g. ``COCO-Detection/faster_rcnn_R_50_FPN_3x``, whose weights Detectron2
                downloads.
            score_threshold: lowest score of a detection, in [0, 1]; default the config's.
            options: see the class.

        Raises:
            ValueError: if neither model zoo has the name, or trained weights for it; lists the known names.
        """
        return cls(model_zoo.get_config(name), score_threshold=score_threshold, **options)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        min_size: int = 800,
        max_size: int = 1333,
        input_format: str = "BGR",
        class_names: Sequence[str] = (),
        augmentations: Sequence[Any] | None = None,
        **options: Any,
    ) -> OdamPredictor:
        """Wraps a detector that is already built. It is in eval mode while it explains, and as before afterwards.

        Args:
            model: a detector that keeps a trace, e.g. ``OdamRCNN`` or a ``CallableDetector``, or a wrapper around one
                (``DistributedDataParallel``, ``torch.compile``, ``DefaultPredictor``).
            min_size: length that an image's shorter side is resized to, in pixels; 0 to leave images as they are.
            max_size: length that its longer side must not exceed, in pixels.
            input_format: what the detector takes: ``BGR``, ``RGB``, ``L`` (grey) or ``YUV-BT.601``.
            class_names: the name of each class, by its number.
            augmentations: what its test mapper does to images in place of that resizing, as Detectron2's augmentations:
                they may scale images, and pad them on the right and below.
            options: arguments of :func:`odam_d2.explain.build_explainer`.

        Raises:
            TypeError: if the model keeps no trace.
            ValueError: as :func:`odam_d2.explain.build_explainer`.
        """
        predictor = cls.__new__(cls)
        model = unwrap_detector(model)
        make_input = InputMaker(min_size, max_size, input_format, augmentations)
        model = with_padding(model, make_input.padding)
        predictor._setup(model, build_explainer(model, **options), make_input, class_names)
        return predictor

    def __call__(
        self,
        image: ImageLike | Sequence[ImageLike],
        boxes: Any = None,
        classes: Any = None,
        *,
        rgb: bool = False,
    ) -> Any:
        """Detects and explains the detections; or explains boxes that you name.

        Args:
            image: (h, w, 3) uint8 **BGR** as ``cv2.imread`` gives it, a path, or a Pillow image. A list of images is a
                batch.
            boxes: (R, 4) XYXY in the original image's pixels, as array, tensor, lists or ``Boxes``; for a batch, one of
                these per image.
            classes: the class of each box, by name or number; a single one stands for all boxes. For a batch, one of
                these per image.
            rgb: whether arrays are RGB.

        Returns:
            ``{"instances": Instances}`` in the original image's frame, with ``pred_boxes``, ``scores``,
            ``pred_classes`` and ``heatmaps``, on the model's device; for a batch a list of these. The ``scores`` of
            boxes that you name are the detector's scores for their classes.

        Raises:
            ValueError: if an image can't be read, or boxes or classes can't be used; see
                :func:`odam_d2.modeling.provenance.given_boxes`.
        """
        if not isinstance(image, list | tuple):
            alone: Any = image
            return self([alone], _alone(boxes), _alone(classes), rgb=rgb)[0]
        images = [to_bgr(one, rgb) for one in image]
        if (boxes is None) != (classes is None):
            raise ValueError("`boxes` and `classes` must be given together; got one of them: name a class for each box")
        given = None
        if boxes is not None:
            if not len(boxes) == len(classes) == len(images):
                raise ValueError(
                    f"`boxes` and `classes` must hold something for each of the {len(images)} images of the batch; got "
                    f"{len(boxes)} and {len(classes)}: give a list with one entry an image"
                )
            given = [self._given(*one) for one in zip(images, boxes, classes)]
        results = self.explainer([self._make_input(one) for one in images], given)
        for result in results:
            result["instances"].heatmaps.class_names = self.class_names
        return results

    def explore(self, image: ImageLike, *, rgb: bool = False, height: int | None = None) -> Explorer:
        """A widget for a notebook that answers questions: draw a box, choose a class, get the score and the maps.

        Args:
            image: (h, w, 3) uint8 **BGR** as ``cv2.imread`` gives it, a path, or a Pillow image.
            rgb: whether an array is RGB.
            height: of the frame with the answer, in pixels; default by the image's shape.

        Returns:
            The last line of a notebook's cell; see :class:`odam_d2.visualize.explore.Explorer`.

        Raises:
            ImportError: without anywidget.
            ValueError: if the image can't be read, or the detector's class names aren't known.
        """
        try:
            from .visualize.explore import Explorer
        except ModuleNotFoundError as error:
            raise ImportError(
                f"`explore` needs anywidget; got none ({error}): pip install anywidget, or ask by calling the "
                "predictor with boxes and classes"
            ) from error
        return Explorer(self, image, self.class_names, rgb=rgb, height=height)

    def _given(self, image: np.ndarray, boxes: Any, classes: Any) -> Instances:
        if isinstance(boxes, Boxes):
            boxes = boxes.tensor
        corners = torch.as_tensor(np.asarray(boxes) if not isinstance(boxes, Tensor) else boxes, dtype=torch.float32)
        corners = corners.reshape(-1, 4)
        if isinstance(classes, str | int | np.integer):
            classes = [classes] * len(corners)
        numbers = [self._number(one) for one in (classes.tolist() if hasattr(classes, "tolist") else classes)]
        if len(numbers) != len(corners):
            raise ValueError(
                f"`classes` must name the class of each of the {len(corners)} boxes; got {len(numbers)}: give as many, "
                "or one for all"
            )
        return Instances(
            image.shape[:2], pred_boxes=Boxes(corners), pred_classes=torch.tensor(numbers, dtype=torch.int64)
        )

    def _number(self, label: Any) -> int:
        """The detector's number of a class that is given by name or number."""
        if not isinstance(label, str):
            return int(label)
        if label not in self.class_names:
            known = list(self.class_names) or f"no names; give numbers below {count_classes(self.model)}"
            raise ValueError(f"`classes` must be among the detector's; got {label!r}: it has {known}")
        return self.class_names.index(label)


def _alone(value: Any) -> Any:
    return None if value is None else [value]
