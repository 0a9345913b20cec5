#!/usr/bin/env python
"""Builds every config of Detectron2's zoo, explains its detections, and writes what came of it as a page.

    tools/research/zoo.py --output output/zoo.json
    tools/research/zoo.py --output docs/research/zoo.json --page docs/research/zoo.md --only faster_rcnn
    tools/research/zoo.py --output docs/research/zoo.json --page docs/research/zoo.md --no-run

Weights are random, norms and output layers calibrated on two small images, so that there are detections. Whatever the
stock detector gives - detections, masks, keypoints, sem_seg, panoptic_seg, proposals - ours must give bit for bit, and
the maps of the engine that is chosen must be those of plain autograd. Rows that --output holds are kept; --again
computes them anew. The environment variable ODAM_ZOO_CONFIGS names further folders of configs, ODAM_ZOO_HOOKS what adds
their keys, as --config-hook does.
"""

import argparse
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2.modeling import ProposalNetwork
from detectron2.structures import Boxes, Instances
from tabulate import tabulate
from torch import nn
from tqdm import tqdm
from zoo_cases import Case, all_files
from zoo_variants import VARIANTS
from zoo_weights import calibrate

from odam_d2.cli.arguments import failure, script_parser
from odam_d2.env import collect_versions
from odam_d2.explain import ENGINES, build_explainer, known_attributes
from odam_d2.structures import CORNERS, SIDES
from odam_d2.utils.clock import now
from odam_d2.utils.files import write_json, write_text

STATUSES = ("explained", "refused", "differs", "not run")
# Relative L2 distance between a map and autograd's that is taken for rounding.
TOLERANCE = 1e-5
# Of the maximum of all maps of an attribute: below, a map is zero but for rounding.
TINY = 1e-6


@dataclass
class Row:
    """What came of a config.

    Attributes:
        name: of the case.
        status: "explained"; "refused", where the stock detector runs and ours is told not to explain it; "differs",
            where outputs or maps are not the stock detector's; "not run", where the stock detector does not run here.
        architecture: the stock class, and its RoI heads.
        engine: the one that ``auto`` takes.
        detections: how many were explained.
        difference: the largest relative L2 distance of a map to autograd's.
        note: why not, or what was said.
        seconds: for all of it.
    """

    name: str
    status: str
    architecture: str = ""
    engine: str = ""
    detections: int = 0
    difference: float | None = None
    note: str = ""
    seconds: float = 0.0


def examine(case: Case, built: bool = False) -> Row:
    """Builds a case twice, with one set of weights, and compares all that both say.

    Args:
        case: what to build.
        built: whether to explain the stock detector as well, as one that is already built.
    """
    begin = now()
    row = Row(case.name, "not run")
    try:
        inputs, stock = case.inputs(), case.build(traced=False)
        row.architecture = architecture_of(stock)
        limit(stock)
        with torch.no_grad():
            calibrate(stock, inputs)
            expected = stock(inputs)
    # A config can need what this machine doesn't have in many ways.
    except Exception as error:
        built_other = row.architecture and not hasattr(stock, "backbone")
        row.note = f"{row.architecture} is no detector" if built_other else first_line(error)
        row.seconds = now() - begin
        return row
    try:
        ours = case.build(traced=True)
        ours.load_state_dict(stock.state_dict())
        limit(ours)
        _compare(ours, inputs, expected, row)
        if built and row.status == "explained":
            engine = row.engine
            _compare(stock, inputs, expected, row)
            if row.engine != engine:
                row.status, row.note = "differs", f"engine {engine} by a config, {row.engine} where it is built already"
    except Exception as error:
        row.status, row.note = "refused", first_line(error)
    row.seconds = now() - begin
    return row


def _compare(model: nn.Module, inputs: list[dict], expected: list[dict], row: Row) -> None:
    with torch.no_grad():
        found = model(inputs)
    apart = [] if same(found, expected) else ["outputs"]
    options: dict[str, Any] = {"attributes": attributes_of(model), "group_norm": "exact"}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results, row.engine = explain(model, inputs, options)
    apart += [] if same(without_maps(results), without_maps(expected)) else ["results"]
    row.detections = sum(len(result["instances"]) for result in results)
    plain, _ = explain(model, inputs, {**options, "engine": "autograd"})
    row.difference = largest_difference(results, plain, options["attributes"])
    if row.difference > TOLERANCE:
        apart.append("maps")
    row.status = "differs" if apart else "explained"
    row.note = "; ".join([*apart, *(str(one.message) for one in said if "explaining by plain" in str(one.message))])


