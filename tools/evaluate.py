#!/usr/bin/env python
"""Measures explanations of a data set: every method by every metric, on the same objects, with error bars.

    tools/evaluate.py --config-file synthetic/faster_rcnn_compact_FPN --dataset synthetic_scene_val --max-images 50 \\
        --methods odam gradcam --num-processes 2 --output output/measured
    tools/evaluate.py --config-file my.yaml --annotations coco.json --images val/ --methods odam drise \\
        --method-option drise.num_masks=500 --output output/measured MODEL.WEIGHTS my.pth

In --output: metrics.json, per_object.csv, pairs.csv, curves as pictures, and index.html with the worst and the best
objects; with --sanity also sanity.json and sanity.png. What is finished of a run that was interrupted lies there too;
--resume goes on from it.

Exit code: 0; 1 if a picture is missing or failed, or the set-up did; 2 if an argument is wrong.
"""

import argparse
import datetime
import hashlib
import inspect
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.engine import launch
from detectron2.evaluation import inference_on_dataset
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from tqdm import tqdm

import odam_d2.data
import odam_d2.meta_arch
import odam_d2.modeling  # noqa: F401  these three register data sets and detectors
from odam_d2.data.inputs import PictureInputs, as_they_are
from odam_d2.env import collect_versions
from odam_d2.evaluation import (
    METRICS,
    ExplanationEvaluator,
    GuardedComparison,
    Measuring,
    ResultStore,
    SanityReport,
    TimedComparison,
    sanity_checks,
)
from odam_d2.evaluation.examples import ExampleKeeper, example_sections
from odam_d2.evaluation.ground_truth import records_from_coco, records_from_dataset
from odam_d2.evaluation.summary import format_counts, format_summary, objects_csv, pairs_csv
from odam_d2.explain import METHODS, MethodComparison, build_comparison
from odam_d2.model_zoo.runs import build_detector, count_classes, known_class_names, read_run_config
from odam_d2.utils.checkpoint import load_checkpoint_strictly
from odam_d2.utils.files import write_json, write_text
from odam_d2.utils.imports import import_file_or_module
from odam_d2.utils.processes import launch_on_cpu
from odam_d2.visualize.measurements import draw_curves, write_examples
from odam_d2.visualize.stage_chart import write_stage_chart

