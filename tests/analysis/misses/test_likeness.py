"""How alike maps are is what plain autograd says of the suppressed candidate and of its neighbour, one by one."""

from dataclasses import replace

import pytest
import torch
from detectron2.structures import Boxes
from torch.nn.functional import avg_pool2d, cosine_similarity

from odam_d2.analysis.misses import Evidence, MissFinder
from odam_d2.analysis.misses.likeness import map_similarities
from odam_d2.analysis.misses.mechanisms import Found
from odam_d2.evaluation import TrueObjects
from odam_d2.explain import build_explainer
from tests.helpers import compact_detector, random_input
from tests.stand_ins import fcos, heads

INPUTS = [random_input(96, 128, 192, 256), random_input(80, 96, seed=1)]


def leaves_of(model, images):
    with torch.no_grad():
        features = model.backbone(images)
    return {name: level.detach().requires_grad_() for name, level in features.items()}


def of_rcnn(model, images):
    """The feature levels, and from image, row and class to a score with a graph to them."""
    leaves = leaves_of(model, images.tensor)
    with torch.no_grad():
        proposals, _ = model.proposal_generator(images, leaves, None)
    _, scores = model.roi_heads.say_all(model.roi_heads.run_box_stages(leaves, proposals))
    return leaves, lambda number, row, label: scores[number][row, label]


def of_own_heads(model, images):
    leaves = leaves_of(model, images.tensor)
    own = model.roi_heads
    with torch.no_grad():
        proposals, _ = model.proposal_generator(images, leaves, None)
    levels = [leaves[name] for name in own.box_in_features]
    logits, _ = own.box_predictor(own.box_head(own.box_pooler(levels, [one.proposal_boxes for one in proposals])))
    scores = logits.softmax(1).split([len(one) for one in proposals])
    return leaves, lambda number, row, label: scores[number][row, label]


def of_dense(model, images):
    leaves = leaves_of(model, images.tensor)
    levels = [leaves[name] for name in model.head_in_features]
    head = model.traced_head()
    anchors = Boxes.cat(model.anchor_generator(levels)).tensor
    _, scores = head.candidates(head.module(levels), anchors)
    return leaves, lambda number, row, label: scores[number, row, label]


def of_locations(model, images):
    leaves = leaves_of(model, images)
    generator = model.proposal_generator
    logits, _, centerness, *_ = generator.fcos_head([leaves[name] for name in generator.in_features])
    flat = [[level.flatten(2).transpose(1, 2) for level in said] for said in (logits, centerness)]
    scores = (torch.cat(flat[0], 1).sigmoid() * torch.cat(flat[1], 1).sigmoid()).sqrt()
    return leaves, lambda number, row, label: scores[number, row, label]


def padded(model):
    """Images as somebody's FCOS sees them."""
    batch = torch.zeros(2, 3, 96, 128)
    for one, entry in zip(batch, INPUTS, strict=True):
        image = fcos.normalised(entry["image"])
        one[:, : image.shape[1], : image.shape[2]] = image
    return batch


DETECTORS = {
    "faster_rcnn": (lambda: compact_detector("faster_rcnn", detections=20), of_rcnn),
    "cascade": (lambda: compact_detector("cascade_rcnn", detections=20), of_rcnn),
    "retinanet": (
        lambda: compact_detector("retinanet", "MODEL.RETINANET.NMS_THRESH_TEST", 0.3, detections=20),
        of_dense,
    ),
    "fcos": (lambda: compact_detector("fcos", "ODAM.FCOS.NORM", "", detections=20), of_dense),
    "own_heads": (lambda: heads.of_classes(heads.Teacher, heads.Branches), of_own_heads),
    "locations": (lambda: fcos.build(norm="none", pre_topk=200, topk=7), of_locations),
}


def suppressed(replayed):
    """For each image a few suppressed pairs of candidate and class, the best of each class, with their neighbours."""
    found = []
    for image in replayed.images:
        candidates = image.candidates
        ((number, stage),) = [(k, stage) for k, stage in enumerate(candidates.choice) if stage.name == "nms"]
        everyone = torch.arange(len(candidates.scores))
        pairs = []
        for label in range(candidates.scores.shape[1]):
            left = everyone[candidates.left_at(everyone, label) == number]
            best = left[candidates.scores[left, label].argsort(descending=True)][:3]
            pairs += [(row, label) for row in best.tolist()]
        found.append([Found("nms", Evidence(0.5), "", pair, stage.neighbour(*pair)) for pair in pairs])
    return found


