"""The folder for FiftyOne, by a reader of its own that knows FiftyOne's form, and by FiftyOne where that is installed.

The form is that of FiftyOne's ``FiftyOneDatasetImporter``: ``metadata.json`` becomes the dataset's own document, so
each field of a sample must be declared in it with the type of its values; paths are absolute or from the folder on.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odam_d2.export import FiftyOneFolder
from odam_d2.store import RunReader, RunWriter
from odam_d2.store.filters import Filter
from tests.export.runs import SIZE, write_run
from tests.wants import needs

LOADER = Path(__file__).parent / "load_fiftyone.py"
# A Python that has FiftyOne and its database, which don't go into the environment of this project.
PYTHON = os.environ.get("ODAM_FIFTYONE_PYTHON") or (sys.executable if find_spec("fiftyone") else "")
# Field -> what its values are in JSON.
TYPES = {
    "StringField": str,
    "IntField": int,
    "FloatField": float,
    "BooleanField": bool,
    "DictField": dict,
    "ObjectIdField": dict,
}


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path)
    with RunReader(tmp_path / "run") as reader:
        yield reader


def read(folder: Path) -> tuple[dict, list[dict]]:
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    return metadata, json.loads((folder / "samples.json").read_text(encoding="utf-8"))["samples"]


def require_declared(document: dict, fields: list[dict]) -> None:
    """Each value of a document is of the type that a field of its name has."""
    declared = {one["db_field"]: one for one in fields}
    assert len(declared) == len(fields)
    for name, value in document.items():
        if name == "_cls" or value is None:
            continue
        field = declared[name]
        kind = field["ftype"].removeprefix("fiftyone.core.fields.")
        if kind == "EmbeddedDocumentField":
            assert field["embedded_doc_type"].endswith(f".{value['_cls']}")
            require_declared(value, field["fields"])
        elif kind == "ListField" and field["embedded_doc_type"]:
            assert field["subfield"] == "fiftyone.core.fields.EmbeddedDocumentField"
            for one in value:
                assert field["embedded_doc_type"].endswith(f".{one['_cls']}")
                require_declared(one, field["fields"])
        elif kind == "ListField":
            listed = TYPES[field["subfield"].removeprefix("fiftyone.core.fields.")]
            assert all(type(one) is listed for one in value), name
        else:
            assert type(value) is TYPES[kind], name


def ids_of(part) -> list[str]:
    below = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    own = [part["_id"]["$oid"]] if isinstance(part, dict) and "_id" in part else []
    return own + [id_ for one in below for id_ in ids_of(one)]


@pytest.mark.parametrize("samples", ["image", "box"])
@pytest.mark.parametrize("media", ["copy", "refer"])
def test_every_value_is_declared_and_every_file_is_there(run, tmp_path, samples, media):
    FiftyOneFolder(run, attributes=["all"], media=media, samples=samples).write(tmp_path / "out")
    metadata, found = read(tmp_path / "out")
    assert metadata["media_type"] == "image" and metadata["default_classes"] == ["cat", "=dog()", "ox"]
    ids, paths = ids_of(found), set()
    # Annotated objects are labels of each sample of their image.
    assert len(set(ids)) == len(ids) if samples == "image" else len({one["_id"]["$oid"] for one in found}) == 7
    assert all(len(id_) == 24 and int(id_, 16) >= 0 for id_ in ids)
    for sample in found:
        require_declared(sample, metadata["sample_fields"])
        heat = [value["map_path"] for value in sample.values() if isinstance(value, dict) and "map_path" in value]
        for path in (sample["filepath"], *heat):
            assert (tmp_path / "out" / path).is_file() and os.path.isabs(path) == (
                path not in heat and media == "refer"
            )
        paths |= {sample["filepath"], *heat}
        assert 0.0 <= sample["_rand"] < 1.0 and sample["_media_type"] == "image"
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert written == {"metadata.json", "samples.json"} | {path for path in paths if not os.path.isabs(path)}


def test_samples_are_images(run, tmp_path):
    written = FiftyOneFolder(run).write(tmp_path / "out")
    _, (first, empty, unknown, given) = read(tmp_path / "out")
    assert (written.images, written.boxes, written.without_maps) == (4, 7, 1)
    assert (first["number"], first["key"], first["image_id"]) == (0, "key/0", "100")
    assert first["tags"] == ["background", "duplicate", "missed"] and empty["tags"] == []
    assert first["metadata"] == {"_cls": "ImageMetadata", "width": 64, "height": 48}
    kinds = [[len(one[name]["detections"]) for name in ("detections", "annotations", "missed", "ground_truth")]
             for one in (first, empty, unknown, given)]  # fmt: skip
    assert kinds == [[4, 0, 1, 4], [0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1]]
    one, two, three, _ = first["detections"]["detections"]
    # (4, 6) to (20.5, 30.25) of 64 x 48.
    assert one["bounding_box"] == [4 / 64, 6 / 48, 16.5 / 64, 24.25 / 48] and one["confidence"] == 0.9
    assert (one["label"], one["verdict"], one["error"], one["outside"]) == ("=dog()", "correct", None, 0.25)
    assert (one["occlusion"], two["occlusion"]) == (0.125, None)
    assert (one["annotation"], one["annotation_id"], two["annotation_id"]) == (1, "@12", "11")
    assert (one["figures_neighbour_iou"], one["figures_ranks"]) == (0.5, "[1, 2]")
    assert (two["figures_mixed"], two["figures_sure"]) == (1.0, True)
    assert three["tags"] == ["duplicate"] and three["sentence"].startswith("-a duplicate")
    (missed,) = first["missed"]["detections"]
    assert missed["tags"] == ["missed", "low_score"] and missed["confidence"] is None
    assert [one["iscrowd"] for one in first["ground_truth"]["detections"]] == [0, 0, 0, 1]
    with Image.open(tmp_path / "out" / given["filepath"]) as image:
        assert image.getpixel((0, 0)) == (160, 160, 160)


def heat_of(sample: dict, folder: Path, field: str = "heatmap_score") -> np.ndarray:
    with Image.open(folder / sample[field]["map_path"]) as image:
        assert image.mode == "L" and image.size == SIZE[::-1] and sample[field]["range"] is None
        return np.array(image)


def test_maps_of_images_are_the_greatest_of_all_boxes_and_those_of_boxes_their_own(run, tmp_path):
    FiftyOneFolder(run).write(tmp_path / "images")
    FiftyOneFolder(run, samples="box", attributes=["left", "score"]).write(tmp_path / "boxes")
    rows, maps = run.heatmaps(0, "odam")
    own = {row: one.numpy() * 255 for row, one in zip(rows, maps.to_image("score"), strict=True)}
    _, (first, empty, *_) = read(tmp_path / "images")
    together = np.max(list(own.values()), 0)
    assert np.abs(heat_of(first, tmp_path / "images") - together).max() <= 0.5 + 1e-4
    assert "heatmap_score" not in empty and "heatmap_left" not in first
    _, boxes = read(tmp_path / "boxes")
    assert [(one["number"], one["box"]["row"], one["box"]["kind"]) for one in boxes] == [
        (0, 0, "detection"), (0, 1, "detection"), (0, 2, "detection"), (0, 3, "detection"), (0, 4, "missed"),
        (3, 0, "detection"), (4, 0, "annotation"),
    ]  # fmt: skip
    assert [one["tags"] for one in boxes] == [[], [], ["duplicate"], ["background"], ["missed"], [], []]
    for row, sample in enumerate(boxes[:5]):
        assert ("heatmap_score" in sample) == (row in own)
        if row in own:
            assert np.abs(heat_of(sample, tmp_path / "boxes") - own[row]).max() <= 0.5 + 1e-4
    left = maps.to_image("left")[0].numpy() * 255
    assert np.abs(heat_of(boxes[0], tmp_path / "boxes", "heatmap_left") - left).max() <= 0.5 + 1e-4


def test_a_filter_leaves_samples_and_fields_out(run, tmp_path):
    FiftyOneFolder(run, Filter(kind=["missed"])).write(tmp_path / "out")
    metadata, (one,) = read(tmp_path / "out")
    names = {field["name"] for field in metadata["sample_fields"]}
    assert "missed" in names and not {"detections", "annotations"} & names and "detections" not in one
    assert [missed["row"] for missed in one["missed"]["detections"]] == [4]


def test_the_same_run_gives_the_same_files(run, tmp_path):
    for name in ("a", "b"):
        FiftyOneFolder(run).write(tmp_path / name)
    for name in ("samples.json", "metadata.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_image_that_is_gone_stays_where_it_was(run, tmp_path):
    (tmp_path / "images" / "3.png").unlink()
    written = FiftyOneFolder(run).write(tmp_path / "out")
    _, found = read(tmp_path / "out")
    gone = str(tmp_path / "images" / "3.png")
    assert found[2]["filepath"] == gone and found[1]["filepath"] == "data/0000001-1.png"
    assert f"Images that could not be copied stay where they are: 1, e.g. {gone} (No such file or directory)." in (
        written.notes
    )


def test_an_empty_run_is_a_dataset_without_samples(tmp_path):
    RunWriter(tmp_path / "run").close()
    with RunReader(tmp_path / "run") as reader:
        FiftyOneFolder(reader).write(tmp_path / "out")
    metadata, found = read(tmp_path / "out")
    assert found == [] and metadata["default_classes"] == []


@pytest.mark.parametrize("name, value", [("media", "move"), ("samples", "boxes")])
def test_unknown_options(run, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be one of .*; got '{value}': choose one of these"):
        FiftyOneFolder(run, **{name: value})


@pytest.mark.slow
@needs("FiftyOne with its database (ODAM_FIFTYONE_PYTHON)", bool(PYTHON))
def test_fiftyone_loads_both(run, tmp_path):
    FiftyOneFolder(run).write(tmp_path / "images")
    FiftyOneFolder(run, samples="box", attributes=["all"]).write(tmp_path / "boxes")
    command = [PYTHON, str(LOADER), str(tmp_path / "images"), str(tmp_path / "boxes")]
    home = {"HOME": str(tmp_path), "FIFTYONE_DO_NOT_TRACK": "1", "FIFTYONE_DATABASE_VALIDATION": "false"}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env={**env, **home}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    images, boxes = json.loads(done.stdout.splitlines()[-1])
    assert images["samples"] == 4 and images["verdicts"] == {"correct": 2, "duplicate": 1, "background": 1}
    assert images["fields"] == ["annotations", "detections", "ground_truth", "heatmap_score", "missed"]
    assert images["tagged_missed"] == ["key/0"] and images["map"] == [48, 64, 255]
    assert images["first_box"] == [4 / 64, 6 / 48, 16.5 / 64, 24.25 / 48] and images["outside"] == [0.25, 1.0]
    assert boxes["samples"] == 7 and boxes["kinds"] == ["annotation", "detection", "missed"]
    assert boxes["fields"] == ["box", "ground_truth", "heatmap_left", "heatmap_score"]
    assert boxes["maps"] == 6 and boxes["most_outside"] == "key/0"
