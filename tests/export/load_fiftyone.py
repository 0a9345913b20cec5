"""Loads two exports with FiftyOne and prints what it says of them as JSON; run by a Python that has FiftyOne."""

import json
import sys

import fiftyone as fo


def labels(dataset):
    return sorted(name for name, field in dataset.get_field_schema().items()
                  if getattr(field, "document_type", None) and issubclass(field.document_type, fo.Label))  # fmt: skip


def of_images(folder):
    dataset = fo.Dataset.from_dir(folder, fo.types.FiftyOneDataset)
    first = dataset.first()
    heat = first["heatmap_score"].get_map()
    return {
        "samples": len(dataset),
        "fields": labels(dataset),
        "verdicts": {name: n for name, n in dataset.count_values("detections.detections.verdict").items() if name},
        "tagged_missed": dataset.match_tags("missed").values("key"),
        "map": [*heat.shape, int(heat.max())],
        "first_box": first["detections"].detections[0].bounding_box,
        "outside": list(dataset.bounds("detections.detections.outside")),
        "patches": len(dataset.to_patches("detections")),
    }


def of_boxes(folder):
    dataset = fo.Dataset.from_dir(folder, fo.types.FiftyOneDataset)
    maps = [sample["heatmap_score"].get_map() for sample in dataset if sample["heatmap_score"] is not None]
    return {
        "samples": len(dataset),
        "fields": labels(dataset),
        "kinds": sorted(dataset.distinct("box.kind")),
        "maps": sum(one.max() == 255 for one in maps).item(),
        "most_outside": dataset.sort_by("box.outside", reverse=True).first()["key"],
    }


print(json.dumps([of_images(sys.argv[1]), of_boxes(sys.argv[2])]))
