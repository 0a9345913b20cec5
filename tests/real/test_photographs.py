"""Real photographs and a detector of somebody else's: do maps point at the person that was found?

The data is not part of the project: the folder ``ODAM_REAL_DATA`` (default ``../shared/real``) holds photographs, COCO
masks, and a Faster R-CNN on a backbone that a file beside it registers.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import transforms
from detectron2.data.detection_utils import read_image
from detectron2.modeling import build_model
from detectron2.structures import Boxes, pairwise_iou
from pycocotools.coco import COCO
from torch.nn.functional import interpolate

from odam_d2.config import add_odam_config, use_traced_architectures
from odam_d2.explain import build_explainer
from odam_d2.utils.imports import import_file_or_module

ROOT = Path(os.environ.get("ODAM_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "real"))

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ROOT / "instances_person.json").is_file(), reason=f"no photographs at {ROOT}"),
]


def build_detector(name: str):
    """The detector in folder `name`, its config read as it is."""
    import_file_or_module(str(ROOT / "nanodet_backbone.py"))
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.merge_from_file(str(ROOT / name / "config.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    use_traced_architectures(cfg)
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(str(ROOT / name / "model.pth"))
    resize = transforms.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    return model, resize, cfg.INPUT.FORMAT


def match(boxes: torch.Tensor, truth: torch.Tensor, threshold: float = 0.5) -> list[tuple[int, int]]:
    """One-to-one pairs (detection, truth) with IoU above `threshold`; detections choose by falling score."""
    pairs, free = [], set(range(len(truth)))
    iou = pairwise_iou(Boxes(boxes), Boxes(truth))
    for index in range(len(boxes)):
        best = max(free, key=lambda k: iou[index, k].item(), default=None)
        if best is not None and iou[index, best] > threshold:
            pairs.append((index, best))
            free.remove(best)
    return pairs


def grad_cam(model, entry: dict, index: int) -> torch.Tensor:
    """(h, w) Grad-CAM of detection `index` over its whole level, by plain autograd and torch's own interpolation."""
    trace = model.trace([entry])
    level = trace.level_names[int(trace.level_index[index])]
    leaves = {name: feature.clone().requires_grad_() for name, feature in trace.features.items()}
    score = trace.head.predict(leaves, trace).scores[index]
    (gradient,) = torch.autograd.grad(score, leaves[level])
    cam = (gradient.mean((2, 3), keepdim=True) * trace.features[level]).sum(1, keepdim=True).clamp(min=0)
    padded = interpolate(cam, trace.padded_size, mode="bilinear", align_corners=False)
    height, width = trace.image_sizes[0]
    return interpolate(padded[..., :height, :width], trace.output_sizes[0], mode="bilinear", align_corners=False)[0, 0]


def test_maps_of_persons_point_at_the_person():
    model, resize, image_format = build_detector("person_faster_rcnn")
    explainer = build_explainer(model, attributes=("score",))
    coco = COCO(str(ROOT / "instances_person.json"))
    hits, hits_grad_cam = [], []
    for image_id in coco.getImgIds():
        about = coco.loadImgs(image_id)[0]
        image = read_image(str(ROOT / "images" / about["file_name"]), format=image_format)
        resized = resize.get_transform(image).apply_image(image)
        tensor = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
        entry = {"image": tensor, "height": image.shape[0], "width": image.shape[1]}
        persons = coco.loadAnns(coco.getAnnIds(image_id, iscrowd=False))
        truth = torch.tensor([p["bbox"] for p in persons], dtype=torch.float32).view(-1, 4)
        truth[:, 2:] += truth[:, :2]
        found = explainer([entry])[0]["instances"]
        sure = found[found.scores > 0.5]
        maps = sure.heatmaps.to_image("score", normalize=False)
        for index, person in match(sure.pred_boxes.tensor, truth):
            mask = coco.annToMask(persons[person]).astype(bool)
            hits.append(mask.flat[int(maps[index].argmax())])
            hits_grad_cam.append(mask.flat[int(grad_cam(model, entry, index).argmax())])
    share, share_grad_cam = np.mean(hits), np.mean(hits_grad_cam)
    figures = {"objects": len(hits), "odam": round(float(share), 3), "grad_cam": round(float(share_grad_cam), 3)}
    print("\nmaximum in the person's mask:", json.dumps(figures))
    assert len(hits) >= 30
    assert share >= 0.8
    assert share_grad_cam < share / 2
