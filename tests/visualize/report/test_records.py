"""What the page is told of an image."""

import base64
import json

import numpy as np
import torch

from odam_d2.store import ImageRow, StoredImage
from odam_d2.visualize.report.records import encode_maps, image_record
from tests.visualize.reports import NAMES, heat_maps, hot_maps, row, stored, truth

WINDOWS = [[0, 1, 2, 3], [4, 6, 3, 1]]


def test_windows_come_back():
    maps = heat_maps(WINDOWS, (8, 10), (8.0, 8.0), (60, 75), (120, 150))
    for index in range(2):
        found = encode_maps(maps)[index]
        assert found["window"] == tuple(WINDOWS[index]) and found["grid"] == [8, 10] and found["stride"] == [8, 8]
        assert found["attributes"] == list(NAMES) and found["peaks"] == [127.5] * 5
        for k, name in enumerate(NAMES):
            bytes_ = np.frombuffer(base64.b64decode(found["maps"][k]), np.uint8)
            np.testing.assert_array_equal(bytes_.reshape(WINDOWS[index][2:]), maps.window(index, name).numpy() * 2)


def test_an_image_and_what_was_found_in_it():
    rows = [
        row([2, 3, 20.5, 30.123], "dog", 0.9123456789, annotation=0, iou=2 / 3, verdict="localisation", outside=0.25,
            sentence="Too low.", figures={"side": "top", "off": 3.5, "roles": {"annotated box": {"row": 1}}}),
        row([1, 1, 9, 9], "cat", None, kind="missed", mechanism="no proposal"),
    ]  # fmt: skip
    hot = [[0, 0, 32, 32], [32, 32, 64, 64]]
    maps = {"": ([0, 1], hot_maps(hot)), "annotated box": ([0], hot_maps(hot[1:]))}
    found = image_record(stored(7, rows, [truth([2, 9, 20, 30], crowd=True)], maps), "images/7.jpg")
    assert json.loads(json.dumps(found))["size"] == [128, 96] and found["input"] == [96, 128]
    assert (found["name"], found["image"], found["gone"], found["error"]) == ("7.jpg", "images/7.jpg", None, None)
    assert found["annotations"] == [{"label": "dog", "box": [2.0, 9.0, 20.0, 30.0], "crowd": True}]
    first, second = found["detections"]
    assert first["box"] == [2.0, 3.0, 20.5, 30.12] and first["score"] == 0.912346 and first["iou"] == 0.666667
    assert (first["annotation"], first["verdict"], first["sentence"]) == (0, "localisation", "Too low.")
    assert first["figures"] == {"side": "top", "off": 3.5} and first["roles"] == {"annotated box": {"row": 1}}
    assert set(first["maps"]["odam"]) == {"", "annotated box"} and set(second["maps"]["odam"]) == {""}
    assert first["maps"]["odam"]["annotated box"]["window"] == second["maps"]["odam"][""]["window"] == (2, 2, 2, 2)
    assert (second["score"], second["verdict"], second["mechanism"]) == (None, "missed", "no proposal")


def test_what_is_not_known_and_what_json_does_not_hold():
    figures = {"nan": float("nan"), "deep": {"x\0": [float("inf"), "a\0b", True]}, "none": None, "yes": False}
    found = image_record(stored(0, [row([0, 0, 5, 5], "half \udcff", float("nan"), figures=figures)]), None, "gone\0.")
    (one,) = found["detections"]
    assert one["figures"] == {"deep x␀": [None, "a␀b", True], "yes": False}
    assert one["label"] == "half \\xff" and one["score"] is None and one["maps"] == {} and found["gone"] == "gone␀."
    assert found["annotations"] is None
    failed = image_record(StoredImage(ImageRow(0, "a", "a", "a", failure="torn")), None)
    assert failed["error"] == "torn" and failed["size"] is None and failed["detections"] == []
    assert image_record(stored(0, [], []), None)["annotations"] == []


def test_maps_on_several_levels_are_one():
    maps = heat_maps([*WINDOWS, [0, 0, 2, 2]], (8, 10), (8.0, 8.0), (60, 75), (120, 150))
    maps.owners = torch.tensor([0, 1, 1])
    rows = [row([0, 0, 9, 9]), row([0, 0, 9, 9])]
    found = image_record(stored(0, rows, maps={"": ([0, 1], maps)}), None)["detections"]
    assert found[0]["maps"]["odam"][""]["window"] == (0, 1, 2, 3)
    assert found[1]["maps"]["odam"][""]["window"] == (0, 0, 7, 7)  # both of its windows
