#!/usr/bin/env python
"""Times the server of `odam serve`: an answer beside a call of the predictor, and filters of a large run.

    tools/benchmarks/serve.py --output output/serve.json
    tools/benchmarks/serve.py --config-file synthetic/fcos_compact_FPN --boxes 0
    tools/benchmarks/serve.py --config-file COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml --random-weights \\
        --size 1333 800 --threshold 0 --boxes 0 MODEL.DEVICE cpu TEST.DETECTIONS_PER_IMAGE 20

An answer is a request over HTTP to a server in this process, from sending it to the last byte: queue, detection, maps,
and all of it as JSON. The predictor is called on the same image with the same threshold; both take turns. Filters are
requests too, of a made run whose boxes are drawn at random: 100 boxes and their counts by class, verdict and so on.
"""

import argparse
import contextlib
import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import benchmarking
import cv2
import torch
from report_page import make_run
from tabulate import tabulate

from odam_d2 import OdamPredictor
from odam_d2.cli.arguments import count, share, whole
from odam_d2.cli.config import read_run_config
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.serve.detector import ServedDetector
from odam_d2.serve.guard import LOOPBACK
from odam_d2.serve.held_images import HeldImage
from odam_d2.serve.limits import ServeLimits
from odam_d2.serve.run_server import listen, server_of
from odam_d2.serve.run_view import RunView
from odam_d2.serve.workbench import Workbench
from odam_d2.utils.clock import now

CLOCKS = {"wall": now, "process": time.process_time}
PER_IMAGE = 100  # boxes of an image of the made run
FILTERS = {
    "all boxes": "",
    "a class": "label=class 7",
    "two verdicts": "verdict=background&verdict=both",
    "a range of scores": "score_min=0.5",
    "a range of areas": "area_min=1024&area_max=9216",
    "with an annotated object": "judged=with",
    "a part of the images' names": "name=0012",
    "a class, a verdict and three ranges": "label=class 7&verdict=correct&score_min=0.2&iou_max=0.9&outside_min=0.1",
}
ORDERS = ("place", "score", "area", "figure likeness")
GROUPS = ("label", "image")


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = benchmarking.benchmark_parser(__doc__, "synthetic/faster_rcnn_compact_FPN", repeats=21, warmup=3)
    add = parser.add_argument
    add("--threshold", type=share, default=0.5, metavar="S", help="lowest score of a detection (default: 0.5)")
    add("--boxes", type=whole, default=1_000_000, metavar="N",
        help="boxes of the made run; 0 to leave filters out (default: %(default)s)")  # fmt: skip
    add("--image", type=count, default=3, metavar="N", help="number of the synthetic scene (default: %(default)s)")
    add("--size", nargs=2, type=count, metavar=("W", "H"), help="bring the scene to so many pixels (default: 640 480)")
    add("--random-weights", action="store_true", help="give the detector random weights, for those that aren't at hand")
    add("--clock", choices=list(CLOCKS), default="wall",
        help="process: CPU seconds of server and client together, which other work on the machine affects less; with "
        "--threads 1 (default: wall)")  # fmt: skip
    add("--keep", metavar="DIR", help="where to make the run and keep it; default a folder that is removed")
    return parser


@contextlib.contextmanager
def serving(bench: Workbench) -> Iterator[int]:
    """A server in a thread; gives its port."""
    listener = listen("127.0.0.1", 0)
    server = server_of(bench, LOOPBACK)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def ask(port: int, method: str, path: str, body: dict | None = None) -> bytes:
    """The body of an answer; raises ValueError if it is an error."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with contextlib.closing(connection):
        content = None if body is None else json.dumps(body)
        connection.request(method, path.replace(" ", "%20"), content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
    if answer.status != 200 or b'{"error"' in data:
        raise ValueError(f"the server must answer; got {answer.status}: {data[:300]!r}")
    return data


def answers(args: argparse.Namespace) -> benchmarking.Figures:
    """Seconds of an answer and of the predictor."""
    with tempfile.TemporaryDirectory() as folder:
        if args.random_weights:
            args.opts = [*args.opts, "MODEL.WEIGHTS", str(random_weights(args, Path(folder)))]
        return timed_answers(args)


def random_weights(args: argparse.Namespace, folder: Path) -> Path:
    """A file of random weights of a yaml config's detector, the same for all who load it."""
    torch.manual_seed(0)
    path = folder / "random.pth"
    torch.save({"model": read_run_config(args, args.threshold, 100).build().state_dict()}, path)
    return path


