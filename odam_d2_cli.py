"""The console script ``odam``: finds the module of a command and runs it.

It lies beside the package because importing that imports torch and Detectron2, for which ``odam --help`` would wait.
"""

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

# Command -> module with `main(argv) -> exit code`, and what `odam --help` says of it.
COMMANDS = {
    "explain": ("odam_d2.cli.explain", "explain detections in images: overlays, heat maps, a report for the browser"),
    "compare": ("odam_d2.cli.compare", "put several runs of explain side by side on one page"),
    "evaluate": ("odam_d2.cli.evaluate", "measure explanations on a data set, by several methods and metrics"),
    "analyze": (
        "odam_d2.cli.analyze",
        "list mistakes and misses on a data set, and what the maps say of them",
    ),
    "serve": ("odam_d2.cli.serve", "show a run, and ask detectors about images, in a browser on this machine"),
    "summarize": ("odam_d2.cli.summarize", "print finished runs of evaluate as Markdown tables"),
    "export": ("odam_d2.cli.export", "write a run as COCO results, CSV, a FiftyOne dataset or sv.Detections"),
    "train": ("odam_d2.cli.train", "train or evaluate a detector, also by explanations (Odam-Train)"),
    "tune-nms": ("odam_d2.cli.tune_nms", "find thresholds for NMS, Soft-NMS and Odam-NMS"),
    "visualize-data": ("odam_d2.cli.visualize_data", "draw the annotations of data sets"),
    "check-crowdhuman": ("odam_d2.cli.check_crowdhuman", "check annotations in CrowdHuman's format"),
    "env": ("odam_d2.env", "print versions and hardware, for bug reports"),
}


def usage() -> str:
    """What ``odam --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: odam COMMAND [arguments]",
            "",
            "Heat maps that explain single detections of Detectron2 models.",
            "",
            "commands:",
            *lines,
            "",
            "odam COMMAND --help lists the arguments of a command; odam --version prints the version.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names.

    Args:
        argv: the arguments; default those of this process.

    Returns:
        The exit code: the command's own, or 2 if there is no such command.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"odam_d2 {importlib.metadata.version('odam_d2')}")
        return 0
    if argv[0] not in COMMANDS:
        print(f"odam: error: the command must be one of {', '.join(COMMANDS)}; got {argv[0]!r}", file=sys.stderr)
        return 2
    return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