# The only one that changes from run to run, and that makes a run longer.
ON_REQUEST = ("runtime",)
SANITY_CHART = "sanity.png"


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", required=True, metavar="YAML", help="a yaml file, or a name of the model zoo")
    add("--dataset", metavar="NAME", help="a registered data set; or else --annotations and --images")
    add("--annotations", metavar="JSON", help="COCO file")
    add("--images", metavar="DIR", help="folder of its pictures")
    add("--methods", nargs="+", default=["odam"], choices=sorted(METHODS), metavar="NAME",
        help="; ".join(sorted(METHODS)) + " (default: odam)")  # fmt: skip
    add("--method-option", dest="method_options", type=_option, action="append", default=[],
        metavar="METHOD.NAME=VALUE", help="e.g. drise.num_masks=500; may be given several times")  # fmt: skip
    add("--metrics", nargs="+", choices=list(METRICS), metavar="NAME",
        default=[name for name in METRICS if name not in ON_REQUEST],
        help="; ".join(METRICS) + f" (default: all but {', '.join(ON_REQUEST)})")  # fmt: skip
    add("--attribute", default="score", help="which maps to judge (default: score)")
    add("--iou-threshold", type=_share, default=0.9, metavar="T",
        help="how far a detection and its object must overlap (default: 0.9, as published)")  # fmt: skip
    add("--score-threshold", type=_share, default=0.5, metavar="S", help="lowest score of a detection (default: 0.5)")
    add("--max-detections", type=_count, default=100, metavar="N", help="most boxes of a picture (default: 100)")
    add("--max-images", type=_count, metavar="N", help="the first N pictures (default: all)")
    add("--sanity", type=_count, nargs="?", const=4, metavar="N",
        help="also let the detector forget layer by layer, and see whether maps of N pictures change "
        "(default N: 4, the first with matched objects)")  # fmt: skip
    add("--seed", type=int, default=0, help="of noise, masks and error bars (default: 0)")
    add("--output", required=True, metavar="DIR", help="folder for the results")
    add("--resume", action="store_true", help="go on with what --output holds; without it a run starts anew")
    add("--num-processes", type=_count, default=1, metavar="N",
        help="on the CPU, one core each; results do not depend on their number (default: 1)")  # fmt: skip
    add("--num-gpus", type=int, default=1, metavar="N", help="of each machine, where there are some (default: 1)")
    add("--num-machines", type=_count, default=1, metavar="N", help="with GPUs (default: 1)")
    add("--machine-rank", type=int, default=0, metavar="K", help="which of the machines this is (default: 0)")
    add("--dist-url", default="auto", metavar="URL", help="where processes meet, e.g. tcp://HOST:PORT")
    add("--import", dest="imports", action="append", default=[], metavar="FILE_OR_MODULE",
        help="import this before the config is read; may be given several times")  # fmt: skip
    add("opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="changes to the config, at the end")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"must be in [0, 1); got {text}")
    return value


def _option(text: str) -> tuple[str, str, Any]:
    name, equals, value = text.partition("=")
    method, dot, option = name.partition(".")
    if not (method in METHODS and dot and option.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"must be METHOD.NAME=VALUE; got {text!r}")
    return method, option, yaml.safe_load(value)


@dataclass
class Setup:
    """What a run works with; every process makes its own from the command line.

    Raises:
        ValueError: from whichever part is asked for first that doesn't fit.
    """

    args: argparse.Namespace

    @cached_property
    def cfg(self) -> CfgNode:
        """The detector's config."""
        args = self.args
        for name in args.imports:
            import_file_or_module(name)
        cfg = read_run_config(args.config_file, args.opts, args.score_threshold, args.max_detections)
        if torch.cuda.is_available() and args.num_processes > 1:
            cfg = cfg.clone()
            cfg.defrost()
            cfg.MODEL.DEVICE = "cpu"
        return cfg

    @cached_property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Method -> options; masks are seeded, and one progress bar is enough."""
        chosen: dict[str, dict[str, Any]] = {}
        for name in self.args.methods:
            own = {"seed": self.args.seed, "progress": False}
            known = inspect.signature(METHODS[name]).parameters
            chosen[name] = {key: value for key, value in own.items() if key in known}
        for name, option, value in self.args.method_options:
            if name not in chosen:
                raise ValueError(f"`--method-option` must be for one of --methods; got {name!r}: add it there")
            chosen[name][option] = value
        return chosen

    @cached_property
    def model(self) -> torch.nn.Module:
        """The detector with its weights."""
        if self.cfg.MODEL.DEVICE == "cpu":  # sums depend on how many threads share them; processes share pictures
            torch.set_num_threads(1)
        model = build_detector(self.cfg)
        load_checkpoint_strictly(model, self.cfg.MODEL.WEIGHTS)
        return model

    @cached_property
    def comparison(self) -> MethodComparison:
        """What explains; with a clock where runtime is asked for."""
        odam = self.cfg.ODAM
        try:
            comparison = build_comparison(
                self.model, self.methods, (self.args.attribute,), odam.ENGINE, odam.LAYER, odam.GROUP_NORM
            )
        except TypeError as error:
            raise ValueError(str(error)) from error
        return TimedComparison.of(comparison) if "runtime" in self.args.metrics else comparison

    @cached_property
    def class_names(self) -> tuple[str, ...] | None:
        """By the detector's numbers, where they are known."""
        return known_class_names(self.cfg)

    @cached_property
    def records(self) -> list[dict]:
        """The whole data set."""
        about = (self.class_names, count_classes(self.model))
        if self.args.dataset:
            return records_from_dataset(self.args.dataset, *about)
        return records_from_coco(self.args.annotations, self.args.images, *about)

    @cached_property
    def measuring(self) -> Measuring:
        """What is measured."""
        args, score = self.args, None
        if any(METRICS[name].needs_detector for name in args.metrics):
            from odam_d2.evaluation.candidates import object_scorer

            try:
                score = object_scorer(self.model)
            except TypeError as error:
                raise ValueError(f"{error}; or leave deletion, insertion, overall and untouched out") from error
        return Measuring(
            tuple(args.metrics), args.iou_threshold, args.attribute, score, args.seed, explain=self.comparison
        )

    def inputs(self, records: Sequence[dict]) -> PictureInputs:
        """Pictures as the detector takes them."""
        sides = self.cfg.INPUT
        return PictureInputs(records, sides.MIN_SIZE_TEST, sides.MAX_SIZE_TEST, sides.FORMAT == "RGB")

    def settings(self) -> dict[str, Any]:
        """All that results of pictures depend on. Not how many there are: a run can be made longer."""
        weights = Path(self.cfg.MODEL.WEIGHTS)
        kept = ("image_id", "height", "width", "annotations")
        records = json.dumps([[record.get(key) for key in kept] for record in self.records], default=str)
        return {
            "config": self.cfg.dump(),
            "weights": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else str(weights),
            "annotations": hashlib.sha256(records.encode("utf-8")).hexdigest(),
            "methods": self.methods,
            **{name: getattr(self.args, name) for name in ("metrics", "attribute", "iou_threshold", "seed")},
        }


def measure(setup: Setup, command: str) -> None:
    """Measures this process's share of the pictures; the main process writes the results of all."""
    args, records = setup.args, setup.records[: setup.args.max_images]
    torch.manual_seed(args.seed)
    store, main_process = ResultStore(args.output), comm.is_main_process()
    read = ((r["image_id"], store.pictures.read(r["image_id"])) for r in (records if main_process else ()))
    finished = {image_id: result for image_id, result in read if result is not None}
    # What the main process has counts, also where machines don't share the folder.
    done = set(comm.all_gather(list(finished))[0])
    rest = [record for record in records if record["image_id"] not in done]
    rgb = setup.cfg.INPUT.FORMAT == "RGB"
    methods, metrics = list(setup.methods), args.metrics
    loader = torch.utils.data.DataLoader(
        setup.inputs(rest[comm.get_rank() :: comm.get_world_size()]),
        batch_size=1,
        collate_fn=as_they_are,
        num_workers=0 if setup.cfg.MODEL.DEVICE == "cpu" else setup.cfg.DATALOADER.NUM_WORKERS,
    )
    keeper = ExampleKeeper(store.examples, methods[0], metrics, args.attribute, rgb)
    evaluator = ExplanationEvaluator(records, methods, setup.measuring, store, finished, keeper)
    progress = tqdm(loader, desc="measuring", unit="picture", disable=not main_process)
    inference_on_dataset(GuardedComparison(setup.comparison), progress, evaluator)
    if main_process:
        report = check_sanity(setup, evaluator) if args.sanity else None
        write_results(setup, evaluator, command, report)


def check_sanity(setup: Setup, evaluator: ExplanationEvaluator) -> SanityReport:
    """Whether maps of the first matched objects need what the detector learned; the boxes are the annotated ones."""
    args, output = setup.args, Path(setup.args.output)
    chosen = [result for result in evaluator.results if result["objects"]][: args.sanity]
    subjects = []
    for entry, result in zip(setup.inputs([evaluator.records[r["image_id"]] for r in chosen]), chosen, strict=True):
        boxes = Boxes(torch.tensor([one["box"] for one in result["objects"]]))
        classes = torch.tensor([one["class"] for one in result["objects"]])
        size = (entry["height"], entry["width"])
        subjects.append((entry, Instances(size, pred_boxes=boxes, pred_classes=classes)))
    report = sanity_checks(
        setup.comparison, subjects, count_classes(setup.model), args.attribute, seed=args.seed, progress=True
    )
    verdicts = {name: [text for _, _, text in found] for name, found in report.verdicts().items()}
    write_json(output / "sanity.json", {"rows": report.rows(), "verdicts": verdicts, "threshold": report.threshold})
    # Maps of the detector as it is are like themselves.
    curves = {name: [1.0, *values] for name, values in report.curves().items()}
    stages, label = ["as it is", *report.stages], "rank correlation of maps"
    title = f"{len(subjects)} pictures, randomised from the heads down"
    write_stage_chart(output / SANITY_CHART, curves, stages, label, report.threshold, title)
    return report


def write_results(
    setup: Setup, evaluator: ExplanationEvaluator, command: str, sanity: SanityReport | None = None
) -> None:
    """Files of the whole run, and the table on the terminal."""
    args, output, summary = setup.args, Path(setup.args.output), evaluator.summary
    methods, metrics, results = evaluator.methods, args.metrics, evaluator.results
    missing = sum(one["missing"] for one in evaluator.failures)
    about = {
        "command": command,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "config_file": args.config_file,
        "weights": setup.cfg.MODEL.WEIGHTS,
        "device": setup.cfg.MODEL.DEVICE,
        "dataset": args.dataset or args.annotations,
        "methods": setup.methods,
        **{k: getattr(args, k) for k in ("attribute", "iou_threshold", "score_threshold", "max_detections", "seed")},
        "versions": collect_versions(),
    }
    counts = {**summary["counts"], "missing": missing, "failed": len(evaluator.failures) - missing}
    write_text(output / "per_object.csv", objects_csv(results, methods, metrics))
    write_text(output / "pairs.csv", pairs_csv(results, methods, metrics))
    for name, curve in summary["curves"].items():
        draw_curves(output / f"curve_{name}.png", name, curve)
    store = ResultStore(output)
    names = setup.class_names or ()
    sections = example_sections(results, evaluator.numbers, store.examples, methods, metrics, names)
    notes, charts = [command, *format_counts(counts).splitlines()], {}
    if sanity is not None:
        notes += [text for verdicts in sanity.verdicts().values() for _, _, text in verdicts]
        charts = {SANITY_CHART: "how alike the maps are while the detector forgets"}
    write_examples(output / "index.html", sections, summary, methods, notes, charts=charts)
    write_json(output / "metrics.json", {**summary, "counts": counts, "failures": evaluator.failures, "run": about})
    print(format_summary(summary, methods))
    print(format_counts(counts))
    if sanity is not None:
        print(sanity.text())
    print(
        f"Mean and 95 % interval (bootstrap over pictures, seed {args.seed}). Page: {(output / 'index.html').resolve()}"
    )
    for one in evaluator.failures:
        print(f"{'missing' if one['missing'] else 'failed'}: {one['file_name']}: {one['error']}", file=sys.stderr)


def measure_in_process(args: argparse.Namespace, command: str) -> None:
    """What each of several processes does."""
    measure(Setup(args), command)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argument_parser()
    args = parser.parse_args(argv)
    if bool(args.dataset) == bool(args.annotations and args.images) or bool(args.annotations) != bool(args.images):
        parser.error("give either --dataset, or --annotations and --images")
    command, output = shlex.join(["tools/evaluate.py", *argv]), Path(args.output)
    setup = Setup(args)
    try:
        # What is wrong shows here, before processes start.
        settings, _, _ = setup.settings(), setup.comparison, setup.measuring
        if args.machine_rank == 0:
            ResultStore(output).start(settings, args.resume)
            (output / "metrics.json").unlink(missing_ok=True)
        use_gpus = setup.cfg.MODEL.DEVICE != "cpu"
        if use_gpus and args.num_gpus * args.num_machines > 1:
            shared = (args.num_gpus, args.num_machines, args.machine_rank, args.dist_url)
            launch(measure_in_process, *shared, args=(args, command), timeout=datetime.timedelta(days=7))
        elif args.num_processes > 1:
            launch_on_cpu(measure_in_process, args.num_processes, (args, command))
        else:
            measure(setup, command)
    except (ValueError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.machine_rank:
        return 0
    return 1 if json.loads((output / "metrics.json").read_text(encoding="utf-8"))["failures"] else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    sys.exit(main())
