"""Crops of the extremes, kept while images go by."""

import torch

from odam_d2.evaluation import ExplanationEvaluator, Measuring
from odam_d2.evaluation.runs.examples import ExampleKeeper, example_sections
from tests.evaluation.scenes import delta, entry, output, record

METHODS = {"odam": [delta(0, 0), delta(2, 1)], "gradcam": [delta(3, 3), delta(3, 3)]}


def test_the_page_gets_the_maps_of_every_method():
    names = ("pointing_box", "untouched")
    kept: dict[str, dict] = {}
    keeper = ExampleKeeper(kept.__setitem__, "odam", names, "score", "RGB")
    evaluator = ExplanationEvaluator([record(5)], list(METHODS), Measuring(("pointing_box",)), watch=keeper)
    one = entry(5)
    one["image"] = torch.full((3, 8, 8), 100.0)  # the model input is larger than the image
    evaluator.process([one], [output(METHODS)])
    evaluator.evaluate()
    (section,) = example_sections(evaluator.results, {5: 0}, kept.get, list(METHODS), names, ("cat",))
    # Odam is right about object 0 and wrong about object 1.
    assert [row["side"] for row in section["rows"]] == ["worst", "worst", "best", "best"]
    worst = section["rows"][0]
    assert (worst["label"], worst["image"]) == ("cat, score 0.80", "5.png")
    assert [cell["value"] for cell in worst["cells"]] == [0.0, 1.0]
    crops = [worst["crop"], *(cell["crop"] for cell in worst["cells"])]
    assert all(crop.startswith("data:image/jpeg") for crop in crops) and len(set(crops)) == 3


def test_what_was_not_kept_is_left_blank():
    evaluator = ExplanationEvaluator([record(5)], list(METHODS), Measuring(("pointing_box",)))
    evaluator.process([entry(5)], [output(METHODS)])
    evaluator.evaluate()
    (section,) = example_sections(evaluator.results, {5: 0}, lambda name: None, list(METHODS), ("pointing_box",), ())
    assert {row["crop"] for row in section["rows"]} == {None} and section["rows"][0]["label"] == "class 0, score 0.80"
