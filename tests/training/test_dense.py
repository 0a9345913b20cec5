"""Maps, losses and gradients of dense heads in training, against autograd and against differences."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage

from odam_d2.modeling.dense import TracedRetinaNetHead
from odam_d2.training.dense import DensePositives, DenseStep
from odam_d2.training.explanation_losses import ExplanationLosses
from tests.helpers import compact_detector, random_input
from tests.training.twins import slow_losses, slow_maps

SIZE = (96, 128)
BOXES = [[8.0, 10, 50, 90], [40.0, 16, 84, 92], [20.0, 20, 100, 80]]
# (image, level, row, column, class, object) of positives; borders among them. Image 2 has none.
POSITIVES = [
    (0, 0, 0, 0, 0, 0), (0, 0, 5, 4, 0, 0), (0, 0, 6, 4, 0, 0), (0, 0, 6, 7, 2, 1), (0, 1, 3, 4, 2, 1),
    (1, 0, 11, 15, 1, 2), (1, 1, 2, 4, 1, 2), (1, 2, 1, 1, 1, 2),
]  # fmt: skip


def labelled(model, levels):
    """Labels and boxes as Detectron2's ``label_anchors`` gives them, for POSITIVES alone."""
    anchors = model.anchor_generator(levels)
    counts = [len(a) for a in anchors]
    labels = torch.full((3, sum(counts)), model.num_classes)
    truths = torch.zeros(3, sum(counts), 4)
    for image, level, y, x, label, truth in POSITIVES:
        cell = (y * levels[level].shape[-1] + x) * model.anchor_generator.num_anchors[0]
        labels[image, sum(counts[:level]) + cell] = label
        truths[image, sum(counts[:level]) + cell] = torch.tensor(BOXES[truth])
    return anchors, list(labels), list(truths)


def run(model, features, second_order):
    """Explained positives of a training pass of the head, and (P,) logits of theirs with a graph."""
    levels = list(features.values())
    head = model.traced_head()
    head.keep_class_branch()
    with head.recording():
        head.maps = model.head(levels)
    step = DenseStep(head, *labelled(model, levels))
    explained = DensePositives(model, step, list(features), levels, [SIZE] * 3, SIZE, second_order)
    anchors = model.anchor_generator.num_anchors[0]
    places = [(lev, (i, c, y, x)) for i, lev, y, x, c, _ in POSITIVES]  # anchor 0 of each cell: channel = class
    assert anchors in (1, 9)
    return explained, torch.stack([head.maps[0][level][place] for level, place in places])


def detector_and_features(name):
    norm = ("ODAM.FCOS.NORM", "") if name == "fcos" else ()
    model = compact_detector(name, "MODEL.RESNETS.NORM", "FrozenBN", *norm).train()
    images = torch.stack([random_input(*SIZE, seed=seed)["image"] / 128 - 1 for seed in range(3)])
    features = model.backbone(images)
    return model, {name: features[name].detach().requires_grad_() for name in model.head_in_features}


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_maps_losses_and_gradients_are_autograds(name, second_order):
    model, features = detector_and_features(name)
    explained, logits = run(model, features, second_order)
    positives = explained.positives
    assert positives.image_index.tolist() == [p[0] for p in POSITIVES]
    assert positives.classes.tolist() == [p[4] for p in POSITIVES]
    assert positives.truths.tolist() == [BOXES[p[5]] for p in POSITIVES]

    strides = dict(zip(features, (8, 16, 32, 64, 128)))
    expected = slow_maps(logits, features, strides, positives.image_index, SIZE, second_order)
    found = [maps.on_common_grid("logit") for maps in explained.heat_maps(torch.arange(8))]
    assert [len(one) for one in found] == [5, 3, 0] and expected.amax(1).min() > 0
    assert torch.allclose(torch.cat(found), expected, atol=1e-4 * float(expected.max()))

    # Predicted boxes of a fresh head lie anywhere: these make pairs for certain.
    explained.positives.boxes = positives.truths + torch.arange(8.0)[:, None]
    with EventStorage(0):
        losses = ExplanationLosses(weight=0.5, second_order=second_order)(explained)
    twins = slow_losses(expected, positives, weigh=False)
    wrt = [*features.values(), *(p for n, p in model.head.named_parameters() if "cls" in n and "weight" in n)]
    for loss, twin in zip(losses.values(), twins):
        assert float(loss) == pytest.approx(0.5 * float(twin), rel=1e-3) and float(twin) > 0
        gradients, wanted = (
            torch.autograd.grad(value, wrt, retain_graph=True, materialize_grads=True) for value in (loss, 0.5 * twin)
        )
        assert all(bool(w.any()) == second_order for w in wanted[len(features) :])
        for gradient, want in zip(gradients, wanted):
            assert torch.allclose(gradient, want, atol=1e-3 * float(want.abs().max()) + 1e-9)


class FrozenGroupNorm(torch.nn.GroupNorm):
    """Group norm whose statistics are constants."""

    def forward(self, values):
        groups = values.detach().flatten(2).unflatten(1, (self.num_groups, -1)).flatten(2)
        mean, variance = groups.mean(2), groups.var(2, unbiased=False)
        per_group = values.shape[1] // self.num_groups
        mean, variance = (one.repeat_interleave(per_group, 1)[:, :, None, None] for one in (mean, variance))
        normalised = (values - mean) / (variance + self.eps).sqrt()
        return normalised * self.weight[:, None, None] + self.bias[:, None, None]


