"""Query detectors of other projects: small stand-ins with their interfaces."""

import logging

import pytest
import torch
from detectron2.structures import Instances, pairwise_iou

from odam_d2.explain import build_explainer, known_attributes
from odam_d2.meta_arch import QueryDetector
from tests.explain.test_base import assert_unchanged, state_of
from tests.helpers import given, random_input, relative_error
from tests.stand_ins.queries import CLASSES, QUERIES, Detr, Diffusion, Dino, Sparse, Wrapper, build

# The second image is padded, and not resized for output.
INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]
KINDS = {
    "detr": (Detr, {}, ["encoder0"]),
    "dino": (Dino, {}, ["encoder0", "encoder1"]),
    "sparse_focal": (Sparse, {}, ["p2", "p3", "p4"]),
    "sparse_softmax": (Sparse, {"focal": False}, ["p2", "p3", "p4"]),
    "wrapper": (Wrapper, {}, ["encoder0"]),
}


@pytest.fixture(params=KINDS)
def case(request):
    kind, options, maps = KINDS[request.param]
    return build(kind, **options), maps


def told_by(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("explaining")]


def reference(model, attribute, number, detection):
    """The map of a detection by hand: leaves at the encoder or backbone, no detach, the reported tensors."""
    leaves = []

    def at_encoder(_module, _inputs, output):
        leaves.append(output.detach_().requires_grad_())
        return leaves[0].clone()

    def at_backbone(_module, _inputs, output):
        leaves.extend(one.detach_().requires_grad_() for one in output.values())
        return {name: one.clone() for name, one in zip(output, leaves, strict=True)}

    encoders = [module for name, module in model.named_modules() if name.endswith("transformer.encoder")]
    source, hook = (encoders[0], at_encoder) if encoders else (model.backbone, at_backbone)
    handle = source.register_forward_hook(hook)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "detach", lambda tensor: tensor)
        unbind = torch.Tensor.unbind
        patch.setattr(torch.Tensor, "unbind", lambda *args: [one.clone() for one in unbind(*args)])
        found = model(INPUTS)[number]["instances"]
    handle.remove()
    size = INPUTS[number]["image"].shape[-2:]
    scale = torch.tensor([size[1] / found.image_size[1], size[0] / found.image_size[0]] * 2)
    box = found.pred_boxes.tensor[detection] * scale
    target = {"score": found.scores[detection], "left": -box[0], "y2": box[3]}[attribute]
    gradients = torch.autograd.grad(target, leaves)
    products = [(gradient * leaf).detach() for gradient, leaf in zip(gradients, leaves, strict=True)]
    if not encoders:
        return {4.0 * 2**k: one[number].sum(0).flatten() for k, one in enumerate(products)}
    tokens = products[0].sum(2)
    tokens = tokens[number] if tokens.shape[0] == len(INPUTS) else tokens[:, number]
    if isinstance(model, Dino):
        return {8.0: tokens[: 16 * 20], 16.0: tokens[16 * 20 :]}
    return {16.0: tokens}


def parts_of(maps, detection, attribute):
    """The values of a detection's windows by their stride; where there are several, before the ReLU."""
    mine = maps[detection]
    values = mine.values[maps.attributes.index(attribute)].split(mine.windows[:, 2:].prod(1).tolist())
    return dict(zip(mine.strides[:, 0].tolist(), values, strict=True))


def free(found, side):
    """Which boxes are not clipped on a side."""
    limit = [0, 0, found.image_size[1], found.image_size[0]][side]
    return (found.pred_boxes.tensor[:, side] != limit).nonzero()[:, 0].tolist()


def test_maps_are_those_of_plain_autograd(case, caplog):
    caplog.set_level(logging.INFO)
    model, names = case
    before = state_of(model)
    results = build_explainer(model, attributes=("score", "left", "y2"))(INPUTS)
    assert_unchanged(before, state_of(model))
    (told,) = told_by(caplog)
    assert f"by autograd on maps {', '.join(names)}, through its queries" in told
    with torch.no_grad():
        stock = model(INPUTS)
    compared = 0
    for number, (result, expected) in enumerate(zip(results, stock, strict=True)):
        one, other = result["instances"], expected["instances"]
        # torch's attention has another kernel where nothing has a gradient: last bits.
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-5, atol=0)
        torch.testing.assert_close(one.pred_boxes.tensor, other.pred_boxes.tensor, rtol=1e-5, atol=1e-3)
        assert torch.equal(one.pred_classes, other.pred_classes)
        for attribute, side in (("score", None), ("left", 0), ("y2", 3)):
            for detection in (range(len(one)) if side is None else free(one, side))[:2]:
                found = parts_of(one.heatmaps, detection, attribute)
                plain = reference(model, attribute, number, detection)
                largest = max(float(part.abs().max()) for part in plain.values())
                assert largest > 0
                for stride, part in plain.items():
                    part = part.clamp(min=0) if len(found) == 1 else part
                    mine = found.get(stride, torch.zeros_like(part))
                    assert float((mine - part).abs().max()) < 3e-6 * largest, (attribute, stride)
                compared += 1
    assert compared >= 6


