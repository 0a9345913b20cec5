"""What is taken off a detector, and what is said of one that can't be explained."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.structures import Boxes, Instances
from torch import nn

from odam_d2 import model_zoo
from odam_d2.evaluation import object_scorer, sanity_checks
from odam_d2.explain import build_comparison, build_explainer, known_attributes
from odam_d2.explain.checks import require_ordinary_tensors, unwrap_detector, without_inference_tensors
from odam_d2.meta_arch import CallableDetector, OdamProposalNetwork
from tests.helpers import compact_detector, given, random_input
from tests.wants import require_package

INPUT = random_input(64, 96)
BOXES = [given((64, 96), [[10, 10, 60, 50]], [1])]
FAMILIES = ("faster_rcnn", "cascade_rcnn", "retinanet", "fcos")


def distributed(model):
    """As DistributedDataParallel holds it, without a group of processes."""
    wrapper = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = model
    return wrapper


def predictor(model):
    """As DefaultPredictor holds it, without a config."""
    holder = DefaultPredictor.__new__(DefaultPredictor)
    holder.model = model
    return holder


WRAPPERS = (nn.DataParallel, distributed, torch.compile, predictor, lambda model: nn.DataParallel(torch.compile(model)))


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrappers_that_change_nothing_are_taken_off(model, wrap):
    wrapped = wrap(model)
    assert unwrap_detector(wrapped) is model is unwrap_detector(model)
    for explainer in (build_explainer(wrapped), build_comparison(wrapped, ["odam"])):
        assert explainer.model is model
    assert build_explainer(wrapped, layer="backbone.bottom_up.res4").model is model
    assert known_attributes(wrapped) == known_attributes(model)
    assert OdamProposalNetwork.of(wrapped).backbone is model.backbone
    image, label = INPUT["image"][None], torch.tensor([1])
    score = object_scorer(wrapped)(image, label, BOXES[0].pred_boxes.tensor, torch.tensor([0]))
    assert torch.equal(score, object_scorer(model)(image, label, BOXES[0].pred_boxes.tensor, torch.tensor([0])))


def test_a_predictor_made_from_a_config():
    cfg = model_zoo.get_config("synthetic/faster_rcnn_compact_FPN")
    cfg.MODEL.DEVICE, cfg.INPUT.MIN_SIZE_TEST = "cpu", 64
    holder = DefaultPredictor(cfg)
    assert "score" in build_explainer(holder)([INPUT])[0]["instances"].heatmaps.names


def test_what_merges_several_passes_is_named(model):
    cfg = model_zoo.get_config("synthetic/faster_rcnn_compact_FPN", trained=False)
    wrapped = GeneralizedRCNNWithTTA(cfg, model, tta_mapper=lambda entry: [entry])
    message = "of which one forward pass is explained; got GeneralizedRCNNWithTTA, .* hand over its `.model`"
    for build in (build_explainer, lambda m: build_comparison(m, ["odam"]), object_scorer, known_attributes):
        with pytest.raises(TypeError, match=message):
            build(nn.DataParallel(wrapped))


def test_somebodys_holder_is_told_what_to_hand_over(model):
    with pytest.raises(TypeError, match="must be a detector; got SimpleNamespace, .* hand over its `.model`"):
        build_explainer(SimpleNamespace(model=model))
    with pytest.raises(TypeError, match="`model` must be a detector; got Conv2d"):
        build_explainer(nn.DataParallel(nn.Conv2d(3, 3, 1)))
    # This one holds a model, and keeps a trace itself.
    own = CallableDetector(model, layer="backbone.bottom_up.res4", stride=16, frame="original")
    assert unwrap_detector(own) is own


@pytest.mark.filterwarnings("ignore:maps are approximate")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_built_under_inference_mode_is_named_with_the_remedy(name):
    with torch.inference_mode():
        built = compact_detector(name)
    message = r"`model` must be built outside torch.inference_mode\(\), .* the first of them '[\w.]+': build it outside"
    for explainer in (build_explainer(built), build_comparison(built, ["odam", "drise"])):
        for caller in (torch.inference_mode, torch.no_grad):
            with pytest.raises(ValueError, match=message), caller():
                explainer([INPUT], BOXES)
    # The remedy.
    plain = compact_detector(name)
    plain.load_state_dict(built.state_dict())
    require_ordinary_tensors(plain)
    assert bool(build_explainer(plain)([INPUT], BOXES)[0]["instances"].heatmaps.values.any())


@pytest.mark.parametrize("name", FAMILIES)
def test_methods_without_gradients_explain_a_model_built_under_inference_mode(name):
    with torch.inference_mode():
        built = compact_detector(name)
    plain = compact_detector(name)
    options = {"drise": {"num_masks": 3, "progress": False}, "random": {}}
    (found,), (expected,) = (build_comparison(one, options)([INPUT], BOXES) for one in (built, plain))
    for method in options:
        assert torch.equal(found["heatmaps"][method].values, expected["heatmaps"][method].values)
    with pytest.raises(ValueError, match="`model` must be built outside"):
        sanity_checks(build_comparison(built, options), [(INPUT, BOXES[0])], num_classes=3)


def test_odam_nms_names_a_model_built_under_inference_mode():
    with torch.inference_mode():
        built = compact_detector("faster_rcnn", "ODAM.NMS.ENABLED", True)
        with pytest.raises(ValueError, match="`model` must be built outside"):
            built([INPUT])


class Direct(nn.Module):
    """A detector that convolves the very tensor that it is handed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.layer = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, batched_inputs):
        mean = torch.cat([self.layer(self.first(x["image"][None])).mean((2, 3)) for x in batched_inputs])
        box = torch.tensor([1.0, 1, 41, 41])
        return [{"boxes": box[None] + m.mean(), "scores": m[:1].sigmoid(), "classes": m[:1].long() * 0} for m in mean]


