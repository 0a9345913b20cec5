"""Checks annotations in CrowdHuman's format with their images, and says what they hold.

    tools/check_crowdhuman.py --odgt datasets/crowdhuman/annotation_val.odgt --images datasets/crowdhuman/Images
    tools/check_crowdhuman.py --odgt mine.odgt --images photos --skip-bad --write mine_mended.odgt

It stops at the first line that can't be used; with --skip-bad, bad lines are listed, counted and left out.
"""

import argparse
import sys

from tabulate import tabulate

import odam_d2  # noqa: F401  one clear error where Detectron2 is missing

from ..data.crowdhuman import OdgtContent, read_odgt
from ..evaluation import CrowdObjects
from ..utils.files import atomic_write


def summary(content: OdgtContent) -> list[tuple[str, int]]:
    """Names and counts of what a file holds."""
    annotations = [item for record in content.records for item in record["annotations"]]
    objects = [CrowdObjects.of(record) for record in content.records]
    rows = [
        ("images", len(content.records)),
        ("people", sum(not item["iscrowd"] for item in annotations)),
        ("ignore regions", sum(item["iscrowd"] for item in annotations)),
        ("annotations without a size, left out", content.sizeless),
        ("bad lines, left out", len(content.bad)),
    ]
    subsets = [one.subsets() for one in objects]
    names = [name for name in (subsets[0] if subsets else ()) if name != "all"]
    return rows + [(f"people, {name}", int(sum(one[name].sum() for one in subsets))) for name in names]


def write_good_lines(content: OdgtContent, source: str, target: str) -> None:
    """Copies the lines of `source` that can be used to `target`."""
    good = set(content.lines)
    with open(source, "rb") as file:
        lines = [text for number, text in enumerate(file, 1) if number in good]
    with atomic_write(target, "wb") as file:
        file.writelines(line.rstrip(b"\r\n") + b"\n" for line in lines)


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, checks, and prints counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--odgt", required=True, help="the annotations")
    parser.add_argument("--images", required=True, help="folder of the images, <ID>.jpg")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad lines out instead of stopping at the first")
    parser.add_argument("--write", metavar="FILE", help="a new file of the lines that can be used, as they are")
    args = parser.parse_args(arguments)
    try:
        content = read_odgt(args.odgt, args.images, skip_bad=args.skip_bad)
    except ValueError as error:
        sys.exit(str(error))
    for reason in content.bad:
        print(f"left out: {reason}")
    print(tabulate(summary(content), tablefmt="plain"))
    if args.write:
        write_good_lines(content, args.odgt, args.write)
        print(f"wrote {len(content.lines)} lines to {args.write}")
