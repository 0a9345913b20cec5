"""What is written of a camera."""

import pytest

from odam_d2.video.live import LiveFile, stopped_by_keyboard
from odam_d2.video.writing import VideoWriter
from tests.video.clips import greys, read_video


def test_a_file_plays_as_fast_as_things_happened(tmp_path):
    """10 frames a second; they come at 0, 0.3, 0.35 and 1.0 s."""
    times = iter([5.0, 5.3, 5.35, 6.0])
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        target = LiveFile(writer, clock=lambda: next(times))
        assert all([target.take(frame) for frame in greys(4)])
    frames, _ = read_video(tmp_path / "a.mp4")
    shown = [round(float(frame.mean()) / 20) for frame in frames]
    # At 0.3 s four frames are due, at 1.0 s eleven; one that comes before its time is shown once.
    assert shown == [0, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3]


def test_the_keyboard_ends_a_block_and_errors_do_not_hide():
    with stopped_by_keyboard():
        raise KeyboardInterrupt
    with pytest.raises(ValueError):
        with stopped_by_keyboard():
            raise ValueError
