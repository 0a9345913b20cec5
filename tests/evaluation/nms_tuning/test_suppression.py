"""Ways to remove duplicates, applied to stored candidates."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torchvision.ops import batched_nms

from odam_d2.evaluation.nms_tuning.candidates import Candidates, CandidateStore
from odam_d2.evaluation.nms_tuning.suppression import SUPPRESSIONS, suppress
from odam_d2.ops.diou_nms import diou_nms
from odam_d2.ops.matrix_nms import matrix_nms
from odam_d2.ops.nms import odam_nms, soft_nms
from odam_d2.ops.soft_odam_nms import soft_odam_nms
from tests.helpers import ROUNDING
from tests.ops.test_nms import plain_iou

SIZE, OUTPUT = (60, 80), (120, 160)


def crowd(count=40, seed=0):
    """Candidates in any order, with ties, and how alike their maps are."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * 12], 1)
    scores = (torch.rand(count, generator=generator) * 20).ceil() / 20
    classes = torch.randint(0, 2, (count,), generator=generator)
    maps = torch.rand(count, 3, generator=generator)
    maps = maps / maps.norm(dim=1, keepdim=True)
    return Instances(SIZE, pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes), maps @ maps.T


THRESHOLDS = {
    "nms": {"iou_threshold": 0.3},
    "soft_linear": {"iou_threshold": 0.3},
    "soft_gaussian": {"sigma": 0.5},
    "diou_nms": {"iou_threshold": 0.2},
    "matrix_gaussian": {"decay": 2.0},
    "matrix_linear": {},
    "odam_nms": {"iou_threshold": 0.3, "low": 0.7, "high": 0.97},
    "odam_sum": {"weight": 0.5, "limit": 0.6},
    "odam_soft": {"weight": 0.5, "sigma": 0.7},
}


def plain_odam_sum(boxes, scores, classes, similarity, weight, limit):
    kept = []
    for j in scores.sort(descending=True, stable=True).indices.tolist():
        rivals = [i for i in kept if classes[i] == classes[j]]
        overlaps = [plain_iou(boxes[i].tolist(), boxes[j].tolist()) for i in rivals]
        if not any(
            iou > 0 and iou + weight * float(similarity[i, j]) > limit for i, iou in zip(rivals, overlaps, strict=True)
        ):
            kept.append(j)
    return torch.tensor(kept, dtype=torch.int64)


def directly(way, found, similarity):
    """The same by the functions that they are named after."""
    about = (found.pred_boxes.tensor, found.scores, found.pred_classes)
    if way == "nms":
        kept = batched_nms(*about, 0.3)
    elif way == "odam_nms":
        kept = odam_nms(*about, similarity, 0.3, 0.7, 0.97)
    elif way == "odam_sum":
        kept = plain_odam_sum(*about, similarity, 0.5, 0.6)
    elif way == "odam_soft":
        return soft_odam_nms(*about, similarity, 0.5, 0.7)
    elif way == "diou_nms":
        kept = diou_nms(*about, 0.2)
    elif way.startswith("matrix"):
        return matrix_nms(*about, way.removeprefix("matrix_"), 2.0)
    else:
        return soft_nms(*about, way.removeprefix("soft_"), **THRESHOLDS[way])
    return kept, found.scores[kept]


@pytest.mark.parametrize("way", SUPPRESSIONS)
@pytest.mark.parametrize("stored", [False, True])
def test_detections_are_those_of_the_function_itself(way, stored, tmp_path):
    found, similarity = crowd()
    candidates = Candidates.of(found, similarity, OUTPUT)
    if stored:
        store = CandidateStore(tmp_path)
        store.write(3, candidates)
        candidates = store.read(3)
    kept, scores = directly(way, found, similarity)
    result = suppress(candidates, way, THRESHOLDS[way], most=12)
    assert 12 < len(kept) and (len(kept) < len(found) or way.startswith(("soft", "matrix", "odam_soft")))
    # Twice as large in the original; boxes reach to 60 of 80 pixels, so none is clipped.
    assert torch.equal(result.pred_boxes.tensor, found.pred_boxes.tensor[kept[:12]] * 2)
    # Soft-NMS decays them here in the order of their scores, there in that of the boxes.
    assert torch.allclose(result.scores, scores[:12], rtol=ROUNDING, atol=0.0)
    assert torch.equal(result.pred_classes, found.pred_classes[kept[:12]])
    assert result.image_size == OUTPUT


def test_ways_differ():
    candidates = Candidates.of(*crowd(), OUTPUT)
    kept = {way: suppress(candidates, way, THRESHOLDS[way], 40) for way in SUPPRESSIONS}
    assert len({(*one.pred_boxes.tensor[:, 0].tolist(), *one.scores.tolist()) for one in kept.values()}) == len(kept)


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("way", SUPPRESSIONS)
def test_no_candidate_and_one(count, way, tmp_path):
    store = CandidateStore(tmp_path)
    found, similarity = crowd(count)
    store.write(0, Candidates.of(found, similarity, OUTPUT))
    assert len(suppress(store.read(0), way, THRESHOLDS[way], most=5)) == count


def test_a_file_that_is_not_whole_is_as_good_as_none(tmp_path):
    store = CandidateStore(tmp_path / "deep")
    assert store.read(0) is None
    store.write(0, Candidates.of(*crowd(), OUTPUT))
    (path,) = store.folder.glob("*.npz")
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert store.read(0) is None, cut
    np.savez(path, boxes=np.zeros((1, 4)))
    assert store.read(0) is None
    (store.folder / ".x.npz.1.tmp").write_bytes(b"")
    store.clear()
    assert list(store.folder.iterdir()) == []
