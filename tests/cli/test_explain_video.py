"""`odam explain --video-input` and `--webcam` from end to end, on tiny frames and a detector with random weights."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from odam_d2 import model_zoo
from odam_d2.cli import frames_run
from odam_d2.store import RunReader
from odam_d2.video import live, reading
from odam_d2.video.reading import VideoFacts
from tests.cli.test_explain import TINY, ZOO_NAME
from tests.helpers import load_command
from tests.video.clips import read_video, turned, write_video

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--max-detections", "2", "--score-threshold", "0.1"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = build_model(model_zoo.get_config(ZOO_NAME, trained=False))
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({"model": model.state_dict(), "iteration": 1}, path)
    return path


def noise(number=5, height=40, width=60):
    return list(np.random.default_rng(3).integers(0, 256, (number, height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", noise(), 12.5)


@pytest.fixture
def arguments(weights, tmp_path):
    def words(*source, output="out.mp4"):
        target = ["--output", tmp_path / output] if output else []
        command = ["--config-file", ZOO_NAME, *OPTIONS, *source, *target, *TINY, "MODEL.WEIGHTS", weights]
        return [str(word) for word in command]

    return words


@pytest.fixture
def run(arguments, tmp_path):
    def call(*source, output="out.mp4"):
        return load_command("explain").main(arguments(*source, output=output)), tmp_path / (output or "")

    return call


def error_of(capsys):
    return [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("error: ")]


def test_a_video_becomes_a_video(run, video, capsys):
    code, output = run("--video-input", video)
    assert code == 0
    frames, rate = read_video(output)
    assert len(frames) == 5 and rate == pytest.approx(12.5) and frames[0].shape == (40, 60, 3)
    told = capsys.readouterr()
    assert "Sound, if the video has any, is left out." in told.out and "5 frames, 10 detections of" in told.out
    assert "explaining" in told.err and "drawing" in told.err
    with RunReader(output.with_name("out.mp4.run")) as reader:
        assert len(reader) == 5 and reader.count() == 10
        (maps,) = reader.image(2).maps.values()
        assert maps[1].attributes == ("score",)  # the map that is drawn, no other
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.mp4", "out.mp4.run"]


def test_a_killed_run_goes_on_to_the_same_video(fresh, run, arguments, video, tmp_path, monkeypatch):
    """Killed for good while it keeps the third frame: the bytes are those of a whole run."""
    killer = tmp_path / "video_killer.py"
    killer.write_text(
        "import os, signal\n"
        "from odam_d2.store import RunWriter\n"
        "write, done = RunWriter.write, []\n"
        "def kill_at_the_third(self, *args):\n"
        "    if 'KILL' in os.environ and len(done) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    done.append(1)\n"
        "    write(self, *args)\n"
        "RunWriter.write = kill_at_the_third\n"
    )
    options = ("--video-input", video, "--import", killer)
    assert run(*options, output="whole.mp4")[0] == 0
    assert torch.get_num_threads() == 1  # as there: the last bits of a float depend on it
    killed = fresh(
        script=ROOT / "tools" / "explain.py", arguments=arguments(*options), variables={"KILL": "1"}, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "out.mp4").exists()
    (tmp_path / ".out.unfinished.mp4").write_bytes(b"left by one that was killed while it drew")
    explained, explain = [], frames_run.FramesRun.explain
    monkeypatch.setattr(frames_run.FramesRun, "explain", lambda *args: explained.append(1) or explain(*args))
    assert run(*options, "--resume")[0] == 0 and len(explained) == 3
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    one, other = ((tmp_path / f"{name}.mp4.run" / "tracks.csv").read_text() for name in ("out", "whole"))
    assert one == other
    assert sorted(p.name for p in tmp_path.iterdir() if p != killer and "pycache" not in p.name) == [
        "out.mp4",
        "out.mp4.run",
        "whole.mp4",
        "whole.mp4.run",
    ]


def test_other_settings_are_refused(run, video, capsys):
    assert run("--video-input", video, "--every", "4")[0] == 0
    capsys.readouterr()
    assert run("--video-input", video, "--resume")[0] == 1
    (told,) = error_of(capsys)
    assert "`output` must hold results of the same settings to resume" in told and "every: 4 there, 1 here" in told


def test_odd_sizes_and_turned_videos(run, video, tmp_path, capsys):
    # OpenCV's writer drops odd lines, whatever the codec; an animation is a video, too.
    odd, (first, second) = tmp_path / "odd.gif", map(Image.fromarray, noise(2, 41, 59))
    first.save(odd, save_all=True, append_images=[second], duration=100)
    assert read_video(odd)[0][0].shape == (41, 59, 3)
    code, output = run("--video-input", odd)
    assert code == 0 and read_video(output)[0][0].shape == (42, 60, 3)
    code, output = run("--video-input", turned(Path(write_video(tmp_path / "side.mp4", noise(2)))))
    assert code == 0 and read_video(output)[0][0].shape == (60, 40, 3)
    assert "The video is turned by 90 degrees, as it says" in capsys.readouterr().out


def test_a_video_that_ends_early_is_told(run, video, tmp_path, monkeypatch, capsys):
    frames = reading.VideoFile.frames
    monkeypatch.setattr(
        reading.VideoFile, "frames", lambda self, wanted: (one for one in frames(self, wanted) if one[0] < 3)
    )
    code, output = run("--video-input", video)
    assert code == 0 and len(read_video(output)[0]) == 3
    assert "says that it has 5 frames; it ends, or is broken, before frame 3." in capsys.readouterr().out


def test_a_frame_that_fails_is_told_drawn_bare_and_tried_again(run, video, monkeypatch, capsys):
    explain, calls = frames_run.FramesRun.explain, []

    def fails_once(self, image):
        calls.append(1)
        if len(calls) == 2:
            raise FloatingPointError("the score is not finite")
        return explain(self, image)

    monkeypatch.setattr(frames_run.FramesRun, "explain", fails_once)
    code, output = run("--video-input", video)
    assert code == 1 and len(read_video(output)[0]) == 5
    told = capsys.readouterr()
    assert (
        "failed: frame 1: the score is not finite" in told.err and "8 detections" in told.out and "1 failed" in told.out
    )
    assert json.loads((output.with_name("out.mp4.run") / "run.json").read_text())["failures"] == {
        "1": "the score is not finite"
    }
    assert run("--video-input", video, "--resume")[0] == 0 and len(calls) == 6


def test_nothing_detected(run, video, capsys):
    code, output = run("--video-input", video, "--score-threshold", "1")
    assert code == 0 and len(read_video(output)[0]) == 5
    assert run("--video-input", video, "--score-threshold", "1", "--resume", "--follow", "0")[0] == 1
    assert "got 0; nothing was detected: lower --score-threshold" in error_of(capsys)[0]


@pytest.mark.parametrize(
    "options, told",
    [
        (("--video-input", "nowhere.mp4"), "`path` must be a video file; got 'nowhere.mp4', which isn't there"),
        (("--video-input", __file__), "`path` must be a video that OpenCV can read"),
    ],
)
def test_what_is_no_video_is_told_in_a_sentence(run, options, told, capsys):
    assert run(*options)[0] == 1
    (line,) = error_of(capsys)
    assert told in line


def test_wrong_outputs_are_told(run, video, capsys):
    assert run("--video-input", video, output="out.gif")[0] == 1
    assert "`path` must end in one of .mp4" in error_of(capsys)[0]
    assert load_command("explain").main(
        ["--config-file", ZOO_NAME, "--video-input", str(video), "--output", str(video), *TINY]
    ) == 1  # fmt: skip
    assert "`--output` must be another file than --video-input" in error_of(capsys)[0]
    assert run("--video-input", video, "--codec", "ABCD")[0] == 1
    assert "`codec` must be one that this OpenCV can write to .mp4 files; got 'ABCD'" in error_of(capsys)[0]


@pytest.mark.parametrize(
    "options, output, told",
    [
        (("--video-input", "a.mp4", "--every", "0"), "a.mp4", "argument --every: must be at least 1; got 0"),
        (("--video-input", "a.mp4", "--follow", "-1"), "a.mp4", "argument --follow: must be at least 0; got -1"),
        (("--video-input", "a.mp4", "--codec", "h"), "a.mp4", "argument --codec: must be four letters"),
        (("--video-input", "a.mp4", "--num-processes", "2"), "a.mp4", "--num-processes doesn't go with --video-input"),
        (("--video-input", "a.mp4", "--annotations", "a.json"), "a.mp4", "--annotations doesn't go with --video-input"),
        (("--input", "a.jpg", "--every", "2"), "out", "--every doesn't go with --input"),
        (("--input", "a.jpg", "--video-input", "a.mp4"), "out", "not allowed with argument --input"),
        ((), "out", "one of the arguments --input --video-input --webcam is required"),
        (("--input", "a.jpg"), "", "the following arguments are required: --output"),
        (("--webcam", "--resume"), "a.mp4", "--resume doesn't go with --webcam"),
    ],
)
def test_options_that_do_not_go_together(arguments, options, output, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        load_command("explain").main(arguments(*options, output=output))
    assert stopped.value.code == 2 and told in capsys.readouterr().err


class Camera:
    """Gives the frames of a list."""

    facts = VideoFacts((40, 60), 10.0, 0, 0, True)

    def frames(self):
        yield from noise(7)

    def close(self):
        self.closed = True


@pytest.fixture
def camera(monkeypatch):
    found = Camera()
    monkeypatch.setattr("odam_d2.cli.explain_webcam.Camera", lambda: found)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return found


def test_a_camera_is_written_to_a_file_where_there_is_no_window(run, camera, monkeypatch, capsys):
    monkeypatch.setattr(live.sys, "platform", "linux")
    code, output = run("--webcam", "--every", "3", "--follow", "0")
    frames, rate = read_video(output)
    # Three are explained; each stands until the next is there.
    assert code == 0 and rate == pytest.approx(10) and len(frames) >= 3 and frames[0].shape[1] > 200
    assert camera.closed and "3 frames, " in capsys.readouterr().out


def test_without_a_window_or_file_or_camera_that_is_told(run, camera, monkeypatch, capsys):
    monkeypatch.setattr(live.sys, "platform", "linux")
    assert run("--webcam", output="")[0] == 1
    assert (
        "`--webcam` must have a window to draw to, or a file; got no display: give --output FILE" in error_of(capsys)[0]
    )
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("cv2.namedWindow", _no_window)
    assert run("--webcam", output="")[0] == 1
    assert "got an OpenCV without windows" in error_of(capsys)[0]


def _no_window(*_):
    import cv2

    raise cv2.error("not implemented")


def test_a_window_ends_the_run(run, camera, monkeypatch, capsys):
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("cv2.namedWindow", lambda *_: None)
    monkeypatch.setattr("cv2.imshow", lambda _, frame: shown.append(frame.shape))
    monkeypatch.setattr("cv2.waitKey", lambda _: ord("q") if len(shown) == 2 else -1)
    monkeypatch.setattr("cv2.getWindowProperty", lambda *_: 1.0)
    assert run("--webcam", output="")[0] == 0 and shown == [(40, 60, 3)] * 2
    assert "2 frames, " in capsys.readouterr().out
    assert not os.path.exists("webcam.mp4")
