"""Detectors built as projects on Detectron2 build theirs: branches that are merged, heads that add to the results."""

from dataclasses import dataclass, replace

import pytest
import torch
from detectron2.layers import batched_nms
from detectron2.modeling import ROI_MASK_HEAD_REGISTRY, build_model
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import MaskRCNNConvUpsampleHead, Res5ROIHeads, StandardROIHeads
from detectron2.projects.point_rend import add_pointrend_config
from detectron2.structures import ImageList, Instances
from torch import nn
from torch.nn import functional as F

from odam_d2.explain import build_explainer, known_attributes
from odam_d2.explain.engines.roi import RoIEngine
from odam_d2.meta_arch import BuiltDetector, GraphDetector, OdamRCNN
from odam_d2.utils.calibration import calibrate_frozen_norms
from tests.explain.test_base import assert_unchanged, state_of
from tests.families import FAMILIES, R18, SMALL
from tests.helpers import given, random_input, relative_error, zoo_config

INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]
SMALLER = [random_input(64, 80, 128, 160), random_input(48, 64, seed=1)]
GIVEN = [given((256, 320), [[20, 30, 180, 200], [0, 0, 320, 256]], [1, 3]), given((96, 128), [], [])]
BY_NAME = {family.name: family for family in FAMILIES}


def maps_of(results, attribute):
    return [one["instances"].heatmaps.to_image(attribute, normalize=False) for one in results]


def assert_same_results(found, expected):
    for one, result in zip(found, expected, strict=True):
        for name, value in result["instances"].get_fields().items():
            mine = one["instances"].get(name)
            if isinstance(value, Charts):
                assert torch.equal(mine.u, value.u) and torch.equal(mine.v, value.v)
            else:
                assert torch.equal(getattr(mine, "tensor", mine), getattr(value, "tensor", value)), name


# Branches: one backbone gives its map once for each dilation, all are detected on, and the detections are merged.


class DilatedBranches(nn.Module):
    """Branches that share a convolution; its output has the images of the batch once for each of them."""

    def __init__(self, inner, dilations):
        super().__init__()
        self.inner, self.dilations = inner, dilations
        channels = inner.output_shape()["res4"].channels
        self.shared = nn.Conv2d(channels, channels, 3)
        nn.init.normal_(self.shared.weight, std=0.02)
        self.size_divisibility, self.padding_constraints = inner.size_divisibility, inner.padding_constraints

    def forward(self, x):
        x = self.inner(x)["res4"]
        weight, bias = self.shared.weight, self.shared.bias
        branches = [F.conv2d(x, weight, bias, padding=one, dilation=one).add(x).relu() for one in self.dilations]
        return {"res4": torch.cat(branches)}

    def output_shape(self):
        return self.inner.output_shape()


class BranchRPN(RPN):
    """Proposes in each branch."""

    def forward(self, images, features, gt_instances=None):
        return super().forward(
            ImageList(torch.cat([images.tensor] * self.branches), images.image_sizes * self.branches), features
        )


