"""What somebody else's detector says: checked, in Detectron2's form, and matched with given boxes.

Shape letters: N images, R predictions of an image, r boxes given for it.
"""

from collections.abc import Mapping, Sequence

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from .provenance import BOX_FIELD, UnreachedBoxError

# Frames that boxes can be in: pixels of the original image of ``height`` x ``width``, or of the ``image`` passed in.
FRAMES = ("original", "input")
# The field of Instances that carries (R,) logits, where `predict` gives them.
LOGIT_FIELD = "odam_logits"
_SHAPES = {"boxes": "(R, 4)", "scores": "(R,)", "classes": "(R,)", "logits": "(R,)"}

Prediction = Mapping[str, Tensor]


def layers_with_strides(
    layer: str | None, stride: float | None, layers: Sequence[str] | None, strides: Sequence[float] | None
) -> dict[str, float]:
    """Paths of layers, each with its stride, from what a caller names: one, or several.

    Raises:
        ValueError: if it is neither one layer with its stride nor several different ones with a stride each.
    """
    if layer is not None and stride is not None and layers is strides is None:
        argument, found = "stride", {layer: stride}
    elif layers is not None and strides is not None and layer is stride is None:
        argument, found = "strides", _paired(layers, strides)
    else:
        arguments = {"layer": layer, "stride": stride, "layers": layers, "strides": strides}
        given = [name for name, value in arguments.items() if value is not None]
        raise ValueError(
            "`layer` and `stride` must be given, or `layers` and `strides` in their place; got "
            f"{given or 'none of them'}: name the layers that predictions are made on, and pixels of `image` per cell"
        )
    for path, pixels in found.items():
        if not 0 < pixels < float("inf"):
            raise ValueError(
                f"`{argument}` must be a number > 0 for layer {path!r}; got {pixels}: give pixels of `image` per cell "
                "of its map"
            )
    return found


def _paired(layers: Sequence[str], strides: Sequence[float]) -> dict[str, float]:
    if isinstance(layers, str) or not len(layers):
        raise ValueError(f"`layers` must be a list of paths; got {layers!r}: name one or more modules")
    if not isinstance(strides, Sequence) or len(strides) != len(layers):
        got = f"{len(strides)} of them" if isinstance(strides, Sequence) else repr(strides)
        raise ValueError(f"`strides` must be a list of {len(layers)} numbers, one a layer; got {got}: add the others")
    if repeated := [path for number, path in enumerate(layers) if path in layers[:number]]:
        raise ValueError(f"`layers` must be different modules; got {repeated} twice: name each once")
    return dict(zip(layers, strides, strict=True))


def read_predictions(
    predictions: Sequence[Prediction], keys: Sequence[str], num_images: int
) -> list[dict[str, Tensor]]:
    """What a caller's ``predict`` returned, if it is as promised.

    Args:
        predictions: to be N mappings with the keys, ``boxes`` (R, 4), all others (R,).
        keys: what each must have.
        num_images: N.

    Returns:
        N dicts with these keys.

    Raises:
        ValueError: if it is not; the message names image and key.
    """
    if not isinstance(predictions, list | tuple) or len(predictions) != num_images:
        got = f"{len(predictions)} of them" if isinstance(predictions, list | tuple) else type(predictions).__name__
        raise ValueError(
            f"`predict` must return a list with one mapping for each of {num_images} images; got {got}: return "
            "[{'boxes': ..., 'scores': ..., 'classes': ...}]"
        )
    for number, one in enumerate(predictions):
        missing = [key for key in keys if not isinstance(one, Mapping) or key not in one]
        if missing:
            has = sorted(one) if isinstance(one, Mapping) else type(one).__name__
            raise ValueError(f"`predict` must return {list(keys)}; got {has} for image {number}: add {missing}")
        shapes = {key: tuple(one[key].shape) if isinstance(one[key], Tensor) else None for key in keys}
        count = (shapes["scores"] or (0,))[0]
        for key, shape in shapes.items():
            if shape != ((count, 4) if key == "boxes" else (count,)):
                found = type(one[key]).__name__ if shape is None else shape
                raise ValueError(
                    f"{key!r} of `predict` must be a tensor {_SHAPES[key]} with R = {count} as there are scores; "
                    f"got {found} for image {number}: return one row for each prediction"
                )
    return [{key: one[key] for key in keys} for one in predictions]


