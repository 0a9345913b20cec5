"""Sanity checks: correlations by hand, a method that shows nothing of the detector, and the weights afterwards."""

import pytest
import torch

from odam_d2.evaluation import sanity_checks
from odam_d2.evaluation.metrics.sanity import LABELS, SanityReport
from odam_d2.explain import METHODS, Explainer, MethodComparison, build_comparison
from odam_d2.modeling.provenance import UnreachedBoxError
from tests.helpers import compact_detector, given, random_input

SUBJECTS = [
    (random_input(128, 160), given((128, 160), [[20, 20, 90, 100], [60, 30, 150, 120]], [0, 2])),
    (random_input(96, 128, seed=1), given((96, 128), [[30, 10, 100, 80]], [1])),
]


class Ramp(Explainer):
    """The same image whatever the detector: brighter from cell to cell."""

    def combine(self, chunk):
        n, k, _, h, w = chunk.gradients.shape
        return torch.arange(1.0, h * w + 1).view(h, w).expand(n, k, h, w)


class Zero(Explainer):
    """No map at all."""

    def combine(self, chunk):
        n, k, _, h, w = chunk.gradients.shape
        return torch.zeros(n, k, h, w)


class Constant(Explainer):
    """One value on the whole level, which depends on the detector; its scale shows in no image."""

    whole_level = True

    def combine(self, chunk):
        value = 1.0 + chunk.gradients.abs().sum((2, 3, 4))
        return value[:, :, None, None].expand(*value.shape, *chunk.grid)


class Failing(Explainer):
    """Explains once, and never again."""

    calls = 0

    def combine(self, chunk):
        type(self).calls += 1
        if self.calls > len(SUBJECTS):
            raise ZeroDivisionError
        return chunk.gradients.sum(2)


def tensor(*values):
    return torch.tensor(values)


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


def test_a_method_that_does_not_look_at_the_detector_fails_in_words(model, monkeypatch):
    monkeypatch.setitem(METHODS._obj_map, "ramp", Ramp)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = sanity_checks(build_comparison(model, ["odam", "ramp"], ("score",)), SUBJECTS, num_classes=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(report.stages) == 7 and report.stages[-1].endswith("stem")
    assert report.rank["ramp"][report.stages[-1]].tolist() == pytest.approx([1.0] * 3)
    verdicts = report.verdicts()
    assert [passed for _, passed, _ in verdicts["ramp"]] == [False, False]
    assert verdicts["odam"][0][1] and float(report.rank["odam"][report.stages[-1]].mean()) < 0.7
    text = report.text()
    assert "ramp FAILS (all layers randomised): THE MAPS DO NOT CHANGE" in text and "odam passes" in text
    assert set(report.curves()) == {"odam", "ramp"} and len(report.curves()["odam"]) == 7
    rows = report.rows()
    assert len(rows) == 2 * 8 and {row["objects"] for row in rows} == {3}
    assert [row["cosine"] for row in rows if row["method"] == "ramp"] == pytest.approx([1.0] * 8)


@pytest.mark.parametrize("explainer", [Zero, Constant])
def test_maps_that_never_change_fail_though_they_have_no_order(model, monkeypatch, explainer):
    monkeypatch.setitem(METHODS._obj_map, "still", explainer)
    report = sanity_checks(build_comparison(model, ["still"], ("score",)), SUBJECTS, num_classes=3)
    assert [row["rank_correlation"] for row in report.rows()] == pytest.approx([1.0] * 8)
    assert [row["cosine"] for row in report.rows()] == pytest.approx([1.0] * 8)
    assert [passed for _, passed, _ in report.verdicts()["still"]] == [False, False]
    text = report.text()
    assert "still FAILS (all layers randomised): THE MAPS DO NOT CHANGE" in text
    assert "still FAILS (another class asked for): THE MAPS DO NOT CHANGE" in text


def test_weights_come_back_after_an_error(model, monkeypatch):
    monkeypatch.setitem(METHODS._obj_map, "failing", Failing)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ZeroDivisionError):
        sanity_checks(build_comparison(model, ["failing"], ("score",)), SUBJECTS, num_classes=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_a_single_class_and_no_objects(model):
    none = [(SUBJECTS[0][0], given((128, 160), [], []))]
    report = sanity_checks(build_comparison(model, ["odam"], ("score",)), none, num_classes=1)
    assert LABELS not in report.rank["odam"] and report.verdicts() == {"odam": []}
    assert report.rows()[0]["rank_correlation"] is None and "a single class" in report.text()


class Forgetful(MethodComparison):
    """Reaches the second box of the first image only as long as nothing was changed."""

    calls = 0

    def __call__(self, batched_inputs, instances=None):
        self.calls += 1
        boxes = instances[0].pred_boxes.tensor
        if self.calls > len(SUBJECTS) and (boxes == SUBJECTS[0][1].pred_boxes.tensor[1]).all(1).any():
            raise UnreachedBoxError
        return super().__call__(batched_inputs, instances)


def test_boxes_that_a_changed_detector_does_not_reach_are_left_out_and_counted(model):
    whole = build_comparison(model, ["odam"], ("score",))
    parts = Forgetful(model, whole.attributes, whole.choose_engine, whole.explainers)
    expected, found = (sanity_checks(one, SUBJECTS, num_classes=3) for one in (whole, parts))
    for stage in (*expected.stages, LABELS):
        values = expected.rank["odam"][stage]
        assert torch.allclose(found.rank["odam"][stage], values[[0, 2]], atol=1e-5)
    assert {row["objects"] for row in found.rows()} == {2}


def test_what_the_detector_as_it_is_does_not_reach_is_an_error(model):
    whole = build_comparison(model, ["odam"], ("score",))
    parts = Forgetful(model, whole.attributes, whole.choose_engine, whole.explainers)
    parts.calls = len(SUBJECTS)
    with pytest.raises(UnreachedBoxError):
        sanity_checks(parts, SUBJECTS, num_classes=3)


def test_numbers_of_objects_are_told_where_they_differ():
    values = {"head": tensor(0.6, 0.8), "stem": tensor(0.2)}
    text = SanityReport(["head", "stem"], {"m": values}, {"m": values}).text()
    assert "Objects whose box the changed detector could still explain: head 2, stem 1." in text


def test_the_threshold_is_the_border():
    report = SanityReport(["stem"], {"m": {"stem": tensor(0.6, 0.8)}}, {"m": {"stem": tensor(1.0, 1.0)}}, 0.71)
    ((check, passed, text),) = report.verdicts()["m"]
    assert passed and "rank correlation 0.70, at most 0.71." in text
    report.threshold = 0.69
    assert not report.verdicts()["m"][0][1]
