#!/usr/bin/env python
"""Packs a training checkpoint into the form of the bundled weights: the model alone, matrices as whole numbers.

    tools/research/bundle_weights.py --checkpoint output/model_final.pth --name synthetic/faster_rcnn_compact_FPN

Where MODEL.WEIGHTS of the config names bundled weights, differences from these are stored: bundle them first, and what
began with them again after that. Evaluate the result, not the checkpoint: tools/train_net.py --eval-only MODEL.WEIGHTS
odam://NAME.pth
"""

import argparse
import io
import sys
import zipfile

import torch

from odam_d2 import model_zoo
from odam_d2.model_zoo.addresses import PREFIX, WEIGHTS
from odam_d2.utils.files import atomic_write
from odam_d2.utils.packed import pack


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="what tools/train_net.py wrote")
    parser.add_argument("--name", required=True, help="its config's name in the model zoo")
    parser.add_argument("--levels", type=int, default=127, help="whole numbers of large tensors (default: 127)")
    parser.add_argument("--fewest", type=int, default=7, help="whole numbers of differences at least (default: 7)")
    args = parser.parse_args(argv)
    base = model_zoo.get_config(args.name, trained=False).MODEL.WEIGHTS  # an unknown name ends here
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
