"""Measures explanations on a data set: every method by every metric, on the same objects, with 95 % intervals.

    odam evaluate --config-file synthetic/faster_rcnn_compact_FPN --dataset synthetic_scene_val --max-images 50 \\
        --methods odam gradcam --num-processes 2 --output output/measured
    odam evaluate --config-file my.yaml --annotations coco.json --images val/ --methods odam drise \\
        --method-option drise.num_masks=500 --output output/measured MODEL.WEIGHTS my.pth

In --output: metrics.json, per_object.csv, pairs.csv, curves as images, and index.html with the worst and the best
objects; with --sanity also sanity.json and sanity.png. Finished images are kept there; --resume continues an
interrupted run.

Exit code: 0; 1 if an image is missing or failed, or the set-up did; 2 if an argument is wrong.
"""

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from tqdm import tqdm

from .. import __version__
from ..env import collect_versions
from ..evaluation import ExplanationEvaluator, sanity_checks
from ..evaluation.metrics.sanity import SanityReport
from ..evaluation.runs.evaluator import RESULTS, GuardedComparison, image_key
from ..evaluation.runs.examples import ExampleKeeper, example_sections
from ..evaluation.runs.summary import format_counts, format_dropped, format_summary, objects_csv, pairs_csv
from ..modeling.num_classes import count_classes
from ..store import RunFolder, RunReader, RunWriter
from ..utils.files import write_json, write_text
from ..utils.processes import ProcessEndedError, is_restart
from ..utils.turns import Turns
from ..utils.words import printable
from ..visualize.measurements import curve_file, draw_curves, write_examples
from ..visualize.stage_chart import write_stage_chart
from .annotated import for_json, tell
from .arguments import WrongOptionError, failure, process_plan, typed_command
from .measured_run import MeasuredRun, measuring_argument_parser

SANITY_CHART = "sanity.png"
EXAMPLES = "examples"  # documents with crops of objects
# What a run leaves beside its images' results.
WRITTEN = ("metrics.json", "per_object.csv", "pairs.csv", "index.html", "curve_*.png", "sanity.json", SANITY_CHART)


def measure(setup: MeasuredRun, command: str) -> None:
    """Measures this process's share of the images; the main process writes the results of all."""
    args, records = setup.args, setup.records[: setup.args.max_images]
    torch.manual_seed(args.seed)
    main_process = comm.is_main_process()
    finished = read_finished(args.output, [record["image_id"] for record in records]) if main_process else {}
    # The main process decides, since machines may not share the folder.
    done = set(comm.all_gather(list(finished))[0])
    rest = [record for record in records if record["image_id"] not in done]
    inputs = setup.inputs(rest)
    methods, metrics = list(setup.methods), args.metrics
    writer = RunWriter(args.output, comm.get_rank())
    input_format = setup.config.make_input().input_format
    keeper = ExampleKeeper(partial(writer.put, EXAMPLES), methods[0], metrics, args.attribute, input_format)
    numbers = {record["image_id"]: number for number, record in enumerate(records)}
    keeper.begin_with({numbers[image_id]: result for image_id, result in finished.items()})
    names = setup.shown_names
    evaluator = ExplanationEvaluator(records, methods, setup.measuring, writer, names, finished, keeper)
    # No masks of D-RISE for images where nothing matches.
    setup.comparison.wanted = evaluator.wants
    comparison, turns = GuardedComparison(setup.comparison), Turns(range(len(rest)), "evaluate")
    total = {"total": len(records), "initial": len(finished), "desc": "measuring", "unit": "image"}
    with writer, torch.no_grad(), tqdm(disable=not main_process, **total) as progress:
        if main_process:
            known = {"methods": setup.methods, "class_names": list(names)}
            writer.put_run({**known, "categories": setup.categories()})
        for place in turns:
            entry = inputs[place]
            evaluator.process([entry], comparison([entry]))
            # Of all processes together; they are about as far as this one.
            progress.update(len(finished) + turns.taken - progress.n)
    evaluator.evaluate()
    if main_process:
        report = check_sanity(setup, evaluator) if args.sanity else None
        write_results(setup, evaluator, command, report)


def read_finished(output: str, image_ids: Sequence[int | str]) -> dict[int | str, dict]:
    """Stored results of finished images, those of a longer run left out."""
    stored = RunFolder(output).documents(RESULTS)
    return {image_id: stored[image_key(image_id)] for image_id in image_ids if image_key(image_id) in stored}


