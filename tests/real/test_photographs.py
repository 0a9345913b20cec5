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

from odam_d2.config import add_odam_config, use_traced_architectures
from odam_d2.explain import build_comparison, build_explainer
from odam_d2.utils.imports import import_file_or_module
from tests.wants import needs

ROOT = Path(os.environ.get("ODAM_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "real"))

pytestmark = [
    pytest.mark.real,
    needs("photographs in ODAM_REAL_DATA", (ROOT / "instances_person.json").is_file()),
]


def build_detector(name: str, threshold: float):
    """The detector in folder `name`, its config read as it is but for the lowest score."""
    import_file_or_module(str(ROOT / "nanodet_backbone.py"))
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.merge_from_file(str(ROOT / name / "config.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = cfg.MODEL.RETINANET.SCORE_THRESH_TEST = threshold
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


def plain_grad_cam(trace, index: int) -> torch.Tensor:
    """(H, W) Grad-CAM of detection `index` over its whole level, by plain autograd, before the ReLU."""
    level = trace.level_names[int(trace.level_index[index, 0])]
    leaves = {name: feature.clone().requires_grad_() for name, feature in trace.features.items()}
    score = trace.head.predict(leaves, trace).scores[index]
    (gradient,) = torch.autograd.grad(score, leaves[level])
    return (gradient[0].mean((1, 2), keepdim=True) * trace.features[level][0]).sum(0)


def hits_of(folder: str, threshold: float) -> dict[str, list[bool]]:
    """Whether the maximum lies in the person's mask, for each way to a map and each person that was found."""
    model, resize, image_format = build_detector(folder, threshold)
    fast = build_comparison(model, ("odam", "gradcam"), attributes=("score",))
    plain = build_explainer(model, attributes=("score",), engine="autograd")
    coco = COCO(str(ROOT / "instances_person.json"))
    hits: dict[str, list[bool]] = {"odam": [], "odam by autograd alone": [], "gradcam": []}
    for image_id in coco.getImgIds():
        about = coco.loadImgs(image_id)[0]
        image = read_image(str(ROOT / "images" / about["file_name"]), format=image_format)
        resized = resize.get_transform(image).apply_image(image)
        tensor = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
        entry = {"image": tensor, "height": image.shape[0], "width": image.shape[1]}
        persons = coco.loadAnns(coco.getAnnIds(image_id, iscrowd=False))
        truth = torch.tensor([p["bbox"] for p in persons], dtype=torch.float32).view(-1, 4)
        truth[:, 2:] += truth[:, :2]
        (result,) = fast([entry])
        found = result["instances"]
        maps, cams = (result["heatmaps"][name].to_image("score", normalize=False) for name in ("odam", "gradcam"))
        slow = plain([entry])[0]["instances"].heatmaps.to_image("score", normalize=False)
        trace = model.trace([entry])
        for index, person in match(found.pred_boxes.tensor, truth):
            expected = plain_grad_cam(trace, index)
            cells = result["heatmaps"]["gradcam"].window(index, "score")
            assert torch.allclose(cells, expected.clamp(min=0), atol=1e-4 * float(expected.abs().max()))
            mask = coco.annToMask(persons[person]).astype(bool)
            ways = (maps[index], slow[index], cams[index])
            for name, way in zip(hits, ways, strict=True):
                hits[name].append(bool(mask.flat[int(way.argmax())]))
    return hits


@pytest.mark.parametrize(
    "folder, threshold, least", [("person_faster_rcnn", 0.5, 0.8), ("person_retinanet", 0.3, 0.85)]
)
def test_maps_of_persons_point_at_the_person(folder, threshold, least):
    hits = hits_of(folder, threshold)
    shares = {name: round(float(np.mean(values)), 3) for name, values in hits.items()}
    print(f"\n{folder}: {len(hits['odam'])} persons found above {threshold}; maximum in the mask: {json.dumps(shares)}")
    assert len(hits["odam"]) >= 30
    assert shares["odam"] >= least
    assert hits["odam by autograd alone"] == hits["odam"]
    assert shares["gradcam"] < shares["odam"] / 2
