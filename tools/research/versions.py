#!/usr/bin/env python
"""Runs the tests with several sets of versions, each in an environment of its own, and prints a table of what passed.

    tools/research/versions.py --folder output/versions
    tools/research/versions.py --folder output/versions --sets torch-2.4 --tests tests/explain tests/meta_arch

A set that is done is kept and not run again; --anew runs it again. Each needs about 6 GB of disk while it runs, and as
long as `make test` in one process.

Exit code: 0; 1 if a test failed or an environment couldn't be made; 2 if an argument is wrong.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from odam_d2.cli.arguments import failure, script_parser
from odam_d2.utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]
# Installed without what they ask for, as the Makefile has it.
ALONE = dict(re.findall(r"^(LABGYM|TIDECV) := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
# What the tests need beside the package; the last three for TIDE's package.
TESTERS = ("pytest", "pytest-xdist", "timm", "hypothesis", "markdown-it-py", "appdirs", "pandas", "seaborn")
COUNTED = ("passed", "failed", "skipped", "error")
TOLD = ("torch", "torchvision", "numpy", "pillow", "opencv-python-headless", "transformers")


@dataclass(frozen=True)
class VersionSet:
    """What an environment has.

    Attributes:
        python: the interpreter's command.
        packages: what is installed before all else; None for the pinned versions.
        extras: of this package.
    """

    python: str = "python3.11"
    packages: tuple[str, ...] | None = None
    extras: str = "opencv,detr"


SETS = {
    "pinned": VersionSet(),
    "torch-2.1": VersionSet(
        # transformers has wanted a later torch since 4.57, so the query detectors are left out.
        packages=("torch==2.1.2", "torchvision==0.16.2", "numpy==1.26.4"),
        extras="opencv",
    ),
    "torch-2.4": VersionSet(packages=("torch==2.4.1", "torchvision==0.19.1")),
    "python-3.10": VersionSet(python="python3.10", packages=()),
    "python-3.12": VersionSet(python="python3.12"),
    "python-3.13": VersionSet(python="python3.13"),
}


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--folder", required=True, metavar="DIR", help="for environments, logs and results")
    add("--sets", nargs="+", choices=list(SETS), default=list(SETS), metavar="NAME",
        help="; ".join(SETS) + " (default: all)")  # fmt: skip
    add("--tests", nargs="+", default=["tests"], metavar="PATH", help="what pytest is given (default: tests)")
    add("--anew", action="store_true", help="run sets again that are done")
    add("--keep", action="store_true", help="keep the environments")
    return parser


def install(kind: VersionSet, folder: Path) -> Path:
    """Makes an environment, with this package from the checkout, and returns its interpreter.

    Raises:
        ValueError: if a step fails; says which.
    """
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    plain = [*install, "--no-build-isolation"]
    requirements = ["-r", str(ROOT / "requirements.txt"), "-r", str(ROOT / "requirements-dev.txt")]
    if kind.packages is None:
        packages = [*plain, *requirements]
    else:
        packages = [*plain, *kind.packages, f"{ROOT}[{kind.extras}]", *TESTERS]
    steps = [
        [kind.python, "-m", "venv", str(folder)],
        [*install, "setuptools==80.9.0", "wheel"],
        packages,
        [*install, "--no-deps", "--ignore-requires-python", *ALONE.values()],
        [*plain, "--no-deps", str(ROOT / "packaging" / "detectron2_alias")],
        [*plain, "--no-deps", "-e", str(ROOT)],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"{' '.join(step)} must succeed; it ended with {done.returncode}: {done.stderr[-500:]}")
    return python


def run_tests(python: Path, tests: Sequence[str], log: Path) -> dict[str, int]:
    """Runs pytest in one process and returns how many tests passed, failed and so on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [str(python), "-m", "pytest", "-p", "no:xdist", "-q", "--tb=short", "-p", "no:cacheprovider", *tests]
    with log.open("w", encoding="utf-8") as file:
        subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    return read_counts(log.read_text(encoding="utf-8"))


def read_counts(text: str) -> dict[str, int]:
    """The numbers in pytest's last line of results; an error where there is none."""
    lines = [line for line in text.splitlines() if re.search(r"\d+ (passed|failed|errors?)\b.* in ", line)]
    found = dict.fromkeys(COUNTED, 0)
    if not lines:
        return {**found, "error": 1}
    for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", lines[-1]):
        found[word] = int(number)
    return found


def versions_in(python: Path) -> dict[str, str]:
    """Python's version and those of the packages that are told."""
    program = (
        "import json, platform, importlib.metadata as m\n"
        "have = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        f"print(json.dumps({{'python': platform.python_version(), **{{n: have.get(n, '-') for n in {TOLD!r}}}}}))"
    )
    return json.loads(subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True).stdout)


def table(results: dict[str, dict]) -> str:
    """The results as Markdown."""
    head = ["set", "Python", *TOLD, *COUNTED]
    rows = [
        [name, *(one["versions"][key] for key in ("python", *TOLD)), *(str(one["counts"][key]) for key in COUNTED)]
        for name, one in results.items()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    args = argument_parser().parse_args(argv)
    folder, results = Path(args.folder).resolve(), {}
    folder.mkdir(parents=True, exist_ok=True)
    for name in args.sets:
        kept = folder / f"{name}.json"
        if args.anew or not kept.is_file():
            print(f"{name}: making its environment", file=sys.stderr)
            try:
                python = install(SETS[name], folder / name)
            except (ValueError, OSError) as error:
                return failure(error)
            print(f"{name}: running the tests, log in {folder / name}.log", file=sys.stderr)
            counts = run_tests(python, args.tests, folder / f"{name}.log")
            write_json(kept, {"versions": versions_in(python), "counts": counts, "tests": args.tests})
            if not args.keep:
                shutil.rmtree(folder / name)
        results[name] = json.loads(kept.read_text(encoding="utf-8"))
    print(table(results))
    return 1 if any(one["counts"]["failed"] or one["counts"]["error"] for one in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
