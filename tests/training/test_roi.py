"""Maps, losses and gradients of two-stage detectors in training, against autograd and against differences."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from odam_d2.modeling import OdamStandardROIHeads
from odam_d2.training.explanation_losses import ExplanationLosses
from odam_d2.training.roi import RoIPositives
from tests.helpers import compact_detector, random_input
from tests.training.twins import slow_losses, slow_maps

SIZE = (96, 128)
# Two neighbours of other classes in the first image, one object in the second, none in the third.
OBJECTS = [
    [([8.0, 10, 50, 90], 0), ([40.0, 16, 84, 92], 2)],
    [([20.0, 20, 100, 80], 1)],
    [],
]


def samples(objects=OBJECTS, shifts=(0.0, 4.0, -3.0)):
    """Proposals around the objects, and one of background in each image, labelled as Detectron2 does."""
    out = []
    for mine in objects:
        boxes, classes, truths = [[1.0, 1, 30, 30]], [3], [[1.0, 1, 30, 30]]
        for box, label in mine:
            boxes += [[v + shift for v in box] for shift in shifts]
            classes += [label] * len(shifts)
            truths += [box] * len(shifts)
        one = Instances(SIZE, proposal_boxes=Boxes(torch.tensor(boxes)), gt_classes=torch.tensor(classes))
        if mine:
            one.gt_boxes = Boxes(torch.tensor(truths))
        out.append(one)
    return out


def detector_and_features(name):
    model = compact_detector(name, "MODEL.RESNETS.NORM", "FrozenBN").train()
    images = torch.stack([random_input(*SIZE, seed=seed)["image"] / 128 - 1 for seed in range(len(OBJECTS))])
    features = model.backbone(images)
    return model, {k: features[k].detach().requires_grad_() for k in model.roi_heads.box_in_features}


def slow_logits(heads, features, chosen):
    """(P,) logits of the objects' classes, and (P, 4) predicted boxes: the heads as they run in inference."""
    boxes, logits, decoded = chosen, [], []
    levels = list(features.values())
    classes = torch.cat([one.gt_classes for one in chosen])
    rows = torch.arange(len(classes))
    cascade = hasattr(heads, "num_cascade_stages")
    for stage in range(heads.num_cascade_stages if cascade else 1):
        if stage:
            boxes = [Instances(SIZE, proposal_boxes=Boxes(b.detach())) for b in decoded]
            for one in boxes:
                one.proposal_boxes.clip(SIZE)
        pooled = heads.box_pooler(levels, [one.proposal_boxes for one in boxes])
        head, predictor = (p[stage] if cascade else p for p in (heads.box_head, heads.box_predictor))
        outputs = predictor(head(pooled))
        logits.append(outputs[0][rows, classes])
        decoded = predictor.predict_boxes(outputs, boxes)
    predicted = torch.cat(list(decoded))
    predicted = predicted.view(len(rows), -1, 4)
    predicted = predicted[rows, classes if predicted.shape[1] > 1 else 0]
    return sum(logits) / len(logits), predicted


@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn", "cascade_rcnn"])
def test_maps_losses_and_first_order_gradients_are_autograds(name):
    model, features = detector_and_features(name)
    explained = RoIPositives(model, features, samples(), SIZE, second_order=False)
    positives = explained.positives
    assert len(positives) == 9 and positives.image_index.tolist() == [0] * 6 + [1] * 3
    assert positives.classes.tolist() == [0] * 3 + [2] * 3 + [1] * 3

    chosen = [one[one.gt_classes < 3] for one in samples()]
    logits, predicted = slow_logits(model.roi_heads, features, chosen)
    assert torch.allclose(positives.boxes, predicted, atol=1e-3)
    strides = {k: model.backbone.output_shape()[k].stride for k in features}
    stages = 3 if name == "cascade_rcnn" else 1
    expected = slow_maps(logits, features, strides, positives.image_index, SIZE, stages=stages)
    found = [maps.on_common_grid("logit") for maps in explained.heat_maps(torch.arange(9))]
    assert [len(one) for one in found] == [6, 3, 0] and expected.amax(1).min() > 0
    assert torch.allclose(torch.cat(found), expected, atol=1e-4 * float(expected.max()))

    # The whole losses, and their gradients on the features alone.
    with EventStorage(0):
        losses = ExplanationLosses(weight=0.5)(explained)
    twins = slow_losses(expected, positives, weigh=True)
    assert list(losses) == ["loss_odam_consistency", "loss_odam_separation"] and twins[2] == 6 + 6
    weights = [p for p in model.parameters() if p.requires_grad]
    for loss, twin in zip(losses.values(), twins):
        assert float(loss) == pytest.approx(0.5 * float(twin), rel=1e-3) and float(twin) > 0
        gradients, wanted = (
            torch.autograd.grad(value, list(features.values()), retain_graph=True, materialize_grads=True)
            for value in (loss, 0.5 * twin)
        )
        largest = max(float(want.abs().max()) for want in wanted)
        for gradient, want in zip(gradients, wanted):
            assert torch.allclose(gradient, want, atol=1e-3 * largest)
        assert not any(g is not None for g in torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True))


