"""Shows a run, and asks detectors about images, in a browser: a server for this machine alone.

    odam serve output/analysis --config-file synthetic/faster_rcnn_compact_FPN
    odam serve --config-file my.yaml other.yaml
    odam serve --config-file my.yaml MODEL.WEIGHTS my.pth

It prints the address to open. From another machine, `ssh -L 7788:localhost:7788 HOST` is the safe way; with another
--host, a --token must be given.

Exit code: 0 when it is stopped by Ctrl-C; 1 if the set-up failed; 2 if an argument is wrong.
"""

import argparse
import importlib.util
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from ..utils.files import distinct_names
from .arguments import add_config, command_parser, failure, split_opts, whole
from .config import read_run_config

PACKAGES = ("fastapi", "uvicorn")  # the extra `serve`
_MOST_DETECTORS = 2
_DEMO = Path(__file__).resolve().parents[2] / "datasets" / "demo" / "images"  # beside a checkout


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser("serve", __doc__)
    add = parser.add_argument
    add("run", nargs="?", metavar="RUN", help="--output of odam explain, evaluate or analyze (default: no run)")
    add_config(parser, required=False, several=True)
    add("--attributes", nargs="+", metavar="NAME", help="what to explain of each box (default: ODAM.ATTRIBUTES)")
    add("--host", default="127.0.0.1", metavar="ADDRESS",
        help="where to listen; another than this machine's own needs --token (default: 127.0.0.1)")  # fmt: skip
    add("--allow-host", dest="allowed_hosts", action="append", default=[], metavar="NAME",
        help="a further name by which browsers may call the server; may be repeated")  # fmt: skip
    add("--port", type=whole, default=7788, metavar="N", help="0 for any that is free (default: 7788)")
    add("--token", metavar="T", help="what a browser must know; at least 16 characters")
    add("--device", metavar="D", help="where detectors run, e.g. cpu or cuda:1 (default: the config's, a GPU if any)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    words, opts = split_opts(sys.argv[1:] if argv is None else argv)
    parser = argument_parser()
    args = parser.parse_args(words)
    args.opts = [*args.opts, *opts]
    wrong = wrong_arguments(args)
    if wrong:
        parser.error(wrong)
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return failure(ImportError(f"odam serve needs the packages {', '.join(missing)}: pip install 'odam_d2[serve]'"))
    # What these need is imported here, since only this command has it.
    from ..serve.run_server import listen, run_server

    try:
        listener = listen(args.host, args.port)
    except OSError as error:
        reason = error.strerror or str(error)
        return failure(
            OSError(f"--host and --port must be free to listen on; got {args.host} and {args.port}: {reason}")
        )
    with listener:
        try:
            bench = _workbench(args)
        except (ValueError, ImportError, OSError, TypeError) as error:
            return failure(error)
        still_works = run_server(bench, listener, hosts_of(args), args.token)
    if still_works:
        # Python, as it ends, would take the ground from under a thread that is in torch's code, which aborts.
        sys.stdout.flush()
        os._exit(0)
    return 0


def wrong_arguments(args: argparse.Namespace) -> str | None:
    """What is wrong with the arguments; None if nothing is."""
    from ..serve.guard import is_loopback

    configs = args.config_file or []
    if not configs and args.run is None:
        return "give RUN, --config-file, or both"
    if len(configs) > _MOST_DETECTORS:
        return f"--config-file must name at most {_MOST_DETECTORS} detectors; got {len(configs)}: leave some out"
    if args.opts and not configs:
        return f"the options at the end are changes to a config; got {args.opts[0]!r} without --config-file"
    if len(configs) > 1 and any("WEIGHTS" in word or "init_checkpoint" in word for word in args.opts):
        return "weights at the end must be those of one detector; got two detectors: name weights in their configs"
    if not is_loopback(args.host) and not args.token:
        return f"--token must be given where others can reach the server; got --host {args.host} alone"
    if args.token is not None and (len(args.token) < 16 or not args.token.isascii() or not args.token.isprintable()):
        return "--token must have at least 16 printable ASCII characters; got another: python -c 'import secrets; " \
            "print(secrets.token_urlsafe(16))' makes one"  # fmt: skip
    if args.port > 65535:
        return f"--port must be at most 65535; got {args.port}"
    return None


def hosts_of(args: argparse.Namespace) -> list[str]:
    """The names by which the server may be called."""
    from ..serve.guard import LOOPBACK, is_loopback

    named = [] if is_loopback(args.host) or args.host in ("0.0.0.0", "::") else [args.host]
    everywhere = args.host in ("0.0.0.0", "::")
    return [*LOOPBACK, *named, *args.allowed_hosts, *([socket.gethostname()] if everywhere else [])]


def _workbench(args: argparse.Namespace):
    """What is served, built from the command line."""
    from ..serve.detector import ServedDetector
    from ..serve.limits import ServeLimits
    from ..serve.run_view import RunView
    from ..serve.workbench import Workbench

    limits = ServeLimits()
    run = None if args.run is None else RunView(args.run, limits)
    detectors = []
    configs = args.config_file or []
    for file, name in zip(configs, distinct_names([Path(one).stem for one in configs], taken=()), strict=True):
        config = read_run_config(argparse.Namespace(**{**vars(args), "config_file": file}), 0.05, 100)
        if args.device is not None:
            config.device = args.device
        print(f"Loading {file}", flush=True)
        detectors.append(ServedDetector(name, config, args.attributes))
    samples = sorted(_DEMO.glob("*.jpg")) if detectors else []
    title = "ODAM workbench" if args.run is None else f"ODAM workbench: {Path(args.run).resolve().name}"
    return Workbench(run, detectors, limits, samples, title)
