"""COCO files as tools and people write them: repaired, left out with a reason, or an error that shows both sides."""

import json
import math

import pytest
from PIL import Image

from odam_d2.data.coco import CocoFile
from odam_d2.evaluation import TrueObjects
from odam_d2.visualize.ground_truth import annotations_of

NAMES = ("person", "dog", "car")
WIDTH, HEIGHT = 64, 48
BOX = [12, 27, 10, 7]
OTHER = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 9], "iscrowd": 0}
AS_IT_IS = {"all": 1, "as_they_are": 1, "repaired": 0, "left_out": 0}
REPAIRED = {"all": 1, "as_they_are": 0, "repaired": 1, "left_out": 0}
LEFT_OUT = {"all": 1, "as_they_are": 0, "repaired": 0, "left_out": 1}


@pytest.fixture
def folder(tmp_path):
    """Images a.png and b.png."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / name)
    return tmp_path


def content(*annotations, image=None, categories=NAMES, first=1, **more):
    """A file with one image; `annotations` are changes to a dog's, which is valid."""
    usual = {"image_id": 1, "category_id": 2, "bbox": BOX, "area": 70, "iscrowd": 0}
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT, **(image or {})}],
        "categories": [{"id": first + k, "name": name} for k, name in enumerate(categories)],
        "annotations": [{"id": 1 + k, **usual, **one} for k, one in enumerate(annotations)],
        **more,
    }


def read(folder, data, names=NAMES, number=3, images=True) -> CocoFile:
    (folder / "a.json").write_text(data if isinstance(data, str) else json.dumps(data))
    file = CocoFile(folder / "a.json", names, number, folder / "images" if images else None)
    for kind in ("image", "annotation", "mask"):
        count = file.account.count(kind)
        assert count["all"] == count["as_they_are"] + count["repaired"] + count["left_out"]
        assert count["left_out"] == sum(one.kind == kind for one in file.account.left_out)
    json.dumps(file.account.as_json(), allow_nan=False)
    return file


def objects(file: CocoFile) -> list[tuple]:
    """(class, box XYXY) of what counts."""
    (record,) = [one for one in file.known_records() if one["annotations"]]
    truth = TrueObjects.of(record)
    assert [one.class_id for one in annotations_of(record, NAMES) if not one.crowd] == truth.classes.tolist()
    return list(zip(truth.classes.tolist(), truth.boxes.tolist()))


DOG = (1, [12.0, 27.0, 22.0, 34.0])


def test_a_valid_file_is_not_touched(folder):
    square = [[12, 27, 22, 27, 22, 34, 12, 34]]
    file = read(folder, content({"segmentation": square}, {"id": 7, "iscrowd": 1}))
    assert file.sound and file.account.count("annotation")["as_they_are"] == 2
    assert objects(file) == [DOG] and file.records[0]["annotations"][0]["segmentation"] == square
    assert file.account.lines()[0].endswith("a.json: 1 image, 2 annotations, 1 mask.")
    assert file.account.as_json()["images_without_entry"] == [str(folder / "images" / "b.png")]


@pytest.mark.parametrize(
    "change, repair",
    [
        ({"id": "1"}, "ids as text"),
        ({"image_id": "1"}, "ids as text"),
        ({"image_id": 1.0}, "ids as text or with a decimal point"),
        ({"category_id": "2"}, "ids as text"),
        ({"bbox": ["12", "27.0", 10, 7]}, "boxes of text"),
        ({"iscrowd": "0"}, "`iscrowd` as text"),
        ({"iscrowd": False}, "`iscrowd` as text, true, false or null"),
        ({"iscrowd": None}, "`iscrowd` as text, true, false or null"),
        ({"iscrowd": 0.0}, "`iscrowd` as text"),
        ({"ignore": "0"}, "`ignore` as text"),
        ({"bbox": [], "segmentation": [[12, 27, 22, 27, 22, 34]]}, "the box must be 4 numbers: taken from the mask"),
        ({"bbox": None, "segmentation": [[12, 27, 22, 27, 22, 34]]}, "taken from the mask"),
        ({"bbox": [math.nan] * 4, "segmentation": [[12, 27, 22, 27, 22, 34]]}, "the box is not finite: taken from"),
    ],
)
def test_annotations_that_are_repaired(folder, change, repair):
    file = read(folder, content(change))
    assert file.account.count("annotation") == REPAIRED and objects(file) == [DOG]
    assert any(repair in line for line in file.account.lines())