def best_predictions(found: Mapping[str, Tensor], score_threshold: float, most: int) -> dict[str, Tensor]:
    """Predictions of an image with at least a score, and of these the best so many, in the order in which they were.

    Args:
        found: what :func:`read_predictions` gave.
        score_threshold: lowest score; of NaN, nothing is known, so that it stays.
        most: how many at most; below 0 for all. Of equal scores the earlier stays.
    """
    scores = found["scores"].detach()
    kept = (~(scores < score_threshold)).nonzero()[:, 0]
    if 0 <= most < len(kept):
        order = scores[kept].sort(descending=True, stable=True).indices
        kept = kept[order[:most].sort().values]
    return dict(found) if len(kept) == len(scores) else {key: value[kept] for key, value in found.items()}


def predicted_results(
    found: Sequence[Prediction],
    frame: str,
    image_sizes: Sequence[tuple[int, int]],
    output_sizes: Sequence[tuple[int, int]],
) -> list[Instances]:
    """Predictions of N images as Detectron2 gives them, in the original frame, with their graph.

    Boxes in pixels of ``image`` are kept in the field :data:`~odam_d2.modeling.provenance.BOX_FIELD`.

    Args:
        found: what :func:`read_predictions` gave.
        frame: the frame of its boxes, one of :data:`FRAMES`.
        image_sizes: N times (h, w) of ``image``.
        output_sizes: N times (h, w) of the original image.
    """
    results = []
    for one, (in_h, in_w), (out_h, out_w) in zip(found, image_sizes, output_sizes, strict=True):
        said = one["boxes"].float()
        scale = [out_w / in_w, out_h / in_h] if frame == "input" else [in_w / out_w, in_h / out_h]
        # To the other frame alone: there and back again would cost a rounding.
        scaled = said * said.new_tensor(scale * 2)
        original, in_input = (scaled, said) if frame == "input" else (said, scaled)
        fields = {"pred_boxes": Boxes(original), "scores": one["scores"], BOX_FIELD: in_input}
        fields["pred_classes"] = one["classes"].to(torch.int64)
        if "logits" in one:
            fields[LOGIT_FIELD] = one["logits"]
        results.append(Instances((out_h, out_w), **fields))
    return results


def fitting_predictions(number: int, given: Instances, predicted: Instances, min_iou: float) -> Tensor:
    """The prediction that each given box of an image is explained through: of its class, with the highest IoU.

    Args:
        number: of the image, for messages.
        given: r boxes with ``pred_boxes`` and ``pred_classes``.
        predicted: R predictions in the same frame.
        min_iou: below it, nothing fits.

    Returns:
        (r,) int64 rows of `predicted`.

    Raises:
        UnreachedBoxError: if none fits; the message names the box.
    """
    iou = pairwise_iou(given.pred_boxes, predicted.pred_boxes)
    iou = iou * (given.pred_classes[:, None] == predicted.pred_classes)
    if iou.shape[1] == 0:
        iou = iou.new_zeros(len(given), 1)
    best, rows = iou.max(1)
    if bool((best < min_iou).any()):
        index = int((best < min_iou).nonzero()[0, 0])
        raise UnreachedBoxError(
            f"box {index} of `instances[{number}]` must overlap a prediction of its class by an IoU of "
            f"{min_iou:g}; got {[round(v, 1) for v in given.pred_boxes.tensor[index].tolist()]} of class "
            f"{int(given.pred_classes[index])}, which none of {len(predicted)} predictions overlaps by more than "
            f"{float(best[index]):.2f}: let `predict` keep more boxes, or lower `min_iou`"
        )
    return rows