class BranchHeads(Res5ROIHeads):
    """Detects in each branch and merges by a last non-max suppression."""

    def forward(self, images, features, proposals, targets=None):
        every, losses = super().forward(images, features, proposals, targets)
        merged = []
        for number in range(len(every) // self.branches):
            found = Instances.cat(every[number :: len(every) // self.branches])
            kept = batched_nms(found.pred_boxes.tensor, found.scores, found.pred_classes, 0.5)
            merged.append(found[kept[:3]])
        return merged, losses


def with_branches(dilations):
    torch.manual_seed(0)
    family = BY_NAME["faster_rcnn_c4"]
    model = replace(family, options=(*family.options, "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4)).pair()[1]
    model.backbone = DilatedBranches(model.backbone, dilations).eval()
    model.proposal_generator.__class__, model.roi_heads.__class__ = BranchRPN, BranchHeads
    model.proposal_generator.post_nms_topk = {False: 5}
    model.proposal_generator.branches = model.roi_heads.branches = len(dilations)
    return model


@pytest.mark.filterwarnings("error:explaining by plain autograd")
def test_all_branches_are_explained_by_the_graph(caplog):
    caplog.set_level("INFO")
    model = with_branches((1, 2, 3))
    before = state_of(model)
    found = build_explainer(model, attributes=("score", "x2"))(SMALLER)
    with torch.no_grad():
        assert_same_results(found, model(SMALLER))
    assert_unchanged(before, state_of(model))
    (told,) = (r.getMessage() for r in caplog.records if r.getMessage().startswith("explaining"))
    assert "by autograd on maps res4[0], res4[1], res4[2], since the RoI heads don't take the proposals" in told
    # By hand: one leaf for the whole output of the backbone, of which each image has three parts.
    with torch.no_grad():
        whole = model.backbone(model.preprocess_image(SMALLER).tensor)["res4"]
    leaf = whole.clone().requires_grad_()
    handle = model.backbone.register_forward_hook(lambda *_: {"res4": leaf})
    results = model(SMALLER)
    handle.remove()
    used = set()
    for number, (one, result) in enumerate(zip(found, results, strict=True)):
        heatmaps = one["instances"].heatmaps
        for index, score in enumerate(result["instances"].scores):
            (gradient,) = torch.autograd.grad(score, leaf, retain_graph=True)
            parts = [(gradient * whole)[branch * 2 + number].sum(0) for branch in range(3)]
            used |= {branch for branch, part in enumerate(parts) if bool(part.any())}
            windows = heatmaps.values[0, _cells(heatmaps, index)].split(parts[0].numel())
            expected = [part for part in parts if bool(part.any())]
            assert len(windows) == len(expected) == 1  # a detection comes from one branch
            signed = expected[0].clamp(min=0)
            assert bool(signed.any()) and relative_error(windows[0].view_as(signed)[None], signed[None]) < 1e-5
    assert len(used) > 1, "the detections should come from several branches"


def _cells(heatmaps, index):
    area = heatmaps.windows[:, 2:].prod(1)
    return torch.repeat_interleave(heatmaps.owners == index, area)


def test_given_boxes_and_nothing_found_with_branches():
    model = with_branches((1, 2, 3))
    explainer = build_explainer(model, attributes=("score",))
    found = explainer(SMALLER)[0]["instances"]
    box, label = found.pred_boxes.tensor[:1].tolist(), found.pred_classes[:1].tolist()
    again = explainer(SMALLER, [given((128, 160), box, label), given((48, 64), [], [])])
    assert again[0]["instances"].prediction_index.tolist() == [0] and len(again[1]["instances"]) == 0
    assert torch.equal(again[0]["instances"].scores, found.scores[:1])
    model.roi_heads.box_predictor.test_score_thresh = 2.0
    assert [len(one["instances"].heatmaps) for one in explainer(SMALLER)] == [0, 0]


@pytest.mark.filterwarnings("error:explaining by plain autograd")
def test_one_branch_has_the_fast_engine(caplog, smooth_relus):
    caplog.set_level("INFO")
    model = with_branches((2,))
    fast, plain = (
        build_explainer(model, attributes=("score", "left"), engine=e)(SMALLER) for e in ("auto", "autograd")
    )
    graph = build_explainer(GraphDetector(model), attributes=("score",))(SMALLER)
    with torch.no_grad():
        assert_same_results(fast, model(SMALLER))
    for name in ("score", "left"):
        for maps in zip(maps_of(fast, name), maps_of(plain, name), strict=True):
            assert relative_error(*maps) < 1e-5
    for maps in zip(maps_of(fast, "score"), maps_of(graph, "score"), strict=True):
        assert relative_error(*maps) < 1e-5
    assert "with the RoI engine, which finds its detections again, since BranchHeads overrides `forward`" in caplog.text
    found = build_explainer(model, attributes=("score",))(INPUTS, GIVEN)
    assert [len(one["instances"].heatmaps) for one in found] == [2, 0]


# Heads that add a field to the results, in a structure of their own.


@dataclass
class Charts:
    """Two maps for each detection; can be picked from, and neither joined nor compared."""

    u: torch.Tensor
    v: torch.Tensor

    def __len__(self):
        return len(self.u)

    def __getitem__(self, item):
        if isinstance(item, int):
            return Charts(self.u[item][None], self.v[item][None])
        return Charts(self.u[item], self.v[item])


class Surface(nn.Module):
    """Not known to treat each RoI on its own, which is of no account for boxes."""

    def forward(self, x):
        return x.tanh()


class SurfaceHeads(StandardROIHeads):
    """A branch behind the boxes whose head is nobody's."""

    def forward(self, images, features, proposals, targets=None):
        return super().forward(images, features, proposals, targets)

    def forward_with_given_boxes(self, features, instances):
        instances = super().forward_with_given_boxes(features, instances)
        levels = [features[name] for name in self.box_in_features]
        charts = self.surface(self.surface_pooler(levels, [one.pred_boxes for one in instances]))
        for one, part in zip(instances, charts.split([len(one) for one in instances]), strict=True):
            one.pred_charts = Charts(part[:, 0], part[:, 1])
        return instances


class GivenHeads(SurfaceHeads):
    """The same without a `forward` of its own."""

    forward = StandardROIHeads.forward


def with_surface(kind, name):
    model = BY_NAME[name].pair()[1]
    model.roi_heads.__class__ = kind
    model.roi_heads.surface = Surface().eval()
    model.roi_heads.surface_pooler = ROIPooler(4, [1 / 4, 1 / 8, 1 / 16, 1 / 32], 2, "ROIAlignV2")
    return model


@pytest.mark.filterwarnings("error:explaining by plain autograd")
@pytest.mark.parametrize("name", ["faster_rcnn_fpn", "keypoint_rcnn", "mask_rcnn_fpn"])
@pytest.mark.parametrize(
    "kind, told", [(SurfaceHeads, "SurfaceHeads overrides `forward`"), (GivenHeads, "as the stock class")]
)
def test_a_branch_of_ones_own_is_kept_in_the_results(kind, told, name, caplog):
    caplog.set_level("INFO")
    model = with_surface(kind, name)
    ours = BY_NAME[name].detector()
    attributes = known_attributes(model)
    assert attributes == known_attributes(ours)
    found, expected = (build_explainer(one, attributes=attributes)(INPUTS) for one in (model, ours))
    with torch.no_grad():
        assert_same_results(found, model(INPUTS))
    assert told in caplog.text and "with the RoI engine" in caplog.text
    for attribute in expected[0]["instances"].heatmaps.attributes:
        for maps in zip(maps_of(found, attribute), maps_of(expected, attribute), strict=True):
            assert relative_error(*maps) < 1e-5, attribute
    one = found[0]["instances"][1]
    assert len(one) == len(one.pred_charts) == len(one.heatmaps) == 1
    boxes, wanted = (build_explainer(each, attributes=attributes)(INPUTS, GIVEN) for each in (model, ours))
    assert [len(each["instances"].heatmaps) for each in boxes] == [2, 0]
    for attribute in wanted[0]["instances"].heatmaps.attributes:
        for maps in zip(maps_of(boxes, attribute)[:1], maps_of(wanted, attribute)[:1], strict=True):
            assert relative_error(*maps) < 1e-5, attribute


def test_the_graph_hands_out_results_without_a_graph():
    model = with_surface(SurfaceHeads, "faster_rcnn_fpn")
    found = build_explainer(GraphDetector(model), attributes=("score",))(INPUTS)
    with torch.no_grad():
        assert_same_results(found, model(INPUTS))
    charts = found[0]["instances"].pred_charts
    assert len(charts) == 2 and not charts.u.requires_grad and not charts.v.requires_grad
    panoptic = BY_NAME["panoptic_fpn"].pair()[1]
    result = build_explainer(GraphDetector(panoptic), attributes=("score",))(INPUTS[:1])[0]
    assert set(result) == {"instances", "sem_seg", "panoptic_seg"} and not result["sem_seg"].requires_grad


# Mask heads of one's own.


@ROI_MASK_HEAD_REGISTRY.register()
class PointTrainedHead(MaskRCNNConvUpsampleHead):
    """Trained otherwise; masks are the stock head's."""

    def forward(self, x, instances):
        if self.training:
            return {"loss_mask": self.layers(x).sum() * 0}
        return super().forward(x, instances)


@pytest.mark.filterwarnings("error:explaining by plain autograd")
def test_a_mask_head_that_is_only_trained_otherwise_has_the_fast_engine():
    family = BY_NAME["mask_rcnn_fpn"]
    torch.manual_seed(0)
    cfg = zoo_config(family.config, *SMALL, *family.options, "MODEL.ROI_MASK_HEAD.NAME", "PointTrainedHead")
    model = build_model(cfg).eval()
    model.load_state_dict(family.detector().state_dict())
    attributes = ("score", "bottom", "mask")
    found, expected = (build_explainer(one, attributes=attributes)(INPUTS) for one in (model, family.detector()))
    for name in attributes:
        for maps in zip(maps_of(found, name), maps_of(expected, name), strict=True):
            assert torch.equal(*maps)


def point_rend(traced):
    cfg = zoo_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", *SMALL, *R18, traced=False)
    add_pointrend_config(cfg)
    options = {
        "ROI_HEADS.NAME": "PointRendROIHeads", "ROI_MASK_HEAD.NAME": "PointRendMaskHead",
        "ROI_MASK_HEAD.POOLER_TYPE": "", "ROI_MASK_HEAD.FC_DIM": 32, "ROI_MASK_HEAD.OUTPUT_SIDE_RESOLUTION": 7,
        "ROI_MASK_HEAD.POINT_HEAD_ON": True, "POINT_HEAD.NUM_CLASSES": 5, "POINT_HEAD.FC_DIM": 16,
        "POINT_HEAD.IN_FEATURES": ["p2"], "META_ARCHITECTURE": "OdamRCNN" if traced else "GeneralizedRCNN",
    }  # fmt: skip
    cfg.merge_from_list([part for key, value in options.items() for part in (f"MODEL.{key}", value)])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    calibrate_frozen_norms(model, [random_input(128, 160)])
    return model


@pytest.mark.filterwarnings("error:explaining by plain autograd")
@pytest.mark.parametrize("traced", [False, True])
def test_heads_under_a_name_of_their_own_are_explained_as_what_they_are(traced):
    model = point_rend(traced)
    fast, plain = (build_explainer(model, attributes=("score", "left"), engine=e)(INPUTS) for e in ("auto", "autograd"))
    with torch.no_grad():
        assert_same_results(fast, model(INPUTS))
    for name in ("score", "left"):
        for maps in zip(maps_of(fast, name), maps_of(plain, name), strict=True):
            assert relative_error(*maps) < 1e-5
    explainer = build_explainer(model)
    assert isinstance(explainer.model, BuiltDetector) and isinstance(model, OdamRCNN) == traced
    assert isinstance(explainer.choose_engine(explainer.model.trace(INPUTS)), RoIEngine)
    with pytest.raises(ValueError, match="got .'mask'., and PointRendMaskHead is no BaseMaskRCNNHead: choose"):
        build_explainer(model, attributes=("mask",))


# Rotated boxes.


@pytest.mark.parametrize("traced", [False, True])
def test_rotated_boxes_are_refused_in_one_sentence(traced):
    rotated = (
        "MODEL.PROPOSAL_GENERATOR.NAME", "RRPN", "MODEL.ROI_HEADS.NAME", "RROIHeads",
        "MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator", "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignRotated",
        "MODEL.RPN.BBOX_REG_WEIGHTS", (1.0, 1.0, 1.0, 1.0, 1.0),
        "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (10.0, 10.0, 5.0, 5.0, 1.0),
    )  # fmt: skip
    name = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
    model = build_model(zoo_config(name, *SMALL, *R18, *rotated, traced=traced)).eval()
    assert isinstance(model, OdamRCNN) == traced
    message = "sides lie along the image's to be explained; got RRPN, whose rotated boxes .*: take a detector of"
    for method in ("odam", "drise"):
        with pytest.raises(TypeError, match=message):
            build_explainer(model, method)
    proposals = ("MODEL.META_ARCHITECTURE", "ProposalNetwork")
    network = build_model(zoo_config(name, *SMALL, *R18, *rotated, *proposals, traced=traced)).eval()
    with pytest.raises(TypeError, match=message):
        build_explainer(network)
