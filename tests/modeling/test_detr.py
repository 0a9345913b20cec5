"""What the architectures say of transformers' networks, against transformers itself."""

import pytest
import torch

from odam_d2.modeling.query_architecture import ARCHITECTURES, STAGES, find_architecture
from odam_d2.modeling.query_head import answering, recording
from tests.helpers import query_config
from tests.wants import needs_package

pytestmark = needs_package("transformers")


def network_of(architecture, *opts):
    from odam_d2.meta_arch import OdamDETR

    return OdamDETR.from_config(query_config(architecture, *opts))["network"].eval()


PIXELS = torch.linspace(-1, 1, 2 * 3 * 64 * 96).sin().view(2, 3, 64, 96)
MASK = torch.ones(2, 64, 96, dtype=torch.int64)
MASK[1, :, 70:] = 0


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_network_goes_on_from_the_maps_of_any_stage_as_if_it_had_computed_them(name):
    network, architecture = network_of(name), find_architecture(name)
    with torch.no_grad(), recording(network, architecture) as record:
        whole = network(pixel_values=PIXELS, pixel_mask=MASK)
    for stage in STAGES:
        maps = record.maps(stage, architecture)
        assert [m.shape[-2:] for m in maps] == ([(8, 12), (4, 6), (2, 3)] if "RTDetr" in name else [(2, 3)])
        with torch.no_grad(), answering(record.answers(network, architecture, stage, maps)):
            again = network(pixel_values=torch.full_like(PIXELS, float("nan")), pixel_mask=MASK)
        assert torch.equal(again.logits, whole.logits) and torch.equal(again.pred_boxes, whole.pred_boxes)
        # Other maps give other answers: they are used.
        with torch.no_grad(), answering(record.answers(network, architecture, stage, [m + 1 for m in maps])):
            other = network(pixel_values=PIXELS, pixel_mask=MASK)
        assert not torch.equal(other.logits, whole.logits)


def test_modules_run_by_themselves_again_after_answering_also_when_it_fails():
    network, architecture = network_of("DetrForObjectDetection"), find_architecture("DetrForObjectDetection")
    backbone = architecture.backbone(network)
    with pytest.raises(KeyError), answering([(backbone, "nonsense")]):
        assert backbone(1, 2) == "nonsense"
        raise KeyError
    assert "forward" not in vars(backbone)

    def own(pixels, mask):
        return "its own"

    backbone.forward = own
    with answering([(backbone, "nonsense")]):
        assert backbone(1, 2) == "nonsense"
    assert backbone(1, 2) == "its own"


def test_select_takes_the_likeliest_class_of_each_query_from_a_softmax():
    # Softmax over two classes and "no object": query 0 is class 1, query 1 "no object", query 2 class 0.
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.3], [0.05, 0.15, 0.8], [0.7, 0.2, 0.1]]))
    scores, queries, classes = find_architecture("DetrForObjectDetection").select(logits, 2)
    assert torch.allclose(scores, torch.tensor([0.7, 0.6]))
    assert queries.tolist() == [2, 0] and classes.tolist() == [0, 1]


def test_select_takes_the_best_pairs_of_query_and_class_from_sigmoids():
    logits = torch.logit(torch.tensor([[0.9, 0.8], [0.1, 0.2]]))
    scores, queries, classes = find_architecture("RTDetrForObjectDetection").select(logits, 3)
    assert torch.allclose(scores, torch.tensor([0.9, 0.8, 0.2]))
    assert queries.tolist() == [0, 0, 1] and classes.tolist() == [0, 1, 1]


def test_rt_detr_begins_with_norms_and_layers_that_let_a_signal_pass():
    network = network_of("RTDetrForObjectDetection", "RESNET.FREEZE_NORMS", False)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) > 20 and all(bool((norm.weight == 1).all()) for norm in norms)
    decoder = network.model.decoder
    assert float(decoder.layers[0].fc1.weight.detach().std()) > 0.05
    # What transformers sets on purpose stays: no offset of boxes, sampling points around a query.
    assert not bool(decoder.bbox_embed[0].layers[-1].weight.any())
    assert not bool(network.model.enc_bbox_head.layers[-1].weight.any())
    assert bool(decoder.layers[0].encoder_attn.sampling_offsets.bias.any())


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_backbone_norms_are_frozen_so_that_images_do_not_depend_on_each_other(name):
    backbone = find_architecture(name).backbone(network_of(name))
    assert not [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [m for m in backbone.modules() if "FrozenBatchNorm" in type(m).__name__]


def test_an_unknown_architecture_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"DetrForObjectDetection.*; got 'YolosForObjectDetection'"):
        find_architecture("YolosForObjectDetection")
