"""What a query detector loses where a block of its maps, or of its pixels, is that of a black image: no gradients.

A reference for query_layers.py: if the gradient alone were to blame for a layer's maps, these would be good there.

Shape letters: R detections, N images, B blocks, Q queries, K classes, (H, W) the model input.
"""

from collections.abc import Iterator

import torch
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor

from odam_d2.evaluation.metrics.candidates import MIN_IOU
from odam_d2.meta_arch.detr import OdamDETR, pixel_mask
from odam_d2.modeling.query_head import answering, recording

# Model-input pixels of a block's side, and from one block to the next.
SIDE, STEP = 32, 16
AT_ONCE = 8


def occluded_maps(model: OdamDETR, image: Tensor, boxes: Tensor, classes: Tensor, stage: str) -> Tensor:
    """(R, H / STEP, W / STEP): by how much each block lowers the best score of the class on the box, at least 0.

    Args:
        model: the detector.
        image: (3, h, w) the model input.
        boxes: (R, 4) XYXY in model-input pixels.
        classes: (R,) int64.
        stage: "pixels", or one of :data:`odam_d2.modeling.query_architecture.STAGES`: its maps are changed.
    """
    images, black = (model.preprocess_image([{"image": one}]) for one in (image, torch.zeros_like(image)))
    network, architecture = model.network, model.architecture
    said = []
    with torch.no_grad():
        with recording(network, architecture) as of_black:
            network(pixel_values=black.tensor, pixel_mask=pixel_mask(black))
        with recording(network, architecture) as record:
            whole = network(pixel_values=images.tensor, pixel_mask=pixel_mask(images))
        height, width = images.tensor.shape[-2:]
        for blocks in torch.cat(list(blocks_of(height, width))).split(AT_ONCE):
            pixels = images.tensor.expand(len(blocks), -1, -1, -1)
            mask = pixel_mask(images).expand(len(blocks), -1, -1)
            if stage == "pixels":
                output = network(pixel_values=put(images.tensor, black.tensor, blocks, height), pixel_mask=mask)
            else:
                pairs = zip(record.maps(stage, architecture), of_black.maps(stage, architecture), strict=True)
                maps = [put(own, other, blocks, height) for own, other in pairs]
                with answering(record.answers(network, architecture, stage, maps)):
                    output = network(pixel_values=pixels, pixel_mask=mask)
            said.append(best_scores(model, output, images, boxes, classes))
        drop = best_scores(model, whole, images, boxes, classes) - torch.cat(said)
    return drop.clamp(min=0).T.unflatten(1, (height // STEP, width // STEP))


def blocks_of(height: int, width: int) -> Iterator[Tensor]:
    """(1, 4) XYXY in model-input pixels, row by row: blocks around the centres of a grid of STEP, cut at the border."""
    for y in range(STEP // 2, height // STEP * STEP, STEP):
        for x in range(STEP // 2, width // STEP * STEP, STEP):
            half = SIDE // 2
            yield torch.tensor([[max(x - half, 0), max(y - half, 0), min(x + half, width), min(y + half, height)]])


def put(own: Tensor, other: Tensor, blocks: Tensor, height: int) -> Tensor:
    """(B, C, h, w): map (1, C, h, w) with each block's cells, those whose centres it holds or else one, of `other`."""
    stride = height / own.shape[-2]
    mixed = own.repeat(len(blocks), 1, 1, 1)
    for one, (x1, y1, x2, y2) in zip(mixed, blocks.tolist(), strict=True):
        (top, bottom), (left, right) = ((round(a / stride), round(b / stride)) for a, b in ((y1, y2), (x1, x2)))
        rows, columns = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
        one[:, rows, columns] = other[0, :, rows, columns]
    return mixed


def best_scores(model: OdamDETR, output, images, boxes: Tensor, classes: Tensor) -> Tensor:
    """(N, R): of what the network says of N images, the best score of each class on its box; 0 where there is none."""
    scores = model.architecture.probabilities(output.logits)
    rows = []
    for queries, of_classes in zip(model.decode(output.pred_boxes, images), scores, strict=True):
        near = pairwise_iou(Boxes(boxes), Boxes(queries)) > MIN_IOU  # (R, Q)
        rows.append(torch.where(near, of_classes.T[classes], 0.0).amax(1))
    return torch.stack(rows)
