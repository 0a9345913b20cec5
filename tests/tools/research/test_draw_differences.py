"""tools/research/draw_differences.py: which objects are drawn, by hand; and a run drawn from end to end."""

import cv2
import pytest
import torch

from odam_d2.data.matching import Matches
from tests.cli.test_evaluate import arguments, folder, tool  # noqa: F401  (fixtures)
from tests.helpers import load_tool


@pytest.fixture(scope="module")
def drawing():
    return load_tool("research/draw_differences")


def row(image, annotation, method, value):
    return {"image_id": image, "annotation_id": annotation, "method": method, "energy_box": value, "deletion": value}


ROWS = [
    *(row("1", "a", "odam", "0.5"), row("1", "a", "gradcam", "0.9")),  # .4 behind
    *(row("1", "b", "odam", "0.1"), row("1", "b", "gradcam", "0.7")),  # .6 behind, in the same image
    *(row("2", "c", "odam", "0.2"), row("2", "c", "gradcam", "0.3")),  # .1 behind
    *(row("3", "d", "odam", "0.8"), row("3", "d", "gradcam", "0.3")),  # .5 ahead
    *(row("4", "e", "odam", "0.1"), row("4", "e", "drise", "0.9")),  # another rival
    *(row("5", "f", "odam", ""), row("5", "f", "gradcam", "0.9")),  # no value
]


def test_the_furthest_behind_come_first_one_of_each_image(drawing):
    found = drawing.furthest_behind(ROWS, "energy_box", "odam", "gradcam", 5)
    assert [(one["image_id"], one["annotation_id"]) for one in found] == [("1", "b"), ("2", "c")]
    assert [one["behind"] for one in found] == pytest.approx([0.6, 0.1])
    assert found[0]["values"] == {"odam": 0.1, "gradcam": 0.7}
    assert len(drawing.furthest_behind(ROWS, "energy_box", "odam", "gradcam", 1)) == 1


def test_of_a_metric_that_should_be_small_the_larger_is_behind(drawing):
    (one,) = drawing.furthest_behind(ROWS, "deletion", "odam", "gradcam", 5)
    assert one["annotation_id"] == "d" and one["behind"] == pytest.approx(0.5)


@pytest.fixture(scope="module")
def run(folder, tool, tmp_path_factory):  # noqa: F811
    output = tmp_path_factory.mktemp("run")
    assert tool.main(arguments(folder, output)) == 0
    return output


def test_a_run_is_drawn(run, drawing, tmp_path, capsys):
    path = tmp_path / "differences.jpg"
    # Which of two methods does worse on a random detector is unknown: the objects of one or the other are there.
    codes = [
        drawing.main([str(run), "--metric", "vea", "--method", a, "--rival", b, "--count", "2", "--output", str(path)])
        for a, b in (("odam", "gradcam"), ("gradcam", "odam"))
    ]
    assert 0 in codes, capsys.readouterr().err
    image = cv2.imread(str(path))
    # Three panels in a row, each as wide as a title needs.
    assert image.shape[1] > 3 * 100 and image.std() > 10


def test_an_object_that_is_not_found_again_is_named(run, drawing, tmp_path, capsys, monkeypatch):
    nothing = torch.zeros(0, dtype=torch.int64)
    monkeypatch.setattr(drawing, "match_detections", lambda *_: Matches(nothing, nothing, torch.zeros(0), {}))
    monkeypatch.setattr(drawing, "furthest_behind", lambda rows, *_: [{**rows[0], "values": {"odam": 0, "gradcam": 1}}])
    options = ["--metric", "vea", "--rival", "gradcam", "--output", str(tmp_path / "none.jpg")]
    assert drawing.main([str(run), *options]) == 1
    assert "must find its objects again; got none for annotation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "vea", "--rival", "drise"], "must be of the run's; got ['drise']"),
        (["--metric", "deletion", "--rival", "gradcam"], "must be measured; got deletion"),
        (["--metric", "vea", "--rival", "odam"], "must be ahead somewhere; got odam"),
    ],
)
def test_errors(run, drawing, tmp_path, capsys, options, message):
    assert drawing.main([str(run), *options, "--output", str(tmp_path / "none.jpg")]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "none.jpg").exists()