@pytest.mark.parametrize("without", ["id", "iscrowd", "area"])
def test_what_may_be_missing(folder, without):
    data = content({})
    del data["annotations"][0][without]
    file = read(folder, data)
    assert file.account.count("annotation") == AS_IT_IS and objects(file) == [DOG]


@pytest.mark.parametrize("crowd", ["1", True, 1.0, "true"])
def test_a_crowd_in_other_words(folder, crowd):
    file = read(folder, content({"iscrowd": crowd}))
    (record,) = file.known_records()
    assert TrueObjects.of(record).dropped["crowd"] == 1 and file.account.count("annotation") == REPAIRED


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"bbox": [math.nan, 1, 2, 3]}, "the box is not finite"),
        ({"bbox": [1, 1, math.inf, 3]}, "the box is not finite"),
        ({"bbox": [1, 1, 10**400, 3]}, "the box is not finite"),
        ({"bbox": []}, "the box must be 4 numbers"),
        ({"bbox": [1, 2, 3]}, "the box must be 4 numbers"),
        ({"bbox": [1, 2, 3, 4, 30]}, "the box must be 4 numbers"),
        ({"bbox": None}, "the box is no list of numbers"),
        ({"bbox": "1 2 3 4"}, "the box is no list of numbers"),
        ({"bbox": {"x": 1}}, "the box is no list of numbers"),
        ({"bbox": [1, 2, True, 4]}, "the box is no number"),
        ({"bbox": [[1, 2], [3, 4]]}, "the box is no number"),
        ({"bbox": [5, 5, 0, 7]}, "the box has no size"),
        ({"bbox": [5, 5, -3, 7]}, "the box has no size"),
        ({"bbox": [50, 5, 1e-9, 7]}, "the box has no size"),  # in single precision
        ({"bbox": [70, 1, 5, 5]}, "the box lies outside of the image"),
        ({"bbox": [64, 1, 5, 5]}, "the box lies outside of the image"),
        ({"bbox": [1, -9, 5, 9]}, "the box lies outside of the image"),
        ({"bbox": [1, 1, 1e9, 5]}, "the box reaches absurdly far outside of the image"),
        ({"bbox": [0.1, 0.2, 0.3, 0.4]}, "the box must be in pixels, not in fractions of the image"),
        ({"image_id": 12}, "its image is none that was read"),
        ({"image_id": None}, "`image_id` is no id"),
        ({"image_id": [1]}, "`image_id` is no id"),
        ({"category_id": 9}, "its category is none of the file's"),
        ({"category_id": True}, "`category_id` is no id"),
        ({"category_id": {}}, "`category_id` is no id"),
        ({"iscrowd": 2}, "`iscrowd` is neither 0 nor 1"),
        ({"iscrowd": "crowd"}, "`iscrowd` is neither 0 nor 1"),
        ({"id": 1.5}, "`id` is no id"),
        ({"id": [3]}, "`id` is no id"),
    ],
)
def test_annotations_that_are_left_out(folder, change, reason):
    data = content(change)
    data["annotations"].append(OTHER)
    file = read(folder, data)
    (left_out,) = file.account.left_out
    assert (left_out.kind, left_out.reason) == ("annotation", reason)
    assert objects(file) == [(0, [1.0, 1.0, 6.0, 10.0])]  # the other is as it was
    with pytest.raises(ValueError, match="--strict.*left out: 1 annotation"):
        file.account.require_nothing_lost()


@pytest.mark.parametrize("item", [None, 5, "text", [], [1, 2], {}, True])
def test_entries_that_are_none(folder, item):
    data = content({})
    data["annotations"].append(item)
    data["images"].append(item)
    file = read(folder, data)
    assert [one.kind for one in file.account.left_out] == ["image", "annotation"] and objects(file) == [DOG]
    assert {one.name for one in file.account.left_out} == {"number 2 of the file"}
    assert {one.reason for one in file.account.left_out} <= {"the entry is no object", "`id` is missing",
                                                             "`image_id` is missing"}  # fmt: skip


