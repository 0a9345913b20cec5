"""OdamDETR: transformers' detectors, number for number, behind Detectron2's interface."""

import sys

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import nn

from odam_d2.modeling.query_architecture import ARCHITECTURES
from odam_d2.modeling.query_head import OwnQueryHead
from tests.helpers import ROUNDING, given, query_config, random_input
from tests.wants import require_package

NAMES = sorted(ARCHITECTURES)
# Two sizes, so that one image is padded.
INPUTS = [random_input(96, 128, 192, 256), random_input(64, 96, seed=1)]


def tell_apart(model):
    """Lets queries differ: as transformers draws them, their scores differ in the last bits, which decide on places."""
    if not model.architecture.name.startswith("RTDetr"):  # whose queries come from the image
        nn.init.normal_(model.network.model.query_position_embeddings.weight)
        nn.init.normal_(model.network.class_labels_classifier.weight, std=0.2)
        for module in model.network.model.decoder.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
    return model


def assert_no_place_hangs_on_rounding(scores):
    assert float((scores[:-1] - scores[1:]).min()) > 1e-4


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    require_package("transformers")
    torch.manual_seed(0)
    return tell_apart(build_model(query_config(request.param))).eval()


def test_without_transformers_building_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"transformers, which isn't installed: `pip install 'odam_d2\[detr\]'`"):
        build_model(query_config("DetrForObjectDetection"))


@pytest.mark.parametrize("name", NAMES)
def test_by_default_a_detection_is_explained_through_its_own_query(name):
    require_package("transformers")
    model = build_model(query_config(name)).eval()
    assert isinstance(model.trace(INPUTS).head, OwnQueryHead) and model.layer == "encoder_own_query"
    model.layer = "encoder"
    assert not isinstance(model.trace(INPUTS).head, OwnQueryHead)


def test_an_unknown_layer_is_answered_with_the_known_ones():
    require_package("transformers")
    with pytest.raises(ValueError, match=r"\['backbone', 'projection', 'encoder', .*\]; got 'decoder'"):
        build_model(query_config("DetrForObjectDetection", "LAYER", "decoder"))


@pytest.mark.parametrize("name", NAMES)
def test_pretrained_weights_load_as_they_are_and_detect_what_transformers_detects(name, tmp_path):
    require_package("transformers")
    import transformers

    torch.manual_seed(1)
    tell_apart(build_model(query_config(name))).network.save_pretrained(tmp_path)
    ours = build_model(query_config(name, "FROM_PRETRAINED", str(tmp_path))).eval()
    theirs = getattr(transformers, name).from_pretrained(tmp_path).eval()
    processor = getattr(transformers, name.replace("V2", "").replace("ForObjectDetection", "ImageProcessor"))()
    images = ours.preprocess_image(INPUTS)
    mask = torch.zeros(2, 96, 128, dtype=torch.int64)
    mask[0], mask[1, :64, :96] = 1, 1
    assert torch.equal(images.tensor[1, :, 64:], torch.zeros(3, 32, 128))
    with torch.no_grad():
        output = theirs(pixel_values=images.tensor, pixel_mask=mask)
        found = ours(INPUTS)
    # Boxes are fractions of the image, in RT-DETR of the padded batch; the first image is shown at twice its size.
    padded = name.startswith("RTDetr")
    sizes = torch.tensor([[192, 256], [96, 128] if padded else [64, 96]])
    expected = processor.post_process_object_detection(output, threshold=0.0, target_sizes=sizes)
    for result, wanted, (height, width) in zip(found, expected, ((192, 256), (64, 96)), strict=True):
        instances = result["instances"]
        assert instances.image_size == (height, width)
        order = wanted["scores"].argsort(descending=True, stable=True)
        assert_no_place_hangs_on_rounding(wanted["scores"][order][:6])
        boxes = Boxes(wanted["boxes"][order])
        boxes.clip((height, width))
        keep = [k for k, whole in enumerate(boxes.nonempty().tolist()[:5]) if whole]  # five an image
        assert torch.allclose(instances.scores, wanted["scores"][order][keep], atol=1e-6)
        assert instances.pred_classes.tolist() == wanted["labels"][order][keep].tolist()
        assert torch.allclose(instances.pred_boxes.tensor, boxes.tensor[keep], atol=1e-3)
        assert set(instances.get_fields()) == {"pred_boxes", "scores", "pred_classes"}


