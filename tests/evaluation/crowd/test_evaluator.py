"""The evaluator of crowds behind Detectron2's own loop, on detections made by hand."""

import json
import logging
import math
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import inference_on_dataset, print_csv_format, verify_results
from detectron2.structures import Boxes, Instances

from odam_d2.evaluation import CrowdHumanEvaluator
from odam_d2.utils.processes import launch_on_cpu
from tests.evaluation.crowds import DETECTIONS, SCORES, random_image, record

NAME = "test_crowdhuman_evaluator"


@contextmanager
def registered(records, **metadata):
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).set(evaluator_type="crowdhuman", **metadata)
    try:
        yield
    finally:
        DatasetCatalog.remove(NAME)
        MetadataCatalog.remove(NAME)


def output(boxes, scores, classes=None, size=(100, 100)):
    scores = torch.tensor(scores, dtype=torch.float32)
    return {
        "instances": Instances(
            size,
            pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
            scores=scores,
            pred_classes=torch.zeros(len(scores), dtype=torch.int64) if classes is None else torch.tensor(classes),
        )
    }


def evaluate(evaluator, outputs, image_ids):
    """Runs Detectron2's loop over a detector that knows the outputs by heart."""
    known = dict(zip(image_ids, outputs, strict=True))
    return inference_on_dataset(
        lambda batch: [known[one["image_id"]] for one in batch], [[{"image_id": k}] for k in image_ids], evaluator
    )


def test_five_detections_by_hand(tmp_path, caplog):
    image = record(image_id="street,1")
    with registered([image]), caplog.at_level(logging.INFO):
        evaluator = CrowdHumanEvaluator(NAME, str(tmp_path / "inference"))
        results = evaluate(evaluator, [output(DETECTIONS, SCORES)], ["street,1"])
    assert isinstance(results, OrderedDict) and list(results) == ["crowd"]
    assert list(results["crowd"])[:5] == ["AP", "recall", "MR", "JI", "AP-bare"]
    assert results["crowd"]["AP"] == results["crowd"]["AP-crowd_bare"] == pytest.approx(100 * 7 / 36)
    assert results["crowd"]["recall"] == pytest.approx(100 * 2 / 3) and results["crowd"]["JI"] == 50.0
    assert results["crowd"]["MR"] == pytest.approx(100 * 2 / 3)
    assert math.isnan(results["crowd"]["recall-heavy"])
    table = [line.split("|")[1:-1] for line in caplog.text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in table]
    assert cells[0] == ["people", "number", "AP", "recall", "MR^-2", "JI", "JI at score"]
    assert cells[2] == ["all", "3", "19.444", "66.667", "66.667", "50.000", "0.4"]
    assert "full boxes, protocol 'toolkit', 1 images" in caplog.text
    assert cells[5] == ["heavy", "0", "-", "-", "-", "-", "-"]
    (line,) = (tmp_path / "inference" / f"{NAME}_detections.odgt").read_text().splitlines()
    detected = json.loads(line)
    assert (detected["ID"], detected["height"], detected["width"]) == ("street,1", 100, 100)
    assert detected["dtboxes"][3] == {"box": [22, 0, 10, 10], "score": pytest.approx(0.65), "tag": 1}
    text = (tmp_path / "inference" / f"{NAME}_metrics.json").read_text()
    metrics = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    about = {key: metrics[key] for key in ("dataset", "box", "protocol", "images")}
    assert about == {"dataset": NAME, "box": "full", "protocol": "toolkit", "images": 1}
    assert metrics["percent"]["all"]["JI_score"] == 0.4 and metrics["percent"]["heavy"]["AP"] is None


def test_files_stay_in_their_folder_whatever_the_data_set_is_called(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "NAME", "../mine/val")
    with registered([record()]):
        evaluate(CrowdHumanEvaluator(NAME, str(tmp_path / "in")), [output([], [])], [0])
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert found == ["in/__mine_val_detections.odgt", "in/__mine_val_metrics.json"]


def test_detectron2_prints_and_verifies_the_results(caplog):
    with registered([record()]):
        results = evaluate(CrowdHumanEvaluator(NAME), [output(DETECTIONS, SCORES)], [0])
    with caplog.at_level(logging.INFO):
        print_csv_format(results)
    assert "AP,recall,MR,JI\n" in caplog.text  # subsets stay out of the short list
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = [["crowd", "JI", 50.0, 0.01]]
    assert verify_results(cfg, results)


