#!/usr/bin/env python
"""Runs all that is to be measured on a GPU, one part after the other, and keeps the figures in one JSON file.

    tools/benchmarks/gpu.py --output output/gpu.json
    tools/benchmarks/gpu.py --output output/gpu.json --parts agreement_off_faster_rcnn maps_faster_rcnn
    tools/benchmarks/gpu.py --list

Parts are the tests, the other benchmarks with MODEL.DEVICE at their end, and how far the fast engines are from plain
autograd with TF32 off and on. The file is written behind each part, and parts that it holds are not run again but for
those that failed: the same command goes on where it was ended. --quick takes tiny images and few repeats, to see
whether every part runs; with --device cpu that needs no GPU.

Exit code: 0; 1 if a part failed; 2 if an argument is wrong.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
from odam_d2.cli.arguments import script_parser
from odam_d2.env import collect_versions
from odam_d2.utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]
R50 = {
    "faster_rcnn": "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml",
    "retinanet": "COCO-Detection/retinanet_R_50_FPN_3x.yaml",
    "fcos": "COCO-Detection/fcos_R_50_FPN_1x.yaml",
}
COMPACT = ("faster_rcnn", "retinanet", "fcos", "rtdetr")
# torch's own words: convolutions may use TF32 unless told otherwise, products of matrices if told so.
TF32 = {"off": {"NVIDIA_TF32_OVERRIDE": "0"}, "on": {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}}
LAST = 40  # lines of what a part printed that are kept


@dataclass(frozen=True)
class Part:
    """One command.

    Attributes:
        script: below the checkout; without one, pytest.
        words: its arguments.
        opts: changes to the config.
        environment: variables that it runs with.
        writes: whether it takes ``--output`` and writes its figures there.
    """

    script: str = ""
    words: tuple[str, ...] = ()
    opts: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    writes: bool = True

    def command(self, device: str, output: str) -> list[str]:
        """What is run."""
        if not self.script:
            return [sys.executable, "-m", "pytest", "-q", *self.words]
        target = ["--output", output] if self.writes else []
        return [sys.executable, self.script, *self.words, *target, "MODEL.DEVICE", device, *self.opts]


def all_parts(quick: bool) -> dict[str, Part]:
    """The parts by name, in the order in which they are run: what says whether anything works comes first."""
    size = ("--size", "96", "128") if quick else ("--size", "800", "1333")
    boxes, candidates, masks = ("4", "20", "4") if quick else ("100", "1000", "5000")
    repeats = ("--repeats", "1") if quick else ("--repeats", "9")
    warmup = ("--warmup", "0") if quick else ("--warmup", "3")
    parts = {"cuda_tests": Part(words=("tests", "-k", "cuda or gpu"))}
    for state, environment in TF32.items():
        for name in COMPACT:
            words = ("--config-file", f"synthetic/{name}_compact_FPN", "--boxes", boxes if quick else "24")
            parts[f"agreement_{state}_{name}"] = Part("tools/research/exactness.py", words, (), environment, False)
    timed = (*size, *repeats, *warmup)
    for name, config in R50.items():
        words = ("--config-file", config, *timed, "--boxes", boxes, "--candidates", candidates)
        parts[f"maps_{name}"] = Part("tools/benchmarks/explaining.py", words)
    opts = ("ODAM.DETR.SCORE_THRESH_TEST", "0.0", "TEST.DETECTIONS_PER_IMAGE", boxes)
    words = ("--config-file", "COCO-Detection/detr_R_50.yaml", *timed, "--boxes", boxes, "--candidates", boxes, "--own")
    parts["maps_detr"] = Part("tools/benchmarks/explaining.py", words, opts)
    for name, config in R50.items():
        words = ("--config-file", config, *timed, "--candidates", candidates, "--sample", "1")
        parts[f"nms_{name}"] = Part("tools/benchmarks/nms.py", words)
    for name in ("faster_rcnn", "fcos"):
        words = ("--config-file", f"synthetic/{name}_compact_FPN_odam_train", *repeats, *warmup)
        parts[f"training_{name}"] = Part("tools/benchmarks/training.py", words)
    words = ("--config-file", R50["faster_rcnn"], *size, *repeats, "--boxes", boxes, "--masks", masks)
    parts["drise"] = Part("tools/benchmarks/methods.py", words)
    return parts | {"suite": Part(words=("tests",))}


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--output", metavar="JSON", help="all figures; goes on with those that it holds")
    add("--parts", nargs="+", choices=list(all_parts(False)), metavar="NAME", help="default: all, see --list")
    add("--device", default="cuda", help="MODEL.DEVICE of every part (default: %(default)s)")
    add("--quick", action="store_true", help="tiny images and few repeats, to see whether every part runs")
    add("--list", action="store_true", help="print the parts and their commands, and end")
    return parser


def run_part(part: Part, device: str) -> dict[str, Any]:
    """Runs one part and returns its figures, or how it ended, as they go to JSON."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "figures.json"
        command, begin = part.command(device, str(output)), time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **part.environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        figures = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else None
    # A progress bar's line is what it said last.
    lines = [line.rpartition("\r")[2] for line in done.stdout.decode(errors="replace").rstrip().split("\n")]
    return {
        "command": [part.script or "pytest", *part.words, *part.opts],
        "environment": dict(part.environment),
        "exit_code": done.returncode,
        "seconds": time.monotonic() - begin,
        "printed": [line for line in lines if not line.startswith("Written to ")][-LAST:],
        "figures": figures,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    parser = argument_parser()
    args = parser.parse_args(argv)
    parts = all_parts(args.quick)
    if args.list:
        for name, part in parts.items():
            print(f"{name}: {' '.join(part.command(args.device, 'JSON')[1:])}")
        return 0
    if not args.output:
        parser.error("--output must name a JSON file")
    target = Path(args.output)
    kept = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {"parts": {}}
    settings = {"device": args.device, "quick": args.quick}
    if kept["parts"] and kept["settings"] != settings:
        parser.error(
            f"--output must be a file of the same --device and --quick; got one of {kept['settings']}: name another"
        )
    versions = {name: value for name, value in collect_versions().items() if name != "detectron2_path"}
    chosen = [name for name in args.parts or parts if kept["parts"].get(name, {}).get("exit_code") != 0]
    for number, name in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {name}", flush=True)
        kept["parts"][name] = told = run_part(parts[name], args.device)
        write_json(target, {"settings": settings, "versions": versions, "parts": kept["parts"]})
        print(
            "\n".join(told["printed"]), f"exit code {told['exit_code']}, {told['seconds']:.0f} s", sep="\n", flush=True
        )
    failed = [name for name in args.parts or parts if kept["parts"].get(name, {}).get("exit_code") != 0]
    print(f"failed: {', '.join(failed)}" if failed else f"All parts are in {target}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
