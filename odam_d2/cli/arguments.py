"""What the command lines share: the parser, types of arguments, arguments that several commands have, error output."""

import argparse
import io
import math
import re
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..utils.files import FULL, OutputError
from ..utils.processes import ProcessPlan, begun_by_torchrun
from ..utils.words import printable

# A key of Detectron2's config, MODEL.WEIGHTS, or a key and value of a LazyConfig, model.backbone.freeze_at=0.
_CONFIG_KEY = re.compile(r"_?[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*|\w+(\.\w+)+=.*")
# Scripts in tools/ that are not called like their command.
_SCRIPTS = {"train": "train_net.py", "summarize": "summarize_runs.py"}


class WrongOptionError(ValueError):
    """What a command line says can't be done; told as argparse tells it."""


def spelling(command: str) -> str:
    """How a command was called.

    Args:
        command: its name, e.g. ``tune-nms``.

    Returns:
        ``tools/tune_nms.py`` if that script is running, else ``odam tune-nms``.
    """
    script = Path(sys.argv[0]).resolve()
    name = _SCRIPTS.get(command, command.replace("-", "_") + ".py")
    return f"tools/{name}" if (script.parent.name, script.name) == ("tools", name) else f"odam {command}"


def typed_command(command: str, argv: Sequence[str]) -> str:
    """The command line as it was typed, for the files of a run."""
    return f"{spelling(command)} {shlex.join(argv)}"


def typed_arguments(text: str) -> list[str]:
    """The arguments in what :func:`typed_command` gave."""
    words = shlex.split(text)
    return words[2:] if words[0] == "odam" else words[1:]


def command_parser(command: str, doc: str | None = None) -> argparse.ArgumentParser:
    """The parser of a command, without arguments.

    Args:
        command: its name. Usage and help give it as it was called, see :func:`spelling`.
        doc: what the help begins with, lines kept; the module's docstring, which spells the command ``odam NAME``.
    """
    _print_any_text()
    called = spelling(command)
    return argparse.ArgumentParser(
        prog=called.removeprefix("tools/"),
        description=doc and doc.replace(f"odam {command} ", f"{called} "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def script_parser(doc: str | None) -> argparse.ArgumentParser:
    """The parser of a script that is no command, without arguments; `doc` is its docstring."""
    _print_any_text()
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def _print_any_text() -> None:
    """Lets letters that a terminal or a pipe doesn't know, in names of files for example, be escaped when printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def failure(error: Exception) -> int:
    """Prints one sentence about a run that can't be set up or finished, and returns the exit code for it."""
    if isinstance(error, OSError) and error.errno in FULL and not isinstance(error, OutputError):
        error = OutputError(error.filename or "the output", error)
    sentence = "\n".join(map(printable, str(error).split("\n")))
    print(f"error: {sentence}", file=sys.stderr)
    return 1


def whole(text: str) -> int:
    """Argument type: a whole number from 0 on."""
    return _integer(text, 0)


def count(text: str) -> int:
    """Argument type: a whole number from 1 on."""
    return _integer(text, 1)


def _integer(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number; got {text!r}") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}; got {text}")
    return value


def finite(text: str) -> float:
    """Argument type: a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number; got {text!r}")
    return value


def share(text: str) -> float:
    """Argument type: a number in [0, 1]."""
    value = finite(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be in [0, 1]; got {text}")
    return value


def overlap(text: str) -> float:
    """Argument type: an IoU that something must exceed, in [0, 1)."""
    value = finite(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"must be in [0, 1); got {text}")
    return value


def option(text: str) -> tuple[str, Any]:
    """Argument type: ``NAME=VALUE``, the value in yaml."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE; got {text!r}")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE with a value that yaml can read; got {text!r}") from None


def option_of(owners: Collection[str]) -> Callable[[str], tuple[str, str, Any]]:
    """Argument type: ``OWNER.NAME=VALUE`` with one of `owners`."""

    def convert(text: str) -> tuple[str, str, Any]:
        owner, dot, rest = text.partition(".")
        if not (owner in owners and dot):
            raise argparse.ArgumentTypeError(f"must be METHOD.NAME=VALUE; got {text!r}")
        try:
            return owner, *option(rest)
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(f"must be METHOD.NAME=VALUE; got {text!r}") from None

    return convert


def add_config(
    parser: argparse.ArgumentParser, default: str | None = None, required: bool = True, several: bool = False
) -> None:
    """Adds ``--config-file``, what belongs to it and the options at the end, which :mod:`odam_d2.cli.config` reads.

    Args:
        parser: gets them.
        default: of ``--config-file``.
        required: whether ``--config-file`` must be given where there is no default.
        several: whether it takes several configs, so that :func:`split_opts` has to find the options at the end.
    """
    parser.add_argument(
        "--config-file",
        default=default,
        nargs="+" if several else None,
        required=required and default is None,
        metavar="CONFIG",
        help="a yaml file or a LazyConfig (.py); a name of this project's model zoo, e.g. "
        "synthetic/faster_rcnn_compact_FPN; or a name of Detectron2's, e.g. "
        "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml or COCO-Detection/fcos_R_50_FPN_1x.py"
        + (f" (default: {default})" if default else ""),
    )
    add_imports(parser)
    parser.add_argument(
        "--config-hook",
        dest="config_hooks",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="call this with the config before the yaml is read, e.g. a project's add_x_config; MODULE may be a .py "
        "file too; may be repeated",
    )
    parser.add_argument(
        "--class-names",
        nargs="+",
        metavar="NAME",
        help="the detector's classes in the order of its numbers; or a text file with one a line, or a COCO file, "
        "whose categories count by rising id (default: those of the config's data set)",
    )
    parser.add_argument(
        "opts",
        nargs="*" if several else argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the config, at the end; KEY=VALUE for a LazyConfig; behind an option that takes several words "
        "write -- before them",
    )


def add_imports(parser: argparse.ArgumentParser) -> None:
    """Adds ``--import``, as a list `imports`."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="FILE_OR_MODULE",
        help="import this before anything else, e.g. a file that registers a backbone or a data set; may be repeated",
    )


def add_input(parser: argparse.ArgumentParser) -> None:
    """Adds ``--input``: images, folders or patterns; :func:`opts_after_input` mends what it takes too much."""
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        metavar="PATH",
        help="images, a folder of images, or a quoted glob pattern such as 'folder/**/*.jpg'",
    )


def split_opts(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command line before the options at its end, and these, where an option takes several words.

    They begin at the first word that is a key of a config, with a dot in it, and no file.
    """
    for place, word in enumerate(argv):
        if "." in word and _CONFIG_KEY.fullmatch(word) and not Path(word).exists():
            return list(argv[:place]), list(argv[place:])
    return list(argv), []


def opts_after_input(args: argparse.Namespace) -> argparse.Namespace:
    """Gives the options at the end of the command line back that stand right behind the values of ``--input``."""
    for place, word in enumerate(args.input[1:], 1):
        if _CONFIG_KEY.fullmatch(word) and not Path(word).exists():
            args.input, args.opts = args.input[:place], [*args.input[place:], *args.opts]
            break
    return args


def add_output_folder(parser: argparse.ArgumentParser) -> None:
    """Adds ``--output``, a folder."""
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")


def add_single_file(parser: argparse.ArgumentParser) -> None:
    """Adds ``--single-file``."""
    parser.add_argument(
        "--single-file",
        action="store_true",
        help="the report as one file, report.html, of at most 50 images (default: a folder, report/index.html)",
    )


def add_output_json(parser: argparse.ArgumentParser) -> None:
    """Adds an optional ``--output``, a JSON file of figures."""
    parser.add_argument("--output", metavar="JSON", help="also write the figures and versions to this file")


def add_seed(parser: argparse.ArgumentParser, of: str) -> None:
    """Adds ``--seed``; `of` says what it decides."""
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=f"random seed of {of} (default: 0)")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Adds ``--threads``."""
    parser.add_argument("--threads", type=count, default=2, metavar="N", help="torch threads (default: 2)")


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Adds what says which processes share the images of a run; see :func:`process_plan`."""
    parser.add_argument("--num-processes", type=count, default=1, metavar="N",
        help="processes of each machine on its CPU, one core each; results do not depend on their number (default: 1)"
    )  # fmt: skip
    add_machines(parser)


