"""Masks of RoI heads of one's own: the branch is found behind boxes that were found again."""

from dataclasses import replace

import pytest
import torch
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads

from odam_d2.explain import build_explainer, known_attributes
from odam_d2.meta_arch.matched import MatchedRCNN
from tests.families import FAMILIES
from tests.helpers import given, random_input, relative_error

INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]
GIVEN = [given((256, 320), [[20, 30, 180, 200], [0, 0, 320, 256]], [1, 3]), given((96, 128), [[40, 20, 90, 80]], [2])]
BY_NAME = {family.name: family for family in FAMILIES}


class OwnRes5(Res5ROIHeads):
    """In a method that ours replaces."""

    def forward(self, images, features, proposals, targets=None):
        return super().forward(images, features, proposals, targets)


class OwnCascade(CascadeROIHeads):
    """In a method that ours replaces."""

    def _forward_box(self, features, proposals, targets=None):
        return super()._forward_box(features, proposals, targets)


class OwnTransform(OwnRes5):
    """Pools in a way of its own, so that its masks can't be followed."""

    def _shared_roi_transform(self, features, boxes):
        return super()._shared_roi_transform(features, boxes)


@pytest.mark.filterwarnings("error:explaining by plain autograd")
@pytest.mark.parametrize("name, kind", [("mask_rcnn_c4", OwnRes5), ("cascade_mask", OwnCascade)])
def test_all_attributes_are_those_of_our_heads(name, kind):
    family = BY_NAME[name]
    ours, model = replace(family, options=(*family.options, "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4)).pair()
    model.roi_heads.__class__ = kind
    attributes = known_attributes(model)
    assert "mask" in attributes and attributes == known_attributes(ours)
    explainers = [build_explainer(one, attributes=attributes) for one in (model, ours)]
    assert isinstance(explainers[0].model.form(), MatchedRCNN)
    for boxes in (None, GIVEN):
        for one, other in zip(*(explain(INPUTS, boxes) for explain in explainers), strict=True):
            one, other = one["instances"], other["instances"]
            assert torch.allclose(one.scores, other.scores, rtol=1e-5)
            for attribute in other.heatmaps.attributes:
                maps = (each.heatmaps.to_image(attribute, normalize=False) for each in (one, other))
                assert relative_error(*maps) < 1e-5, attribute


def test_a_branch_that_pools_in_its_own_way_is_refused_with_the_reason():
    model = BY_NAME["mask_rcnn_c4"].pair()[1]
    model.roi_heads.__class__ = OwnTransform
    with pytest.raises(ValueError, match="got .'mask'., and OwnTransform overrides `_shared_roi_transform`: choose"):
        build_explainer(model, attributes=("mask",))