def architecture_of(model: nn.Module) -> str:
    """The class of a detector, and of its RoI heads."""
    heads = getattr(model, "roi_heads", None)
    return type(model).__name__ + (f", {type(heads).__name__}" if heads is not None else "")


def attributes_of(model: nn.Module) -> tuple[str, ...]:
    """The score, a side of each axis, and two of what the detector has of its own, of which keypoints are many."""
    usual = {"score", "logit", *SIDES, *CORNERS, "combined"}
    return ("score", "left", "bottom", *[name for name in known_attributes(model) if name not in usual][:2])


def limit(model: Any, proposals: int = 50, detections: int = 2) -> None:
    """Lets a detector look at so many proposals of an image, and keep so many detections: thousands take minutes."""
    generator = getattr(model, "proposal_generator", None)
    if hasattr(generator, "post_nms_topk"):
        last = isinstance(model, ProposalNetwork)
        generator.post_nms_topk = {**generator.post_nms_topk, False: detections if last else proposals}
    for module in model.modules():
        for name in ("test_topk_per_image", "max_detections_per_image"):
            if hasattr(module, name):
                setattr(module, name, detections)


def explain(model: nn.Module, inputs: list[dict], options: Mapping[str, Any]) -> tuple[list[dict], str]:
    """Explanations, and the name of the engine that gave them."""
    explainer: Any = build_explainer(model, **options)
    choice, used = explainer.choose_engine, []

    def choose(trace: Any) -> Any:
        used.append(type(choice(trace)))
        return choice(trace)

    choose.step_down = choice.step_down  # type: ignore[attr-defined]
    explainer.choose_engine = choose
    results = explainer(inputs)
    return results, next(name for name in ENGINES if ENGINES[name] is used[-1])


def same(one: Any, other: Any) -> bool:
    """Whether two results hold the same, bit for bit."""
    if isinstance(one, Instances):
        return one.image_size == other.image_size and same(one.get_fields(), other.get_fields())
    if isinstance(one, Boxes):
        return same(one.tensor, other.tensor)
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def without_maps(results: list[dict]) -> list[dict]:
    """Results without heat maps; proposals under the name of instances, without the fields that a trace adds."""
    made = []
    for result in results:
        one = dict(result)
        if isinstance(one.get("proposals"), Instances):
            one.setdefault("instances", one["proposals"])
            del one["proposals"]
        if isinstance(found := one.get("instances"), Instances):
            added = {"heatmaps", *(("pred_boxes", "pred_classes", "scores") if found.has("proposal_boxes") else ())}
            fields = {name: value for name, value in found.get_fields().items() if name not in added}
            one["instances"] = Instances(found.image_size, **fields)
        made.append(one)
    return made


def largest_difference(found: list[dict], expected: list[dict], attributes: Sequence[str]) -> float:
    """The largest relative L2 distance between maps of two explanations, of maps that are more than rounding."""
    largest = 0.0
    for name in attributes:
        pairs = [
            tuple(one["instances"].heatmaps.to_image(name, normalize=False).flatten(1) for one in pair)
            for pair in zip(found, expected, strict=True)
        ]
        highest = max((float(other.amax()) for _, other in pairs if len(other)), default=0.0)
        for one, other in pairs:
            for a, b in zip(one, other, strict=True):
                if float(b.amax()) > TINY * highest:
                    largest = max(largest, float((a - b).norm() / b.norm()))
                elif float(a.amax()) > TINY * highest:
                    return float("inf")
    return largest


def first_line(error: Exception) -> str:
    """What an error says, on a line."""
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    compiled = re.search(r"therefore '(\w+)' is not available|'detectron2' object has no attribute '(\w+)'", said)
    return f"needs Detectron2's compiled {compiled[1] or compiled[2]}" if compiled else said


def all_cases() -> list[Case]:
    """Files of configs, then the variants that this project wrote."""
    return [*all_files(), *VARIANTS]


