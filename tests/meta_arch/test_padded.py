"""Detections and maps of every way to resize and pad lie where they should in the original image.

The detector finds the bright rectangle of an image, so that its answer depends on the frame; beside it stands the plain
slow way: the padded image is given to it, boxes and maps are brought back number by number.
"""

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.data import transforms as T  # noqa: N812
from detectron2.layers import ShapeSpec
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from odam_d2 import OdamPredictor
from odam_d2.data.augmentations import Padding
from odam_d2.meta_arch.padded import with_padding
from tests.helpers import compact_detector, given, random_input
from tests.loading.lazily import write_small, write_weights

STRIDE = 4


class Backbone(nn.Module):
    """The mean of 4 x 4 pixels, on which everything rests."""

    def forward(self, images):
        return {"cells": nn.functional.avg_pool2d(images, STRIDE)}

    def output_shape(self):
        return {"cells": ShapeSpec(channels=3, stride=STRIDE)}


class Brightest(nn.Module):
    """Finds the one bright rectangle on dark ground, and where the padding begins, as a second object of class 1."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batched_inputs):
        images = ImageList.from_tensors([entry["image"] for entry in batched_inputs], STRIDE)
        cells = self.backbone(images.tensor)["cells"] * self.scale
        results = []
        for cell, size, entry in zip(cells, images.image_sizes, batched_inputs, strict=True):
            light = cell.mean(0)
            bright = (light > 150).float()
            rows, columns = bright.amax(1).nonzero()[:, 0], bright.amax(0).nonzero()[:, 0]
            box = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float() * STRIDE
            found = Instances(tuple(size))
            found.pred_boxes = Boxes(torch.stack([box, torch.tensor([0.0, 0.0, size[1], size[0]])]))
            mean = (light * bright).sum() / bright.sum() / 255
            found.scores, found.pred_classes = torch.stack([mean, mean / 2]), torch.tensor([0, 1])
            results.append({"instances": detector_postprocess(found, entry["height"], entry["width"])})
        return results


def scene(height=120, width=200):
    """A grey image with a bright rectangle from (48, 24) to (96, 72)."""
    image = np.full((height, width, 3), 40, dtype=np.uint8)
    image[24:72, 48:96] = (250, 240, 230)
    return image


WAYS = {
    "as it is": ([], None),
    "shortest edge": ([T.ResizeShortestEdge(60, 100)], None),
    "fixed size": ([T.Resize((160, 160))], None),
    "larger": ([T.Resize((240, 400))], None),
    "padded": ([T.ResizeShortestEdge(60, 100), T.FixedSizeCrop((128, 160), pad_value=90)], (128, 160)),
    "stretched and padded": ([T.Resize((120, 100)), T.FixedSizeCrop((124, 140), pad_value=90)], (124, 140)),
    "filled": ([T.Resize((120, 160)), T.FixedSizeCrop((120, 160))], (120, 160)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("input_format", ["BGR", "RGB"])
def test_boxes_and_maps_lie_in_the_original(way, input_format):
    augmentations, padded = WAYS[way]
    predictor = OdamPredictor.of(
        Brightest().eval(), input_format=input_format, augmentations=augmentations, attributes=("score",)
    )
    image = scene()
    found = predictor(image)["instances"]
    # The plain way: everything in the frame of the model input, then number by number to the original's.
    seen = T.AugInput(image if input_format == "BGR" else np.ascontiguousarray(image[:, :, ::-1]))
    T.AugmentationList(augmentations)(seen)
    whole = torch.as_tensor(seen.image.astype("float32").transpose(2, 0, 1))
    assert padded is None or whole.shape[1:] == padded
    content = T.AugInput(image)
    T.AugmentationList([step for step in augmentations if not isinstance(step, T.FixedSizeCrop)])(content)
    (in_h, in_w), (h, w) = content.image.shape[:2], image.shape[:2]
    detector = Brightest().eval()
    (plain,) = detector([{"image": whole, "height": whole.shape[1], "width": whole.shape[2]}])
    boxes = plain["instances"].pred_boxes.tensor.detach().clone()
    boxes[:, 0::2] *= w / in_w
    boxes[:, 1::2] *= h / in_h
    boxes[:, 0::2].clamp_(0, w)
    boxes[:, 1::2].clamp_(0, h)
    torch.testing.assert_close(found.pred_boxes.tensor, boxes, rtol=1e-6, atol=1e-4)
    assert found.image_size == (h, w) and torch.equal(found.scores, plain["instances"].scores.detach())
    # The rectangle's own corners, to a cell of the model input.
    truth, cell = torch.tensor([48.0, 24.0, 96.0, 72.0]), torch.tensor([STRIDE * w / in_w, STRIDE * h / in_h] * 2)
    assert bool(((found.pred_boxes.tensor[0] - truth).abs() <= cell).all())
    assert found.pred_boxes.tensor[1].tolist() == pytest.approx([0, 0, w, h], abs=1e-4)

    # h = ReLU(sum_c G_c A_c), read at the place of each pixel of the original by a loop.
    pad = [-whole.shape[2] % STRIDE, -whole.shape[1] % STRIDE]
    levels = detector.backbone(nn.functional.pad(whole[None], (0, pad[0], 0, pad[1])))["cells"].detach()
    levels.requires_grad_()
    light = levels[0].mean(0)
    bright = (light > 150).float()
    ((light * bright).sum() / bright.sum() / 255).backward()
    raw = (levels.grad * levels)[0].sum(0).clamp(min=0).detach().numpy()
    expected = np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            row, column = ((y + 0.5) * in_h / h / STRIDE - 0.5, (x + 0.5) * in_w / w / STRIDE - 0.5)
            row, column = min(max(row, 0), raw.shape[0] - 1), min(max(column, 0), raw.shape[1] - 1)
            i, j = min(int(row), raw.shape[0] - 2), min(int(column), raw.shape[1] - 2)
            a, b = row - i, column - j
            expected[y, x] = (1 - a) * ((1 - b) * raw[i, j] + b * raw[i, j + 1]) + a * (
                (1 - b) * raw[i + 1, j] + b * raw[i + 1, j + 1]
            )
    heat = found.heatmaps.to_image("score", normalize=False)[0].numpy()
    inside = np.zeros((h, w), dtype=bool)
    inside[24:72, 48:96] = True
    margin = int(max(cell)) + 1
    near = np.zeros_like(inside)
    near[24 - margin : 72 + margin, 48 - margin : 96 + margin] = True
    assert heat[~near].max() == 0 and heat[inside].sum() > 0.7 * heat.sum() > 0
    np.testing.assert_allclose(heat, expected, rtol=1e-4, atol=1e-6 * expected.max())

    # A box that the caller gives comes back as it was, explained through the detection on it.
    mine = predictor(image, [[50, 25, 95, 70]], [0])["instances"]
    assert mine.pred_boxes.tensor.tolist() == [[50, 25, 95, 70]]
    np.testing.assert_allclose(mine.heatmaps.to_image("score", normalize=False)[0].numpy(), heat, rtol=1e-5)


@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn", "retinanet", "fcos"])
def test_our_detectors_with_padding_say_what_they_say_of_padded_images(name):
    """One forward pass on the padded image, by hand; candidates lie in the frame of the model input."""
    model, padding = compact_detector(name), Padding(160, 224, 100.0)
    entry = random_input(96, 160, 48, 120)
    by_hand = nn.functional.pad(entry["image"], (0, 64, 0, 64), value=100.0)
    with torch.no_grad():
        (plain,) = model([{"image": by_hand, "height": 160, "width": 224}])
        (found,) = with_padding(model, padding)([entry])
        ((boxes, scores),) = with_padding(model, padding).candidates([{"image": entry["image"]}])
        ((boxes_by_hand, scores_by_hand),) = model.candidates([{"image": by_hand}])
    plain, found = plain["instances"], found["instances"]
    expected = Boxes(plain.pred_boxes.tensor * torch.tensor([120 / 160, 48 / 96] * 2))
    expected.clip((48, 120))
    assert len(plain) and torch.equal(found.pred_boxes.tensor, expected.tensor)
    assert torch.equal(found.scores, plain.scores) and torch.equal(boxes, boxes_by_hand)
    assert torch.equal(scores, scores_by_hand)
    if name == "mask_rcnn":
        cut = plain.pred_masks[:, :96, :160].float()[:, None]
        again = nn.functional.interpolate(cut, (48, 120), mode="bilinear")[:, 0] >= 0.5
        assert torch.equal(found.pred_masks, again) and found.pred_masks.shape[1:] == (48, 120)
    trace = with_padding(model, padding).trace([entry])
    assert trace.image_sizes == [(96, 160)] and trace.output_sizes == [(48, 120)]
    assert torch.equal(trace.instances[0].pred_boxes.tensor, found.pred_boxes.tensor)
    wanted = given((48, 120), [[10, 5, 60, 40]], [1])
    assert with_padding(model, padding).trace([entry], [wanted]).instances[0].pred_boxes.tensor.tolist() == [
        [10, 5, 60, 40]
    ]


def test_images_larger_than_the_padding_are_refused_and_no_padding_is_no_view():
    model = compact_detector("retinanet")
    assert with_padding(model, None) is model
    with pytest.raises(ValueError, match="`image` must fit into the 64 x 32 pixels .*; got 96 x 64"):
        with_padding(model, Padding(32, 64, 0.0))([random_input(64, 96)])


def test_a_lazy_config_that_pads(tmp_path):
    """FixedSizeCrop in the test mapper: the same as by hand."""
    path = write_small(
        tmp_path,
        more="dataloader.test.mapper.augmentations.append(L(T.FixedSizeCrop)(crop_size=(160, 160), pad_value=50.0))\n",
    )
    weights = write_weights(path)
    cfg = LazyConfig.load(str(path))
    cfg.train.init_checkpoint, cfg.train.device = str(weights), "cpu"
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    found = OdamPredictor(cfg, attributes=("score",))(image)["instances"]
    stock = instantiate(cfg.model).eval()
    stock.load_state_dict(torch.load(weights, weights_only=True))
    seen = T.AugInput(np.ascontiguousarray(image[:, :, ::-1]))
    instantiate(cfg.dataloader.test.mapper).augmentations(seen)
    whole = torch.as_tensor(seen.image.astype("float32").transpose(2, 0, 1))
    with torch.no_grad():
        (plain,) = stock([{"image": whole, "height": 160, "width": 160}])
    plain = plain["instances"]
    boxes = Boxes(plain.pred_boxes.tensor * torch.tensor([90 / 144, 60 / 96] * 2))
    boxes.clip((60, 90))
    assert len(plain) > 1 and torch.equal(found.scores, plain.scores)
    torch.testing.assert_close(found.pred_boxes.tensor, boxes.tensor, rtol=1e-6, atol=1e-4)
    assert found.heatmaps.to_image("score").shape == (len(plain), 60, 90)
