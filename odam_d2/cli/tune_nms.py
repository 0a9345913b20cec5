"""Finds thresholds for ways to remove duplicates: a detector's candidates once, then a grid over the thresholds.

    odam tune-nms --config-file my.yaml --dataset synthetic_crowd_train --max-images 200 --output output/tuned \\
        MODEL.WEIGHTS my.pth
    odam tune-nms --config-file my.yaml --dataset synthetic_crowd_val --thresholds output/tuned/thresholds.json \\
        --output output/reported MODEL.WEIGHTS my.pth

The first chooses on one data set, or on one part of it (--skip-images, --max-images); the second reports on another
the chosen and the published thresholds. Detections are scored by the data set's own evaluator. On crowds it
also tells how much the ways that look at maps differ from those that don't, with 95 % intervals over images.

In --output: candidates/, with the similarity of their maps; grid.json with the figures of every setting and how similar
the maps of one object and of neighbours are; table.md with the published and the best settings, and the best choice
that the annotations allow; thresholds.json with the best of each way; tune.png. With --resume, candidates that an
interrupted run, or one with another grid, has stored are used again.

Exit code: 0; 1 if an image can't be read, or the set-up failed; 2 if an argument is wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from tqdm import tqdm

from ..data.inputs import ImageInputs
from ..env import collect_versions
from ..evaluation.crowd.objects import CrowdObjects
from ..evaluation.crowd.protocol import DEFAULT_PROTOCOL, PROTOCOLS
from ..evaluation.ground_truth import TrueObjects
from ..evaluation.nms_tuning.candidates import Candidates, CandidateStore
from ..evaluation.nms_tuning.differences import compare_settings, differences_in_words, differences_table
from ..evaluation.nms_tuning.hard_pairs import find_hard_pairs, summarize_hard_pairs
from ..evaluation.nms_tuning.likeness import pair_similarities, summarize_likeness
from ..evaluation.nms_tuning.suppression import SUPPRESSIONS
from ..evaluation.nms_tuning.table import hard_pairs_in_words, likeness_in_words, table
from ..evaluation.nms_tuning.tuning import (
    LESS_IS_BETTER,
    Setting,
    best_rows,
    score_best_choice,
    score_settings,
)
from ..store import RunFolder
from ..utils.clock import now
from ..utils.files import remove_unfinished, write_json, write_text
from ..utils.words import markdown_text, printable
from ..visualize.tuning_chart import write_tuning_chart
from .annotated import add_strict, for_json
from .arguments import (
    add_config,
    add_output_folder,
    command_parser,
    count,
    failure,
    finite,
    share,
    typed_command,
    whole,
)
from .tuning_setup import Setup

# Thresholds are chosen by the first of these that the evaluator gives; the table and the chart show all of them.
METRICS = ("JI", "AP", "MR", "AP50", "recall", "JI-heavy", "recall-heavy", "recall-crowd_heavy")


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser("tune-nms", __doc__)
    add = parser.add_argument
    add_config(parser)
    add("--dataset", required=True, metavar="NAME", help="a registered data set")
    add_strict(parser)
    add("--skip-images", type=whole, default=0, metavar="K", help="leave out the first K images (default: 0)")
    add("--max-images", type=count, metavar="N", help="take the next N images (default: all)")
    add("--score-threshold", type=share, default=0.05, metavar="S", help="lowest score of a candidate (default: 0.05)")
    add("--max-detections", type=count, default=100, metavar="N",
        help="most detections of an image, where TEST.DETECTIONS_PER_IMAGE is not lower (default: 100)")  # fmt: skip
    add("--ways", nargs="+", choices=list(SUPPRESSIONS), default=list(SUPPRESSIONS), metavar="NAME",
        help="; ".join(SUPPRESSIONS) + " (default: all)")  # fmt: skip
    add("--iou-thresholds", type=finite, nargs="+", default=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8), metavar="T",
        help="for NMS, linear Soft-NMS and DIoU-NMS (default: .3 .4 .5 .6 .7 .8)")  # fmt: skip
    add("--sigmas", type=finite, nargs="+", default=(0.1, 0.3, 0.5, 0.7, 0.9), metavar="S",
        help="for gaussian Soft-NMS (default: .1 .3 .5 .7 .9)")  # fmt: skip
    add("--decays", type=finite, nargs="+", default=(0.5, 1.0, 2.0, 4.0), metavar="D",
        help="for gaussian Matrix-NMS (default: .5 1 2 4)")  # fmt: skip
    add("--odam-iou-thresholds", type=finite, nargs="+", default=(0.3, 0.4, 0.5, 0.6, 0.7), metavar="T",
        help="for Odam-NMS (default: .3 .4 .5 .6 .7)")  # fmt: skip
    add("--lows", type=finite, nargs="+", default=(0.1, 0.2, 0.3, 0.5, 0.7), metavar="T",
        help="for Odam-NMS (default: .1 .2 .3 .5 .7)")  # fmt: skip
    add("--highs", type=finite, nargs="+", default=(0.7, 0.8, 0.9, 2.0), metavar="T",
        help="for Odam-NMS; with 2 no box is dropped for its map alone (default: .7 .8 .9 2)")  # fmt: skip
    add("--weights", type=finite, nargs="+", default=(0.25, 0.5, 1.0), metavar="W",
        help="for odam_sum and odam_soft, which add the weighted likeness to the IoU (default: .25 .5 1)")  # fmt: skip
    add("--limits", type=finite, nargs="+", default=(0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2), metavar="L",
        help="for odam_sum (default: .6 .7 .8 .9 1 1.1 1.2)")  # fmt: skip
    add("--odam-sigmas", type=finite, nargs="+", default=(0.5, 1.0, 1.5, 2.0, 3.0), metavar="S",
        help="for odam_soft, Soft-NMS by the same sum (default: .5 1 1.5 2 3)")  # fmt: skip
    add("--protocol", choices=sorted(PROTOCOLS),
        help="the rules of crowds' figures (default: ODAM.TEST.CROWD_PROTOCOL of the config, toolkit)")  # fmt: skip
    add("--thresholds", metavar="JSON", help="thresholds.json of another run: report these, without a grid")
    add("--metric", metavar="NAME",
        help=f"to choose by (default: the first that the evaluator gives of {', '.join(METRICS)})")  # fmt: skip
    add_output_folder(parser)
    add("--resume", action="store_true", help="use the candidates that --output holds already")
    return parser


def find_candidates(setup: Setup) -> list[Candidates]:
    """Candidates of every image: stored ones, or else the detector's, which are stored."""
    args = setup.args
    store, run_store = CandidateStore(Path(args.output) / "candidates"), RunFolder(args.output)
    if not (args.resume and run_store.settings.is_file()):
        store.clear()
    remove_unfinished(store.folder)
    run_store.start(setup.dependencies(), args.resume)
    images = ImageInputs(setup.records, setup.config.make_input())
    found = []
    for number in tqdm(range(len(images)), desc="candidates", unit="image"):
        one = store.read(args.skip_images + number)
        if one is None:
            entry = images[number]
            if "failure" in entry:
                raise ValueError(
                    f"every image must be readable; {setup.records[number]['file_name']}: {entry['failure']}"
                )
            trace = setup.model.candidate_trace([entry])
            (similarity,) = setup.model.odam_nms.similarities(setup.model, trace)
            one = Candidates.of(trace.instances[0], similarity, (entry["height"], entry["width"]))
            store.write(args.skip_images + number, one)
        found.append(one)
    return found