def test_logits_and_all_classes(case):
    model, _ = case
    found = build_explainer(model, attributes=("logit", "score"))(INPUTS)[0]["instances"]
    assert "logit" in known_attributes(model)
    logit, score = (found.heatmaps.to_image(name, normalize=False) for name in ("logit", "score"))
    assert bool(logit.flatten(1).any(1).all())
    if not isinstance(model, Sparse) or model.use_focal:
        if isinstance(model, Dino | Sparse):  # d sigmoid = s (1 - s) d logit
            slope = (found.scores * (1 - found.scores))[:, None, None]
            assert relative_error(score, logit * slope) < 1e-4


def test_any_query_and_class_can_be_explained(case):
    model, _ = case
    boxes = [given((256, 320), [[20, 30, 180, 200], [10, 10, 310, 250]], [1, 3]), given((96, 128), [], [])]
    first, second = (result["instances"] for result in build_explainer(model)(INPUTS, boxes))
    assert len(second) == len(second.heatmaps) == 0 and len(first.heatmaps) == 2
    heard = []
    own = type(model).inference
    type(model).inference = lambda self, *args: (heard.append(args), own(self, *args))[1]
    try:
        with torch.no_grad():
            model(INPUTS)
    finally:
        type(model).inference = own
    logits, coded = heard[0][0][0], heard[0][1][0].clone()
    if isinstance(model, Sparse):
        corners = coded
    else:
        corners = torch.cat([coded[:, :2] - coded[:, 2:] / 2, coded[:, :2] + coded[:, 2:] / 2], 1)
        corners = corners * torch.tensor([160.0, 128, 160, 128])
    best = pairwise_iou(type(first.pred_boxes)(first.pred_boxes.tensor / 2), type(first.pred_boxes)(corners)).argmax(1)
    assert torch.equal(first.query_index, best)
    scores = logits.sigmoid() if logits.shape[1] == CLASSES else logits.softmax(1)
    torch.testing.assert_close(first.scores, scores[best, torch.tensor([1, 3])], rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match=r"class 0 of `instances\[0\]` must be in 0 .. 3; got 4"):
        build_explainer(model)(INPUTS, [given((256, 320), [[20, 30, 180, 200]], [4]), boxes[1]])


def test_steps_without_a_graph_are_explained_all_the_same(caplog):
    caplog.set_level(logging.INFO)
    model = build(Diffusion)
    torch.manual_seed(3)
    found = build_explainer(model, attributes=("score", "x1"))(INPUTS[:1])[0]["instances"]
    assert "by autograd on maps p2, p3, p4, through its queries" in told_by(caplog)[0]
    torch.manual_seed(3)
    stock = model(INPUTS[:1])[0]["instances"]
    assert torch.equal(found.scores, stock.scores) and not stock.scores.requires_grad
    # By hand: the same without the decorator.
    leaves = {}

    def hook(_module, _inputs, output):
        leaves.update({name: one.detach().requires_grad_() for name, one in output.items()})
        return dict(leaves)

    handle = model.backbone.register_forward_hook(hook)
    torch.manual_seed(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Diffusion, "sample", Diffusion.sample.__wrapped__)
        plain = model(INPUTS[:1])[0]["instances"]
    handle.remove()
    compared = 0
    for detection in range(len(plain)):
        gradients = torch.autograd.grad(plain.scores[detection], list(leaves.values()), retain_graph=True)
        expected = {4.0 * 2**k: (g * a)[0].sum(0).flatten() for k, (g, a) in enumerate(zip(gradients, leaves.values()))}
        mine = parts_of(found.heatmaps, detection, "score")
        largest = max(float(part.abs().max()) for part in expected.values())
        for stride, part in expected.items():
            part = part.detach().clamp(min=0) if len(mine) == 1 else part.detach()
            assert float((mine.get(stride, torch.zeros_like(part)) - part).abs().max()) < 3e-6 * largest
        compared += 1
    assert compared >= 4
    assert len(build_explainer(model, "drise", num_masks=4, batch_size=1, progress=False)(INPUTS[:1])) == 1


