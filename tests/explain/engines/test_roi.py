"""The fast engine against the plain one: exact, at borders, on every level, empty, one, many."""

import copy

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler, convert_boxes_to_pooler_format
from detectron2.structures import Boxes
from torch import nn
from torchvision.ops import roi_align

from odam_d2 import model_zoo
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.explain import build_explainer
from odam_d2.modeling.instance_wise import INSTANCE_WISE_MODULES
from tests.helpers import given, random_detector, random_input, relative_error, zoo_config

ATTRIBUTES = ("score", "logit", "left", "top", "right", "bottom", "x1", "y1", "x2", "y2")
ZOO = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
# One resized, one not; in a batch both get padding.
INPUTS = [random_input(256, 320, 512, 640), random_input(288, 256, seed=1)]
# On 512 x 640: every level of the FPN, over every border, every corner, thin, tiny, the whole image.
GIVEN = given(
    (512, 640),
    [
        [20, 30, 90, 120], [100, 100, 360, 330], [30, 20, 600, 480], [0, 0, 640, 512], [-40, 60, 60, 200],
        [580, 60, 700, 220], [100, -50, 220, 60], [90, 460, 260, 560], [-30, -30, 50, 50], [600, 480, 680, 560],
        [300, 5, 312, 500], [5, 250, 630, 262], [200, 200, 203, 203], [-200, -200, 900, 800],
    ],
    [0, 5, 79, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
)  # fmt: skip


# Narrow layers after the backbone, and few proposals: the oracle's time is in these.
NARROW = (
    "MODEL.FPN.OUT_CHANNELS", 64, "MODEL.ROI_BOX_HEAD.FC_DIM", 128, "MODEL.RPN.POST_NMS_TOPK_TEST", 40,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def zoo():
    return random_detector(zoo_config(ZOO, *NARROW, "TEST.DETECTIONS_PER_IMAGE", 6))


def assert_engines_agree(model, inputs, instances=None, attributes=ATTRIBUTES, smoothing=0.0, bound=1e-4):
    """Every map of every attribute, raw and in the original frame."""
    results = [
        build_explainer(model, attributes=attributes, engine=engine, smoothing=smoothing)(inputs, instances)
        for engine in ("roi", "autograd")
    ]
    for fast, plain in zip(*results, strict=True):
        fast, plain = fast["instances"].heatmaps, plain["instances"].heatmaps
        assert len(fast) == len(plain)
        for name in attributes if len(plain) else ():
            expected = plain.to_image(name, normalize=False)
            assert relative_error(fast.to_image(name, normalize=False), expected) < bound, name
    return results


def test_detections_of_a_batch(zoo):
    fast, _ = assert_engines_agree(zoo, INPUTS)
    assert [len(r["instances"]) for r in fast] == [6, 6]
    for result in fast:
        assert all(bool(result["instances"].heatmaps.to_image(name, False).any()) for name in ATTRIBUTES)


@pytest.mark.parametrize("pooler_type", ["ROIAlignV2", "ROIAlign"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_every_level_and_border_by_every_pooler(zoo, pooler_type, sampling_ratio, monkeypatch):
    pooler = ROIPooler(7, (1 / 4, 1 / 8, 1 / 16, 1 / 32), sampling_ratio, pooler_type)
    monkeypatch.setitem(zoo.roi_heads._modules, "box_pooler", pooler)
    attributes = ("score", "logit", "left", "top", "x2", "y2")
    fast, _ = assert_engines_agree(zoo, INPUTS[:1], [GIVEN], attributes)
    heatmaps = fast[0]["instances"].heatmaps
    assert set(heatmaps.strides[:, 0].tolist()) == {4.0, 8.0, 16.0, 32.0}
    tops, lefts, heights, widths = heatmaps.windows.T
    assert 0 in tops.tolist() and 0 in lefts.tolist()
    assert bool((tops + heights == heatmaps.grids[:, 0]).any()) and bool((lefts + widths == heatmaps.grids[:, 1]).any())


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_gradients(zoo, smoothing):
    some = given((512, 640), GIVEN.pred_boxes.tensor[[0, 1, 4, 7, 10]].tolist(), [0, 1, 2, 3, 4])
    assert_engines_agree(zoo, INPUTS[:1], [some], ("score", "right"), smoothing)


def test_one_detection_and_none(zoo):
    one, none = given((512, 640), [[100, 100, 360, 330]], [3]), given((288, 256), [], [])
    fast, plain = assert_engines_agree(zoo, INPUTS, [one, none], ("score", "left"))
    assert [len(r["instances"].heatmaps) for r in fast] == [1, 0] == [len(r["instances"].heatmaps) for r in plain]
    empty = given((512, 640), [], [])
    for results in assert_engines_agree(zoo, INPUTS, [empty, none], ("score", "left")):
        assert [len(r["instances"].heatmaps) for r in results] == [0, 0]
        assert results[0]["instances"].heatmaps.attributes == ("score", "left")


@pytest.mark.parametrize("chunk", [1, 75_000])
def test_chunks_do_not_matter(zoo, chunk, monkeypatch):
    whole = build_explainer(zoo)(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    monkeypatch.setattr("odam_d2.explain.engines.roi.CHUNK_FLOATS", chunk)
    parts = build_explainer(zoo)(INPUTS[:1], [GIVEN])[0]["instances"].heatmaps
    assert torch.allclose(parts.values, whole.values, atol=float(whole.values.max()) * 1e-5)


def test_bundled_detector():
    model = model_zoo.get("synthetic/faster_rcnn_compact_FPN", device="cpu")
    model.proposal_generator.post_nms_topk = {True: 100, False: 100}
    image = SyntheticScenes("scene", "val")[0][0]
    inputs = [{"image": torch.as_tensor(image.transpose(2, 0, 1).astype("float32")), "height": 480, "width": 640}]
    fast, _ = assert_engines_agree(model, inputs)
    assert len(fast[0]["instances"]) >= 3


@pytest.mark.parametrize(
    "name", ["COCO-Detection/faster_rcnn_R_50_DC5_3x.yaml", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"]
)
def test_other_standard_roi_heads(name):
    some = given((512, 640), GIVEN.pred_boxes.tensor[[0, 1, 4]].tolist(), [0, 1, 2])
    model = random_detector(zoo_config(name, *NARROW, "TEST.DETECTIONS_PER_IMAGE", 3))
    fast, _ = assert_engines_agree(model, INPUTS[:1], [some], ("score", "left"))
    assert all(bool(m.any()) for m in fast[0]["instances"].heatmaps.to_image("left", False))
    found = build_explainer(model)(INPUTS[:1])[0]["instances"]
    assert len(found) == len(found.heatmaps) == 3 and found.has("pred_masks") == ("mask" in name)


def test_class_agnostic_boxes_and_sigmoid_scores():
    cfg = zoo_config(
        ZOO, *NARROW, "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True, "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True,
        "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64,
    )  # fmt: skip
    some = given((512, 640), GIVEN.pred_boxes.tensor[:4].tolist(), [0, 1, 2, 3])
    assert_engines_agree(random_detector(cfg), INPUTS[:1], [some], ("score", "left", "bottom"))


def test_plain_engine_against_a_hand_written_gradient(zoo):
    """The oracle's own oracle: detector called layer by layer, gradient of one box by plain autograd."""
    box = given((512, 640), [[100, 100, 360, 330]], [5])
    heatmaps = build_explainer(zoo, attributes=("logit", "left"), engine="autograd")(INPUTS[:1], [box])
    heatmaps = heatmaps[0]["instances"].heatmaps
    with torch.no_grad():
        features = zoo.backbone(zoo.preprocess_image(INPUTS[:1]).tensor)["p3"]
    leaf = features.clone().requires_grad_()
    roi = torch.tensor([[0.0, 50, 50, 180, 165]])  # sqrt(130 * 115) = 122 px: level 3
    heads = zoo.roi_heads
    logits, deltas = heads.box_predictor(heads.box_head(roi_align(leaf, roi, 7, 1 / 8, 0, True)))
    dx, _, dw, _ = (deltas[0, 5 * 4 : 5 * 4 + 4] / torch.tensor([10.0, 10, 5, 5])).unbind()
    left = -(115 + dx * 130 - 0.5 * dw.exp() * 130)
    for name, target in (("logit", logits[0, 5]), ("left", left)):
        (gradient,) = torch.autograd.grad(target, leaf, retain_graph=True)
        expected = (gradient * features).sum(1).clamp(min=0)
        assert relative_error(heatmaps.window(0, name)[None], expected) < 1e-5


def test_score_map_of_a_foreign_class_differs(zoo):
    boxes = [[100, 100, 360, 330]] * 2
    maps = build_explainer(zoo)(INPUTS[:1], [given((512, 640), boxes, [5, 6])])[0]["instances"].heatmaps
    assert float(maps.similarity()[0, 1]) < 0.999


def test_a_layer_of_the_backbone(zoo):
    box = given((512, 640), [[100, 100, 360, 330]], [5])
    explainer = build_explainer(zoo, attributes=("score",), layer="backbone.bottom_up.res4")
    found = explainer(INPUTS[:1], [box])[0]["instances"].heatmaps
    assert found.grids.tolist() == [[16, 20]] and found.strides.tolist() == [[16.0, 16.0]]

    images = zoo.preprocess_image(INPUTS[:1]).tensor
    kept = []
    handle = zoo.backbone.bottom_up.res4.register_forward_hook(lambda m, i, o: kept.append(o) or o.retain_grad())
    features = zoo.backbone(images)
    handle.remove()
    roi = torch.tensor([[0.0, 50, 50, 180, 165]])
    heads = zoo.roi_heads
    logits, _ = heads.box_predictor(heads.box_head(roi_align(features["p3"], roi, 7, 1 / 8, 0, True)))
    (gradient,) = torch.autograd.grad(logits.softmax(-1)[0, 5], kept[0])
    expected = (gradient * kept[0].detach()).sum(1).clamp(min=0)
    assert relative_error(found.window(0, "score")[None], expected) < 1e-4


def test_the_layer_that_feeds_the_pooler_gives_the_default_maps(zoo):
    # Frozen batch norms of Detectron2 round otherwise when gradients pass through them, and the layer is run again.
    zoo = copy.deepcopy(zoo).requires_grad_(False)
    box = given((512, 640), [[100, 100, 360, 330]], [5])
    default = build_explainer(zoo, engine="autograd")(INPUTS[:1], [box])[0]["instances"].heatmaps
    named = build_explainer(zoo, layer="backbone.fpn_output3")(INPUTS[:1], [box])[0]["instances"].heatmaps
    assert torch.allclose(named.values, default.values, atol=float(default.values.max()) * 1e-5)


@pytest.mark.parametrize("layer", ["stem.conv1", "res3.0.conv1", "res4.0.conv2", "res4.0.shortcut", "res5.2.conv3"])
def test_any_convolution_can_be_named(zoo, layer):
    box = given((512, 640), [[30, 20, 600, 480]], [5])
    explainer = build_explainer(zoo, attributes=("logit",), layer=f"backbone.bottom_up.{layer}")
    assert bool(explainer(INPUTS[:1], [box])[0]["instances"].heatmaps.to_image("logit").any())


@pytest.mark.parametrize(
    "layer, message",
    [
        ("roi_heads.box_head.fc1", r"\(1, C, H, W\).*nothing"),
        ("roi_heads.box_pooler.level_poolers.0", "nothing"),
        ("backbone", "dict"),
        ("proposal_generator", "nothing"),
    ],
)
def test_a_layer_that_is_no_map_is_an_error(zoo, layer, message):
    with pytest.raises(ValueError, match=message):
        build_explainer(zoo, layer=layer)(INPUTS[:1], [GIVEN])


class Coupled(nn.Module):
    """A box head whose RoIs see each other."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        x = self.inner(x)
        return x + x.mean(0, keepdim=True)


def fallback(zoo, reason):
    explainer = build_explainer(zoo, attributes=("score", "left"))
    with pytest.warns(UserWarning, match=reason) as caught:
        found = [explainer(INPUTS[:1])[0]["instances"] for _ in range(2)]
    assert len([w for w in caught if "autograd" in str(w.message)]) == 1
    with pytest.raises(ValueError, match="engine='auto'"):
        build_explainer(zoo, engine="roi")(INPUTS[:1])
    return found[0]


def test_unknown_head_hands_over_with_one_warning(zoo, monkeypatch):
    assert Coupled not in INSTANCE_WISE_MODULES
    monkeypatch.setitem(zoo.roi_heads._modules, "box_head", Coupled(zoo.roi_heads.box_head))
    found = fallback(zoo, "each RoI on its own")
    # The right map needs all the proposals of detection: the one of a plain gradient through all of them.
    trace = zoo.trace(INPUTS[:1])
    level = trace.level_names[int(trace.level_index[0, 0])]
    leaves = {k: v.clone().requires_grad_() for k, v in trace.features.items()}
    heads = zoo.roi_heads
    pooled = heads.box_pooler([leaves[k] for k in trace.level_names], [Boxes(trace.head.stages[0].everyone[0])])
    logits, _ = heads.box_predictor(heads.box_head(pooled))
    target = logits.softmax(-1)[int(trace.rows[0]), int(trace.classes[0])]
    (gradient,) = torch.autograd.grad(target, leaves[level])
    expected = (gradient * trace.features[level]).sum(1).clamp(min=0)
    assert relative_error(found.heatmaps.window(0, "score")[None], expected) < 1e-4


def assert_first_map_is(zoo, found, level):
    """The first score map against a plain gradient on `level`."""
    trace = zoo.trace(INPUTS[:1])
    leaves = {k: v.clone().requires_grad_() for k, v in trace.features.items()}
    heads = zoo.roi_heads
    pooled = heads.box_pooler([leaves[k] for k in trace.level_names], [Boxes(trace.references)])
    logits, _ = heads.box_predictor(heads.box_head(pooled))
    target = logits.softmax(-1)[0, int(trace.classes[0])]
    (gradient,) = torch.autograd.grad(target, leaves[level])
    expected = (gradient * trace.features[level]).sum(1).clamp(min=0)
    assert bool(expected.any())
    assert relative_error(found.heatmaps.window(0, "score")[None], expected) < 1e-4


def test_roi_pool_hands_over_with_one_warning(zoo, monkeypatch):
    pooler = ROIPooler(7, (1 / 4, 1 / 8, 1 / 16, 1 / 32), 0, "ROIPool")
    monkeypatch.setitem(zoo.roi_heads._modules, "box_pooler", pooler)
    found = fallback(zoo, "RoIPool")
    trace = zoo.trace(INPUTS[:1])
    assert_first_map_is(zoo, found, trace.level_names[int(trace.level_index[0, 0])])


class Enlarging(ROIPooler):
    """A pooler of somebody else's: takes more around each box, and always from the second level."""

    def forward(self, x, box_lists):
        grown = []
        for boxes in box_lists:
            size = boxes.tensor[:, 2:] - boxes.tensor[:, :2]
            grown.append(Boxes(torch.cat([boxes.tensor[:, :2] - 0.2 * size, boxes.tensor[:, 2:] + 0.2 * size], 1)))
        return self.level_poolers[1](x[1], convert_boxes_to_pooler_format(grown))


def test_a_pooler_of_ones_own_hands_over_with_one_warning(zoo, monkeypatch):
    pooler = Enlarging(7, (1 / 4, 1 / 8, 1 / 16, 1 / 32), 0, "ROIAlignV2")
    monkeypatch.setitem(zoo.roi_heads._modules, "box_pooler", pooler)
    found = fallback(zoo, "Enlarging is not ROIPooler")
    assert set(found.heatmaps.strides[:, 0].tolist()) == {8.0}
    assert_first_map_is(zoo, found, "p3")