@pytest.mark.filterwarnings("ignore:maps are approximate")
@pytest.mark.parametrize("name", [*FAMILIES, "rtdetr", "direct"])
def test_images_and_boxes_made_under_inference_mode_are_explained(name):
    if name == "rtdetr":
        require_package("transformers")
    if name == "direct":
        detector = CallableDetector(Direct(), layer="layer", stride=1, frame="input", min_iou=0.1).eval()
        boxes = given((64, 96), [[1, 1, 56, 56]], [0])
    else:
        detector, boxes = compact_detector(name), given((64, 96), [[10, 10, 60, 50]], [1])
    explainer = build_explainer(detector)
    with torch.inference_mode():
        image, box, label = INPUT["image"].clone(), boxes.pred_boxes.tensor.clone(), boxes.pred_classes.clone()
        handed = Instances(boxes.image_size, pred_boxes=Boxes(box), pred_classes=label)
    assert image.is_inference() and label.is_inference()
    (found,), (expected,) = explainer([{**INPUT, "image": image}], [handed]), explainer([INPUT], [boxes])
    assert torch.equal(found["instances"].heatmaps.values, expected["instances"].heatmaps.values)
    assert bool(expected["instances"].heatmaps.values.any())
    explainer([{**INPUT, "image": image}])
    assert handed.pred_classes is label


def test_what_holds_no_such_tensor_is_handed_on_as_it_is():
    entry, boxes = {"image": torch.zeros(3, 4, 4), "height": 4, "name": "x"}, BOXES[0]
    asked = ([entry], [boxes])
    assert without_inference_tensors(asked) is asked and without_inference_tensors(([entry], None))[1] is None
    with torch.inference_mode():
        made = {"image": torch.ones(2), "deep": (torch.ones(1), [Boxes(torch.ones(1, 4))])}
    plain = without_inference_tensors([made, entry])
    assert plain[1] is entry and torch.equal(plain[0]["image"], made["image"])
    left = [plain[0]["image"], plain[0]["deep"][0], plain[0]["deep"][1][0].tensor]
    assert not any(tensor.is_inference() for tensor in left)