def test_classes_can_have_other_labels_in_the_network(monkeypatch):
    require_package("transformers")
    torch.manual_seed(0)
    plain = build_model(query_config("DetrForObjectDetection")).eval()
    chosen = build_model(query_config("DetrForObjectDetection", "LABELS", (2, 0))).eval()
    chosen.load_state_dict(plain.state_dict())
    boxes = given((192, 256), [[60, 50, 200, 150]] * 2, [0, 1])
    same = given((192, 256), [[60, 50, 200, 150]] * 2, [2, 0])
    found, expected = chosen.trace(INPUTS[:1], [boxes]), plain.trace(INPUTS[:1], [same])
    assert chosen.num_classes == 2 and found.rows.tolist() == expected.rows.tolist()
    assert torch.equal(found.instances[0].scores, expected.instances[0].scores)
    assert set(chosen.trace(INPUTS).classes.tolist()) <= {0, 1}
    entries = with_objects()
    seen = []
    monkeypatch.setattr(chosen.network, "forward", lambda **kwargs: seen.extend(kwargs["labels"]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        chosen.train()(entries)
    assert [label["class_labels"].tolist() for label in seen] == [[2, 0], [2]]


def test_channels_are_normalised_in_the_order_of_the_config():
    require_package("transformers")
    cfg = query_config("DetrForObjectDetection")
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [10.0, 20.0, 30.0], [1.0, 2.0, 4.0]
    tensor = build_model(cfg).preprocess_image([{"image": torch.full((3, 32, 32), 50.0)}]).tensor
    assert tensor[0, :, 0, 0].tolist() == [40.0, 15.0, 5.0]


def test_traced_detections_are_those_of_inference_bit_for_bit(model):
    with torch.no_grad():
        plain = model(INPUTS)
    trace = model.trace(INPUTS)
    assert len(trace) >= 4
    for result, found in zip(plain, trace.instances, strict=True):
        wanted = result["instances"]
        assert set(found.get_fields()) == set(wanted.get_fields())
        assert torch.equal(found.pred_boxes.tensor, wanted.pred_boxes.tensor)
        assert torch.equal(found.scores, wanted.scores) and torch.equal(found.pred_classes, wanted.pred_classes)


@pytest.mark.parametrize("layer", ["backbone", "projection", "encoder", "backbone_own_query", "encoder_own_query"])
def test_predictions_said_again_are_those_of_detection(model, layer, monkeypatch):
    monkeypatch.setattr(model, "layer", layer)
    trace = model.trace(INPUTS)
    sources = 3 if model.architecture.backbone_maps == 3 else 1
    assert trace.level_names == tuple(f"{layer.removesuffix('_own_query')}{k}" for k in range(sources))
    assert list(trace.strides.values()) == ([8.0, 16.0, 32.0] if sources == 3 else [32.0])
    assert trace.level_index.tolist() == [list(range(sources))] * len(trace)
    with torch.no_grad():
        said = trace.head.predict(trace.features, trace)
        again = trace.compute_features()
    assert torch.allclose(said.scores, torch.cat([i.scores for i in trace.instances]), atol=1e-6)
    assert torch.allclose(said.boxes, trace.references, atol=1e-4)
    assert all(torch.equal(again[name], trace.features[name]) for name in trace.level_names)
    sizes = torch.tensor(trace.image_sizes)[trace.image_index].flip(1).repeat(1, 2)
    clipped = torch.minimum(said.boxes.clamp(min=0), sizes)
    assert torch.allclose(clipped, trace.boxes, atol=1e-2)


def test_a_image_is_detected_alone_as_in_a_batch(model):
    # The larger of the two is not padded, whoever comes with it.
    alone, together = model.trace(INPUTS[:1]).instances[0], model.trace(INPUTS).instances[0]
    assert_no_place_hangs_on_rounding(alone.scores)
    assert torch.allclose(alone.scores, together.scores, atol=1e-5)
    assert torch.allclose(alone.pred_boxes.tensor, together.pred_boxes.tensor, atol=1e-2)


def test_given_boxes_are_explained_through_the_query_that_overlaps_most_and_is_named(model):
    boxes = [given((192, 256), [[60, 50, 200, 150], [6, 8, 250, 180]], [2, 0]), given((64, 96), [], [])]
    trace = model.trace(INPUTS, boxes)
    assert trace.classes.tolist() == [2, 0] and [len(i) for i in trace.instances] == [2, 0]
    found = trace.instances[0]
    assert found.query_index.tolist() == trace.rows.tolist()
    with torch.no_grad():
        images = model.preprocess_image(INPUTS)
        mask = torch.zeros(2, 96, 128, dtype=torch.int64)
        mask[0], mask[1, :64, :96] = 1, 1
        output = model.network(pixel_values=images.tensor, pixel_mask=mask)
    x, y, w, h = (output.pred_boxes[0] * torch.tensor([128.0, 96, 128, 96])).unbind(1)
    queries = Boxes(torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1))
    overlap = pairwise_iou(Boxes(boxes[0].pred_boxes.tensor / 2), queries)
    for k in range(2):
        assert float(overlap[k, trace.rows[k]]) == pytest.approx(float(overlap[k].max()), abs=1e-6)
        logits = output.logits[0, trace.rows[k]]
        scores = logits.softmax(-1) if len(logits) == 4 else logits.sigmoid()
        assert float(found.scores[k]) == pytest.approx(float(scores[trace.classes[k]]), abs=1e-6)


def test_a_box_that_no_query_overlaps_is_named(model, monkeypatch):
    decode = model.decode
    # Every query's box on the left side of the image.
    monkeypatch.setattr(model, "decode", lambda boxes, images: decode(boxes, images) * torch.tensor([0.1, 1, 0.1, 1]))
    with pytest.raises(ValueError, match=r"box 1 of `instances\[0\]` must overlap the box of a query; got \[100.0"):
        model.trace(INPUTS[:1], [given((192, 256), [[0, 0, 200, 190], [200, 20, 250, 120]], [0, 0])])


def test_no_detection_is_an_empty_result(model, monkeypatch):
    monkeypatch.setattr(model, "score_threshold", 1.0)
    assert [len(result["instances"]) for result in model(INPUTS)] == [0, 0]
    trace = model.trace(INPUTS)
    assert len(trace) == 0 and trace.level_index.shape == (0, len(trace.level_names))


def with_objects():
    entries = []
    for entry, boxes in zip(INPUTS, ([[10.0, 10, 60, 50], [70, 20, 120, 90]], [[5.0, 5, 40, 60]]), strict=True):
        size = tuple(entry["image"].shape[-2:])
        objects = Instances(size, gt_boxes=Boxes(torch.tensor(boxes)), gt_classes=torch.arange(len(boxes)))
        entries.append({**entry, "instances": objects})
    return entries


@pytest.mark.parametrize("autocast", [False, True])
def test_losses_are_weighted_and_add_up_to_transformers_own(model, autocast):
    entries = with_objects()
    model.train()
    try:
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            losses = model(entries)
        assert {"loss_bbox", "loss_giou"} <= set(losses) and ("loss_ce" in losses or "loss_vfl" in losses)
        assert any(name[-1].isdigit() for name in losses)  # of the other decoder layers
        assert all(loss.dtype == torch.float32 and bool(torch.isfinite(loss)) for loss in losses.values())
        sum(losses.values()).backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in model.network.model.encoder.parameters())
        if not autocast:
            images = model.preprocess_image(entries)
            mask = torch.zeros(2, 96, 128, dtype=torch.int64)
            mask[0], mask[1, :64, :96] = 1, 1
            frames = [(128, 96), (128, 96) if model.architecture.boxes_of_padded else (96, 64)]
            labels = []
            for entry, (width, height) in zip(entries, frames, strict=True):
                x1, y1, x2, y2 = entry["instances"].gt_boxes.tensor.unbind(1)
                centres = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
                labels.append({"class_labels": entry["instances"].gt_classes, "boxes": torch.stack(centres, 1)})
            torch.manual_seed(0)
            output = model.network(pixel_values=images.tensor, pixel_mask=mask, labels=labels)
            assert float(sum(losses.values()).detach()) == pytest.approx(float(output.loss.detach()), rel=1e-5)
    finally:
        model.eval()
        model.zero_grad()


