"""Keypoints as sources of their own: their maps against the branch called by hand; names; branches in other forms."""

import math
from types import SimpleNamespace

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures.keypoints import heatmaps_to_keypoints
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import interpolate
from torchvision.ops import roi_align

from odam_d2.explain import build_explainer, explainer_from_config, known_attributes
from odam_d2.modeling.box_branches import box_branches, keypoint_attributes
from odam_d2.modeling.class_names import name_keypoints
from tests.families import FAMILIES, SMALL
from tests.helpers import given, random_input, relative_error, zoo_config

SIZE = (128, 160)
INPUT = random_input(*SIZE)
BY_NAME = {family.name: family for family in FAMILIES}
NAMES = ("keypoint_0", "keypoint_1", "keypoint_2")
# Inside, the whole image, along two borders, smaller than a cell: on p2, p5, p4 and p2 below.
BOXES = [[20, 10, 60, 50], [0, 0, 160, 128], [100, 0, 160, 128], [5, 5, 6.5, 7]]


@pytest.fixture(scope="module")
def model():
    model = BY_NAME["keypoint_rcnn"].detector()
    # So that boxes of a small image lie on all levels.
    for pooler in (model.roi_heads.box_pooler, model.roi_heads.keypoint_pooler):
        pooler.canonical_box_size = 56
    return model


def level_of(box):
    side = math.sqrt(float((box[2] - box[0]) * (box[3] - box[1])))
    return min(max(math.floor(4 + math.log2(side / 56 + 1e-8)), 2), 5)


def largest_logits(model, features, box):
    """(3,) the maximum of each keypoint's heat map in the size of the box: 14 x 14 pooled cells through the head."""
    level = level_of(box)
    pooled = roi_align(features[f"p{level}"], [box[None]], 14, 1 / 2**level, 0, aligned=True)
    maps = model.roi_heads.keypoint_head.layers(pooled)
    height, width = math.ceil(max(box[3] - box[1], 1)), math.ceil(max(box[2] - box[0], 1))
    return interpolate(maps, (height, width), mode="bicubic")[0].flatten(1).amax(1)


def expected_maps(model, box):
    """(3, h, w) by autograd, in the image."""
    with torch.no_grad():
        features = model.backbone(model.preprocess_image([INPUT]).tensor)
    leaves = {name: feature.requires_grad_() for name, feature in features.items()}
    found = []
    for target in largest_logits(model, leaves, box):
        leaf = leaves[f"p{level_of(box)}"]
        (gradient,) = torch.autograd.grad(target, leaf, retain_graph=True)
        signed = (gradient * leaf.detach()).sum(1, keepdim=True).clamp(min=0)
        found.append(interpolate(signed, SIZE, mode="bilinear", align_corners=False)[0, 0])
    return torch.stack(found)


@pytest.mark.filterwarnings("error:explaining by plain autograd")
@pytest.mark.parametrize("engine", ["auto", "autograd"])
def test_maps_of_given_boxes_on_all_levels_and_at_borders(model, engine):
    boxes = given(SIZE, BOXES, [0, 1, 2, 3])
    assert [level_of(box) for box in boxes.pred_boxes.tensor] == [3, 5, 4, 2]
    heatmaps = build_explainer(model, attributes=NAMES, engine=engine)([INPUT], [boxes])[0]["instances"].heatmaps
    assert heatmaps.attributes == NAMES and len(heatmaps) == 4
    maps = torch.stack([heatmaps.to_image(name, normalize=False) for name in NAMES], 1)
    for found, box in zip(maps, boxes.pred_boxes.tensor, strict=True):
        expected = expected_maps(model, box)
        assert bool(expected.any())
        # One keypoint of a box may have no heat at all.
        assert relative_error(found[None], expected[None]) < 1e-5


@pytest.mark.parametrize("engine", ["auto", "autograd"])
def test_maps_of_detections_are_pooled_at_the_predicted_boxes(model, engine):
    found = build_explainer(model, attributes=NAMES, engine=engine)([INPUT])[0]["instances"]
    maps = torch.stack([found.heatmaps.to_image(name, normalize=False) for name in NAMES], 1)
    assert len(found) == 2 and found.pred_keypoints.shape == (2, 3, 3)
    for index, box in enumerate(found.pred_boxes.tensor):
        assert relative_error(maps[index], expected_maps(model, box)) < 1e-5


@pytest.mark.parametrize("boxes", [[], BOXES[:1]])
def test_no_box_and_one(model, boxes):
    images = [INPUT, random_input(96, 128, seed=1)]
    every = [given(SIZE, boxes, [0] * len(boxes)), given((96, 128), [], [])]
    found = build_explainer(model, attributes=NAMES)(images, every)
    assert [len(one["instances"].heatmaps) for one in found] == [len(boxes), 0]
    assert found[0]["instances"].heatmaps.to_image("keypoint_1").shape == (len(boxes), *SIZE)


def test_the_scalar_is_the_logit_at_the_reported_place(model):
    trace = model.trace([INPUT])
    predictions = trace.head.predict(trace.features, trace)
    found = torch.stack([predictions.extras[name]() for name in NAMES], 1)
    (result,) = trace.instances
    expected = heatmaps_to_keypoints(result.pred_keypoint_heatmaps, result.pred_boxes.tensor)
    assert torch.allclose(found, expected[:, :, 2], rtol=1e-5, atol=1e-6)
    assert torch.equal(expected[:, :, :2], result.pred_keypoints[:, :, :2])


