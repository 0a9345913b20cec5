"""Writes a run in the form of other tools: COCO results, CSV, a FiftyOne dataset, supervision's detections.

    odam export output/run --to csv --output output/run.csv
    odam export output/run --to coco --min-score 0.05 --output output/results.json
    odam export output/run --to fiftyone --verdict background duplicate --output output/mistakes
    odam export output/run --to supervision --attributes score left --output output/detections

RUN is the --output of odam explain, evaluate or analyze. Exit code: 0; 1 if the run can't be read or the output can't
be written; 2 if an argument is wrong.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..export import EXPORTERS, Exporter, options_of
from ..export.chosen import ChosenImage
from ..export.fiftyone_dataset import MEDIA, SAMPLES
from ..store import RunReader
from ..utils.imports import import_file_or_module
from ..utils.words import printable
from .arguments import add_imports, command_parser, failure
from .row_filters import add_row_filters, row_filter

_OPTIONS = ("method", "attributes", "media", "samples")


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser("export", __doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="output folder of odam explain, evaluate or analyze")
    add("--to", required=True, metavar="TOOL", help="coco, csv, fiftyone, supervision, or what --import registers")
    add("--output", required=True, metavar="PATH", help="what to write: a file for coco and csv, else a folder")
    add("--overwrite", action="store_true", help="write it in place of an older one")
    add("--method", metavar="NAME", help="maps of this method, where the run has several (fiftyone, supervision)")
    add("--attributes", nargs="+", metavar="NAME", help="maps to write, or all (fiftyone, supervision; default: score)")
    add("--media", choices=MEDIA, help="copy images, or refer to where they are (fiftyone; default: copy)")
    add("--samples", choices=SAMPLES,
        help="a sample is an image, or one box with its own maps (fiftyone; default: image)")  # fmt: skip
    add_row_filters(parser)
    add_imports(parser)
    return parser


def require_free(path: Path, exporter: type[Exporter], overwrite: bool) -> None:
    """Raises ValueError where something is at `path` that must not be replaced."""
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise ValueError(f"--output must be new; got {str(path)!r}, which exists: choose another, or add --overwrite")
    if exporter.marker:
        ours = path.is_dir() and ((path / exporter.marker).is_file() or not any(path.iterdir()))
        if not ours:
            raise ValueError(
                f"--output must be a folder of this command to be overwritten; got {str(path)!r} without "
                f"{exporter.marker}: choose another"
            )
    elif not path.is_file():
        raise ValueError(f"--output must be a file; got {str(path)!r}, which is none: choose another")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    parser = argument_parser()
    args = parser.parse_args(argv)
    try:
        for name in args.imports:
            import_file_or_module(name)
    except ImportError as error:
        return failure(error)
    if args.to not in EXPORTERS:
        parser.error(f"--to must be one of {', '.join(sorted(EXPORTERS))}; got {args.to!r}")
    kind, path = EXPORTERS[args.to], Path(args.output)
    options: dict[str, Any] = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    useless = [name for name in options if name not in options_of(kind)]
    if useless:
        parser.error(f"--{useless[0]} has no meaning for --to {args.to}: leave it out")
    try:
        require_free(path, kind, args.overwrite)
        with RunReader(args.run) as reader:
            exporter = kind(reader, row_filter(args, reader), **options)

            def watched(images: Iterable[ChosenImage]) -> Iterator[ChosenImage]:
                yield from tqdm(images, desc="exporting", unit="image", total=len(reader))

            written = exporter.write(path, watched)
    except (ValueError, OSError) as error:
        return failure(error)
    print(f"{written.boxes} boxes of {written.images} images: {printable(path.resolve())}")
    for note in written.notes:
        print(printable(note))
    return 0
