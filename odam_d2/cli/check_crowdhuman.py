"""Checks annotations in CrowdHuman's format and their images, and counts what they hold.

    odam check-crowdhuman --odgt datasets/crowdhuman/annotation_val.odgt --images datasets/crowdhuman/Images
    odam check-crowdhuman --odgt mine.odgt --images photos --skip-bad --write mine_mended.odgt

It stops at the first line that can't be used; with --skip-bad, bad lines are listed, counted and left out. Boxes that
can't be used are always left out and counted, and what was repaired is told.

Exit code: 0; 1 if a line or an image can't be used; 2 if an argument is wrong.
"""

import argparse
from collections.abc import Sequence

from tabulate import tabulate

from ..data.account import ANNOTATIONS
from ..data.crowdhuman import OdgtContent, read_odgt
from ..data.odgt_lines import odgt_lines
from ..evaluation.crowd.objects import CrowdObjects
from ..utils.files import atomic_write
from .arguments import command_parser, failure


def summary(content: OdgtContent) -> list[tuple[str, int]]:
    """Names and counts of what a file holds."""
    annotations = [item for record in content.records for item in record["annotations"]]
    objects = [CrowdObjects.of(record) for record in content.records]
    rows = [
        ("images", len(content.records)),
        ("people", sum(not item["iscrowd"] for item in annotations)),
        ("ignore regions", sum(item["iscrowd"] for item in annotations)),
        ("annotations that can't be used, left out", content.account.count(ANNOTATIONS)["left_out"]),
        ("bad lines, left out", len(content.bad)),
    ]
    subsets = [one.subsets() for one in objects]
    names = [name for name in (subsets[0] if subsets else ()) if name != "all"]
    return rows + [(f"people, {name}", int(sum(one[name].sum() for one in subsets))) for name in names]


def write_good_lines(content: OdgtContent, source: str, target: str) -> None:
    """Copies the lines of `source` that can be used to `target`, in UTF-8."""
    good = set(content.lines)
    with atomic_write(target, "wb") as file:
        file.writelines(line + b"\n" for number, line in odgt_lines(source) if number in good)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser("check-crowdhuman", __doc__)
    parser.add_argument("--odgt", required=True, metavar="FILE", help="the annotations")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of the images, <ID>.jpg")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad lines out instead of stopping at the first")
    parser.add_argument("--write", metavar="FILE", help="copy the lines that can be used to this file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    args = argument_parser().parse_args(argv)
    try:
        content = read_odgt(args.odgt, args.images, skip_bad=args.skip_bad)
        for reason in content.bad:
            print(f"left out: {reason}")
        print("\n".join(content.account.lines()))
        print(tabulate(summary(content), tablefmt="plain"))
        if args.write:
            write_good_lines(content, args.odgt, args.write)
            print(f"wrote {len(content.lines)} lines to {args.write}")
    except (ValueError, OSError) as error:
        return failure(error)
    return 0
