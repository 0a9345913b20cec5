#!/usr/bin/env python
"""Reads mutated annotation files and images, and says what became of them.

    tools/research/fuzz.py --files 3000 --lines 3000 --images 1000 --output output/fuzz
    tools/research/fuzz.py --minutes 30 --seed 7 --output output/fuzz

COCO files, `.odgt` files and images are made valid and then changed: values, types, nesting, encodings, single bytes,
cut off. Each is read in another process. A fault is an error that isn't one of our own sentences, a process that dies
or takes more than five seconds, an account that doesn't add up, something valid that came out changed, a size that
isn't the image's. --output gets fuzz.json with all counts, and the shortest file of each kind of fault.

Exit code: 0; 1 if there was a fault.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from tabulate import tabulate
from tqdm import tqdm

from odam_d2.env import collect_versions
from odam_d2.utils.clock import now
from odam_d2.utils.files import atomic_write, write_json

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_cases import STRATEGIES, Case  # noqa: E402  a script's neighbours
from fuzz_checks import Checker  # noqa: E402

BATCH = 250  # cases of one seed; longer searches of hypothesis repeat themselves


class Tally:
    """What became of the cases of one kind."""

    def __init__(self) -> None:
        self.cases, self.lines = 0, 0
        self.outcomes: Counter[str] = Counter()
        self.entries: Counter[str] = Counter()
        self.warned: Counter[str] = Counter()
        self.faults: dict[str, dict[str, Any]] = {}

    def add(self, case: Case, outcome: Any) -> None:
        """Counts one case."""
        self.cases += 1
        self.lines += max(case.data.count(b"\n"), 1)
        self.outcomes[outcome.kind] += 1
        self.entries.update(outcome.counts)
        self.warned.update(outcome.warned)
        if outcome.kind == "fault":
            fault = self.faults.setdefault(outcome.signature, {"count": 0, "data": case.data, "detail": outcome.detail})
            fault["count"] += 1
            if len(case.data) < len(fault["data"]):
                fault |= {"data": case.data, "detail": outcome.detail}


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--files", type=int, default=0, metavar="N", help="COCO files (default: %(default)s)")
    add("--lines", type=int, default=0, metavar="N", help="lines of .odgt files, at least (default: %(default)s)")
    add("--images", type=int, default=0, metavar="N", help="images (default: %(default)s)")
    add("--minutes", type=float, default=0, metavar="M", help="go on with all three in turn until M minutes are over")
    add("--seed", type=int, default=0, help="of the search (default: %(default)s)")
    add("--output", default="output/fuzz", metavar="DIR", help="default: %(default)s")
    return parser


def search(kind: str, count: int, number: int, checker: Checker, tally: Tally, bar: tqdm) -> None:
    """Checks a number of cases of a kind.

    Args:
        kind: of STRATEGIES.
        count: how many cases.
        number: the seed.
        checker: what checks them.
        tally: what counts them.
        bar: moves on by one a case.
    """

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(STRATEGIES[kind])
    def check(case: Case) -> None:
        tally.add(case, checker.check(kind, case.data, case.content, case.untouched))
        bar.update()

    check()


def run(args: argparse.Namespace) -> dict[str, Tally]:
    """The whole search."""
    begin, number = now(), args.seed
    tallies = {kind: Tally() for kind in STRATEGIES}

    def missing() -> dict[str, int]:
        left = {
            "coco": args.files - tallies["coco"].cases,
            "odgt": args.lines - tallies["odgt"].lines,
            "image": args.images - tallies["image"].cases,
        }
        return {kind: count for kind, count in left.items() if count > 0}

    with Checker() as checker, tqdm(desc="files", unit="file") as bar:
        while missing() or now() - begin < 60 * args.minutes:
            for kind, count in (missing() or dict.fromkeys(STRATEGIES, BATCH)).items():
                search(kind, min(count, BATCH), number, checker, tallies[kind], bar)
            number += 1
    return tallies


def write(tallies: dict[str, Tally], args: argparse.Namespace, seconds: float) -> None:
    """Writes fuzz.json and the shortest file of each fault."""
    output, kinds = Path(args.output), {}
    for kind, tally in tallies.items():
        faults = []
        for number, (signature, fault) in enumerate(sorted(tally.faults.items())):
            name = f"{kind}_fault_{number}"
            with atomic_write(output / name, "wb") as file:
                file.write(fault["data"])
            faults.append({"what": signature, "count": fault["count"], "file": name, "detail": fault["detail"]})
        kinds[kind] = {
            "files": tally.cases, "lines": tally.lines, "outcomes": dict(tally.outcomes),
            "entries": dict(tally.entries),
            "warnings": dict(tally.warned.most_common()), "faults": faults,
        }  # fmt: skip
    versions = {key: value for key, value in collect_versions().items() if key != "detectron2_path"}
    write_json(output / "fuzz.json", {"seed": args.seed, "seconds": seconds, **kinds, "versions": versions})


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    args = argument_parser().parse_args(argv)
    begin = now()
    tallies = run(args)
    write(tallies, args, now() - begin)
    names = sorted({name for tally in tallies.values() for name in tally.outcomes})
    rows = [[kind, tally.cases, *(tally.outcomes[name] for name in names)] for kind, tally in tallies.items()]
    print(tabulate(rows, ["", "files", *names], tablefmt="github"))
    faults = [
        f"{kind}: {what} ({one['count']})" for kind, tally in tallies.items() for what, one in tally.faults.items()
    ]
    print("\n".join(faults) or "no fault", f"\nFiles: {Path(args.output).resolve()}", sep="")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
