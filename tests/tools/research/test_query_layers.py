"""tools/research/query_layers.py: its default is ODAM of the package, and its parts add up as calculus says."""

import argparse
import json
import types

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances

from odam_d2.evaluation.metrics.correlation import maps_on_cells, rank_correlation
from odam_d2.explain import build_explainer
from tests.families import QueryFamily
from tests.helpers import load_tool, query_config, random_input
from tests.wants import require_package

ENTRY = random_input(96, 128, 192, 256)


@pytest.fixture(scope="module")
def tool():
    return load_tool("research/query_layers")


@pytest.fixture(scope="module")
def model():
    require_package("transformers")
    return QueryFamily("RTDetrForObjectDetection").detector()


def explained(tool, model, *names, exchanged=None):
    found = tool.explain(model, ENTRY, lambda found: torch.arange(len(found)), names, None, exchanged or {})
    return found["instances"], found["heatmaps"]


def test_layers_as_they_are_give_the_maps_of_the_package(tool, model, monkeypatch):
    for layer in ("backbone", "projection", "encoder", "encoder, own query"):
        monkeypatch.setattr(model, "layer", layer.replace(", own query", "_own_query"))
        expected = build_explainer(model, attributes=("score",), engine="autograd")([ENTRY])[0]["instances"]
        instances, maps = explained(tool, model, layer)
        assert torch.equal(instances.scores, expected.scores)
        # Before the ReLU, which waits for the sum of the levels.
        wanted = expected.heatmaps.values
        assert bool(wanted.any())
        assert torch.allclose(maps[layer].values, wanted, atol=1e-4 * float(wanted.abs().amax()))


def test_likeness_is_to_the_maps_of_the_next_class_on_the_same_query(tool, model, monkeypatch):
    names = ("encoder", "encoder, own query, positive products", "box")
    exchanged = {name: [] for name in names[:2]}
    instances, maps = explained(tool, model, *names, exchanged=exchanged)
    monkeypatch.setattr(model, "layer", "encoder")
    # Every detection again, as a given box of the next class.
    asked = Instances(
        instances.image_size, pred_boxes=instances.pred_boxes, pred_classes=(instances.pred_classes + 1) % 3
    )
    explainer = build_explainer(model, attributes=("score",), engine="autograd")
    others = explainer([ENTRY], [asked])[0]["instances"]
    same = others.query_index == model.trace([ENTRY]).rows
    assert bool(same.any())
    before, after = (torch.stack(maps_on_cells(one, "score")) for one in (maps["encoder"], others.heatmaps))
    expected = torch.tensor([float(rank_correlation(*pair)) for pair in zip(before, after, strict=True)])
    (found,) = exchanged["encoder"]
    assert torch.allclose(found[same], expected[same], atol=1e-3) and found.shape == same.shape
    assert float(exchanged[names[1]][0].mean()) > float(found.mean())


@pytest.mark.parametrize("cuts", [{"queries"}, {"queries", "sampling"}, {"queries", "neighbours"}])
def test_gradients_of_the_decoders_layers_add_up_to_that_of_the_memory_where_queries_are_fixed(tool, model, cuts):
    passed = tool.Pass.of(model, ENTRY["image"], frozenset(cuts))
    layers = ("memory", "memory 1", "memory 2")
    found = tool.gradients(passed, passed.logits[:2, 0], layers)
    whole = [level.flatten(2).transpose(1, 2) for level in found["memory"]]
    parts = found["memory 1"][0] + found["memory 2"][0]
    assert bool(parts.any()) and torch.allclose(torch.cat(whole, 1), parts, atol=1e-5 * float(parts.abs().amax()))


def test_cut_paths_change_gradients_and_not_what_is_detected(tool, model):
    passes = [tool.Pass.of(model, ENTRY["image"], frozenset(cuts)) for cuts in ((), ["sampling"], ["neighbours"])]
    assert all(torch.allclose(one.logits, passes[0].logits, atol=1e-6) for one in passes)
    found = [tool.gradients(one, one.logits[:1, 0], ["encoder"])["encoder"][0] for one in passes]
    assert not torch.allclose(found[0], found[1], atol=1e-6) and not torch.allclose(found[0], found[2], atol=1e-6)
    # With its neighbours cut off and queries fixed, a query depends on the cells that it samples alone: two layers,
    # two heads, four points, four cells each.
    alone = tool.Pass.of(model, ENTRY["image"], frozenset({"queries", "sampling", "neighbours"}))
    cells = tool.gradients(alone, alone.logits[:1, 0], ["memory"])["memory"][0][0].abs().sum(0)
    assert 0 < int((cells > 0).sum()) <= 2 * 2 * 4 * 4


def test_names_are_read(tool):
    variant = tool.read_variant("encoder, own query, sampling fixed, levels 0 and 1, map smoothed 0.1")
    assert variant.cuts == {"neighbours", "sampling"} and variant.levels == (0, 1)
    assert (variant.smoothing, variant.smoothed, variant.relu_first) == (0.1, "map", False)
    with pytest.raises(argparse.ArgumentTypeError, match="words among .*; got 'encoder, own'"):
        tool.read_variant("encoder, own")


