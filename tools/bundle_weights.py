#!/usr/bin/env python
"""Brings a training checkpoint into the form of the bundled weights: the model alone, matrices in half precision.

    tools/bundle_weights.py --checkpoint output/compact/model_final.pth --name synthetic/faster_rcnn_compact_FPN

Evaluate the result, not the checkpoint: tools/train_net.py --eval-only MODEL.WEIGHTS odam_d2/model_zoo/weights/NAME.pth
"""

import argparse
import io
import sys
import zipfile
from pathlib import Path

import torch

from odam_d2 import model_zoo
from odam_d2.utils.files import atomic_write

WEIGHTS = Path(model_zoo.__file__).parent / "weights"


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="what tools/train_net.py wrote")
    parser.add_argument("--name", required=True, help="its config's name in the model zoo")
    args = parser.parse_args(argv)
    model_zoo.get_config_file(args.name)  # an unknown name ends here
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)["model"]
    # Biases and norms are few and can be large; they stay as they are.
    state = {k: v.half() if v.is_floating_point() and v.dim() >= 2 else v for k, v in state.items()}
    path = WEIGHTS / f"{args.name}.pth"
    stored = io.BytesIO()
    torch.save({"model": state}, stored)
    # torch.save writes an archive without compression, but torch.load reads one with it: a tenth smaller.
    with atomic_write(path, "wb") as file, zipfile.ZipFile(stored) as plain:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
            for entry in plain.infolist():
                packed.writestr(entry.filename, plain.read(entry.filename))
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