def tiny_heads():
    """RoI heads of one level of 2 channels, 2 x 2 pooled cells, 4 hidden units and 2 classes, in double precision."""
    return OdamStandardROIHeads(
        box_in_features=["p2"],
        box_pooler=ROIPooler(2, scales=(0.25,), sampling_ratio=0, pooler_type="ROIAlignV2"),
        box_head=FastRCNNConvFCHead(ShapeSpec(channels=2, height=2, width=2), conv_dims=[], fc_dims=[4]),
        box_predictor=FastRCNNOutputLayers(
            ShapeSpec(channels=4), box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)), num_classes=2
        ),
        num_classes=2, batch_size_per_image=4, positive_fraction=1.0, proposal_matcher=Matcher([0.5], [0, 1]),
    ).double()  # fmt: skip


@pytest.mark.parametrize("second_order", [False, True])
def test_gradients_against_differences(second_order):
    heads = tiny_heads()
    torch.nn.init.normal_(heads.box_predictor.cls_score.weight)
    backbone = SimpleNamespace(output_shape=lambda: {"p2": ShapeSpec(channels=2, stride=4)})
    model = SimpleNamespace(roi_heads=heads, backbone=backbone)
    boxes = torch.tensor([[1.0, 2, 15, 18], [3, 1, 16, 17], [8, 4, 22, 20], [9, 5, 23, 21]])
    one = Instances((24, 24), proposal_boxes=Boxes(boxes), gt_classes=torch.tensor([0, 0, 1, 1]))
    one.gt_boxes = Boxes(boxes[[0, 0, 2, 2]])
    losses = ExplanationLosses(weight=1.0, second_order=second_order, stride=4.0)

    def loss(feature, hidden, output):
        heads.box_head.fc1._parameters["weight"] = hidden
        heads.box_predictor.cls_score._parameters["weight"] = output
        with EventStorage(0):
            return sum(losses(RoIPositives(model, {"p2": feature}, [one], (24, 24), second_order)).values())

    inputs = [
        torch.rand(1, 2, 6, 6, dtype=torch.float64),
        torch.randn(4, 8, dtype=torch.float64),
        torch.randn(3, 4, dtype=torch.float64),
    ]
    inputs = [value.requires_grad_() for value in inputs]
    gradients = torch.autograd.grad(loss(*inputs), inputs, allow_unused=True)
    assert gradients[0].any() and gradients[0].dtype == torch.float64
    if second_order:
        assert all(bool(gradient.any()) for gradient in gradients)
        assert torch.autograd.gradcheck(loss, inputs)
        # RoIAlign itself, whose backward torch can't differentiate, lies below the features.
        feature = inputs[0].detach()
        assert torch.autograd.gradgradcheck(lambda *weights: loss(feature, *weights), inputs[1:])
    else:
        assert gradients[1] is None and gradients[2] is None  # as published, the head learns nothing from it
        constant = [value.detach() for value in inputs[1:]]
        assert torch.autograd.gradcheck(lambda feature: loss(feature, *constant), inputs[0])


def test_no_positives_keep_the_graph():
    model, features = detector_and_features("faster_rcnn")
    explained = RoIPositives(model, features, samples([[], [], []]), SIZE, second_order=True)
    assert len(explained.positives) == 0
    with EventStorage(0):
        losses = ExplanationLosses(weight=0.2)(explained)
    for loss in losses.values():
        assert float(loss) == 0.0
        gradients = torch.autograd.grad(loss, list(features.values()), allow_unused=True, retain_graph=True)
        assert any(g is not None for g in gradients) and not any(g is not None and g.any() for g in gradients)


def test_features_that_need_no_gradient_are_explained_all_the_same():
    model, features = detector_and_features("faster_rcnn")
    frozen = {name: feature.detach() for name, feature in features.items()}
    explained = RoIPositives(model, frozen, samples(), SIZE, second_order=True)
    with EventStorage(0):
        loss = sum(ExplanationLosses(weight=0.2)(explained).values())
    loss.backward()
    assert model.roi_heads.box_head.fc1.weight.grad.any()
    assert not any(feature.requires_grad for feature in frozen.values())


def test_the_best_positives_alone_are_explained():
    model, features = detector_and_features("faster_rcnn")
    explained = RoIPositives(model, features, samples(), SIZE, second_order=False)
    with EventStorage(0) as storage:
        maps, pairs = ExplanationLosses(weight=0.2, max_positives=2).pair(explained)
    assert [len(one) for one in maps] == [2, 2, 0]
    everything = [one.on_common_grid("logit") for one in explained.heat_maps(torch.arange(9))]
    best = explained.positives.keep_best(2)
    ious = explained.positives.ious
    assert sorted(ious[:6].topk(2).indices.tolist()) == best[:2].tolist()
    kept = torch.nn.functional.normalize(torch.cat(everything)[best])
    assert torch.allclose(torch.cat(maps), kept, atol=1e-5)
    del storage, pairs


def test_heads_that_are_not_known_are_named():
    model, features = detector_and_features("faster_rcnn")

    class Mine(FastRCNNConvFCHead):
        """A subclass may do anything."""

    model.roi_heads.box_head.__class__ = Mine
    with EventStorage(0), pytest.raises(TypeError, match="`roi_heads` must be ones that train by explanations"):
        ExplanationLosses(weight=0.2)(RoIPositives(model, features, samples(), SIZE, second_order=False))