def choose_metric(asked: str | None, rows: Sequence[dict]) -> str:
    """Name of the figure that thresholds are chosen by."""
    given = {name for row in rows for name in row["figures"]}
    metric = asked or next((name for name in METRICS if name in given), None)
    if metric is None or metric not in given:
        raise ValueError(f"`metric` must be one that the evaluator gives; got {metric!r}: choose among {sorted(given)}")
    return metric


def run(setup: Setup, command: str) -> None:
    """The whole run: candidates, figures, files and the table on the terminal."""
    args, output = setup.args, Path(setup.args.output)
    # Synthetic data are rendered when their records are first asked for, and evaluators read them.
    settings, records, score = setup.settings(), setup.records, setup.score
    candidates = find_candidates(setup)
    begin = now()
    rows = score_settings(settings, records, candidates, score, setup.most_detections)
    seconds = now() - begin
    differences = compare(setup, settings, candidates) if args.thresholds and setup.protocol else []
    truths = [TrueObjects.of(record) for record in records]
    rows.append(score_best_choice(records, truths, candidates, score, setup.most_detections))
    metric = choose_metric(args.metric, rows)
    shown = list(dict.fromkeys([metric, *(name for name in METRICS if any(name in row["figures"] for row in rows))]))
    best = best_rows(rows, metric)
    text = table(rows, best, shown)
    likeness = summarize_likeness(map(pair_similarities, candidates, truths))
    hard_pairs = summarize_hard_pairs(list(map(find_hard_pairs, candidates, truths)))
    about = {
        "command": command,
        "dataset": args.dataset,
        "skip_images": args.skip_images,
        "most": setup.most_detections,
        "images": len(candidates),
        "candidates_per_image": sum(len(one.boxes) for one in candidates) / len(candidates),
        "weights": setup.config.weights,
        "scoring_seconds": seconds,
        "metric": metric,
        "protocol": setup.protocol,
        "likeness": likeness,
        "hard_pairs": hard_pairs,
        **for_json(setup.account),
        "versions": {k: v for k, v in collect_versions().items() if k != "detectron2_path"},
    }
    write_json(output / "grid.json", {**about, "rows": rows, "differences": differences})
    rules = f", crowds scored by the protocol {setup.protocol!r}" if setup.protocol else ""
    note = (
        f"{len(candidates)} images of {markdown_text(args.dataset)}, chosen by {markdown_text(metric)}, in percent"
        f"{rules}. "
        f"{likeness_in_words(likeness)} {hard_pairs_in_words(hard_pairs)}"
    )
    if differences:
        text = f"{text}\n\n{differences_in_words(len(candidates))}\n\n{differences_table(differences)}"
    write_text(output / "table.md", f"{text}\n\n{note}\n")
    if not args.thresholds:
        chosen = {way: row["thresholds"] for way, row in best.items()}
        write_json(output / "thresholds.json", {"metric": metric, "dataset": args.dataset, "thresholds": chosen})
    less = [name for name in shown if name.split("-")[0] in LESS_IS_BETTER]
    write_tuning_chart(output / "tune.png", rows, shown[:4], less)
    print(text)
    print(f"\n{note} {len(rows)} settings took {seconds:.1f} s. Files: {printable(output.resolve())}")


def compare(setup: Setup, settings: Sequence[Setting], candidates: Sequence[Candidates]) -> list[dict[str, Any]]:
    """Ways by maps less those without, for the data of a crowd."""
    box = MetadataCatalog.get(setup.args.dataset).get("box", "full")
    people = [CrowdObjects.of(record, box) for record in setup.records]
    return compare_settings(settings, candidates, people, setup.most_detections, setup.protocol or DEFAULT_PROTOCOL)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = argument_parser().parse_args(argv)
    try:
        run(Setup(args), typed_command("tune-nms", argv))
    except (ValueError, ImportError, OSError) as error:
        return failure(error)
    return 0
