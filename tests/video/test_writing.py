"""Video files, read back by OpenCV."""

import errno

import numpy as np
import pytest

from odam_d2.utils.files import OutputError
from odam_d2.video.writing import CODECS, VideoWriter, require_suffix
from tests.video.clips import greys, read_video


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_every_kind_of_file_holds_its_frames(tmp_path, suffix):
    with VideoWriter(tmp_path / "new" / f"a{suffix}", 12.5) as writer:
        for frame in greys(4):
            writer.write(frame)
    frames, rate = read_video(tmp_path / "new" / f"a{suffix}")
    assert [round(float(frame.mean()) / 20) for frame in frames] == [0, 1, 2, 3] and rate == pytest.approx(12.5)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize(
    "height, width, size", [(47, 64, (48, 64)), (48, 63, (48, 64)), (1, 1, (2, 2)), (31, 33, (32, 34))]
)
def test_odd_sides_get_a_last_line_more(tmp_path, height, width, size):
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, -1] = 200
    with VideoWriter(tmp_path / "a.avi", 10) as writer:
        writer.write(frame)
    ((found,), _) = read_video(tmp_path / "a.avi")
    assert found.shape == (*size, 3)
    assert abs(int(found[-1, -1, 0]) - 200) < 12  # what was the last column is there, and repeated


def test_frames_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`frame` must be \(48, 64\) as the first one; got \(48, 60\)"):
        with VideoWriter(tmp_path / "a.mp4", 10) as writer:
            writer.write(greys(1)[0])
            writer.write(greys(1, width=60)[0])
    assert list(tmp_path.iterdir()) == []


def test_what_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        with VideoWriter(path, 10) as writer:
            writer.write(greys(1)[0])
            raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and [one.name for one in tmp_path.iterdir()] == ["a.mp4"]


def test_a_kind_or_codec_that_there_is_not_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in one of .mp4, .* for a video; got '.*a.gif'"):
        VideoWriter(tmp_path / "a.gif", 10)
    with pytest.raises(ValueError, match="`path` must end in one of"):
        require_suffix("folder")
    with pytest.raises(ValueError, match="`codec` must be one that this OpenCV can write to .mp4 files; got 'ABCD'"):
        with VideoWriter(tmp_path / "a.mp4", 10, "ABCD") as writer:
            writer.write(greys(1)[0])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="must be writable; got File exists"):
        with VideoWriter(tmp_path / "file" / "a.mp4", 10) as writer:
            writer.write(greys(1)[0])


def test_a_disk_that_gets_full_is_told(tmp_path):
    """OpenCV goes on without a word: what it leaves can't be read."""
    with pytest.raises(OutputError, match="No space left on device") as error:
        with VideoWriter(tmp_path / "a.mp4", 10) as writer:
            writer.write(greys(1)[0])
            unfinished = writer._writer
            writer._writer = type("Full", (), {"release": lambda self: None})()
    assert error.value.errno == errno.ENOSPC and list(tmp_path.iterdir()) == []
    unfinished.release()
