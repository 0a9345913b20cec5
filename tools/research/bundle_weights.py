#!/usr/bin/env python
"""Packs a training checkpoint into the form of the bundled weights: the model alone, matrices as whole numbers.

    tools/research/bundle_weights.py --checkpoint output/model_final.pth --name synthetic/faster_rcnn_compact_FPN

Where MODEL.WEIGHTS of the config names bundled weights, differences from these are stored: bundle those first, and
bundle again after that what was trained from them. Evaluate the result, not the checkpoint:
odam train --eval-only --config-file NAME
"""

import io
import sys
import zipfile
from collections.abc import Sequence

import torch

from odam_d2 import model_zoo
from odam_d2.cli.arguments import count, failure, script_parser
from odam_d2.model_zoo.addresses import PREFIX, WEIGHTS
from odam_d2.utils.files import atomic_write
from odam_d2.utils.packed import pack


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="PTH", help="a checkpoint that odam train wrote")
    add("--name", required=True, help="name of its config in the model zoo")
    add("--levels", type=count, default=127, metavar="N", help="levels of the numbers in large tensors (default: 127)")
    add("--fewest", type=count, default=7, metavar="N", help="fewest levels of differences (default: 7)")
    args = parser.parse_args(argv)
    try:
        base = model_zoo.get_config(args.name, trained=False).MODEL.WEIGHTS
    except ValueError as error:
        return failure(error)
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)["model"]
    path = WEIGHTS / f"{args.name}.pth"
    stored = io.BytesIO()
    torch.save(pack(state, args.levels, base if base.startswith(PREFIX) else None, args.fewest), stored)
    # torch.save writes an archive without compression, but torch.load reads one with it: bytes of few levels become as
    # small as they should be.
    with atomic_write(path, "wb") as file, zipfile.ZipFile(stored) as plain:
        with zipfile.ZipFile(file, "w") as packed:
            for entry in plain.infolist():
                # Without the time of day: the same weights are the same file, which git keeps once.
                packed.writestr(zipfile.ZipInfo(entry.filename), plain.read(entry), zipfile.ZIP_DEFLATED, 9)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
