"""Explains a process's share of the images of a run, and keeps each as soon as it is finished."""

import argparse
import sys
import time
import traceback
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from detectron2.utils import comm
from tqdm import tqdm

from ..env import collect_versions
from ..store import RunReader, RunWriter, StoredImage
from ..utils.files import OutputError, write_json
from ..utils.turns import Turns
from ..utils.words import printable
from ..visualize.report import PageWords
from .annotated import for_json, for_page
from .explain_run import ExplainRun
from .finished_images import FinishedImages
from .image_explainer import Explained, ImageExplainer, remove_old_files
from .report_files import write_report

MOST_WAITING = 4


def explain_in_process(args: argparse.Namespace, command: str, folders: Mapping[str, Path]) -> None:
    """What each of several processes runs."""
    explain_share(ExplainRun(args, quiet=True), command, folders)


def explain_share(setup: ExplainRun, command: str, folders: Mapping[str, Path]) -> None:
    """Explains this process's share of the images; the main process then writes the report of all.

    Args:
        setup: what explains.
        command: as it was typed.
        folders: name of each image's folder -> the image; those of the main process count.

    Raises:
        OutputError: if the files of an image, or the report, can't be written.
        DamagedPartError: if the rows of a process can't be read.
    """
    start, main_process = time.perf_counter(), comm.is_main_process()
    finished = FinishedImages(setup.output)
    finished.know(folders)
    folders = finished.folders
    with RunWriter(setup.output, comm.get_rank()) as writer:
        if main_process:
            facts = setup.facts(command)
            known = {"method": facts["method"], "attributes": facts["attributes"]}
            if setup.annotations:
                known["categories"] = setup.annotations.categories()
            writer.put_run({**known, "class_names": list(setup.class_names)})
        explain_all(setup.image_explainer(), finished, writer)
    comm.synchronize()
    if main_process:
        write_results(setup, {**facts, "seconds": round(time.perf_counter() - start, 1)}, folders)


def explain_all(explain: ImageExplainer, finished: FinishedImages, writer: RunWriter) -> None:
    """Explains images that aren't finished; one that fails is reported and the others are still explained.

    While one image is explained, a thread writes the files of those before it.

    Args:
        explain: what explains.
        finished: knows the images and those that are finished.
        writer: keeps the others.

    Raises:
        OutputError: if the files of an image can't be written; nothing is explained after it.
    """
    folders = finished.folders
    rest = [folder for folder in folders if finished.find(folder) is None]
    turns = Turns(rest, "explain")
    waiting: deque[tuple[str, Future]] = deque()

    def write(folder: str, found: Explained) -> None:
        row = finished.row(folder)
        writer.write(explain.write(found, row, finished.output / folder))

    def finish(folder: str, written: Future) -> None:
        try:
            written.result()
        except OutputError:
            raise
        except Exception as error:
            tell_failure(finished, writer, folder, error)
        # Of all processes together; they are about as far as this one.
        progress.update(max(0, len(folders) - len(rest) + turns.taken - len(waiting) - progress.n))

    with (
        ThreadPoolExecutor(1) as thread,
        tqdm(total=len(folders), initial=len(folders) - len(rest), desc="explaining", unit="image",
             disable=not comm.is_main_process()) as progress,
    ):  # fmt: skip
        for folder in turns:
            try:
                written = thread.submit(write, folder, explain.explain(folders[folder]))
            except Exception as error:
                written = Future()
                written.set_exception(error)
            waiting.append((folder, written))
            # Images wait in memory; with more than this, writing is the bottleneck.
            while len(waiting) > MOST_WAITING:
                finish(*waiting.popleft())
        while waiting:
            finish(*waiting.popleft())


def tell_failure(finished: FinishedImages, writer: RunWriter, folder: str, error: Exception) -> None:
    """Prints and keeps why an image could not be explained, and removes the files that it had."""
    reason, path = str(error) or type(error).__name__, finished.folders[folder]
    tqdm.write(f"failed: {printable(path)}: {printable(reason)}", file=sys.stderr)
    remove_old_files(finished.output / folder)
    facts = {"error": reason, "type": type(error).__name__}
    if not isinstance(error, ValueError | FloatingPointError | OSError):
        facts["traceback"] = "".join(traceback.format_exception(error))
    row = finished.row(folder, failure=printable(reason), facts=facts)
    writer.write(StoredImage(row))


def write_results(setup: ExplainRun, run: dict[str, Any], folders: Mapping[str, Path]) -> None:
    """The report and run.json of all images, and what is printed in the end."""
    args, account, annotations = setup.args, setup.account, setup.annotations
    annotated = args.explain == "annotations"
    images, failures = [], []
    with RunReader(setup.output) as reader:
        found = {image.key: image for image in reader.images()}
        missing = [folder for folder in folders if folder not in found]
        if missing:
            raise ValueError(
                f"--output must be a folder that all machines share; got {str(setup.output)!r}, which lacks "
                f"{len(missing)} of {len(folders)} images: name a shared folder"
            )
        for folder, path in folders.items():
            facts = found[folder].facts
            if found[folder].failure is not None:
                failures.append({"file": str(path), **facts})
                continue
            images.append({"file": str(path), "folder": folder, "detections": facts["boxes"]})
            account.remark(path, facts["remarks"])
            if annotations and facts["unreached"]:
                annotations.left_out_unreached(path.name, facts["unreached"])
        judged, versions = annotations.account if annotations else None, collect_versions()
        about = {"image files": account.facts()} if account.facts() else {}
        words = PageWords(
            {**run, **about, **for_page(judged), "versions": versions},
            noun="annotated box" if annotated else "detection",
            empty="No annotated boxes in these images." if annotated
            else f"No detections: nothing in these images scored {args.score_threshold:g} or more.",
        )  # fmt: skip
        report = write_report(reader, setup.output, words, args.single_file)
    outcome = {"images": images, "failures": failures, "image_files": account.as_json()}
    write_json(setup.output / "run.json", {**run, "versions": versions, **outcome, **for_json(judged)})
    for line in account.remark_lines():
        print(line)
    if annotations:
        annotations.tell_rest()
    boxes = sum(image["detections"] for image in images)
    print(f"Report: {printable(report.resolve())}")
    print(f"{len(folders)} images, {boxes} {'annotated boxes' if annotated else 'detections'}, {len(failures)} failed")
