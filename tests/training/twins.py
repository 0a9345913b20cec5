"""Slow and plain twins of what Odam-Train does: one autograd call a positive, loops over pairs and cells."""

import torch
from torch.nn import functional as F


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def slow_pairs(boxes, truths, classes, duplicate_iou):
    """Object by object, prediction by prediction."""
    same, other, dropped = {}, set(), 0
    names = [(c, *t) for c, t in zip(classes, truths)]
    for name in sorted(set(names)):
        mine = [p for p, n in enumerate(names) if n == name]
        anchor = max(mine, key=lambda p: iou(boxes[p], truths[p]))
        for p in range(len(boxes)):
            if p in mine and p != anchor:
                same[anchor, p] = iou(boxes[p], truths[p]) / iou(boxes[anchor], truths[anchor])
            if p not in mine and iou(boxes[p], boxes[anchor]) > 0:
                if iou(truths[p], truths[anchor]) > duplicate_iou:
                    dropped += 1
                else:
                    other.add((anchor, p))
    return same, other, dropped


def on_grid(signed, stride, image_size, cell=8):
    """A map of a level averaged to cells of 8 pixels over the image, for strides that divide 8 or that 8 divides."""
    if stride < cell:
        signed = F.avg_pool2d(signed[None], cell // stride)[0]
    else:
        signed = signed.repeat_interleave(stride // cell, 0).repeat_interleave(stride // cell, 1)
    return signed[: -(-image_size[0] // cell), : -(-image_size[1] // cell)]


def slow_maps(logits, features, strides, image_index, image_size, second_order=False, stages=1):
    """(P, T) maps of (P,) logits: autograd alone, one positive and level at a time."""
    maps = []
    for logit, image in zip(logits, image_index.tolist()):
        gradients = torch.autograd.grad(
            logit, list(features.values()), retain_graph=True, create_graph=second_order, allow_unused=True
        )
        total = 0.0
        for (name, feature), gradient in zip(features.items(), gradients):
            if gradient is not None:
                signed = (gradient[image] * feature[image]).sum(0)
                # Where one level alone speaks, cells are cut before they are averaged.
                total = total + on_grid(signed if stages > 1 else signed.clamp(min=0), strides[name], image_size)
        maps.append(total.clamp(min=0).flatten())
    return torch.stack(maps)


def slow_losses(maps, positives, weigh, duplicate_iou=1.0):
    """(consistency, separation, number of pairs) from (P, T) maps with a graph, over all images."""
    same_loss = other_loss = maps.sum() * 0.0
    count = 0
    for image in positives.image_index.unique():
        mine = (positives.image_index == image).nonzero()[:, 0]
        boxes, truths = positives.boxes[mine].tolist(), positives.truths[mine].tolist()
        same, other, _ = slow_pairs(boxes, truths, positives.classes[mine].tolist(), duplicate_iou)
        count += len(same) + len(other)
        for (a, p), weight in same.items():
            similarity = F.cosine_similarity(maps[mine[a]], maps[mine[p]], dim=0).clamp(1e-4, 1 - 1e-4)
            same_loss = same_loss - (weight if weigh else 1.0) * similarity.log()
        for a, p in other:
            similarity = F.cosine_similarity(maps[mine[a]], maps[mine[p]], dim=0).clamp(1e-4, 1 - 1e-4)
            other_loss = other_loss - (1.0 - similarity).log()
    return same_loss / count, other_loss / count, count