def test_the_keypoint_branch_runs_once_and_only_when_asked(model):
    calls = []
    handle = model.roi_heads.keypoint_head.score_lowres.register_forward_hook(lambda *_: calls.append(1))
    try:
        boxes = [given(SIZE, BOXES, [0, 1, 2, 3])]
        build_explainer(model)([INPUT], boxes)
        assert calls == []
        build_explainer(model, attributes=NAMES)([INPUT], boxes)
        assert calls == [1]
    finally:
        handle.remove()


def test_sources(model):
    trace = model.trace([INPUT])
    assert [trace.sources_of(name) for name in ("score", "left", *NAMES)] == [(0,), (0,), (1,), (1,), (1,)]
    both = ("MODEL.MASK_ON", True)
    cfg = zoo_config(BY_NAME["keypoint_rcnn"].config, *SMALL, *BY_NAME["keypoint_rcnn"].options, *both)
    twin = build_model(cfg).eval()
    assert known_attributes(twin)[10:14] == ["mask", *NAMES]
    trace = twin.trace([INPUT], [given(SIZE, BOXES, [0, 1, 2, 3])])
    assert [trace.sources_of(name) for name in ("score", "mask", "keypoint_2")] == [(0,), (1,), (2,)]


def test_names_come_from_the_data_set():
    family = BY_NAME["keypoint_rcnn"]
    MetadataCatalog.get("named_keypoints").keypoint_names = ["nose", "left eye", "tail-tip"]
    MetadataCatalog.get("other_keypoints").keypoint_names = ["nose"]
    try:
        options = (*SMALL, *family.options, "DATASETS.TEST", ("other_keypoints", "named_keypoints"))
        cfg = zoo_config(family.config, *options, "ODAM.ATTRIBUTES", ("score", "keypoint_left_eye"))
        model = build_model(cfg).eval()
        explainer = explainer_from_config(model, cfg)
    finally:
        for name in ("named_keypoints", "other_keypoints"):
            MetadataCatalog.remove(name)
    assert known_attributes(model)[10:13] == ["keypoint_nose", "keypoint_left_eye", "keypoint_tail_tip"]
    maps = explainer([INPUT])[0]["instances"].heatmaps
    assert maps.names == ("score", "keypoint_left_eye")


def test_names_for_what_no_yaml_built():
    cfg = OmegaConf.create({"dataloader": {"test": {"dataset": {"names": "named_keypoints"}}}})
    metadata = MetadataCatalog.get("named_keypoints")
    metadata.keypoint_names = ["nose", "ear", "tail"]
    stock = BY_NAME["keypoint_rcnn"].pair()[1]
    try:
        name_keypoints(stock, cfg)
        assert known_attributes(stock)[10:13] == ["keypoint_nose", "keypoint_ear", "keypoint_tail"]
        stock.keypoint_names = ("a", "b", "c")  # a user's own stay
        name_keypoints(stock, cfg)
        assert known_attributes(stock)[10:13] == ["keypoint_a", "keypoint_b", "keypoint_c"]
        without = BY_NAME["mask_rcnn_fpn"].pair()[1]
        name_keypoints(without, cfg)
        assert not hasattr(without, "keypoint_names")
    finally:
        MetadataCatalog.remove("named_keypoints")


@pytest.mark.parametrize(
    "names, expected",
    [
        ((), ["keypoint_0", "keypoint_1"]),
        (("nose",), ["keypoint_0", "keypoint_1"]),  # of something else
        (("a b", "a-b"), ["keypoint_0", "keypoint_1"]),
        (("a b", "c/d"), ["keypoint_a_b", "keypoint_c_d"]),
    ],
)
def test_attributes_of_keypoints(names, expected):
    assert list(keypoint_attributes(names, 2)) == expected


def test_branches_in_another_form_are_refused_with_the_reason(model):
    heads = model.roi_heads
    assert box_branches(SimpleNamespace(mask_on=False)) == ([], {})

    class Own(StandardROIHeads):
        """Pools keypoints in its own way."""

        def _forward_keypoint(self, features, instances):
            return super()._forward_keypoint(features, instances)

    kind, known = type(heads), known_attributes(model)
    for change, reason in (
        (("__class__", Own), "Own overrides `_forward_keypoint`"),
        (("keypoint_pooler", None), "KRCNNConvDeconvUpsampleHead pools by itself"),
        (("keypoint_in_features", ["p2"]), "KRCNNConvDeconvUpsampleHead reads other levels than the box head"),
        (("keypoint_head", nn.Identity()), "Identity is no BaseKeypointRCNNHead"),
    ):
        before = kind if change[0] == "__class__" else getattr(heads, change[0])
        setattr(heads, *change)
        try:
            assert box_branches(heads) == ([], {"keypoint": reason})
            if change[0] != "__class__":
                with pytest.raises(ValueError, match=rf"`attributes` must be among .*; got .*, and {reason}: choose"):
                    build_explainer(model, attributes=("keypoint_1",))
        finally:
            setattr(heads, change[0], before)
    assert known_attributes(model) == known


def test_a_head_with_parts_of_ones_own_is_explained_by_autograd(model):
    class Part(nn.ReLU):
        """Not known to treat each RoI on its own."""

    head = model.roi_heads.keypoint_head
    before, head.conv_fcn_relu1 = head.conv_fcn_relu1, Part()
    try:
        boxes = [given(SIZE, BOXES[:1], [0])]
        with pytest.warns(
            UserWarning, match="explaining by plain autograd.*since Part is not known to treat"
        ) as warned:
            build_explainer(model, attributes=("keypoint_1",))([INPUT], boxes)
        assert len(warned) == 1
        assert build_explainer(model, attributes=("score",)).choose_engine(model.trace([INPUT])).__class__.__name__ == (
            "RoIEngine"
        )
    finally:
        head.conv_fcn_relu1 = before
