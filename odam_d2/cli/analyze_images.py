"""Analyses a process's share of the images of a run, and keeps each as soon as it is finished."""

import argparse
import datetime
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm
from tqdm import tqdm

from ..analysis.atlas import SPAN, save_mean_maps
from ..analysis.context_matrix import BACKGROUND, OWN
from ..analysis.run_summary import ANALYSIS, RunSummary, analysis_document, summarise_run
from ..env import collect_versions
from ..evaluation.runs.evaluator import image_key
from ..export import CsvRows
from ..store import ImageRow, RunFolder, RunReader, RunWriter, StoredImage
from ..store.filters import Filter
from ..utils.files import write_json
from ..utils.turns import Turns
from ..utils.words import printable
from ..visualize.atlas_chart import write_atlas_chart
from ..visualize.context_chart import write_context_chart
from ..visualize.report import PageWords
from ..visualize.storage import class_name
from .analyze_run import AnalysisRun
from .annotated import for_json, for_page
from .report_files import DRAWN, write_report

# What a run leaves beside its images' rows and the report.
WRITTEN = ("analysis.json", "analysis.csv", "context.png", "atlas.png", "atlas.npz", *DRAWN)
_MOST_CLASSES = 20  # of a chart


def analyse_in_process(args: argparse.Namespace, command: str) -> None:
    """What each of several processes runs."""
    analyse_share(AnalysisRun(args), command)


def analyse_share(setup: AnalysisRun, command: str) -> None:
    """Analyses this process's share of the images; the main process then writes the results of all.

    Raises:
        OutputError: if something can't be written.
        DamagedPartError: if the rows of a process can't be read.
    """
    args, main_process = setup.args, comm.is_main_process()
    records = setup.records[: args.max_images]
    keys = [image_key(record["image_id"]) for record in records]
    # Read by one of them, before any writes.
    done = set(comm.all_gather(set(RunFolder(args.output).finished()) if main_process else set())[0])
    rest = [place for place, key in enumerate(keys) if key not in done]
    analyst, inputs, turns = setup.analyst, setup.inputs(records), Turns(rest, "analyze")
    total = {"total": len(records), "initial": len(records) - len(rest), "desc": "analysing", "unit": "image"}
    with (
        RunWriter(args.output, comm.get_rank()) as writer,
        torch.no_grad(),
        tqdm(disable=not main_process, **total) as progress,
    ):
        if main_process:
            facts = {"methods": args.methods, "method": analyst.method, "class_names": list(setup.shown_names)}
            writer.put_run({**facts, "categories": setup.categories()})
        for place in turns:
            _analyse(setup, writer, place, records[place], inputs[place])
            # Of all processes together; they are about as far as this one.
            progress.update(len(records) - len(rest) + turns.taken - progress.n)
    comm.synchronize()
    if main_process:
        write_results(setup, command, len(records))


def _analyse(setup: AnalysisRun, writer: RunWriter, place: int, record: dict, entry: dict) -> None:
    analyst, path = setup.analyst, os.path.abspath(record["file_name"])
    key = image_key(record["image_id"])
    row = ImageRow(place, key, Path(path).name, path, facts={"image_id": record["image_id"]})
    truth = record if setup.is_annotated else None
    try:
        if "failure" in entry:
            raise ValueError(entry["failure"])
        found = analyst(entry, truth)
        stored = analyst.stored(row, found, truth)
    except (ValueError, FloatingPointError) as error:
        missing = bool(entry.get("missing"))
        kind, facts = "missing" if missing else "failed", {**row.facts, "missing": missing}
        tqdm.write(f"{kind}: {printable(path)}: {printable(str(error))}", file=sys.stderr)
        writer.write(StoredImage(ImageRow(place, key, row.name, path, failure=str(error), facts=facts)))
        return
    document = analysis_document(place, found, setup.num_classes)
    writer.write(stored, {} if document is None else {(ANALYSIS, key): document})


def write_results(setup: AnalysisRun, command: str, wanted: int) -> None:
    """Files of the whole run, and the table on the terminal."""
    args, output = setup.args, Path(setup.args.output)
    with RunReader(output) as reader:
        images = reader.images()
        if len(images) < wanted:
            raise ValueError(
                f"--output must be a folder that all machines share; got {str(output)!r}, which lacks "
                f"{wanted - len(images)} of {wanted} images: name a shared folder"
            )
        summary = summarise_run(reader, setup.num_classes, setup.analyst.method)
        failures = [{"file_name": one.path, "error": one.failure} for one in images if one.failure is not None]
        about: dict[str, Any] = {
            "command": command,
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "config_file": args.config_file,
            "weights": setup.config.weights,
            "device": setup.config.device,
            "dataset": args.dataset or args.annotations or args.images,
            **{name: getattr(args, name) for name in
               ("methods", "iou_threshold", "score_threshold", "max_detections", "classes", "area", "occlusion")},
            "versions": collect_versions(),
        }  # fmt: skip
        account = setup.account if setup.is_annotated else None
        write_charts(output, summary)
        CsvRows(reader, Filter()).write(output / "analysis.csv", lambda chosen: chosen)
        told = {**summary.as_json(), "failures": failures, **for_json(account), "run": about}
        write_json(output / "analysis.json", told)
        words = PageWords({**about, **_facts(summary), **for_page(account)}, title="Analysis",
                          empty=f"No detections: nothing scored {args.score_threshold:g} or more.")  # fmt: skip
        report = write_report(reader, output, words, args.single_file)
    print(summary.text())
    print(f"Report: {printable(report.resolve())}")
    print(f"{len(images)} images, {len(failures)} failed")


def _facts(summary: RunSummary) -> dict[str, Any]:
    """The main figures, for the page."""
    found: dict[str, Any] = {}
    if summary.errors is not None:
        found["AP at IoU .5 (TIDE)"] = f"{summary.errors.ap:.2f}"
        found["Errors (count, dAP)"] = {
            name: f"{summary.errors.counts[name]}, {summary.errors.weights[name]:.2f}" for name in summary.errors.counts
        }
    if summary.mechanisms:
        found["Missed objects"] = {name: str(sum(one.values())) for name, one in summary.mechanisms.items()}
    return found


def write_charts(output: Path, summary: RunSummary) -> None:
    """The charts of context and of mean maps, of the classes with most detections, where there are any."""
    names = summary.class_names
    if summary.context is not None:
        share, counts = summary.context.share, summary.context.counts
        most = np.flatnonzero(counts[:, -1] > 0)
        most = np.sort(most[np.argsort(-counts[most, -1], kind="stable")][:_MOST_CLASSES])
        if len(most):
            columns = [*most, share.shape[1] - 2, share.shape[1] - 1]
            kept = np.ix_(most, columns)
            bounds = summary.context.low[kept], summary.context.high[kept]
            labels = [class_name(int(label), names) for label in most]
            write_context_chart(output / "context.png", share[kept], counts[kept], *bounds, labels, (OWN, BACKGROUND))
    if summary.atlas:
        save_mean_maps(output / "atlas.npz", summary.atlas, [class_name(label, names) for label in summary.atlas])
    seen = sorted(summary.atlas, key=lambda label: -summary.atlas[label].detections.max())[:_MOST_CLASSES]
    if seen:
        maps = [summary.atlas[label] for label in sorted(seen)]
        write_atlas_chart(
            output / "atlas.png",
            np.stack([one.mean for one in maps]),
            np.stack([[one.low for one in maps], [one.high for one in maps]]),
            np.stack([one.detections for one in maps]),
            [class_name(label, names) for label in sorted(seen)],
            maps[0].attributes,
            SPAN,
        )
