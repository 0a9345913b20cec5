"""The video of people who pass behind each other."""

import json

import cv2
import numpy as np
import pytest

from odam_d2.data.synthetic.__main__ import main
from odam_d2.data.synthetic.clip import NUM_FRAMES, PassingPeople, write_clip


@pytest.fixture(scope="module")
def clip():
    return PassingPeople()


def seen(clip, frame):
    """How much of each person is seen."""
    return [one["visible_fraction"] for one in clip.people(frame)]


def test_a_frame_depends_on_seed_and_number_alone(clip):
    frame, people = clip[20]
    again, same_people = PassingPeople(num_frames=30)[20]
    assert frame.shape == (320, 480, 3) and frame.dtype == np.uint8
    assert np.array_equal(frame, again) and people == same_people
    assert not np.array_equal(frame, clip[21][0]) and not np.array_equal(frame, PassingPeople(seed=1)[20][0])
    with pytest.raises(IndexError, match=r"`index` must be in \[0, 48\); got 48"):
        clip[48]
    with pytest.raises(ValueError, match="`num_frames`, `width` and `height` must be at least 1; got 0"):
        PassingPeople(0)


def test_people_walk_at_a_steady_pace_and_pass_behind_each_other(clip):
    boxes = np.array([[one["full_box"] for one in clip.people(frame)] for frame in range(0, NUM_FRAMES, 5)])
    steps = np.diff(boxes[:, :, 0], axis=0)
    # 5 frames' way of each, to a pixel of rounding at both ends.
    assert np.abs(steps - np.array([24.0, -22.5, 0.0, -20.0, -5.0])).max() <= 1
    assert np.array_equal(boxes[0, :, 3], boxes[-1, :, 3])
    assert [one["track_id"] for one in clip.people(0)] == [0, 1, 2, 3, 4]
    assert min(seen(clip, frame)[4] for frame in range(4, 13)) < 0.5 and seen(clip, 30)[4] == 1
    assert min(seen(clip, frame)[1] for frame in range(14, 21)) < 0.5 and seen(clip, 24)[1] == 1
    assert min(seen(clip, frame)[3] for frame in range(32, 41)) < 0.2 and seen(clip, 24)[3] == 1
    assert all(seen(clip, frame)[0] == 1 for frame in range(0, NUM_FRAMES, 6))  # nobody passes in front of 0


def test_the_video_and_its_tracks_are_written(tmp_path, capsys, monkeypatch):
    short = PassingPeople(num_frames=3)
    monkeypatch.setattr("odam_d2.data.synthetic.__main__.PassingPeople", lambda seed: short)
    main(["--clip", "--output", str(tmp_path / "made")])
    assert "a video of 3 frames" in capsys.readouterr().out
    tracks = json.loads((tmp_path / "made" / "tracks.json").read_text())
    assert tracks == [people for _, people in short]
    capture = cv2.VideoCapture(str(tmp_path / "made" / "clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == short.rate
    for frame, _ in short:
        found, read = capture.read()
        # The codec takes away the grain: a few grey levels.
        assert found and np.abs(read.astype(int) - frame).mean() < 12
    assert not capture.read()[0]
    capture.release()
    with pytest.raises(ValueError, match="`clip` must have even sides; got 481 x 320"):
        write_clip(PassingPeople(1, width=481), tmp_path)