def test_group_norm_is_taken_at_its_statistics():
    model = compact_detector("fcos", "MODEL.RESNETS.NORM", "FrozenBN").train()
    norms = [module for module in model.head.cls_subnet if isinstance(module, torch.nn.GroupNorm)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    images = torch.stack([random_input(*SIZE, seed=seed)["image"] / 128 - 1 for seed in range(3)])
    features = {k: v.detach().requires_grad_() for k, v in model.backbone(images).items()}
    features = {name: features[name] for name in model.head_in_features}
    explained, _ = run(model, features, True)
    for norm in norms:
        norm.__class__ = FrozenGroupNorm
    maps = model.head(list(features.values()))[0]
    logits = torch.stack([maps[level][image, label, y, x] for image, level, y, x, label, _ in POSITIVES])
    strides = dict(zip(features, (8, 16, 32, 64, 128)))
    expected = slow_maps(logits, features, strides, explained.positives.image_index, SIZE, second_order=True)
    found = torch.cat([one.on_common_grid("logit") for one in explained.heat_maps(torch.arange(8))])
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.max()))
    # The norms' own weights are no constants.
    scales = [norm.weight for norm in norms]
    gradients, wanted = (torch.autograd.grad(one.sum(), scales, retain_graph=True) for one in (found, expected))
    for gradient, want in zip(gradients, wanted):
        assert gradient.any() and torch.allclose(gradient, want, atol=1e-3 * float(want.abs().max()))


def tiny_detector():
    """A RetinaNet's head of one level, 2 channels, two layers and 2 classes, in double precision."""
    head = RetinaNetHead(
        input_shape=[ShapeSpec(channels=2, stride=8)], num_classes=2, num_anchors=1, conv_dims=[2, 3], prior_prob=0.5
    ).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    generator = DefaultAnchorGenerator(sizes=[[16.0]], aspect_ratios=[1.0], strides=[8])
    return SimpleNamespace(
        head=head, num_classes=2, anchor_generator=generator, box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    )


@pytest.mark.parametrize("second_order", [False, True])
def test_gradients_against_differences(second_order):
    model = tiny_detector()
    names = [name for name, _ in model.head.named_parameters() if name.startswith("cls") and name.endswith("weight")]
    losses = ExplanationLosses(weight=1.0, second_order=second_order)
    # Two neighbours, with two and three positives each.
    labels, truths = torch.full((1, 25), 2), torch.zeros(1, 25, 4)
    labels[0, [6, 7, 11, 12, 17]] = torch.tensor([0, 0, 1, 1, 1])
    truths[0, [6, 7]], truths[0, [11, 12, 17]] = torch.tensor([4.0, 4, 24, 20]), torch.tensor([8.0, 10, 30, 36])

    def loss(feature, *weights):
        for name, weight in zip(names, weights):
            owner = model.head.get_submodule(name.rsplit(".", 1)[0])
            owner._parameters["weight"] = weight
        head = TracedRetinaNetHead(model)
        head.keep_class_branch()
        with head.recording():
            head.maps = model.head([feature])
        anchors = model.anchor_generator([feature])
        step = DenseStep(head, [Boxes(anchors[0].tensor)], list(labels), list(truths))
        explained = DensePositives(model, step, ["p3"], [feature], [(40, 40)], (40, 40), second_order)
        explained.positives.boxes = explained.positives.truths
        with EventStorage(0):
            return sum(losses(explained).values())

    weights = [model.head.get_parameter(name).detach().clone() for name in names]
    inputs = [value.requires_grad_() for value in (torch.rand(1, 2, 5, 5, dtype=torch.float64), *weights)]
    gradients = torch.autograd.grad(loss(*inputs), inputs, allow_unused=True)
    assert gradients[0].any() and gradients[0].dtype == torch.float64
    if second_order:
        assert all(bool(gradient.any()) for gradient in gradients)
        assert torch.autograd.gradcheck(loss, inputs)
        assert torch.autograd.gradgradcheck(lambda *w: loss(inputs[0].detach(), *w), inputs[1:], fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda f: loss(f, *weights), inputs[:1], fast_mode=True)
    else:
        assert all(gradient is None for gradient in gradients[1:])
        assert torch.autograd.gradcheck(lambda feature: loss(feature, *weights), inputs[:1])


def test_no_positives_keep_the_graph():
    model, features = detector_and_features("retinanet")
    levels = list(features.values())
    head = model.traced_head()
    with head.recording():
        head.maps = model.head(levels)
    anchors, labels, truths = labelled(model, levels)
    labels = [torch.full_like(one, -1) for one in labels]  # all ignored
    step = DenseStep(head, anchors, labels, truths)
    explained = DensePositives(model, step, list(features), levels, [SIZE] * 3, SIZE, True)
    assert len(explained.positives) == 0
    with EventStorage(0):
        losses = ExplanationLosses(weight=0.2)(explained)
    for loss in losses.values():
        assert float(loss) == 0.0
        (gradient,) = torch.autograd.grad(loss, levels[:1], retain_graph=True)
        assert not gradient.any()