def test_denoising_queries_are_not_matched_with_objects():
    require_package("transformers")
    torch.manual_seed(0)
    model = build_model(query_config("RTDetrForObjectDetection")).train()
    seen = []
    stock = model.architecture.loss

    def spy(stock_loss, logits, *others, **kwargs):
        def inner(logits, *args, **kwargs):
            seen.append(logits.shape[1])
            return stock_loss(logits, *args, **kwargs)

        return stock(inner, logits, *others, **kwargs)

    model.architecture.loss = spy
    model(with_objects())
    assert seen == [6]  # NUM_QUERIES, without those made of ground truth


def on_a_pyramid(name, in_features):
    """A query detector on the maps `in_features` of a small FPN of Detectron2."""
    cfg = query_config(name, "IN_FEATURES", in_features)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_compact_retinanet_resnet_fpn_backbone", 0
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.RESNETS.NORM, cfg.MODEL.FPN.OUT_CHANNELS, cfg.ODAM.DETR.LAYER = "BN", 16, "backbone"
    torch.manual_seed(0)
    return build_model(cfg).eval()


@pytest.mark.parametrize("name", ["DetrForObjectDetection", "ConditionalDetrForObjectDetection"])
def test_images_are_padded_to_what_a_pyramid_can_take(name):
    require_package("transformers")
    model = on_a_pyramid(name, ("p4",))
    entry = random_input(50, 70)
    padded = model.preprocess_image([entry]).tensor
    # The pyramid of strides 8 to 32, and the mask that tells the network where the image ends.
    assert padded.shape == (1, 3, 64, 96)
    assert torch.equal(padded[0, :, 50:], torch.zeros(3, 14, 96)) and torch.equal(
        padded[0, :, :, 70:], torch.zeros(3, 64, 26)
    )
    trace = model.trace([entry])
    assert trace.features["backbone0"].shape == (1, 16, 4, 6)
    mask = torch.zeros(1, 64, 96, dtype=torch.int64)
    mask[0, :50, :70] = 1
    with torch.no_grad():
        output = model.network(pixel_values=padded, pixel_mask=mask)
        (found,) = model([entry])
    scores = model.architecture.select(output.logits[0], 5)[0]
    assert torch.equal(found["instances"].scores, scores)