def test_other_classes_and_what_is_beyond_the_bound_do_not_count():
    boxes, classes = [[80, 80, 90, 90], *DETECTIONS[::-1]], [7, 0, 0, 0, 0, 0]
    with registered([record()]):
        everything = evaluate(CrowdHumanEvaluator(NAME), [output(boxes, [1.0, *SCORES[::-1]], classes)], [0])
        three = evaluate(
            CrowdHumanEvaluator(NAME, max_dets_per_image=3), [output(boxes, [1.0, *SCORES[::-1]], classes)], [0]
        )
        with pytest.raises(ValueError, match="`max_dets_per_image` must be at least 1; got 0"):
            CrowdHumanEvaluator(NAME, max_dets_per_image=0)
    assert everything["crowd"]["AP"] == pytest.approx(100 * 7 / 36)
    assert three["crowd"]["recall"] == pytest.approx(100 / 3)  # the best three are one person, its double, the region


def test_boxes_are_those_that_the_metadata_name():
    image = record([([0, 0, 10, 40], [0, 0, 10, 10])], ())
    seen = [output([[0, 0, 10, 10]], [0.9])]
    with registered([image], box="visible"):
        assert evaluate(CrowdHumanEvaluator(NAME), seen, [0])["crowd"]["recall"] == 100
        assert evaluate(CrowdHumanEvaluator(NAME, box="full"), seen, [0])["crowd"]["recall"] == 0
    with registered([image]):
        assert evaluate(CrowdHumanEvaluator(NAME), seen, [0])["crowd"]["recall"] == 0


def test_the_strict_protocol_is_an_option(tmp_path):
    with registered([record()]):
        evaluator = CrowdHumanEvaluator(NAME, str(tmp_path), protocol="strict")
        results = evaluate(evaluator, [output(DETECTIONS, SCORES)], [0])
        with pytest.raises(ValueError, match=r"`protocol` must be one of \['strict', 'toolkit'\]; got 'loose'"):
            CrowdHumanEvaluator(NAME, protocol="loose")
    assert results["crowd"]["AP"] == pytest.approx(100 * 5 / 9)
    assert results["crowd"]["MR"] == pytest.approx(100 * (2 / 3) ** (8 / 9) * (1 / 3) ** (1 / 9))
    assert json.loads((tmp_path / f"{NAME}_metrics.json").read_text())["protocol"] == "strict"


def test_no_detections_and_no_images(tmp_path, caplog):
    with registered([record()]):
        evaluator = CrowdHumanEvaluator(NAME, str(tmp_path))
        results = evaluate(evaluator, [output([], [])], [0])
        assert {key: results["crowd"][key] for key in ("AP", "recall", "MR", "JI")} == pytest.approx(
            {"AP": 0, "recall": 0, "MR": 100, "JI": 0}
        )
        evaluator.reset()
        assert evaluator.evaluate() == {} and "nothing to evaluate" in caplog.text


def test_the_order_of_images_does_not_matter(tmp_path):
    samples = many()
    outputs = [output(found.tolist(), scores.tolist(), size=(48, 40)) for _, found, scores in samples]
    with registered([image for image, _, _ in samples]):
        evaluator = CrowdHumanEvaluator(NAME, str(tmp_path))
        results = evaluate(evaluator, outputs, list(range(9)))
        written = [path.read_text() for path in sorted(tmp_path.iterdir())]
        order = [4, 8, 0, 2, 7, 1, 3, 6, 5]
        again = evaluate(evaluator, [outputs[k] for k in order], order)
    assert again["crowd"] == pytest.approx(results["crowd"], rel=0, abs=0, nan_ok=True)
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == written
    assert [json.loads(line)["ID"] for line in written[0].splitlines()] == list(range(9))


def test_images_that_were_not_processed_are_told(caplog):
    with registered([record(image_id=0), record(image_id=1)]):
        results = evaluate(CrowdHumanEvaluator(NAME), [output(DETECTIONS, SCORES)], [1])
    assert results["crowd"]["JI"] == 50.0
    assert "the 1 processed images out of 2" in caplog.text


def many():
    rng = np.random.default_rng(5)
    return [random_image(rng, k) for k in range(9)]


def run(rank, size):
    """What rank `rank` of `size` finds in its share of the images."""
    samples = many()
    with registered([image for image, _, _ in samples]):
        evaluator = CrowdHumanEvaluator(NAME)
        share = samples[rank::size]
        outputs = [output(found.tolist(), scores.tolist(), size=(48, 40)) for _, found, scores in share]
        evaluator.process([{"image_id": image["image_id"]} for image, _, _ in share], outputs)
        return evaluator.evaluate(), evaluator.table


def run_in_process(path):
    from detectron2.utils import comm

    results, table = run(comm.get_rank(), comm.get_world_size())
    if comm.is_main_process():
        torch.save((dict(results["crowd"]), table), path)
    else:
        assert results == {} and table == {}


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    (results, table), path = run(0, 1), tmp_path / "two.pt"
    launch_on_cpu(run_in_process, 2, (str(path),))
    two_results, two_table = torch.load(path, weights_only=True)
    assert two_results == pytest.approx(dict(results["crowd"]), rel=0, abs=0, nan_ok=True)
    assert two_table["all"] == table["all"] and 0 < results["crowd"]["AP"] < 100