def test_products_by_hand(tool):
    variants = __import__("query_variants")
    gradient, features = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1), torch.tensor([3.0, -5.0]).view(1, 2, 1, 1)
    black = torch.tensor([4.0, 1.0]).view(1, 2, 1, 1)
    expected = {
        "encoder": 2 * 3 + 1 * 5,
        "encoder, positive gradients": 2 * 3,
        "encoder, positive products": 0 + 1 * 6,
        "encoder, less black": -2 + 6,
        "encoder, less mean": 0,  # of one cell
    }
    for name, value in expected.items():
        assert float(variants.multiply(variants.read_variant(name).product, gradient, features, black)) == value


def test_the_control_is_highest_in_the_middle_of_the_box(tool):
    (heat,) = tool.box_maps(torch.tensor([[8.0, 2.0, 16.0, 6.0]]), 8, 20)
    assert heat.shape == (8, 20)
    assert float(heat[3, 11]) == pytest.approx(float(torch.exp(torch.tensor(-0.5 * (0.25 + 0.0625)))))
    assert heat[2:6, 8:16].sum() > 0.7 * heat.sum()


def test_prints_a_table_and_differences_from_the_first(tool, model, monkeypatch, tmp_path, capsys):
    found = model([ENTRY])[0]["instances"]
    objects = zip(found.pred_boxes.tensor.tolist(), found.pred_classes.tolist(), strict=True)
    annotations = [
        {"id": k, "bbox": box, "bbox_mode": 0, "category_id": label, "iscrowd": 0}
        for k, (box, label) in enumerate(objects)
    ]
    record = {"image_id": 1, "file_name": "1.png", "height": 192, "width": 256, "annotations": annotations}
    run = types.SimpleNamespace(model=model, records=[record], inputs=lambda records: [ENTRY] * len(records))
    monkeypatch.setattr(tool, "DataRun", lambda args: run)
    out = tmp_path / "out.json"
    words = ["--variants", "encoder", "memory 2, own query", "box", "--metrics", "energy_box", "pointing_box"]
    assert tool.main([*words, "--drise", "4", "--another-class", "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "box less encoder: energy_box +" in printed and "drise less encoder" in printed
    assert "encoder: rank correlation with the maps of another class" in printed
    figures = json.loads(out.read_text())
    assert figures["metrics"]["pointing_box"]["methods"]["box"]["mean"] == 1.0
    assert figures["metrics"]["pointing_box"]["objects"] == len(annotations) and "torch" in figures["versions"]
    assert {name: len(values) for name, values in figures["another_class"].items()} == dict.fromkeys(
        ("encoder", "memory 2, own query"), len(annotations)
    )


def test_other_detectors_are_refused(tool, monkeypatch, capsys):
    require_package("transformers")
    run = types.SimpleNamespace(model=build_model(query_config("DetrForObjectDetection")))
    monkeypatch.setattr(tool, "DataRun", lambda args: run)
    assert tool.main([]) == 1
    assert "must be of an RT-DETR; got OdamDETR" in capsys.readouterr().err


def test_occlusion_shows_the_one_block_that_a_score_depends_on(tool, monkeypatch):
    occlusion = __import__("query_occlusion")
    blocks = torch.cat(list(occlusion.blocks_of(32, 48)))
    # Around centres at 8, 24 (y) and 8, 24, 40 (x), cut at the border.
    assert blocks.tolist()[:3] == [[0, 0, 24, 24], [8, 0, 40, 24], [24, 0, 48, 24]] and len(blocks) == 6
    own, other = torch.zeros(1, 1, 4, 6), torch.ones(1, 1, 4, 6)  # stride 8
    mixed = occlusion.put(own, other, blocks[:2], 32)
    assert mixed[0, 0, :3, :3].eq(1).all() and int(mixed[0].sum()) == 9
    assert mixed[1, 0, :3, 1:5].eq(1).all() and int(mixed[1].sum()) == 12
    # At stride 32, where a block holds no centre, the cell that it touches.
    assert occlusion.put(torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2), blocks[:1], 32).flatten().tolist() == [1, 0]


def test_occlusion_by_the_image_itself_changes_nothing(tool, model, monkeypatch):
    occlusion = __import__("query_occlusion")
    found = model.trace([ENTRY])
    for stage in ("pixels", "backbone", "encoder"):
        heat = occlusion.occluded_maps(model, ENTRY["image"], found.boxes, found.classes, stage)
        assert heat.shape == (2, 6, 8) and bool(heat.any())
        monkeypatch.setattr(occlusion, "put", lambda own, other, blocks, height: own.repeat(len(blocks), 1, 1, 1))
        same = occlusion.occluded_maps(model, ENTRY["image"], found.boxes, found.classes, stage)
        assert float(same.abs().amax()) < 1e-5
        monkeypatch.undo()
