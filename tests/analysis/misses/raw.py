"""What detectors say of an image, read off their modules, for :mod:`tests.analysis.misses.plain`."""

import torch
from detectron2.structures import Boxes

from tests.analysis.misses.plain import Raw, Stage, choose, clip


def finish(raw, compared):
    """`raw` with the choice walked through, on [candidate][class] boxes as non-max suppression has them."""
    raw.compared = compared
    return choose(raw, compared)


def sizes(model, inputs):
    images = model.preprocess_image(inputs)
    return images, [tuple(map(int, size)) for size in images.image_sizes]


@torch.no_grad()
def of_rpn(model, inputs, number):
    """The anchors of an image, in the order of their levels."""
    images, image_sizes = sizes(model, inputs)
    rpn, features = model.proposal_generator, model.backbone(images.tensor)
    levels = [features[name] for name in rpn.in_features]
    logits, deltas = rpn.rpn_head(levels)
    anchors, boxes, scores, of_level = [], [], [], []
    for level, (own, logit, delta) in enumerate(zip(rpn.anchor_generator(levels), logits, deltas, strict=True)):
        count = logit.shape[1]
        delta = delta[number].unflatten(0, (count, 4)).permute(2, 3, 0, 1).reshape(-1, 4)
        anchors += own.tensor.tolist()
        boxes += rpn.box2box_transform.apply_deltas(delta, own.tensor).tolist()
        scores += logit[number].permute(1, 2, 0).flatten().sigmoid().tolist()
        of_level += [level] * len(own)
    boxes = [[clip(box, image_sizes[number])] for box in boxes]
    stages = [
        Stage("rpn_pre_nms_topk", "topk", rpn.pre_nms_topk[False]),
        Stage("rpn_min_size", "size", rpn.min_box_size),
        Stage("rpn_nms", "nms", rpn.nms_thresh),
        Stage("rpn_post_nms_topk", "topk", rpn.post_nms_topk[False], "all"),
    ]
    steps = [("rpn_anchors", anchors), ("rpn_boxes", boxes)]
    return finish(Raw(steps, [[score] for score in scores], stages, of_level), boxes)


@torch.no_grad()
def of_two_stage(model, inputs, number):
    """The proposals of an image."""
    images, image_sizes = sizes(model, inputs)
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features, None)
    rois = [one.proposal_boxes.tensor.tolist() for one in proposals]
    size, heads = image_sizes[number], model.roi_heads
    boxes, scores = model.candidates(inputs)[number]
    boxes = boxes[:, None] if boxes.dim() == 2 else boxes
    last = [[clip(box, size) for box in one] for one in boxes.tolist()]
    steps, predictor, count = [("proposals", rois[number])], heads.box_predictor, 1
    if isinstance(predictor, torch.nn.ModuleList):
        count = len(predictor)
        begin = torch.tensor([k for k, one in enumerate(rois) for _ in one])
        for k in range(count - 1):
            pooled = heads.box_pooler(
                [features[name] for name in heads.box_in_features], [Boxes(torch.tensor(one)) for one in rois]
            )
            _, deltas = predictor[k](heads.box_head[k](pooled))
            flat = torch.tensor([box for one in rois for box in one])
            moved = predictor[k].box2box_transform.apply_deltas(deltas, flat)
            rois = [[clip(box, image_sizes[n]) for box in moved[begin == n].tolist()] for n in range(len(rois))]
            steps.append((f"box_head_{k + 1}", rois[number]))
        predictor = predictor[-1]
    steps.append(("box_head" if count == 1 else f"box_head_{count}", last))
    scores = scores.tolist()
    stages = [
        Stage("score_filter", "score", predictor.test_score_thresh, "class"),
        Stage("nms", "nms", predictor.test_nms_thresh, "class"),
        Stage("max_detections", "topk", predictor.test_topk_per_image, "all"),
    ]
    raw = Raw(steps, scores, stages, [0] * len(scores))
    raw.background = [1.0 - sum(one) for one in scores]
    raw.ranked = proposals[number].objectness_logits.sigmoid().tolist()
    raw.before = of_rpn(model, inputs, number)
    return finish(raw, last)


@torch.no_grad()
def of_one_stage(model, inputs, number):
    """The anchors or locations of an image."""
    images, image_sizes = sizes(model, inputs)
    features = model.backbone(images.tensor)
    anchors = model.anchor_generator([features[name] for name in model.head_in_features])
    boxes, scores = model.candidates(inputs)[number]
    decoded = boxes.tolist()
    flat = [box for one in anchors for box in one.tensor.tolist()]
    start = ("anchors", flat)
    if hasattr(model, "center_sampling_radius"):
        start = ("locations", [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in flat])
    stages = [
        Stage("score_filter", "score", model.test_score_thresh, "class"),
        Stage("pre_nms_topk", "topk", model.test_topk_candidates),
        Stage("nms", "nms", model.test_nms_thresh, "class"),
        Stage("max_detections", "topk", model.max_detections_per_image, "all"),
    ]
    levels = [level for level, one in enumerate(anchors) for _ in range(len(one))]
    reported = [clip(box, image_sizes[number]) for box in decoded]
    last = ("box_regression", [[box] for box in reported])
    raw = finish(Raw([start, last], scores.tolist(), stages, levels), [[box] for box in decoded])
    # What lies outside the image is taken out when all is chosen.
    raw.final = [(row, label) for row, label in raw.final if area(reported[row])]
    return raw


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])
