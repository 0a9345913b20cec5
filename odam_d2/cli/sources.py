"""What ``odam explain`` explains: images, a video or what a camera sees; and options that go with one of these."""

import argparse

from .arguments import add_input, count, whole

# Options of images alone, with what they are where they weren't given.
_OF_IMAGES = {
    "annotations": None,
    "explain": "detections",
    "strips": 3,
    "single_file": False,
    "num_processes": 1,
    "num_machines": 1,
}
_OF_VIDEOS = {"every": None, "follow": None, "codec": None}


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds ``--input``, ``--video-input`` and ``--webcam``, of which one must be given, and ``--output``."""
    group = parser.add_mutually_exclusive_group(required=True)
    add_input(group)
    group.add_argument("--video-input", metavar="FILE", help="a video: --output becomes a video with boxes and maps")
    group.add_argument(
        "--webcam",
        action="store_true",
        help="the first camera: to a window, which q closes, and to the video --output where it is given",
    )
    parser.add_argument(
        "--output", metavar="DIR_OR_FILE",
        help="folder for the results; of a video the file, .mp4, .mkv, .avi, .mov or .webm",
    )  # fmt: skip


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Adds what goes with ``--video-input`` and ``--webcam``."""
    add = parser.add_argument
    add("--every", type=count, metavar="N", help="of a video: explain and draw every N-th frame (default: 1)")
    add("--follow", type=whole, metavar="ID",
        help="of a video: draw one object alone, with curves of its score and of its heat on neighbours")  # fmt: skip
    add("--codec", type=_four_letters, metavar="FOURCC", help="of a video: e.g. mp4v (default: by the kind of file)")


def _four_letters(text: str) -> str:
    if len(text) != 4 or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be four letters, such as mp4v; got {text!r}")
    return text


def wrong_source(args: argparse.Namespace) -> str | None:
    """What is wrong with the options for this source; None if nothing is."""
    source = "--input" if args.input else "--webcam" if args.webcam else "--video-input"
    for name, default in (_OF_VIDEOS if args.input else _OF_IMAGES).items():
        if getattr(args, name) != default:
            return f"--{name.replace('_', '-')} doesn't go with {source}: leave it out"
    if not args.output and not args.webcam:
        return "the following arguments are required: --output"
    if args.webcam and args.resume:
        return "--resume doesn't go with --webcam, which sees nothing twice: leave it out"
    return None