def on_grid(leaves, number, gradients, size, stages):
    """(T,): gradient times features of all levels, added on cells of 8 pixels, without what is negative.

    Where a single stage pools from one level, what is negative is left out of that level's own cells.
    """
    total = torch.zeros(-(-size[0] // 8), -(-size[1] // 8))
    for (name, level), gradient in zip(leaves.items(), gradients, strict=True):
        if gradient is None or not bool(gradient.any()):
            continue
        own = (gradient[number] * level.detach()[number]).sum(0)
        if stages == 1:
            own = own.clamp(min=0)
        stride = 2 ** int(name[1:])  # p3 has cells of 8 pixels
        if stride < 8:
            own = avg_pool2d(own[None], 8 // stride)[0]
        own = own.repeat_interleave(max(1, stride // 8), 0).repeat_interleave(max(1, stride // 8), 1)
        total += own[: total.shape[0], : total.shape[1]]
    return total.clamp(min=0).flatten()


@pytest.mark.parametrize("name", DETECTORS)
def test_similarity_is_that_of_single_maps(name):
    build, read = DETECTORS[name]
    model = build()
    replayed = MissFinder(model).replay(INPUTS)
    found = suppressed(replayed)
    found[0].insert(1, Found("max_detections", Evidence(0.5), ""))  # which needs no map
    similar = map_similarities(build_explainer(model, attributes=("score",)), replayed, found)
    leaves, score_of = read(model, padded(model) if name == "locations" else model.preprocess_image(INPUTS))

    def map_of(number, row, label):
        score = score_of(number, row, label)
        gradients = torch.autograd.grad(score, list(leaves.values()), retain_graph=True, allow_unused=True)
        return on_grid(leaves, number, gradients, replayed.images[number].image_size, 3 if name == "cascade" else 1)

    assert sum(map(len, similar)) == sum(map(len, found)) - 1 > 1
    for number, (image, own) in enumerate(zip(found, similar, strict=True)):
        for k, one in enumerate(image):
            if one.neighbour is not None:
                pair = (map_of(number, *one.pair), map_of(number, one.neighbour.row, one.neighbour.label))
                assert own[k] == pytest.approx(float(cosine_similarity(*pair, 0)), abs=2e-4)


def test_a_suppressed_object_is_told_how_alike_the_maps_are():
    """The object lies where a box was suppressed; without maps the rest is the same."""
    model = compact_detector("faster_rcnn", "MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.4, detections=20)
    finder = MissFinder(model)
    replayed = finder.replay(INPUTS[:1])
    (image,) = replayed.images
    told = []
    for one in suppressed(replayed)[0]:
        box = torch.tensor([image.to_output(image.candidates.last.box_of(*one.pair))])
        truth = TrueObjects((192, 256), box, torch.tensor([one.pair[1]]), ["a"], [None], {})
        finder.compare_maps = True
        ((miss,),) = finder.find(replayed, [truth], [[0]])
        if miss.stage == "nms":
            told.append(miss)
            assert 0 <= miss.evidence.map_similarity <= 1
            rounded = f"{miss.evidence.map_similarity:.2f}".removeprefix("0")
            assert miss.sentence.endswith(f" The likeness of their maps is {rounded}.")
            finder.compare_maps = False
            ((plain,),) = finder.find(replayed, [truth], [[0]])
            assert plain.evidence == replace(miss.evidence, map_similarity=None)
            assert miss.sentence.startswith(plain.sentence)
    assert told


def test_nothing_is_explained_where_nothing_is_suppressed(monkeypatch):
    model = compact_detector("faster_rcnn")
    finder = MissFinder(model)
    replayed = finder.replay(INPUTS)
    finder.find(replayed, *nothing())
    monkeypatch.setattr(finder._explainer, "heat_maps", lambda trace: pytest.fail("explained"))
    assert finder.find(replayed, *nothing()) == [[], []]


def nothing():
    size = [(192, 256), (80, 96)]
    none = torch.zeros(0, 4)
    return [TrueObjects(one, none, torch.zeros(0, dtype=torch.int64), [], [], {}) for one in size], [[], []]
