"""What every detector family promises: the stock detections, and every attribute of each, fast and exact."""

import pytest
import torch
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances

from odam_d2.explain import build_explainer, known_attributes
from tests.families import FAMILIES, QUERY_FAMILIES
from tests.helpers import ROUNDING, given, random_input, relative_error
from tests.wants import require_package

# Of different sizes, so that the second is padded below and to the right; the first was twice as large.
INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]
GIVEN = [given((256, 320), [[20, 30, 180, 200], [10, 10, 310, 250]], [1, 3]), given((96, 128), [[40, 20, 90, 80]], [2])]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def case(request):
    """A family, its detector, and Detectron2's with the same weights."""
    return request.param, *request.param.pair()


@pytest.fixture(scope="module", params=[*FAMILIES, *QUERY_FAMILIES], ids=lambda family: family.name)
def one(request):
    """A family and its detector."""
    if request.param in QUERY_FAMILIES:
        require_package("transformers")
    return request.param, request.param.detector()


def assert_same(found, wanted):
    """Every field that the stock result has, bit for bit."""
    assert found.image_size == wanted.image_size
    for name, value in wanted.get_fields().items():
        mine = found.get(name)
        assert torch.equal(getattr(mine, "tensor", mine), getattr(value, "tensor", value)), name


def assert_good_maps(family, model, boxes=None):
    """Maps of every attribute are finite, not negative and, as the fast engine gives them, autograd's."""
    attributes = known_attributes(model)
    fast, plain = (
        build_explainer(model, attributes=attributes, engine=engine, group_norm=family.group_norm)(INPUTS, boxes)
        for engine in ("auto", "autograd")
    )
    for one, other, entry in zip(fast, plain, INPUTS, strict=True):
        one, other = one["instances"], other["instances"]
        assert torch.equal(one.scores, other.scores) and len(one) == len(one.heatmaps) == len(other.heatmaps)
        assert one.heatmaps.names == tuple(attributes)
        for name in one.heatmaps.attributes:
            found, expected = (result.heatmaps.to_image(name, normalize=False) for result in (one, other))
            assert found.shape == (len(one), entry["height"], entry["width"])
            assert bool(torch.isfinite(found).all()) and bool((found >= 0).all())
            assert relative_error(found, expected) < 1e-4, name
        combined = one.heatmaps.to_image("combined")
        assert bool((combined >= 0).all()) and bool((combined <= 1).all())
    return [result["instances"] for result in fast]


def test_detections_are_the_stock_models_bit_for_bit(case):
    family, ours, stock = case
    with torch.no_grad():
        expected, plain = stock(INPUTS), ours(INPUTS)
    traced = ours.trace(INPUTS).instances
    for number, result in enumerate(expected):
        mine, theirs = plain[number][family.key], result[family.key]
        assert_same(mine, theirs)
        assert set(mine.get_fields()) == set(theirs.get_fields())
        assert_same(traced[number], theirs)
    # Two each, but for boxes of no size, which untrained points give and post-processing drops.
    assert 2 <= sum(len(result[family.key]) for result in expected) <= 4
    assert list(ours.state_dict()) == list(stock.state_dict())


@pytest.mark.filterwarnings("error:explaining by plain autograd", "error:maps are approximate")
def test_every_attribute_of_every_detection(one):
    found = assert_good_maps(*one)
    for name in ("score", "left"):
        assert any(bool(instances.heatmaps.to_image(name, normalize=False).any()) for instances in found), name


def test_every_attribute_of_given_boxes(one):
    found = assert_good_maps(*one, GIVEN)
    for instances, boxes in zip(found, GIVEN, strict=True):
        assert torch.equal(instances.pred_boxes.tensor, boxes.pred_boxes.tensor)
        # Proposals are of no class.
        wanted = boxes.pred_classes * (one[0].name != "rpn")
        assert torch.equal(instances.pred_classes, wanted)
        assert bool((instances.scores > 0).all()) and bool((instances.scores < 1).all())


@pytest.mark.filterwarnings("ignore:maps are approximate")
def test_given_boxes_may_be_lists_of_pixels_but_no_fractions(one):
    _, ours = one
    explainer = build_explainer(ours, attributes=("score",))
    plain = [
        Instances(boxes.image_size, gt_boxes=boxes.pred_boxes.tensor.tolist(), gt_classes=boxes.pred_classes.numpy())
        for boxes in GIVEN
    ]
    for found, expected in zip(explainer(INPUTS, plain), explainer(INPUTS, GIVEN), strict=True):
        found, expected = found["instances"], expected["instances"]
        assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(found.heatmaps.values, expected.heatmaps.values)
    fractions = given((96, 128), [[0.1, 0.2, 0.5, 0.9]], [0])
    with pytest.raises(ValueError, match="must be in pixels of the original image of 128 x 96; got only fractions"):
        explainer(INPUTS, [GIVEN[0], fractions])


def test_an_attribute_of_other_families_is_an_error_that_lists_what_there_is(one):
    family, ours = one
    with pytest.raises(ValueError, match=rf"`attributes` must be among \['score'.*got \['{family.lacks}'\]"):
        build_explainer(ours, attributes=(family.lacks,))
    assert family.lacks not in known_attributes(ours)


@pytest.mark.parametrize("case", [f for f in FAMILIES if f.key == "instances"], indirect=True, ids=lambda f: f.name)
def test_stock_suppression_of_the_candidates_leaves_the_stock_detections(case):
    """Proposals, which no class is compared for, have a test of their own with their network."""
    _, ours, stock = case
    dense = hasattr(stock, "test_nms_thresh")
    if dense:
        threshold = stock.test_nms_thresh
    else:
        predictor = stock.roi_heads.box_predictor
        threshold = (predictor[-1] if isinstance(predictor, torch.nn.ModuleList) else predictor).test_nms_thresh
    with torch.no_grad():
        candidates, expected = ours.candidates(INPUTS), stock(INPUTS)
    for (boxes, scores), result, entry in zip(candidates, expected, INPUTS, strict=True):
        height, width = entry["image"].shape[1:]
        every = Boxes((boxes if boxes.dim() == 3 else boxes[:, None].expand(-1, 5, 4)).reshape(-1, 4))
        if not dense:  # which clip afterwards
            every.clip((height, width))
        classes = torch.arange(5).expand_as(scores).flatten()
        assert scores.shape == (len(boxes), 5)
        best = scores.flatten().topk(3).values
        # No place among the two best hangs on rounding.
        assert bool((best[:-1] - best[1:] > 2 * ROUNDING * best[:-1]).all())
        kept = batched_nms(every.tensor, scores.flatten(), classes, threshold)[:2]
        found = every[kept]
        found.scale(entry["width"] / width, entry["height"] / height)
        sides = ROUNDING * float(found.tensor.abs().max())
        found.clip((entry["height"], entry["width"]))
        left = found.nonempty()
        wanted = result["instances"]
        # Detection scores level by level and decodes the best alone; here all are taken together.
        assert torch.allclose(found.tensor[left], wanted.pred_boxes.tensor, rtol=0.0, atol=sides)
        assert torch.allclose(scores.flatten()[kept][left], wanted.scores, rtol=ROUNDING, atol=0.0)
        assert torch.equal(classes[kept][left], wanted.pred_classes)