def timed_answers(args: argparse.Namespace) -> benchmarking.Figures:
    """Seconds of an answer and of the predictor, whose weights can be read."""
    read = read_run_config(args, args.threshold, 100)
    predictor = OdamPredictor(read.node, score_threshold=args.threshold)
    detector = ServedDetector("detector", read)
    pixels = SyntheticScenes("scene", "val")[args.image][0]
    if args.size is not None:
        pixels = cv2.resize(pixels, args.size)
    bench = Workbench(detectors=[detector])
    image = bench.images.add(HeldImage.of_pixels("scene", pixels)).id
    body = {"ask": "detections", "detector": "detector", "image": image, "threshold": args.threshold}
    with serving(bench) as port:
        works = {
            "predictor": lambda: predictor(pixels),
            "answer": lambda: ask(port, "POST", "/api/ask", body),
        }
        rows = benchmarking.timed_in_turns(works, args.repeats, args.warmup, CLOCKS[args.clock])
        size = len(ask(port, "POST", "/api/ask", body))
    ratios = sorted(b / a for a, b in zip(*(rows[name]["all_seconds"] for name in works), strict=True))
    detections = len(predictor(pixels)["instances"])
    return {"rows": rows, "detections": detections, "bytes": size, "ratio": ratios[len(ratios) // 2]}


def filters(args: argparse.Namespace) -> benchmarking.Figures:
    """Seconds of filters, each by several orders."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.keep or temporary)
        if not (folder / "store").is_dir():
            make_run(folder, -(-args.boxes // PER_IMAGE), PER_IMAGE, maps=False)
        begin = time.perf_counter()
        bench = Workbench(run=RunView(folder, ServeLimits()))
        opening = time.perf_counter() - begin
        assert bench.run is not None
        bench.run.figures()
        with_figures = time.perf_counter() - begin
        with serving(bench) as port:
            works = {
                f"{name}, by {order}": lambda query=query, order=order: ask(
                    port, "GET", f"/api/run/boxes?{query}&order_by={order}&descending=true"
                )
                for name, query in FILTERS.items()
                for order in ORDERS
            }
            works |= {
                f"{name}, by score, in groups by {group}": lambda query=query, group=group: ask(
                    port, "GET", f"/api/run/boxes?{query}&order_by=score&descending=true&group_by={group}&offset=5000"
                )
                for name, query in FILTERS.items()
                for group in GROUPS
            }
            works |= {
                f"images of {name}": lambda query=query: ask(port, "GET", f"/api/run/images?{query}")
                for name, query in FILTERS.items()
            }
            first = benchmarking.timed_in_turns(works, 1, 0, CLOCKS[args.clock])
            rows = benchmarking.timed_in_turns(works, args.repeats, 0, CLOCKS[args.clock])
        boxes = bench.run.about()["boxes"]
    return {
        "rows": rows,
        "first": first,
        "boxes": boxes,
        "seconds_to_open": opening,
        "seconds_to_figures": with_figures,
    }


def measure(args: argparse.Namespace) -> benchmarking.Figures:
    """The figures, as they go to JSON."""
    return {"answers": answers(args), "filters": filters(args) if args.boxes else None}


def table(figures: benchmarking.Figures) -> str:
    """The figures as Markdown tables."""
    one = figures["answers"]
    body = [[name, *(f"{1000 * row[key]:.1f}" for key in ("seconds", "least", "most"))]
            for name, row in one["rows"].items()]  # fmt: skip
    lines = [
        f"{one['detections']} detections, {one['bytes'] / 1000:.0f} kB; an answer takes {one['ratio']:.3f} times the "
        "predictor's time (median over pairs)",
        "",
        tabulate(body, ["what", "median, ms", "least", "most"], tablefmt="github", disable_numparse=True),
    ]
    some = figures["filters"]
    if some is not None:
        body = [
            [name, *(f"{1000 * row[key]:.0f}" for key in ("seconds", "least", "most")),
             f"{1000 * some['first'][name]['seconds']:.0f}"]
            for name, row in some["rows"].items()
        ]  # fmt: skip
        headers = ["filter", "median, ms", "least", "most", "the first time"]
        lines += ["", f"{some['boxes']} boxes, read in {some['seconds_to_open']:.1f} s, with figures in "
                  f"{some['seconds_to_figures']:.1f} s", "",
                  tabulate(body, headers, tablefmt="github", disable_numparse=True)]  # fmt: skip
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    return benchmarking.run_benchmark(argument_parser(), measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
