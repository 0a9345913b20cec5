"""Frames of video files and cameras, against videos that OpenCV wrote."""

import numpy as np
import pytest

from odam_d2.video import reading
from odam_d2.video.reading import Camera, VideoFacts, VideoFile
from tests.video.clips import greys, turned, write_video


@pytest.mark.parametrize(
    "name, codec, rate", [("a.mp4", "mp4v", 29.97), ("a.avi", "MJPG", 12.5), ("a.webm", "VP80", 8)]
)
def test_frames_and_rate_are_the_files_own(tmp_path, name, codec, rate):
    video = VideoFile(write_video(tmp_path / name, greys(6), rate, codec))
    assert video.facts.size == (48, 64) and video.facts.rate == pytest.approx(rate, abs=0.01)
    assert video.facts.rate_is_told and video.facts.turned == 0 and video.facts.count == 6
    for _ in range(2):  # it may be read again
        found = list(video.frames())
        assert [number for number, _ in found] == [0, 1, 2, 3, 4, 5]
        assert all(abs(float(frame.mean()) - 20 * number) < 6 for number, frame in found)


def test_frames_that_are_not_wanted_are_passed_over(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.mp4", greys(7)))
    found = list(video.frames(lambda number: number % 3 == 0))
    assert [number for number, _ in found] == [0, 3, 6]
    assert all(abs(float(frame.mean()) - 20 * number) < 6 for number, frame in found)


def test_a_video_on_its_side_is_turned(tmp_path):
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:, :20] = 255  # white on the left is white at the top when turned by 90 degrees to the right
    video = VideoFile(turned(write_video(tmp_path / "a.mp4", [upright] * 3)))
    assert video.facts.size == (64, 48) and video.facts.turned == 90
    ((_, frame), *_) = video.frames()
    assert frame.shape == (64, 48, 3)
    assert frame[:16].mean() > 240 and frame[26:].mean() < 15


def test_no_such_file_no_video_and_no_frames_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must be a video file; got '.*nowhere.mp4', which isn't there"):
        VideoFile(tmp_path / "nowhere.mp4")
    with pytest.raises(ValueError, match="which isn't there"):
        VideoFile(tmp_path)
    (tmp_path / "words.mp4").write_text("no video at all " * 100)
    (tmp_path / "empty.mp4").touch()
    whole = write_video(tmp_path / "whole.mp4", greys(5)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # without its index, which stands at the end
    for name in ("words", "empty", "cut"):
        with pytest.raises(
            ValueError, match=rf"must be a video that OpenCV can read; got '.*{name}.mp4', which is none"
        ):
            VideoFile(tmp_path / f"{name}.mp4")


def test_a_video_without_frames_is_told(tmp_path, monkeypatch):
    class Empty:
        def isOpened(self):  # noqa: N802
            return True

        def get(self, _):
            return 0.0

        def grab(self):
            return False

        def release(self):
            pass

    path = write_video(tmp_path / "a.mp4", greys(1))
    monkeypatch.setattr("cv2.VideoCapture", lambda *_: Empty())
    with pytest.raises(ValueError, match="`path` must be a video with frames; got '.*a.mp4' without any"):
        VideoFile(path)


@pytest.mark.parametrize("told, rate", [(0.0, 25.0), (float("nan"), 25.0), (90000.0, 25.0), (50.0, 50.0)])
def test_a_rate_that_is_none_is_replaced_and_told(told, rate):
    class Capture:
        def get(self, what):
            import cv2

            return {cv2.CAP_PROP_FPS: told, cv2.CAP_PROP_FRAME_COUNT: -1.0}.get(what, 4.0)

    facts = reading._facts(Capture())
    assert facts == VideoFacts((4, 4), rate, 0, 4, told == rate)


def test_there_is_no_camera(monkeypatch):
    class None_:  # noqa: N801
        def isOpened(self):  # noqa: N802
            return False

        def release(self):
            released.append(True)

    released = []
    monkeypatch.setattr("cv2.VideoCapture", lambda number: None_())
    with pytest.raises(ValueError, match="`--webcam` must find a camera as number 0; got none that gives images"):
        Camera()
    assert released == [True]
