"""`odam explain --video-input` on people who pass behind each other, against known tracks and direct computation."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from odam_d2 import OdamPredictor
from odam_d2.data.synthetic.clip import PassingPeople
from odam_d2.evaluation.metrics.localization import inside_boxes
from odam_d2.video import explaining
from odam_d2.video.reading import VideoFile
from tests.helpers import load_command
from tests.video.clips import read_video, write_video

# One walks behind another who stands, and isn't detected in between.
FIRST, LAST, PERSON, HIDDEN = 26, 45, 3, (35, 37)
DETECTOR = "synthetic/faster_rcnn_compact_FPN_crowd"
SIDE = 320


@pytest.fixture(scope="module")
def clip():
    return PassingPeople()


@pytest.fixture(scope="module")
def explain(tmp_path_factory, clip):
    """Runs the command on the clip, all into one output."""
    folder = tmp_path_factory.mktemp("clip")
    video = write_video(folder / "clip.mp4", [clip[k][0] for k in range(FIRST, LAST + 1)], clip.rate)

    def run(*options, output="out.mp4"):
        command = ["--config-file", DETECTOR, "--video-input", str(video), "--output", str(folder / output), *options]
        command += ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", str(SIDE)]
        return load_command("explain").main(command), folder / output

    code, output = run()
    assert code == 0
    run.video, run.output, run.drawn = video, output, read_video(output)
    return run


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return [{name: value for name, value in row.items()} for row in csv.DictReader(file)]


def box_of(row):
    return [float(row[name]) for name in ("x1", "y1", "x2", "y2")]


def iou(one, other):
    wide, high = (max(0.0, min(one[k + 2], other[k + 2]) - max(one[k], other[k])) for k in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return wide * high / (sum(areas) - wide * high)


@pytest.fixture(scope="module")
def tracks(explain):
    """Frame of the clip -> its detections."""
    found = {k: [] for k in range(FIRST, LAST + 1)}
    for row in rows_of(explain.output.with_name("out.mp4.run") / "tracks.csv"):
        found[FIRST + int(row["frame"])].append(row)
    return found


@pytest.fixture(scope="module")
def followed(tracks, clip):
    """The object that is the person at first."""
    true = clip.people(FIRST)[PERSON]["full_box"]
    best = max(tracks[FIRST], key=lambda row: iou(box_of(row), true))
    assert iou(box_of(best), true) > 0.5
    return int(best["id"])


def test_frames_rate_and_size_are_the_clips(explain, clip):
    frames, rate = explain.drawn
    assert len(frames) == LAST - FIRST + 1 and rate == pytest.approx(clip.rate)
    assert frames[0].shape == (320, 480, 3)
    told = json.loads((explain.output.with_name("out.mp4.run") / "run.json").read_text())
    assert told["frames"] == len(frames) and told["rate"] == clip.rate and told["failures"] == {}


def test_every_person_keeps_the_number_also_behind_others(tracks, clip):
    """Of each true track: the number of the best box, where half of the person is seen and a box overlaps by .5."""
    for person in range(5):
        numbers = []
        for frame, rows in tracks.items():
            people = clip.people(frame)
            true = people[person]["full_box"]
            if people[person]["visible_fraction"] < 0.5 or true[0] < 5 or not rows:
                continue
            best = max(rows, key=lambda row: iou(box_of(row), true))
            if iou(box_of(best), true) > 0.5:
                numbers.append(int(best["id"]))
        assert len(numbers) > 10 and len(set(numbers)) == 1, (person, numbers)


def test_the_hidden_person_is_lost_and_found_again(tracks, clip, followed):
    seen = [frame for frame, rows in tracks.items() if followed in (int(row["id"]) for row in rows)]
    assert not set(range(HIDDEN[0], HIDDEN[1] + 1)) & set(seen)
    assert {FIRST, FIRST + 1, LAST - 4, LAST - 5} <= set(seen)
    back = next(row for row in tracks[LAST - 4] if int(row["id"]) == followed)
    assert iou(box_of(back), clip.people(LAST - 4)[PERSON]["full_box"]) > 0.5


def test_curves_are_what_direct_computation_says(explain, followed, monkeypatch):
    def never(*_, **__):
        raise AssertionError("explained again")

    frames = dict(VideoFile(explain.video).frames(lambda k: k in (3, 18)))
    with monkeypatch.context() as patched:
        patched.setattr("odam_d2.cli.frames_run.FramesRun.explain", never)
        code, output = explain("--resume", "--follow", str(followed))
    assert code == 0
    drawn, rate = read_video(output)
    assert len(drawn) == LAST - FIRST + 1 and rate == pytest.approx(12) and drawn[0].shape == (320, 752, 3)
    rows = {int(row["frame"]): row for row in rows_of(output.with_name("out.mp4.run") / "followed.csv")}
    predictor = OdamPredictor.from_zoo(DETECTOR, score_threshold=0.5, attributes=("score",))
    predictor.model.to("cpu")
    predictor._make_input = type(predictor._make_input)(SIDE, 1333)
    for frame, pixels in frames.items():
        row, found = rows[frame], predictor(pixels)["instances"]
        k = int(torch.tensor([iou(box_of(row), box) for box in found.pred_boxes.tensor.tolist()]).argmax())
        assert float(row["score"]) == pytest.approx(float(found.scores[k]), abs=1e-3)
        heat = found.heatmaps.to_image("score")[k].double()
        boxes = inside_boxes(found.pred_boxes.tensor, 320, 480)
        others = boxes[torch.arange(len(found)) != k].any(0)
        on, beyond = (float(heat[part].sum() / heat.sum()) for part in (others, others & ~boxes[k]))
        # Maps are kept in 8 bits: a cell is off by 1/510 of the hottest at most.
        assert float(row["on_neighbours"]) == pytest.approx(on, abs=0.02)
        assert float(row["beyond"]) == pytest.approx(beyond, abs=0.02)
    assert math.isclose(float(rows[3]["seconds"]), 0.25)
    # Someone else passes close by: there is something to see.
    assert max(float(row["on_neighbours"]) for row in rows.values()) > 0.3


def test_a_number_that_never_appears_is_told_with_those_that_do(explain, capsys):
    code, output = explain("--resume", "--follow", "77")
    told = capsys.readouterr().err.splitlines()[-1]
    assert code == 1 and told.startswith(
        "error: `--follow` must be the number of an object in the video; got 77; there"
    )
    assert "0 (person, 20 frames)" in told and told.endswith("choose one of these")


def test_every_third_frame_plays_as_long(explain, monkeypatch):
    explained = []
    original = explaining.detection_rows
    monkeypatch.setattr(explaining, "detection_rows", lambda *args: explained.append(1) or original(*args))
    code, output = explain("--every", "11", output="third.mp4")
    frames, rate = read_video(output)
    assert code == 0 and len(explained) == len(frames) == 2 and rate == pytest.approx(12 / 11, abs=0.001)
    # The frames are the clip's first and twelfth: what isn't drawn on is as there.
    for frame, number in zip(frames, (0, 11), strict=True):
        ((_, pixels),) = VideoFile(explain.video).frames(lambda k, number=number: k == number)
        assert np.abs(frame[:80].astype(int) - pixels[:80]).mean() < 6
