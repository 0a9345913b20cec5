"""Maps sit where the evidence is: a bright spot in the image, a detector that looks for brightness alone."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from torch.nn.functional import avg_pool2d, interpolate

from odam_d2 import model_zoo
from odam_d2.explain import build_explainer
from tests.helpers import given


class Brightness(Backbone):
    """One channel: the mean brightness of each cell."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    @property
    def size_divisibility(self):
        return 64  # far more padding than the image needs

    def output_shape(self):
        return {"p2": ShapeSpec(channels=1, stride=self.stride)}

    def forward(self, x):
        return {"p2": avg_pool2d(x.mean(1, keepdim=True), self.stride)}


BINS = 14


def whole_cells(stride, scale, height, width):
    """A box from the image's corner over BINS x `samples` cells each way, and `samples`: RoIAlign then takes one
    sample at the centre of every cell, so that all cells count alike."""
    samples = -(-max(height, width) * scale // (stride * BINS))
    side = BINS * samples * stride / scale
    return [0, 0, side, side], int(samples)


def brightness_detector(stride, samples):
    """A Faster R-CNN whose score and sides rise with the brightness anywhere in the RoI."""
    model = model_zoo.get("synthetic/faster_rcnn_compact_FPN", trained=False, device="cpu")
    model.backbone = Brightness(stride)
    model.pixel_mean.zero_()
    model.pixel_std.fill_(255.0)
    heads = model.roi_heads
    heads.box_in_features = ["p2"]
    heads.box_pooler = ROIPooler(BINS, (1 / stride,), samples, "ROIAlignV2")
    heads.box_head = FastRCNNConvFCHead(ShapeSpec(channels=1, height=BINS, width=BINS), conv_dims=[], fc_dims=[4])
    predictor = type(heads.box_predictor)(
        ShapeSpec(channels=4), box2box_transform=heads.box_predictor.box2box_transform, num_classes=3
    )
    heads.box_predictor = predictor
    with torch.no_grad():
        for parameter in heads.box_head.parameters():
            parameter.fill_(0.05)
        predictor.cls_score.weight[0] = 1.0
        predictor.bbox_pred.weight[2] = predictor.bbox_pred.weight[3] = 0.01  # wider and taller where it is bright
    return model


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1.6])
@pytest.mark.parametrize("spot", [(100.0, 90.0), (200.0, 310.0), (118.0, 77.0)])
def test_the_maximum_is_on_the_spot(stride, scale, spot):
    height, width = 232, 348  # no multiple of any stride
    y, x = spot
    grid_y, grid_x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    original = 255 * torch.exp(-((grid_y - y) ** 2 + (grid_x - x) ** 2) / (2 * 8.0**2))
    resized = (round(height * scale), round(width * scale))
    image = interpolate(original[None, None], resized, mode="bilinear")[0].expand(3, -1, -1)

    box, samples = whole_cells(stride, scale, height, width)
    explainer = build_explainer(brightness_detector(stride, samples), attributes=("score", "right", "bottom"))
    inputs = [{"image": image, "height": height, "width": width}]
    found = explainer(inputs, [given((height, width), [box], [0])])[0]["instances"]

    for name in ("score", "right", "bottom"):
        at = int(found.heatmaps.to_image(name)[0].argmax())
        # half a stride, in pixels of the original image
        assert abs(at // width + 0.5 - y) <= stride / scale / 2, name
        assert abs(at % width + 0.5 - x) <= stride / scale / 2, name


def test_a_cell_of_the_grid_is_drawn_around_its_centre():
    stride, height, width = 16, 96, 160
    image = torch.zeros(3, height, width)
    image[:, 32:48, 64:80] = 255  # exactly cell (2, 4): centred at (40, 72)
    box, samples = whole_cells(stride, 1.0, height, width)
    explainer = build_explainer(brightness_detector(stride, samples), attributes=("score",))
    inputs = [{"image": image, "height": height, "width": width}]
    drawn = explainer(inputs, [given((height, width), [box], [0])])[0]["instances"]
    drawn = drawn.heatmaps.to_image("score")[0].double()
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centre = ((drawn * y).sum() / drawn.sum(), (drawn * x).sum() / drawn.sum())
    assert abs(centre[0] - 40) < 0.01 and abs(centre[1] - 72) < 0.01
