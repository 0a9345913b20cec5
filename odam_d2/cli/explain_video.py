"""Explains a video: its frames one by one into a run beside the output, then draws them from there.

So a run that was interrupted goes on, gives the same video as one that wasn't, and follows another object without
explaining anything again.
"""

import argparse
import csv
import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from ..env import collect_versions
from ..store import RunFolder, RunReader, RunWriter
from ..utils.files import atomic_write, write_json, write_text
from ..utils.words import printable
from ..video.drawing import AllObjects, FrameDrawer, OneObject
from ..video.explaining import explain_frames
from ..video.reading import VideoFile
from ..video.rendering import draw_video
from ..video.stored import StoredFrames
from ..video.writing import VideoWriter, require_suffix
from .finished_images import settings_of
from .frames_run import FramesRun

TRACKS, FOLLOWED, FACTS = "tracks.csv", "followed.csv", "run.json"
_COLUMNS = ("frame", "seconds", "id", "label", "score", "x1", "y1", "x2", "y2")


class VideoRun(FramesRun):
    """A run of ``odam explain --video-input``.

    Args:
        args: the command line.

    Raises:
        ValueError: if the output isn't called like a video, or is the input.
    """

    def __init__(self, args: argparse.Namespace):
        super().__init__(args)
        require_suffix(args.output)
        self.target = Path(args.output)
        self.output = self.target.with_name(f"{self.target.name}.run")
        video = self.video.path  # what is wrong with it is told before the detector is built
        if self.target.exists() and self.target.samefile(video):
            raise ValueError(f"`--output` must be another file than --video-input; got {args.output!r} for both")

    @cached_property
    def video(self) -> VideoFile:
        """The video."""
        return VideoFile(self.args.video_input)

    @property
    def frames(self) -> int:
        """How many frames are to be explained, as the video says; 0 if it doesn't."""
        return -(-self.video.facts.count // self.every)

    def start_folder(self) -> None:
        """Makes the run's folder ready, and tells of damaged files."""
        settings = settings_of(self.args, self.config, self.model, self.options, self.class_names)
        path = self.video.path
        settings |= {"video": f"{path.name} ({path.stat().st_size} bytes)", "every": self.every}
        run = RunFolder(self.output)
        run.start(settings, self.args.resume, results=(TRACKS, FOLLOWED, FACTS))
        for line in run.set_aside:
            print(line, file=sys.stderr)

    def drawer(self, frames: StoredFrames) -> FrameDrawer:
        """What draws frames; of a followed object its figures are written on the way."""
        followed = self.output / FOLLOWED
        if self.args.follow is None:
            followed.unlink(missing_ok=True)
            return AllObjects(self.class_names, self.attribute)
        frames.require(self.args.follow)
        figures = frames.figures(self.args.follow, self.attribute)
        write_text(followed, figures.as_csv())
        return OneObject(self.class_names, self.attribute, figures)


def explain_video(args: argparse.Namespace, command: str) -> int:
    """Runs the command; returns its exit code: 1 if a frame could not be explained.

    Raises:
        ValueError: if something is wrong with the video, the detector or ``--follow``.
        OutputError: if something can't be written.
    """
    setup = VideoRun(args)
    facts, method = setup.facts(command), setup.options["method"]  # what is wrong with the detector shows here
    setup.start_folder()
    with RunWriter(setup.output) as writer:
        writer.put_run({"method": method, "attributes": facts["attributes"], "class_names": list(setup.class_names)})
        failures = _explain(setup, writer, method)
    video = setup.video.facts
    with RunReader(setup.output) as reader:
        if not len(reader):
            raise ValueError(f"no frame of {printable(args.video_input)!r} could be read: convert it to H.264 in .mp4")
        size = reader.image(0, maps=False).image.size or video.size
        frames = StoredFrames(reader, method, tuple(facts["attributes"]), size, video.rate / setup.every, setup.every)
        _write_tracks(setup.output / TRACKS, frames.tracks())
        with VideoWriter(setup.target, frames.rate, args.codec) as writer:
            for _ in _progress(draw_video(setup.video, frames, setup.drawer(frames), writer), "drawing", len(frames)):
                pass
        detections, objects = reader.count(), len(frames.labels)
    told = {
        "frames": len(frames),
        "size": size[::-1],
        "rate": frames.rate,
        "detections": detections,
        "objects": objects,
    }
    told |= {"every": setup.every, "follow": args.follow, "failures": failures}
    write_json(setup.output / FACTS, {**facts, "video": args.video_input, **told, "versions": collect_versions()})
    _tell(setup, len(frames), detections, objects, len(failures))
    return 1 if failures else 0


def _explain(setup: VideoRun, writer: RunWriter, method: str) -> dict[int, str]:
    """Explains what isn't finished; returns the frames that failed, with the reasons."""
    finished = RunFolder(setup.output).finished()
    failures: dict[int, str] = {}
    frames = explain_frames(
        setup.video, setup.every, setup.explain, writer, setup.class_names, method, frozenset(finished)
    )
    for number, error in _progress(frames, "explaining", setup.frames, len(finished)):
        if error is not None:
            failures[number] = str(error)
            tqdm.write(f"failed: frame {number}: {printable(str(error))}", file=sys.stderr)
    return failures


def _progress(frames: Iterable, what: str, total: int, done: int = 0) -> Iterable:
    return tqdm(frames, desc=what, unit="frame", total=max(total, done) or None, initial=done)


def _write_tracks(path: Path, rows: Iterable[tuple]) -> None:
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for frame, seconds, track, label, *numbers in rows:
            writer.writerow([frame, f"{seconds:.3f}", track, label, *(f"{one:.6g}" for one in numbers)])


def _tell(setup: VideoRun, frames: int, detections: int, objects: int, failed: int) -> None:
    facts = setup.video.facts
    if facts.turned:
        print(f"The video is turned by {facts.turned} degrees, as it says; the output is so without saying it.")
    if not facts.rate_is_told:
        print(f"The video doesn't say how many frames a second it has: {facts.rate:g} are taken.")
    if facts.count and frames < setup.frames:
        end = frames * setup.every
        print(f"The video says that it has {facts.count} frames; it ends, or is broken, before frame {end}.")
    print("Sound, if the video has any, is left out.")
    print(f"Video: {printable(setup.target.resolve())}")
    print(f"{frames} frames, {detections} detections of {objects} objects, {failed} failed")
