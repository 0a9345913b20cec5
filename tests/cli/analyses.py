"""A run of ``odam analyze`` on tiny images, for several tests."""

import json

from odam_d2.cli.analyze import argument_parser
from odam_d2.cli.analyze_run import AnalysisRun
from odam_d2.explain import build_explainer
from odam_d2.store import RunReader
from tests.cli.test_explain import TINY, ZOO_NAME, image

NAMES = ("person", "dog", "car")
COUNT = 4
# The detector's own numbers of the categories' ids.
IDS = (3, 7, 20)


def arguments(folder, output, *options, annotated=True, opts=()):
    found = ["--config-file", ZOO_NAME, "--images", folder / "images", "--score-threshold", "0.1"]
    found += ["--annotations", folder / "coco.json"] if annotated else []
    found += ["--max-detections", "3", "--output", output, *options]
    found += ["--", *TINY, "MODEL.WEIGHTS", folder / "random.pth", *opts]
    return [str(one) for one in found]


def setup_of(folder, *options):
    """What a run of these arguments works with."""
    return AnalysisRun(argument_parser().parse_args(arguments(folder, folder / "none", *options)))


def write_folder(root, weights):
    """Images and annotations that a random detector gets right, wrong and not at all; the last image has none.

    Of each image the first detection is annotated as it is, the second as another class, the third is not; beside them
    there is an object that no box fits, and one at the edge of a box. In the second image all classes are others.
    """
    weights.rename(root / "random.pth")
    for k in range(COUNT):
        image(root / "images" / f"{k}.png", seed=k)
    images = [{"id": 30 + k, "file_name": f"{k}.png", "height": 40, "width": 60} for k in range(COUNT)]
    categories = [{"id": key, "name": name} for key, name in zip(IDS, NAMES)]
    content = {"images": images, "annotations": [], "categories": categories}
    (root / "coco.json").write_text(json.dumps(content))
    setup, items = setup_of(root), content["annotations"]
    explain = build_explainer(setup.model, "odam", ("score",))
    for entry in setup.inputs(setup.records[:-1]):
        found = explain([entry])[0]["instances"]
        boxes, labels = found.pred_boxes.tensor.tolist(), found.pred_classes.tolist()
        x1, y1, x2, y2 = boxes[0]
        chosen = [
            (boxes[0], labels[0]), (boxes[1], (labels[1] + 1) % 3), ([1, 1, 5, 4], labels[0]),
            ([x1, y1, x1 + 0.45 * (x2 - x1), y2], labels[2]),
        ]  # fmt: skip
        for (x1, y1, x2, y2), label in chosen:
            label = (label + (entry["image_id"] == 31)) % 3
            about = {"id": 100 + len(items), "image_id": entry["image_id"], "category_id": IDS[label], "iscrowd": 0}
            corners = [x1, y1, x2, y1, x2, y2, x1, y2]
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            items.append({**about, **box, "segmentation": [corners]})
    items.append({"id": 901, "image_id": 30, "category_id": IDS[0], "bbox": [5, 5, 20, 20], "iscrowd": 1})
    (root / "coco.json").write_text(json.dumps(content))
    return root


def told(output):
    """``analysis.json`` without what tells when and how a run was made."""
    found = json.loads((output / "analysis.json").read_text(encoding="utf-8"))
    del found["run"]
    return found


def stored_images(output):
    with RunReader(output) as reader:
        return [reader.image(one.number) for one in reader.images()]


def numbers(output):
    """All that a run of the same settings must give again, to the last digit."""
    maps = [
        {which: (list(rows), heat.values.tolist(), heat.windows.tolist()) for which, (rows, heat) in one.maps.items()}
        for one in stored_images(output)
    ]
    rows = [(one.image, one.annotations, one.detections) for one in stored_images(output)]
    charts = [(output / name).read_bytes() for name in ("atlas.png", "context.png")]
    return told(output), (output / "analysis.csv").read_text(encoding="utf-8"), rows, maps, charts