def process_plan(args: argparse.Namespace, device: str) -> ProcessPlan:
    """Which processes share the images of a run.

    Args:
        args: has what :func:`add_processes` adds.
        device: of the detector, as a config names it.

    Raises:
        WrongOptionError: if the numbers don't go together, or not with the device.
    """
    on_cpu = device == "cpu"
    if begun_by_torchrun() and (args.num_processes, args.num_machines) != (1, 1):
        raise WrongOptionError(
            "--num-processes and --num-machines must be left out under torchrun, which begins the processes; got "
            f"{args.num_processes} and {args.num_machines}: give --nproc-per-node and --nnodes to torchrun"
        )
    if on_cpu and args.num_gpus > 1:
        raise WrongOptionError(
            f"--num-gpus must be at most 1 on the CPU; got {args.num_gpus}: give --num-processes {args.num_gpus}"
        )
    if not on_cpu and args.num_gpus < 1:
        raise WrongOptionError(
            f"--num-gpus must be at least 1; got {args.num_gpus}: give MODEL.DEVICE cpu at the end to do without"
        )
    if wrong := wrong_machines(args):
        raise WrongOptionError(wrong)
    per_machine = args.num_processes if on_cpu else args.num_gpus
    return ProcessPlan(per_machine, args.num_machines, args.machine_rank, args.dist_url, on_gpus=not on_cpu)


def add_machines(parser: argparse.ArgumentParser) -> None:
    """Adds what says which machines work together, as Detectron2's ``launch`` takes it."""
    add = parser.add_argument
    add("--num-gpus", type=whole, default=1, metavar="N", help="GPUs of each machine (default: 1)")
    add("--num-machines", type=count, default=1, metavar="N", help="machines (default: 1)")
    add("--machine-rank", type=whole, default=0, metavar="K", help="number of this machine, from 0 on (default: 0)")
    add("--dist-url", default="auto", metavar="URL", help="where several machines meet, e.g. tcp://HOST:PORT")


def wrong_machines(args: argparse.Namespace) -> str | None:
    """What is wrong with the arguments of :func:`add_machines`; None if nothing is."""
    if args.machine_rank >= args.num_machines:
        last = args.num_machines - 1
        return f"--machine-rank must be in 0 .. {last}; got {args.machine_rank}: give --num-machines too"
    if args.num_machines > 1 and args.dist_url == "auto":
        return "--dist-url must be where several machines meet; got 'auto': give tcp://HOST:PORT of the first of them"
    return None