def test_images_are_padded_to_the_square_that_a_backbone_asks_for():
    require_package("transformers")
    model = on_a_pyramid("DetrForObjectDetection", ("p4",))
    model.backbone._square_pad = 96
    assert model.preprocess_image([random_input(50, 70)]).tensor.shape == (1, 3, 96, 96)


def test_a_detectron2_backbone_runs_in_the_networks_place():
    require_package("transformers")
    model = on_a_pyramid("RTDetrForObjectDetection", ("p3", "p4", "p5"))
    names = list(model.state_dict())
    # Under Detectron2's names, once; nothing is left of the network's own ResNet.
    assert "backbone.bottom_up.stem.conv1.weight" in names
    assert not [name for name in names if name.startswith("network.model.backbone")]
    trace = model.trace(INPUTS)
    with torch.no_grad():
        features = model.backbone(model.preprocess_image(INPUTS).tensor)
    assert [torch.equal(trace.features[f"backbone{k}"], features[f"p{k + 3}"]) for k in range(3)] == [True] * 3
    model.train()
    sum(model(with_objects()).values()).backward()
    assert bool(model.backbone.bottom_up.res2[0].conv1.weight.grad.any())


def test_training_mode_is_refused(model):
    model.train()
    try:
        with pytest.raises(RuntimeError, match="eval mode"):
            model.trace(INPUTS)
    finally:
        model.eval()


def test_candidates_are_all_queries(model):
    with torch.no_grad():
        candidates, found = model.candidates(INPUTS), model(INPUTS)
    for (boxes, scores), result, entry in zip(candidates, found, INPUTS, strict=True):
        result = result["instances"]
        assert boxes.shape == (6, 4) and scores.shape == (6, 3)
        # DETR reports each query in its likeliest class, the others any pair of query and class.
        pool = scores.max(1).values if model.architecture.name.startswith("Detr") else scores.flatten()
        # Five at most; what has no size in the image is dropped. Candidates of all images are scored together,
        # detections image by image.
        best, height, width = pool.topk(5).values, *result.image_size
        assert len(result)
        scale = entry["width"] / entry["image"].shape[2]
        for box, score, label in zip(result.pred_boxes.tensor, result.scores, result.pred_classes, strict=True):
            assert bool(torch.isclose(best, score, rtol=ROUNDING, atol=0.0).any())
            rows = torch.isclose(scores[:, label], score, rtol=ROUNDING, atol=0.0)
            clipped = (boxes[rows] * scale).clamp(min=0).minimum(torch.tensor([width, height] * 2))
            # Queries of nearly the same score may be several; one of them is this one.
            assert bool((clipped - box).abs().amax(1).lt(ROUNDING * max(width, height)).any())
