"""Explains the images of a run, one after the other, and keeps each as soon as it is finished."""

import sys
import traceback
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.image_account import ImageAccount
from ..store import RunWriter, StoredImage
from ..utils.files import OutputError
from ..utils.words import printable
from ..visualize.report import failure_entry
from .finished_images import FinishedImages
from .image_explainer import Explained, ImageExplainer, remove_old_files

MOST_WAITING = 4


def explain_all(
    explain: ImageExplainer, folders: Mapping[str, Path], finished: FinishedImages, account: ImageAccount
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Explains every image that isn't finished; one that fails is reported and the others are still explained.

    While one image is explained, a thread writes the files of those before it.

    Args:
        explain: what explains.
        folders: name of each image's folder -> the image.
        finished: knows those that are finished, and keeps the others.
        account: gets the remarks on images.

    Returns:
        For run.json what was done and what failed.

    Raises:
        OutputError: if the files of an image can't be written; nothing is explained after it.
    """
    done: dict[str, Mapping[str, Any]] = {}
    failures: list[dict[str, Any]] = []
    waiting: deque[tuple[str, Future]] = deque()

    def write(writer: RunWriter, folder: str, found: Explained) -> Mapping[str, Any]:
        row = finished.row(folder, folders[folder])
        stored, entry = explain.write(found, row, finished.output / folder)
        finished.keep(writer, stored, entry)
        return stored.image.facts

    def finish(writer: RunWriter, folder: str, written: Future) -> None:
        try:
            done[folder] = written.result()
        except OutputError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            tqdm.write(f"failed: {printable(folders[folder])}: {printable(reason)}", file=sys.stderr)
            remove_old_files(finished.output / folder)
            row = finished.row(folder, folders[folder], failure=printable(reason))
            finished.keep(writer, StoredImage(row), failure_entry(row.name, printable(reason)))
            failure = {"file": str(folders[folder]), "error": reason, "type": type(error).__name__}
            if not isinstance(error, ValueError | FloatingPointError | OSError):
                failure["traceback"] = "".join(traceback.format_exception(error))
            failures.append(failure)
        progress.update()

    with (
        finished.open() as writer,
        ThreadPoolExecutor(1) as thread,
        tqdm(total=len(folders), desc="explaining", unit="image") as progress,
    ):
        for folder, path in folders.items():
            known = finished.find(folder)
            if known is not None:
                done[folder] = known
                progress.update()
                continue
            try:
                written = thread.submit(write, writer, folder, explain.explain(path))
            except Exception as error:
                written = Future()
                written.set_exception(error)
            waiting.append((folder, written))
            # Images wait in memory; with more than this, writing is the bottleneck.
            while len(waiting) > MOST_WAITING:
                finish(writer, *waiting.popleft())
        while waiting:
            finish(writer, *waiting.popleft())
    images = []
    for folder, path in folders.items():
        if folder in done:
            images.append({"file": str(path), "folder": folder, "detections": done[folder]["boxes"]})
            account.remark(path, done[folder]["remarks"])
    return images, failures