def check_sanity(setup: MeasuredRun, evaluator: ExplanationEvaluator) -> SanityReport:
    """Checks whether maps of the first matched objects, at their annotated boxes, depend on the learned weights."""
    args, output = setup.args, Path(setup.args.output)
    chosen = [result for result in evaluator.results if result["objects"]][: args.sanity]
    subjects = []
    for entry, result in zip(setup.inputs([evaluator.records[r["image_id"]] for r in chosen]), chosen, strict=True):
        boxes = Boxes(torch.tensor([one["box"] for one in result["objects"]]))
        classes = torch.tensor([one["class"] for one in result["objects"]])
        size = (entry["height"], entry["width"])
        subjects.append((entry, Instances(size, pred_boxes=boxes, pred_classes=classes)))
    number = count_classes(setup.model)
    assert number is not None  # or there would be no objects
    report = sanity_checks(setup.comparison, subjects, number, args.attribute, seed=args.seed, progress=True)
    verdicts = {name: [text for _, _, text in found] for name, found in report.verdicts().items()}
    write_json(output / "sanity.json", {"rows": report.rows(), "verdicts": verdicts, "threshold": report.threshold})
    # The first stage is the detector as it is, whose maps equal themselves.
    curves = {name: [1.0, *values] for name, values in report.curves().items()}
    stages, label = ["as it is", *report.stages], "rank correlation of maps"
    title = f"{len(subjects)} images, randomised from the heads down"
    write_stage_chart(output / SANITY_CHART, curves, stages, label, report.threshold, title)
    return report


def write_results(
    setup: MeasuredRun, evaluator: ExplanationEvaluator, command: str, sanity: SanityReport | None = None
) -> None:
    """Files of the whole run, and the table on the terminal."""
    args, output, summary = setup.args, Path(setup.args.output), evaluator.summary
    methods, metrics, results = evaluator.methods, args.metrics, evaluator.results
    missing = sum(one["missing"] for one in evaluator.failures)
    kept = ("attribute", "iou_threshold", "score_threshold", "max_detections", "seed", "amp")
    about = {
        "command": command,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "config_file": args.config_file,
        "weights": setup.config.weights,
        "device": setup.config.device,
        "dataset": args.dataset or args.annotations,
        "methods": setup.methods,
        **{key: getattr(args, key) for key in kept},
        "versions": collect_versions(),
    }
    counts = {**summary["counts"], "missing": missing, "failed": len(evaluator.failures) - missing}
    names = setup.shown_names
    write_text(output / "per_object.csv", objects_csv(results, methods, metrics, names))
    write_text(output / "pairs.csv", pairs_csv(results, methods, metrics))
    for name, curve in summary["curves"].items():
        draw_curves(output / curve_file(name), name, curve)
    with RunReader(output) as reader:
        crops = partial(reader.document, EXAMPLES)
        sections = example_sections(results, evaluator.numbers, crops, methods, metrics, names)
    notes = [command, *format_counts(counts).splitlines(), *format_dropped(summary)]
    charts, verdicts = {}, []
    if sanity is not None:
        verdicts = [text for found in sanity.verdicts().values() for _, _, text in found]
        charts = {SANITY_CHART: "how similar the maps stay while the detector is randomised layer by layer"}
    account = setup.account.as_page()
    write_examples(
        output / "index.html", sections, summary, methods, notes, charts=charts, verdicts=verdicts, account=account
    )
    told = {"counts": counts, **for_json(setup.account), "failures": evaluator.failures, "run": about}
    write_json(output / "metrics.json", {**summary, **told})
    print(format_summary(summary, methods))
    print(format_counts(counts))
    if sanity is not None:
        print(sanity.text())
    print(
        f"Mean and 95 % interval (bootstrap over images, seed {args.seed}). Page: "
        f"{printable((output / 'index.html').resolve())}"
    )
    for one in evaluator.failures:
        print(
            f"{'missing' if one['missing'] else 'failed'}: {printable(one['file_name'])}: {printable(one['error'])}",
            file=sys.stderr,
        )


def measure_in_process(args: argparse.Namespace, command: str) -> None:
    """What each of several processes runs."""
    measure(MeasuredRun(args), command)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    return measuring_argument_parser(__doc__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argument_parser()
    args = parser.parse_args(argv)
    if bool(args.dataset) == bool(args.annotations and args.images) or bool(args.annotations) != bool(args.images):
        parser.error("give either --dataset, or --annotations and --images")
    command, output = typed_command("evaluate", argv), Path(args.output)
    setup = MeasuredRun(args)
    try:
        # What is wrong shows here, before processes start.
        try:
            plan = process_plan(args, setup.config.device)
        except WrongOptionError as error:
            parser.error(str(error))
        _ = setup.records  # which the account is of
        tell(setup.account, args.strict)
        settings, _, _ = {**setup.settings(), "version": __version__}, setup.comparison, setup.measuring
        if plan.is_first:
            run = RunFolder(output)
            run.start(settings, args.resume or is_restart(), setup.files(), WRITTEN)
            for line in run.set_aside:
                print(line)
            (output / "metrics.json").unlink(missing_ok=True)
        if plan.is_alone:
            measure(setup, command)
        else:
            plan.run(measure_in_process, (args, command))
    except (ValueError, ImportError, OSError, ProcessEndedError) as error:
        return failure(error)
    if not plan.is_first:
        return 0
    return 1 if json.loads((output / "metrics.json").read_text(encoding="utf-8"))["failures"] else 0
