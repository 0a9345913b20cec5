"""Explains what a camera sees, as it comes."""

import argparse
import contextlib
from pathlib import Path

from tqdm import tqdm

from ..utils.words import printable
from ..video.live import LiveFile, LiveTarget, Window, explain_live, stopped_by_keyboard
from ..video.reading import Camera
from ..video.writing import VideoWriter, require_suffix
from .frames_run import FramesRun


def explain_webcam(args: argparse.Namespace) -> int:
    """Runs the command until the window is closed, Ctrl-C is pressed or the camera ends; returns its exit code.

    Raises:
        ValueError: if there is no camera, or neither a window nor a file to draw to, or the detector can't be built.
        OutputError: if the file can't be written.
    """
    setup = FramesRun(args, quiet=True)
    targets: list[LiveTarget] = []
    if args.output:
        require_suffix(args.output)
    try:
        targets.append(Window())
    except ValueError:
        if not args.output:
            raise
    with contextlib.closing(Camera()) as camera:
        _ = setup.explainer
        frames = seen = 0
        with VideoWriter(args.output or "webcam.mp4", camera.facts.rate, args.codec) as writer:
            if args.output:
                targets.append(LiveFile(writer))
            live = explain_live(
                camera, setup.every, setup.explain, setup.class_names, setup.attribute, args.follow, targets
            )
            with stopped_by_keyboard():
                for frames, seen in enumerate(tqdm(live, desc="explaining", unit="frame"), 1):  # noqa: B007
                    pass
    if args.output and frames:
        print(f"Video: {printable(Path(args.output).resolve())}")
    print(f"{frames} frames, {seen} objects")
    return 0
