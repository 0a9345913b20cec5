"""One small detector that gives its results in many forms, and takes its images in many ways."""

import torch
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn
from torch.nn import functional as F

from tests.stand_ins.backbones import Pyramid, normalised


class Cells(nn.Module):
    """Every cell of the coarsest map is a box around it; the best three are detections."""

    resized = None

    def __init__(self):
        super().__init__()
        self.backbone = Pyramid(("p2", "p3"))
        self.head = nn.Conv2d(16, 3, 1)
        nn.init.normal_(self.head.weight)

    def preprocess_image(self, batched_inputs):
        images = [normalised(x["image"]) for x in batched_inputs]
        if self.resized is not None:
            images = [F.interpolate(one[None], scale_factor=self.resized, mode="bilinear")[0] for one in images]
        return ImageList.from_tensors(images, 8)

    def found(self, batched_inputs, images=None):
        images = images or self.preprocess_image(batched_inputs)
        said = self.head(self.backbone(images.tensor)["p3"])
        results = []
        for one, (height, width), x in zip(said, images.image_sizes, batched_inputs, strict=True):
            scores, best = one[0].sigmoid().flatten().topk(3)
            y, x_ = best // one.shape[2], best % one.shape[2]
            centre = torch.stack([x_, y], 1) * 8 + 4
            sides = one[1:].flatten(1).T[best].exp() * 12
            out = (x.get("height", height), x.get("width", width))
            found = Instances(out, scores=scores, pred_classes=torch.zeros_like(best))
            found.pred_boxes = Boxes(torch.cat([centre - sides, centre + sides], 1))
            found.pred_boxes.scale(out[1] / width, out[0] / height)
            results.append(found)
        return results

    def forward(self, batched_inputs):
        return [{"instances": one} for one in self.found(batched_inputs)]


class ListOfInstances(Cells):
    def forward(self, batched_inputs):
        return self.found(batched_inputs)


class OneDict(Cells):
    def forward(self, batched_inputs):
        features = list(range(len(batched_inputs)))
        return {"features": features, "version": "b", "detections": self.found(batched_inputs)}


class Tuple(Cells):
    def forward(self, batched_inputs):
        return [{"instances": one, "embedding": 7} for one in self.found(batched_inputs)], {"loss": 0.0}


class OwnKey(Cells):
    def forward(self, batched_inputs):
        return [{"boxes2d": one} for one in self.found(batched_inputs)]


class PlainBoxes(Cells):
    """Without Detectron2's class for boxes."""

    def forward(self, batched_inputs):
        found = self.found(batched_inputs)
        for one in found:
            boxes = one.pred_boxes.tensor
            one.remove("pred_boxes")
            one.pred_boxes = boxes
        return found


class Half(Cells):
    """Halves its images inside, where Detectron2's detectors normalise them."""

    resized = 0.5


class Pair(Half):
    """As Sparse R-CNN's: the images and their sizes."""

    def preprocess_image(self, batched_inputs):
        images = super().preprocess_image(batched_inputs)
        return images, torch.tensor(images.image_sizes)

    def forward(self, batched_inputs):
        return self.found(batched_inputs, self.preprocess_image(batched_inputs)[0])


class Silent(Half):
    """Halves them where nobody sees it."""

    def forward(self, batched_inputs):
        return self.found(batched_inputs, Half.preprocess_image(self, batched_inputs))

    preprocess_image = None


class Names(Cells):
    """No boxes at all."""

    def forward(self, batched_inputs):
        return {"names": ["dog"] * len(self.found(batched_inputs))}


class TeacherStudent(nn.Module):
    """As unbiased teachers keep their two detectors."""

    def __init__(self):
        super().__init__()
        self.modelTeacher, self.modelStudent = Cells(), Cells()


class LayoutModel:
    """As LayoutParser's: a wrapper that is no module."""

    def __init__(self):
        self.model = Cells()


def build(kind):
    torch.manual_seed(0)
    return kind().eval()
