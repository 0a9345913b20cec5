"""The dense engine against the plain one: RetinaNet and FCOS, at borders, on every level, by every norm."""

import pytest
import torch
from detectron2.layers import CycleBatchNormList, FrozenBatchNorm2d, NaiveSyncBatchNorm
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d as TorchvisionFrozenNorm

from odam_d2.explain import build_explainer
from odam_d2.explain.engines.carried_gradients import CarriedGradients
from odam_d2.explain.targets import target_scalars
from tests.helpers import given, random_detector, random_input, relative_error, zoo_config

ZOO = "COCO-Detection/retinanet_R_50_FPN_3x.yaml"
SMALL = ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.FPN.OUT_CHANNELS", 32)
ALL = ("MODEL.RETINANET.SCORE_THRESH_TEST", 0.0, "ODAM.FCOS.SCORE_THRESH_TEST", 0.0, "TEST.DETECTIONS_PER_IMAGE", 4)
INPUTS = [random_input(224, 320, 448, 640), random_input(256, 192, seed=1)]
# One for every size of anchor, and over every border of the 448 x 640 image.
GIVEN = given(
    (448, 640),
    [
        [100, 100, 164, 164], [200, 100, 330, 240], [150, 60, 420, 330], [20, 0, 560, 440], [-10, 30, 60, 100],
        [590, 200, 650, 270], [300, -20, 370, 40], [320, 400, 400, 460], [-20, -20, 50, 60], [580, 400, 660, 470],
        [300, 300, 356, 356],
    ],
    list(range(11)),
)  # fmt: skip
SIDES = ("left", "top", "right", "bottom")


def dense_detector(architecture: str, norm: str, *keys):
    """A random detector whose head lets about half of its cells through, and whose outputs are neither 0 nor 1."""
    options = ("MODEL.META_ARCHITECTURE", architecture, "MODEL.RETINANET.NORM", norm, "ODAM.FCOS.NORM", norm, *keys)
    model = random_detector(zoo_config(ZOO, *SMALL, *ALL, *options))
    for module in model.head.modules():
        if isinstance(module, nn.Conv2d):
            hidden = module.out_channels == 32
            nn.init.normal_(module.weight, std=0.08 if hidden else 0.02)
            nn.init.normal_(module.bias, mean=0.0 if hidden else 1.0, std=0.1)
    return model


@pytest.fixture(scope="module", params=[("RetinaNet", ""), ("OdamFCOS", "")], ids=lambda p: p[0])
def detector(request):
    return dense_detector(*request.param)


def pairs(model, inputs, instances, attributes, **settings):
    """HeatMaps of each image by both engines."""
    found = [
        build_explainer(model, attributes=attributes, engine=engine, **settings)(inputs, instances)
        for engine in ("dense", "autograd")
    ]
    return [(fast["instances"].heatmaps, plain["instances"].heatmaps) for fast, plain in zip(*found, strict=True)]


def errors(model, inputs, instances, attributes, **settings):
    """The largest relative error of each image's maps, over attributes."""
    result = []
    for fast, plain in pairs(model, inputs, instances, attributes, **settings):
        assert len(fast) == len(plain)
        for name in attributes if len(plain) else ():
            result.append(relative_error(fast.to_image(name, False), plain.to_image(name, False)))
    return result


def test_detections_of_a_batch(detector):
    attributes = ("score", "logit", *SIDES)
    found = errors(detector, INPUTS, None, attributes)
    assert len(found) == 2 * len(attributes) and max(found) < 1e-4


def test_every_level_and_border(detector):
    inputs = [random_input(448, 640)]
    trace = detector.trace(inputs, [GIVEN])
    assert len(set(trace.level_index[:, 0].tolist())) >= 4
    assert max(errors(detector, inputs, [GIVEN], ("score", *SIDES))) < 1e-4


def test_score_maps_are_not_empty(detector):
    for heatmaps, _ in pairs(detector, INPUTS[:1], [GIVEN], ("score", "logit")):
        assert all(bool(m.any()) for m in heatmaps.to_image("logit", False))