def test_one_detection_and_none():
    model = build(Dino)
    model.select_box_nums_for_evaluation = 1
    assert [len(one["instances"].heatmaps) for one in build_explainer(model)(INPUTS)] == [1, 1]
    model.select_box_nums_for_evaluation = 0
    assert [len(one["instances"].heatmaps) for one in build_explainer(model)(INPUTS)] == [0, 0]


@pytest.mark.parametrize("stage, names", [("projection", {8, 16}), ("backbone", {4, 8, 16}), ("encoder", {8, 16})])
def test_the_stage_can_be_chosen(stage, names):
    model = build(Dino)
    maps = build_explainer(QueryDetector(model, stage), attributes=("score",))(INPUTS)[0]["instances"].heatmaps
    assert {float(stride) for stride in maps.strides[:, 0]} <= names
    with pytest.raises(ValueError, match=r"`stage` must be one that the detector has; got 'decoder'.*'projection'"):
        QueryDetector(model, "decoder")


@pytest.mark.parametrize("change", ["twice", "fewer"])
def test_an_encoder_that_gives_no_maps_leaves_the_stage_before(change, caplog):
    caplog.set_level(logging.INFO)
    model = build(Dino)
    encoder = type(model.transformer.encoder)

    class Another(encoder):
        def forward(self, query, **others):
            return super().forward(query[:, :50], **others)

    class Twice(type(model.transformer)):
        def forward(self, maps):
            self.encoder(query=maps[0].flatten(2).transpose(1, 2))
            return super().forward(maps)

    if change == "twice":
        model.transformer.__class__ = Twice
    else:
        model.transformer.encoder.__class__ = Another
    found = build_explainer(model, attributes=("score",))(INPUTS)
    assert "by autograd on maps projection.0, projection.1, through its queries" in told_by(caplog)[0]
    assert all(bool(one["instances"].heatmaps.to_image("score").any()) for one in found)
    with pytest.raises(ValueError, match="token for each cell|must run once"):
        build_explainer(QueryDetector(model, "encoder"), attributes=("score",))(INPUTS)


class Shifted(Dino):
    """Gives its classes other numbers than its logits have."""

    def inference(self, *args):
        found = super().inference(*args)
        for one in found:
            one.pred_classes = one.pred_classes + 1
        return found


def test_what_is_not_found_among_the_queries_is_explained_by_the_graph(caplog):
    caplog.set_level(logging.INFO)
    model = build(Shifted)
    found = build_explainer(model, attributes=("score",))(INPUTS)
    assert all(bool(one["instances"].heatmaps.to_image("score").any()) for one in found)
    (told,) = told_by(caplog)
    assert "by autograd on maps p3, p4, since " in told
    assert "logit" not in known_attributes(model)
    with pytest.raises(ValueError, match=r"`attributes` must be.*got \['logit'\], and which logits scores are made of"):
        build_explainer(build(Shifted), attributes=("logit",))(INPUTS)


@pytest.mark.parametrize("amp", [False, True])
def test_drise_asks_the_queries(case, amp, caplog):
    caplog.set_level(logging.INFO)
    model, _ = case
    (found,) = build_explainer(model, "drise", num_masks=4, progress=False, amp=amp)(INPUTS[:1])
    assert len(found["instances"].heatmaps) == len(found["instances"])
    # In half precision, too, detections are found again.
    assert all("through its queries" in told for told in told_by(caplog))


def test_other_arguments_of_inference_are_no_queries(caplog):
    caplog.set_level(logging.INFO)

    class Flat(Dino):
        def inference(self, box_cls, box_pred, image_sizes):
            return super().inference(box_cls.view(-1, QUERIES, CLASSES), box_pred.view(-1, QUERIES, 4), image_sizes)

        def finish(self, box_cls, box_pred, images, batched_inputs):
            return super().finish(box_cls.flatten(0, 1), box_pred.flatten(0, 1), images, batched_inputs)

    found = build_explainer(build(Flat), attributes=("score",))(INPUTS)
    assert isinstance(found[0]["instances"], Instances)
    assert "not logits and boxes of queries" in told_by(caplog)[0]