def page(rows: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> str:
    """The rows as a page of the site: a table for each folder of configs."""
    counts = Counter(row["status"] for row in rows)
    folders: dict[str, list[list[str]]] = {}
    for row in sorted(rows, key=lambda row: row["name"].startswith("variants/")):
        folder, _, name = row["name"].rpartition("/")
        fast = row["engine"] not in ("", "autograd")
        difference = f"{row['difference']:.0e}" if fast and row["difference"] is not None else ""
        said = row["engine"] or row["status"]
        note = row["note"].replace("|", "\\|").replace("<", "&lt;")
        folders.setdefault(folder, []).append([f"`{name}`", row["architecture"], said, difference, note])
    parts = [_INTRODUCTION.format(total=len(rows), versions=_versions(versions), **_words(counts))]
    for folder, lines in folders.items():
        title = _TITLES.get(folder, f"`{folder}`")
        head = ["config", "architecture", "engine", "difference", "note"]
        parts.append(f"## {title}\n\n{tabulate(lines, head, tablefmt='github', disable_numparse=True)}\n")
    return "\n".join(parts)


_TITLES = {"": "Bases", "variants": "Put together by this project"}
_VERSIONS = {"detectron2": "Detectron2", "torch": "torch", "torchvision": "torchvision", "python": "Python"}
_INTRODUCTION = """# Detectron2's zoo, config by config

Every config that Detectron2 brings, and more that its classes can build, with random weights. The stock detector and
ours say the same bit for bit (boxes, scores, masks, keypoints, `sem_seg`, `panoptic_seg`, proposals), and the maps of
the engine that is chosen are those of plain autograd. Of {total} configs {explained} are explained, {refused} are
refused, {differs} differ, and {not_run} don't run in the stock Detectron2 of this table.

*Difference* is the largest relative L2 distance between a map and autograd's, over four detections in two small images
(with 50 proposals an image) and the attributes `score`, `left`, `bottom` and what the detector has besides. Group norm
in dense heads is taken exactly. Norms and output layers are calibrated on the images.

{versions}

```bash
tools/research/zoo.py --output docs/research/zoo.json --page docs/research/zoo.md
make test PYTEST_ARGS='tests/zoo --zoo'
```

`ODAM_ZOO_CONFIGS` names further folders of configs for both, and `ODAM_ZOO_HOOKS` what adds their keys. The script
writes this page.
"""


def _words(counts: Mapping[str, int]) -> dict[str, str]:
    return {status.replace(" ", "_"): str(counts.get(status, 0) or "none") for status in STATUSES}


def _versions(versions: Mapping[str, str]) -> str:
    return f"{', '.join(f'{said} {versions[name]}' for name, said in _VERSIONS.items())}; on a CPU."


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--output", required=True, metavar="JSON", help="file of rows; those that it has are kept")
    parser.add_argument("--page", metavar="FILE", help="also write the rows as Markdown")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="cases whose names hold one of these")
    parser.add_argument("--again", action="store_true", help="compute rows anew that --output holds already")
    parser.add_argument("--no-run", action="store_true", help="write the page from the rows that --output holds")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    args = argument_parser().parse_args(argv)
    try:
        run(args)
    except (ValueError, ImportError, OSError) as error:
        return failure(error)
    return 0


def run(args: argparse.Namespace) -> None:
    """Examines the cases that are asked for, writing after each, and then the page."""
    torch.set_num_threads(1)  # small layers gain nothing from more
    output = Path(args.output)
    known = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.is_file() else []
    rows = {row["name"]: row for row in known}
    cases = [case for case in all_cases() if any(text in case.name for text in args.only)]
    alike: dict[str, str] = {}
    versions = {name: version for name, version in collect_versions().items() if name in _VERSIONS}
    for case in tqdm([] if args.no_run else cases, unit="config"):
        first = alike.setdefault(case.description, case.name)
        if args.again or case.name not in rows:
            known_one = first != case.name and first in rows
            rows[case.name] = {**rows[first], "name": case.name} if known_one else asdict(examine(case))
            write_json(output, {"versions": versions, "rows": list(rows.values())})
    if args.page:
        read = json.loads(output.read_text(encoding="utf-8"))
        write_text(args.page, page(read["rows"], read["versions"]))


if __name__ == "__main__":
    sys.exit(main())