def test_smoothed_gradients(detector):
    assert max(errors(detector, INPUTS[:1], [GIVEN], ("score", "right"), smoothing=0.15)) < 1e-4


def test_chunks_do_not_matter(detector, monkeypatch):
    whole = build_explainer(detector)(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    monkeypatch.setattr("odam_d2.explain.engines.dense.CHUNK_FLOATS", 1)
    parts = build_explainer(detector)(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    assert torch.allclose(parts.values, whole.values, atol=1e-5 * float(whole.values.max()))


def test_one_box_and_none(detector):
    one, none = given((448, 640), [[100, 100, 164, 164]], [3]), given((256, 192), [], [])
    sizes = [len(fast) for fast, _ in pairs(detector, INPUTS, [one, none], ("score", "left"))]
    assert sizes == [1, 0]
    empty = given((448, 640), [], [])
    for fast, plain in pairs(detector, INPUTS, [empty, none], ("score", "left")):
        assert len(fast) == len(plain) == 0 and fast.attributes == ("score", "left")


def test_centerness_of_fcos():
    model = dense_detector("OdamFCOS", "")
    assert max(errors(model, INPUTS[:1], [GIVEN], ("centerness", "score"))) < 1e-4


class FrozenGroupNorm(nn.GroupNorm):
    """Group norm through whose statistics no gradient flows."""

    def forward(self, x):
        groups = x.detach().reshape(len(x), self.num_groups, -1)
        mean, deviation = groups.mean(2), (groups.var(2, unbiased=False) + self.eps).sqrt()
        size = self.num_channels // self.num_groups
        mean, deviation = (v.repeat_interleave(size, 1)[:, :, None, None] for v in (mean, deviation))
        return (x - mean) / deviation * self.weight[:, None, None] + self.bias[:, None, None]


def test_group_norm_can_be_taken_at_its_frozen_statistics():
    model = trained_like(dense_detector("OdamFCOS", "GN"))
    norms = [module for module in model.head.modules() if type(module) is nn.GroupNorm]
    assert len(norms) == 8
    explainer = build_explainer(model, attributes=("score", "left"), group_norm="frozen")
    with pytest.warns(UserWarning, match="approximate, since group norm"):
        fast = explainer(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    for norm in norms:
        norm.__class__ = FrozenGroupNorm
    plain = build_explainer(model, attributes=("score", "left"), engine="autograd")(INPUTS[:1], [GIVEN])
    plain = plain[0]["instances"].heatmaps
    for name in ("score", "left"):
        assert relative_error(fast.to_image(name, False), plain.to_image(name, False)) < 1e-4


def trained_like(model):
    """Group norms whose scales differ, as they do after training."""
    for module in model.head.modules():
        if type(module) is nn.GroupNorm:
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


@pytest.mark.parametrize("settings", [{}, {"smoothing": 0.1}])
def test_group_norm_can_be_exact(settings):
    model = trained_like(dense_detector("OdamFCOS", "GN"))
    some, none = GIVEN[torch.tensor([0, 3, 4, 8])], given((256, 192), [], [])
    found = errors(model, INPUTS, [some, none], ("score", "left"), group_norm="exact", **settings)
    assert len(found) == 2 and max(found) < 1e-4


@pytest.mark.parametrize("settings", [{}, {"smoothing": 0.1}])
def test_what_group_norm_spreads_is_carried(settings, monkeypatch):
    """With nothing left out it is exact, over two images of which one has no box; else it is near, and nearer."""
    model = trained_like(dense_detector("OdamFCOS", "GN"))
    some, none = GIVEN[torch.tensor([0, 3, 4, 8])], given((256, 192), [], [])
    near = errors(model, INPUTS, [some, none], ("score", "left"), **settings)  # the default
    with pytest.warns(UserWarning, match="frozen statistics"):
        frozen = errors(model, INPUTS, [some, none], ("score", "left"), group_norm="frozen", **settings)
    assert max(near) < 0.1 and max(near) < max(frozen)
    monkeypatch.setattr(CarriedGradients, "tolerance", 0.0)
    assert max(errors(model, INPUTS, [some, none], ("score", "left"), group_norm="carried", **settings)) < 1e-4


def test_exact_group_norm_over_images_and_chunks(monkeypatch):
    model = trained_like(dense_detector("OdamFCOS", "GN"))
    attributes = ("score", "logit", *SIDES, "x1", "y2")  # more than the branches have outputs
    assert max(errors(model, INPUTS, None, attributes, group_norm="exact")) < 1e-4
    explain = build_explainer(model, attributes=("score",), group_norm="exact")
    whole = explain(INPUTS)[0]["instances"].heatmaps.values
    monkeypatch.setattr("odam_d2.explain.engines.dense.CHUNK_FLOATS", 1)
    assert torch.allclose(explain(INPUTS)[0]["instances"].heatmaps.values, whole, atol=1e-5 * float(whole.max()))


def test_exact_is_as_quick_as_ever_without_group_norm(detector, recwarn):
    frozen, exact = (
        build_explainer(detector, group_norm=name)(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
        for name in ("frozen", "exact")
    )
    assert torch.equal(frozen.windows, exact.windows) and torch.equal(frozen.values, exact.values)
    assert not [w for w in recwarn if "group norm" in str(w.message)]


@pytest.mark.parametrize("norm, group_norm", [("", "frozen"), ("GN", "exact")])
@pytest.mark.parametrize("architecture", ["RetinaNet", "OdamFCOS"])
def test_gradients_in_windows_are_autograds(architecture, norm, group_norm):
    model, attributes = trained_like(dense_detector(architecture, norm)), ("score", "logit", "left")
    trace = model.trace(INPUTS[:1], [GIVEN])
    engine = build_explainer(model, attributes=attributes, engine="dense", group_norm=group_norm).choose_engine(trace)
    features = {name: feature.detach().requires_grad_() for name, feature in trace.features.items()}
    targets = target_scalars(trace.head.predict(features, trace), attributes)
    seen = []
    for chunk in engine.gradient_windows(trace, attributes, 0.0):
        assert chunk.gradients.shape[-2:] == tuple(chunk.windows[:, 2:].amax(0).tolist())
        names = [trace.level_names[level] for level in trace.level_index[chunk.detections, 0].tolist()]
        rows = zip(chunk.detections.tolist(), names, chunk.windows.tolist(), chunk.gradients, strict=True)
        for detection, name, (top, left, height, width), found in rows:
            seen.append(detection)
            for number, target in enumerate(targets):
                (expected,) = torch.autograd.grad(target[detection], features[name], retain_graph=True)
                outside, window = expected[0].clone(), found[number]
                inside = outside[:, top : top + height, left : left + width]
                scale = float(expected.abs().max())
                assert torch.allclose(window[:, :height, :width], inside, atol=1e-5 * scale, rtol=0)
                inside.zero_()
                assert float(outside.abs().max()) <= 1e-5 * scale
                assert not window[:, height:].any() and not window[:, :, width:].any()
    assert sorted(seen) == list(range(len(GIVEN)))


def test_attributes_beyond_the_outputs_share_their_gradients(detector):
    attributes = ("score", "logit", *SIDES, "x1", "y1", "x2", "y2")
    assert max(errors(detector, INPUTS[:1], [GIVEN], attributes)) < 1e-4


def test_a_score_that_nothing_moves_has_an_empty_map():
    model = dense_detector("RetinaNet", "")
    nn.init.constant_(model.head.cls_score.bias, 200.0)  # a sigmoid of 1, whose derivative is 0 in float32
    maps = build_explainer(model, attributes=("score",))(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    assert len(maps) == len(GIVEN) and not maps.values.any()


@torch.no_grad()
def trained_norms(head):
    """Batch norms whose statistics and scales differ, from level to level where each has its own."""
    for module in head.modules():
        if getattr(module, "running_var", None) is not None:
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
        if isinstance(module, CycleBatchNormList | nn.BatchNorm2d | FrozenBatchNorm2d) and module.weight is not None:
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.2, 0.2)


@pytest.mark.filterwarnings("error:explaining by plain autograd")
@pytest.mark.parametrize("architecture, norm, kind", [
    ("RetinaNet", "FrozenBN", FrozenBatchNorm2d), ("RetinaNet", "naiveSyncBN_N", NaiveSyncBatchNorm),
    ("OdamFCOS", "nnSyncBN", nn.SyncBatchNorm), ("RetinaNet", "BN", CycleBatchNormList),
    ("OdamFCOS", "SyncBN", CycleBatchNormList),
])  # fmt: skip
def test_batch_norm_with_fixed_statistics_is_exact(architecture, norm, kind):
    model = dense_detector(architecture, norm)
    assert [type(layer) for layer in model.head.cls_subnet][1] is kind
    trained_norms(model.head)
    assert max(errors(model, INPUTS[:1], [GIVEN], ("score", "left"))) < 1e-4
    maps = build_explainer(model, attributes=("score",))(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    assert all(bool(one.any()) for one in maps.to_image("score", False))
    # Whoever detects next begins with the first level's norm.
    assert not any(getattr(module, "_pos", 0) for module in model.head.modules())


@pytest.mark.parametrize("group_norm", ["frozen", "exact"])
def test_norms_without_weights_and_torchvisions(group_norm):
    model = dense_detector("OdamFCOS", "GN")
    frozen = (nn.BatchNorm2d(32, affine=False).eval(), TorchvisionFrozenNorm(32))  # the second has some
    for number, subnet in enumerate((model.head.cls_subnet, model.head.bbox_subnet)):
        for place in [k for k, layer in enumerate(subnet) if type(layer) is nn.GroupNorm]:
            subnet[place] = nn.GroupNorm(32, 32, affine=False) if group_norm == "exact" else frozen[number]
    assert max(errors(model, INPUTS[:1], [GIVEN], ("score", "left"), group_norm=group_norm)) < 1e-4


def test_a_cycle_of_norms_beside_group_norm():
    model = trained_like(dense_detector("OdamFCOS", "GN"))
    cycle = CycleBatchNormList(5, num_features=32).eval()
    model.head.cls_subnet[1] = cycle
    trained_norms(cycle)
    assert max(errors(model, INPUTS[:1], [GIVEN], ("score", "left"), group_norm="exact")) < 1e-4


def test_a_head_that_is_not_known_hands_over_with_one_warning(detector):
    class Head(type(detector.head)):
        """Looks like the head, but may do anything."""

    stock = type(detector.head)
    detector.head.__class__ = Head
    try:
        explainer = build_explainer(detector, attributes=("score",))
        with pytest.warns(UserWarning, match="Head.*is not"):
            found = explainer(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    finally:
        detector.head.__class__ = stock
    expected = build_explainer(detector, attributes=("score",))(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    assert relative_error(found.to_image("score", False), expected.to_image("score", False)) < 1e-4


def tie_towers(head):
    """Both branches through the same layers."""
    head.bbox_subnet = head.cls_subnet


def dilate_output(head):
    """An output convolution that looks further than its neighbours."""
    head.cls_score.dilation, head.cls_score.padding = (2, 2), (2, 2)


@pytest.mark.parametrize("change, reason", [(tie_towers, "share layers"), (dilate_output, "keep the grid")])
def test_a_head_that_was_changed_hands_over_with_one_warning(change, reason):
    model = dense_detector("RetinaNet", "")
    change(model.head)
    explainer = build_explainer(model, attributes=("score",))
    with pytest.warns(UserWarning, match=reason):
        found = explainer(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    expected = build_explainer(model, attributes=("score",), engine="autograd")(INPUTS[:1], [GIVEN])
    assert torch.equal(found.values, expected[0]["instances"].heatmaps.values)


def test_nan_in_one_class_is_said():
    model = dense_detector("RetinaNet", "")
    with torch.no_grad():
        model.head.cls_score.bias[3::80] = float("nan")
    with pytest.raises(FloatingPointError, match="head.cls_score.bias"):
        build_explainer(model)(INPUTS[:1])