FAR = [[-100.0, -100.0, 300000000.0, 200000000.0, 200.0, 100.0]]


@pytest.mark.parametrize(
    "mask, count",
    [
        ([[math.nan, 1, 2, 3, 4, 5]], LEFT_OUT),
        (FAR, LEFT_OUT),
        ([[1, 2, 3, 4]], LEFT_OUT),
        ([[10, 10, 18, 10, 18, 26, 10]], LEFT_OUT),
        ({"size": [HEIGHT, WIDTH], "counts": [10, 5]}, LEFT_OUT),
        ({"size": [HEIGHT, WIDTH], "counts": "PP"}, LEFT_OUT),
        ({"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}, LEFT_OUT),
        ("mask", LEFT_OUT),
        ([10, 10, 18, 10, 18, 26], REPAIRED),
        ([[1, 2, 3, 4], [10, 10, 18, 10, 18, 26]], REPAIRED),
        ([[10, 10, 18, 10, 18, 26]], AS_IT_IS),
        ({"size": [HEIGHT, WIDTH], "counts": [100, 50, HEIGHT * WIDTH - 150]}, AS_IT_IS),
        ([[]], {**AS_IT_IS, "all": 0, "as_they_are": 0}),
    ],
)
def test_a_mask_costs_no_box(folder, mask, count):
    file = read(folder, content({"segmentation": mask}))
    assert objects(file) == [DOG] and file.account.count("annotation") == AS_IT_IS
    assert file.account.count("mask") == count
    truth = TrueObjects.of(file.records[0])
    has = count in (REPAIRED, AS_IT_IS)
    assert truth.has_mask.tolist() == [has] and ("segmentation" in file.records[0]["annotations"][0]) == has
    if has and isinstance(mask, list):  # the triangle alone, whatever was beside it
        assert truth.masks[0].sum() == pytest.approx(8 * 16 / 2, abs=10)


@pytest.mark.parametrize(
    "image, repair",
    [
        ({"id": "1"}, "ids as text"),
        ({"width": "64", "height": 48.0}, "sizes as text or with a decimal point"),
        ({"width": 0}, "sizes that the file lacks, taken from the image"),
        ({"width": None, "height": "x"}, "sizes that the file lacks, taken from the image"),
        ({"file_name": "images\\a.png"}, "taken as folders"),
        ({"file_name": "JPEGImages/a.png"}, "found by its file name in another folder"),
        ({"file_name": "..\\..\\media\\upload\\7\\1a2b3c4d-a.png"}, "8 hex digits and a dash, dropped"),
        ({"file_name": "a_png.rf.0123.png", "extra": {"name": "a.png"}}, "found by `extra.name`"),
        ({"file_name": None, "extra": {"name": "a.png"}}, "file names that were no text"),
    ],
)
def test_images_that_are_repaired(folder, image, repair):
    file = read(folder, content({}, image=image))
    assert file.account.count("image") == REPAIRED and objects(file) == [DOG]
    assert any(repair in line for line in file.account.lines())
    (record,) = file.known_records()
    assert record["file_name"] == str(folder / "images" / "a.png")
    assert (record["height"], record["width"], record["image_id"]) == (HEIGHT, WIDTH, 1)
    # The other way around, from the image to its entry.
    again = read(folder, content({}, image=image), images=False)
    path = folder / "images" / "a.png"
    assert again.match([path]) == 1
    assert len(again.use(path, HEIGHT, WIDTH)["annotations"]) == 1


@pytest.mark.parametrize(
    "image, reason",
    [
        ({"id": None}, "`id` is no id"),
        ({"id": True}, "`id` is no id"),
        ({"file_name": None}, "`file_name` is no text"),
        ({"file_name": ["a.png"]}, "`file_name` is no text"),
        ({"file_name": "a\0.png"}, "`file_name` holds a character that no name can have"),
    ],
)
def test_images_that_are_left_out_with_their_annotations(folder, image, reason):
    data = content({}, {"image_id": 2}, image=image)
    data["images"].append({"id": 2, "file_name": "b.png", "width": WIDTH, "height": HEIGHT})
    file = read(folder, data)
    assert [(one.kind, one.reason) for one in file.account.left_out] == [
        ("image", reason), ("annotation", "its image is none that was read"),
    ]  # fmt: skip
    assert objects(file) == [DOG]


def test_the_same_entry_again_counts_once(folder):
    data = content({}, {})
    data["annotations"][1]["id"] = 1
    data["images"] *= 2
    data["categories"] *= 2
    file = read(folder, data)
    assert objects(file) == [DOG] and {one.reason for one in file.account.left_out} == {"the same entry again"}
    # Two objects of one id are two objects.
    data["annotations"][1]["bbox"] = [1, 1, 5, 5]
    file = read(folder, data)
    assert objects(file) == [DOG, (1, [1.0, 1.0, 6.0, 6.0])] and not file.sound
    assert any("an id that another annotation has too; both are kept" in line for line in file.account.lines())


@pytest.mark.parametrize(
    "change, both",
    [
        ({"images": [{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "b.png"}]}, "'a.png' and 'b.png'"),
        ({"images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}]}, "images 1 and 2 both"),
        ({"categories": [{"id": 1, "name": "dog"}, {"id": "1", "name": "cat"}]}, "'dog' and 'cat'"),
    ],
)
def test_contradictions_show_both_sides(folder, change, both):
    with pytest.raises(ValueError, match=f"COCO format; got '.*a.json': .*{both}"):
        read(folder, {**content({}), **change})


@pytest.mark.parametrize(
    "data, reason",
    [
        ('[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "score": 0.9}]', "list of detections, not annot"),
        ("[1, 2]", "it is a list of 2 entries: give an object with images, annotations, categories"),
        ('"text"', "it holds 'text': give an object"),
        ("null", "it holds None"),
        ('{"images": {}, "annotations": [], "categories": []}', "'images' must be a list"),
        ('{"images": [], "annotations": {"1": {}}, "categories": []}', "'annotations' must be a list"),
        ('{"images": [], "annotations": [], "categories": ["dog"]}', "category number 1 .* an id and a name"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": null}]}', "`name` is no text"),
        ('{"annotations": [], "categories": []}', "'images' is missing"),
        ('{"images": [], "annotations": []}', "'categories' is missing"),
    ],
)
def test_files_that_are_something_else(folder, data, reason):
    with pytest.raises(ValueError, match=f"must be a json file in the COCO format; got '.*a.json': .*{reason}"):
        read(folder, data)


@pytest.mark.parametrize("missing", ["absent", None])
def test_a_file_without_annotations(folder, missing):
    data = content()
    if missing == "absent":
        del data["annotations"]
    else:
        data["annotations"] = missing
    file = read(folder, data)
    assert [record["annotations"] for record in file.known_records()] == [[]]
    assert "The file has no `annotations`." in file.account.notes


@pytest.mark.parametrize("extra", ["_background_", "background", "street-scenes"])
@pytest.mark.parametrize("names", [NAMES, None])
def test_a_grouping_category_is_no_hindrance(folder, names, extra):
    data = content({}, categories=(extra, *NAMES), first=0)
    file = read(folder, data, names)
    assert objects(file) == [DOG] and file.class_names == NAMES
    (note,) = file.account.notes
    assert repr(extra) in note and "left out" in note
    # With objects it is none.
    data["annotations"].append({**OTHER, "category_id": 0})
    with pytest.raises(ValueError, match=rf"\['{extra}', 'person', 'dog', 'car'\], the detector"):
        read(folder, data, names).known_records()


def test_a_group_with_another_id(folder):
    data = content({}, categories=NAMES)
    data["categories"] = [{**one, "supercategory": "street"} for one in data["categories"]]
    data["categories"].append({"id": 9, "name": "street", "supercategory": "none"})
    assert objects(read(folder, data, None)) == [DOG]
    data["categories"][-1]["name"] = "tree"  # a class like others
    with pytest.raises(ValueError, match=r"'tree'\], the detector 3 classes without names"):
        read(folder, data, None)


def test_names_of_other_case_are_told_with_the_nearest(folder):
    file = read(folder, content({"category_id": 1}, categories=("Dog ",)))
    assert file.strangers == ["Dog "] and file.account.as_json()["categories_without_class"] == {"Dog ": 1}
    with pytest.raises(ValueError, match=r"\['Dog '\], the detector .*no class for 'Dog ' \(nearest: 'dog'\)"):
        file.known_records()
    with pytest.raises(ValueError, match="--strict.*without a class: 1 annotation"):
        file.account.require_nothing_lost()


def test_rotation_and_other_attributes_are_told_once(folder):
    turned = {"attributes": {"occluded": False, "rotation": 35.0}}
    upright = {"attributes": {"occluded": True, "rotation": 0.0}}
    file = read(folder, content(turned, upright, {**turned, "keypoints": [1, 2, 2]}, {"attributes": {"rotation": 360}}))
    assert file.account.notes == [
        "The rotation of 2 boxes is not used: a box is taken as upright, as `bbox` has it.",
        "Not used, with the number of annotations that have it: 'attributes.occluded' (3), 'keypoints' (1).",
    ]
    assert file.account.count("annotation")["as_they_are"] == 4


def test_annotations_and_images_that_are_not_used(folder):
    data = content({}, {"image_id": 2}, {"image_id": 2})
    data["images"].append({"id": 2, "file_name": "gone.png", "width": WIDTH, "height": HEIGHT})
    data["images"].append({"id": 3, "file_name": "gone too.png", "width": WIDTH, "height": HEIGHT})
    for images in (True, False):
        file = read(folder, data, images=images)
        if not images:
            file.match([folder / "images" / "a.png", folder / "images" / "b.png"])
        told = file.account.as_json()
        assert told["unused"] == [
            {"image": "gone.png", "annotations": 2}, {"image": "gone too.png", "annotations": 0},
        ]  # fmt: skip
        assert told["images_without_entry"] == [str(folder / "images" / "b.png")]
        assert any("not used: 2 annotations of 1 image " in line for line in file.account.lines())
        assert any("without an entry: 1 image " in line for line in file.account.lines())
        with pytest.raises(ValueError, match="--strict.*not used: 2 annotations.*without an entry: 1 image"):
            file.account.require_nothing_lost()


def test_images_of_another_size_are_explained_without_annotations(folder):
    path = folder / "images" / "a.png"
    file = read(folder, content({}, {}), images=False)
    file.match([path])
    with pytest.raises(ValueError, match="annotated size of 64 x 48; got 48 x 64"):
        file.use(path, WIDTH, HEIGHT, strict=True)
    assert file.use(path, WIDTH, HEIGHT) is None
    assert file.account.count("annotation") == {"all": 2, "as_they_are": 0, "repaired": 0, "left_out": 2}
    assert {one.reason for one in file.account.left_out} == {"the image has another size than the file says"}


def test_boxes_and_masks_are_judged_by_a_size_that_comes_late(folder):
    data = content({"bbox": [70, 1, 5, 5]}, {"segmentation": [[70, 1, 75, 1, 75, 6]]}, {"id": "9"})
    del data["images"][0]["width"]
    file = read(folder, data, images=False)
    assert file.account.left_out == []
    path = folder / "images" / "a.png"
    file.match([path])
    record = file.use(path, HEIGHT, WIDTH)
    assert [one["id"] for one in record["annotations"]] == [2, 9] and "segmentation" not in record["annotations"][0]
    assert [(one.kind, one.name) for one in file.account.left_out] == [("annotation", 1), ("mask", 2)]
    assert file.account.count("annotation") == {"all": 3, "as_they_are": 1, "repaired": 1, "left_out": 1}
    assert file.account.count("mask") == LEFT_OUT


def test_an_annotation_of_id_zero(folder):
    file = read(folder, content({"id": 0}))
    assert objects(file) == [DOG] and file.account.count("annotation") == AS_IT_IS
    assert TrueObjects.of(file.records[0]).ids == [0] and not file.sound
