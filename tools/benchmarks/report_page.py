#!/usr/bin/env python
"""Measures the report's page in headless Chromium, on a made run of many images.

    tools/benchmarks/report_page.py --output output/report_page.json
    tools/benchmarks/report_page.py --images 500 --listed 10000 --repeats 3

Images are synthetic scenes, each shifted by an amount of its own; boxes, verdicts and maps are drawn at random. Times
are the page's own clock, from its beginning or from a click to the second frame after it. Frames are those of a list
that is scrolled by most of its height in every frame; a display of 60 Hz has one each 16.7 ms.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import benchmarking
import numpy as np
import torch
from browser import Browser
from tabulate import tabulate
from tqdm import tqdm

from odam_d2.cli.arguments import add_output_json, add_threads, count, script_parser
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.store import AnnotationRow, DetectionRow, ImageRow, RunReader, RunWriter, StoredImage
from odam_d2.structures import HeatMaps
from odam_d2.visualize.report import PageWords, write_report_folder

ATTRIBUTES = ("score", "left", "top", "right", "bottom")
CLASSES = [f"class {number}" for number in range(80)]
VERDICTS = ("correct", "correct", "correct", "classification", "localisation", "both", "duplicate", "background")
HEIGHT, WIDTH, STRIDE = 480, 640, 8
SCENES = 24  # drawn; all images are made of these

# Runs ahead of the page: notes when the first image and its heat are seen, and when the lists are.
WATCH = """
globalThis.seen = {};
const look = () => {
  const photo = document.getElementById("photo"), heat = document.getElementById("heat");
  const loaded = photo?.complete && photo.naturalWidth;
  if (!seen.image && loaded && !heat.hidden && heat.width > 300) seen.image = performance.now();
  if (!seen.list && document.querySelector("#detection-list button")) seen.list = performance.now();
  if (!seen.image || !seen.list) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
TOOLS = """
globalThis.frames = (count) => new Promise((done) => {
  const step = () => count-- > 0 ? requestAnimationFrame(step) : done();
  step();
});
globalThis.timed = async (work) => {
  await frames(2);
  const begin = performance.now();
  work();
  await frames(2);
  return performance.now() - begin;
};
globalThis.choose = (id, value) => {
  const control = document.getElementById(id);
  control.value = value;
  control.dispatchEvent(new Event(control.type === "range" || control.type === "search" ? "input" : "change"));
};
globalThis.press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
globalThis.scrolled = async (id, count) => {
  const scroller = document.getElementById(id), gaps = [];
  let before = null, at = 0;
  await new Promise((done) => {
    const step = (now) => {
      if (before !== null) gaps.push(now - before);
      before = now;
      // Mostly on, now and then to a far place, as somebody does who drags the bar.
      at = gaps.length % 20 ? at + 0.9 * scroller.clientHeight : Math.random() * scroller.scrollHeight;
      scroller.scrollTop = at;
      if (gaps.length < count) requestAnimationFrame(step); else done();
    };
    requestAnimationFrame(step);
  });
  const empty = document.querySelectorAll(`#${id} button`).length === 0;
  return { gaps, empty };
};
"""
FILTERS = {
    "a class": """choose("class-filter", document.querySelectorAll("#class-filter option")[7].value)""",
    "all classes": """choose("class-filter", "")""",
    "an error type": """document.querySelectorAll("#verdicts button")[2].click()""",
    "no error type": """document.querySelectorAll("#verdicts button")[2].click()""",
    "score of .5 or more": """choose("score-filter", 0.5)""",
    "any score": """choose("score-filter", 0)""",
    "heat outside of .3 or more": """choose("least-outside", 0.3)""",
    "any heat outside": """choose("least-outside", "")""",
    "name of an image": """choose("image-filter", "00123")""",
    "any name": """choose("image-filter", "")""",
}
ORDERS = {
    "by score": """choose("sort", "score")""",
    "by a figure": """choose("sort", "figure likeness")""",
    "in groups": """choose("group", "label")""",
    "without groups": """choose("group", "")""",
    "in the run's order": """choose("sort", "place")""",
}


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--images", type=count, default=5000, metavar="N", help="images of the run (default: %(default)s)")
    add("--detections", type=count, default=10, metavar="N", help="boxes in each (default: %(default)s)")
    add("--listed", type=count, default=100_000, metavar="N",
        help="boxes of a second run, without maps, whose list is scrolled (default: %(default)s)")  # fmt: skip
    add("--visited", type=count, default=200, metavar="N", help="images visited before memory is read (default: 200)")
    add("--frames", type=count, default=600, metavar="N", help="frames of scrolling (default: %(default)s)")
    add("--repeats", type=count, default=7, metavar="N", help="times that each is done (default: %(default)s)")
    add("--keep", metavar="DIR", help="where to make the runs and keep them; default a folder that is removed")
    add_threads(parser)
    add_output_json(parser)
    return parser


def random_maps(boxes: np.ndarray, rng: np.random.Generator) -> HeatMaps:
    """Five smooth maps for each (x1, y1, x2, y2), on the cells under it and around."""
    values, windows = [], []
    for x1, y1, x2, y2 in boxes / STRIDE:
        left, top = max(0, int(x1) - 2), max(0, int(y1) - 2)
        width, height = min(WIDTH // STRIDE, int(x2) + 3) - left, min(HEIGHT // STRIDE, int(y2) + 3) - top
        y, x = np.mgrid[0:height, 0:width]
        centres = rng.random((len(ATTRIBUTES), 2, 1, 1)) * np.array([height, width]).reshape(2, 1, 1)
        apart = (y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2
        values.append(np.exp(-apart / (0.05 * height * width + 1)).reshape(len(ATTRIBUTES), -1))
        windows.append([top, left, height, width])
    n = len(boxes)
    return HeatMaps(
        torch.from_numpy(np.concatenate(values, 1).astype(np.float32)),
        torch.tensor(windows).reshape(n, 4),
        torch.tensor([[HEIGHT // STRIDE, WIDTH // STRIDE]] * n).reshape(n, 2),
        torch.full((n, 2), float(STRIDE)),
        ATTRIBUTES,
        (HEIGHT, WIDTH),
        (HEIGHT, WIDTH),
    )


def make_run(folder: Path, images: int, detections: int, maps: bool = True) -> None:
    """Writes a run of random boxes."""
    rng = np.random.default_rng(0)
    with RunWriter(folder) as writer:
        for number in tqdm(range(images), desc="made run", unit="image", leave=False):
            corner = rng.random((detections, 2)) * [WIDTH - 180, HEIGHT - 140]
            boxes = np.concatenate([corner, corner + 24 + rng.random((detections, 2)) * [150, 110]], 1)
            rows = [
                DetectionRow(
                    tuple(box),
                    label := int(rng.integers(len(CLASSES))),
                    CLASSES[label],
                    float(rng.random()),
                    annotation=0,
                    iou=float(rng.random()),
                    verdict=VERDICTS[int(rng.integers(len(VERDICTS)))],
                    outside=float(rng.random()),
                    figures={"likeness": float(rng.random())},
                )
                for box in boxes.tolist()
            ]
            name = f"{number:06d}.jpg"
            image = ImageRow(number, name, name, str(folder / name), (HEIGHT, WIDTH), (HEIGHT, WIDTH))
            heat = {("odam", ""): (range(detections), random_maps(boxes, rng))} if maps else {}
            truth = [AnnotationRow((10.0, 10.0, 200.0, 200.0), 0, CLASSES[0], id=number)]
            writer.write(StoredImage(image, truth, rows, heat))
        writer.put_run({"class_names": CLASSES})


def shifted_scenes(images: int) -> Callable[[ImageRow], np.ndarray]:
    """Yields a scene for each image, shifted by an amount of its own."""
    scenes, number = SyntheticScenes("scene", "val"), min(SCENES, images)
    drawn = [scenes[k][0] for k in tqdm(range(number), desc="scenes", unit="image", leave=False)]

    def read(image: ImageRow) -> np.ndarray:
        return np.roll(drawn[image.number % number], image.number // number * 3, axis=1)

    return read


def opened(page: Path, times: int) -> dict[str, list[float]]:
    """Seconds from the beginning of a page to its first image with heat, and to its list, each in a new browser."""
    found: dict[str, list[float]] = {"first image": [], "list": []}
    for _ in tqdm(range(times), desc="opening", leave=False):
        with Browser() as browser:
            browser.open(page, before=WATCH)
            seen = browser.wait_for("globalThis.seen?.image && seen.list && seen")
            found["first image"].append(seen["image"] / 1000)
            found["list"].append(seen["list"] / 1000)
            require_no_errors(browser)
    return found


def require_no_errors(browser: Browser) -> None:
    """Raises ValueError if a script of the page failed."""
    if browser.said:
        raise ValueError(f"the page must run without errors; got {browser.said[0]}")


def used(page: Path, args: argparse.Namespace, maps: bool) -> dict[str, list[float]]:
    """Seconds of filters, orders and steps, of frames in both lists, and megabytes at the end, in one browser."""
    found: dict[str, list[float]] = {}
    with Browser() as browser:
        browser.open(page, "#list=all")
        browser.wait_for("document.querySelector('#detection-list button') !== null")
        browser.run(TOOLS)
        for _ in tqdm(range(args.repeats), desc="filters", leave=False):
            for kind, works in (("filter", FILTERS), ("order", ORDERS)):
                for name, work in works.items():
                    seconds = browser.run(f"timed(() => {{ {work} }})") / 1000
                    found.setdefault(f"{kind}: {name}", []).append(seconds)
                    found.setdefault(f"any {kind}", []).append(seconds)
        for name, scroller in (("boxes", "detection-scroller"), ("images", "image-scroller")):
            scrolled = browser.run(f"scrolled('{scroller}', {args.frames})")
            if scrolled["empty"]:
                raise ValueError("a list must show items after it was scrolled; got an empty one: look at the page")
            found[f"frame of the list of {name}"] = [gap / 1000 for gap in scrolled["gaps"]]
        for key, steps in (("ArrowRight", args.visited), ("n", args.visited if maps else 0)):
            for _ in tqdm(range(steps), desc="steps", leave=False):
                seconds = browser.run(f"timed(() => press('{key}'))") / 1000
                found.setdefault({"n": "step to an image", "ArrowRight": "step to a box"}[key], []).append(seconds)
        found["megabytes of the heap"] = [browser.heap_mb()]
        found["megabytes of the process"] = [browser.process_mb()]
        require_no_errors(browser)
    return found


def measure(args: argparse.Namespace) -> benchmarking.Figures:
    """The figures, as they go to JSON."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.keep or temporary)
        read = shifted_scenes(args.images)
        kinds = (("maps", args.images, args.detections), ("listed", -(-args.listed // 100), min(100, args.listed)))
        figures: benchmarking.Figures = {}
        for name, images, detections in kinds:
            run = folder / name
            if not (run / "store").is_dir():
                make_run(run, images, detections, maps=name == "maps")
            begin = time.perf_counter()
            with RunReader(run) as reader:
                page = write_report_folder(reader, run / "report", PageWords({"method": "odam"}), read_image=read)
            seconds = time.perf_counter() - begin
            size = sum(one.stat().st_size for one in (run / "report").rglob("*") if one.is_file())
            rows = {**opened(page, args.repeats if name == "maps" else 0), **used(page, args, name == "maps")}
            figures[name] = {
                "boxes": images * detections,
                "images": images,
                "report_seconds": seconds,
                "report_megabytes": size / 1e6,
                "rows": {key: benchmarking.row(values) for key, values in rows.items() if values},
            }
        return figures


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown tables."""
    lines = []
    for name in ("maps", "listed"):
        one = figures[name]
        lines += [
            f"{one['boxes']} boxes in {one['images']} images: {one['report_megabytes']:.0f} MB, written in "
            f"{one['report_seconds']:.0f} s",
            "",
        ]
        body = []
        for key, row in one["rows"].items():
            every = sorted(row["all_seconds"])
            late = every[min(len(every) - 1, int(0.99 * len(every)))]
            unit, scale = ("MB", 1) if key.startswith("megabytes") else ("ms", 1000)
            figure = [statistics.median(every), every[0], late, every[-1]]
            body.append([key, unit, *(f"{scale * value:.1f}" for value in figure), len(every)])
        headers = ["what", "unit", "median", "least", "99 %", "most", "n"]
        lines += [tabulate(body, headers, tablefmt="github", disable_numparse=True), ""]
    return "\n".join(lines).rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    return benchmarking.run_benchmark(argument_parser(), measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
