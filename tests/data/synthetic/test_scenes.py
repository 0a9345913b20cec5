"""The generator: seeds, statistics of the two profiles, and the geometry of every annotation."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_util

from odam_d2.data.synthetic.__main__ import main
from odam_d2.data.synthetic.scenes import SyntheticScenes

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def samples():
    """Twelve images of each profile: {profile: [(image, record), ...]}."""
    scenes = {profile: SyntheticScenes(profile, "val", 12) for profile in ("scene", "crowd")}
    return {profile: [source[index] for index in range(12)] for profile, source in scenes.items()}


def digest(sample):
    image, record = sample
    return hashlib.sha256(image.tobytes() + json.dumps(record, default=int).encode()).hexdigest()


def iou(a, b):
    """Intersection over union, written out once more so that it doesn't depend on what it checks."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def annotations_of(samples):
    for profile, pairs in samples.items():
        for _, record in pairs:
            for annotation in record["annotations"]:
                yield profile, annotation


def test_images_are_as_promised(samples):
    for pairs in samples.values():
        for index, (image, record) in enumerate(pairs):
            assert image.shape == (480, 640, 3) and image.dtype == np.uint8
            assert (record["height"], record["width"], record["image_id"]) == (480, 640, index)
            assert image.std() > 15  # not a flat image


def test_same_seed_same_bytes_in_another_process_and_order(samples, fresh):
    code = (
        "import hashlib, json\n"
        "from odam_d2.data.synthetic.scenes import SyntheticScenes\n"
        "for profile in ('scene', 'crowd'):\n"
        "    scenes = SyntheticScenes(profile, 'val', 3)\n"  # another number of images
        "    for index in (2, 0):\n"
        "        image, record = scenes[index]\n"
        "        data = image.tobytes() + json.dumps(record, default=int).encode()\n"
        "        print(hashlib.sha256(data).hexdigest())\n"
    )
    assert fresh(code).stdout.split() == [
        digest(samples[profile][index]) for profile in ("scene", "crowd") for index in (2, 0)
    ]


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": "train"}, {"profile": "crowd"}])
def test_another_seed_split_or_profile_is_another_image(samples, other):
    image, _ = SyntheticScenes(**{"profile": "scene", "split": "val", "num_images": 1, **other})[0]
    assert not np.array_equal(image, samples["scene"][0][0])


def test_scene_holds_three_to_eight_objects_of_three_classes(samples):
    counts = [sum(1 - a["iscrowd"] for a in record["annotations"]) for _, record in samples["scene"]]
    assert min(counts) >= 3 and max(counts) <= 8
    classes = {a["category_id"] for _, record in samples["scene"] for a in record["annotations"]}
    assert classes == {0, 1, 2}
    assert SyntheticScenes("scene", "val").thing_classes == ["person", "dog", "car"]


def test_crowd_holds_about_twenty_people(samples):
    counts = [sum(1 - a["iscrowd"] for a in record["annotations"]) for _, record in samples["crowd"]]
    assert 17 <= np.mean(counts) <= 23
    assert {a["category_id"] for _, record in samples["crowd"] for a in record["annotations"]} == {0}
    assert SyntheticScenes("crowd", "val").thing_classes == ["person"]


def test_every_crowd_has_two_pairs_that_overlap_strongly(samples):
    for _, record in samples["crowd"]:
        boxes = [a["full_box"] for a in record["annotations"] if not a["iscrowd"]]
        pairs = sum(iou(a, b) > 0.5 for i, a in enumerate(boxes) for b in boxes[:i])
        assert pairs >= 2


def test_visible_box_is_the_tight_box_of_the_mask_and_lies_in_the_full_box(samples):
    for _, annotation in annotations_of(samples):
        mask = mask_util.decode(annotation["segmentation"])
        ys, xs = np.nonzero(mask)
        assert annotation["visible_box"] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        x1, y1, x2, y2 = annotation["full_box"]
        assert x1 <= xs.min() and y1 <= ys.min() and x2 >= xs.max() + 1 and y2 >= ys.max() + 1


def test_bbox_is_visible_in_scenes_and_whole_in_crowds(samples):
    for profile, annotation in annotations_of(samples):
        assert annotation["bbox"] == annotation["visible_box" if profile == "scene" else "full_box"]


def test_masks_of_one_image_are_disjoint(samples):
    for pairs in samples.values():
        for _, record in pairs:
            masks = [mask_util.decode(a["segmentation"]) for a in record["annotations"]]
            assert np.sum(masks, axis=0).max() == 1


def test_people_have_a_head_inside_their_full_box_and_others_none(samples):
    shares = []
    for profile, annotation in annotations_of(samples):
        crowd_of_people = annotation["iscrowd"] and annotation["head_box"] is None
        if (profile == "scene" and annotation["category_id"] != 0) or crowd_of_people:
            assert annotation["head_box"] is None
            continue
        (hx1, hy1, hx2, hy2), (x1, y1, x2, y2) = annotation["head_box"], annotation["full_box"]
        assert x1 <= hx1 < hx2 <= x2 and y1 <= hy1 < hy2 <= y2
        shares.append((hy2 - hy1) / (y2 - y1))
    assert 0.1 < np.median(shares) < 0.2  # a body is seven heads high, with hair and hat a bit less


def test_visible_fraction_is_one_for_what_nothing_hides(samples):
    for _, annotation in annotations_of(samples):
        assert 0 < annotation["visible_fraction"] <= 1
        if annotation["visible_fraction"] == 1:
            assert annotation["visible_box"] == annotation["full_box"]
    assert any(a["visible_fraction"] == 1 for _, a in annotations_of(samples))
    assert any(a["visible_fraction"] < 0.6 and not a["iscrowd"] for _, a in annotations_of(samples))


def test_what_is_hardly_seen_is_an_ignore_region(samples):
    ignored = 0
    for profile, annotation in annotations_of(samples):
        share, pixels = (0.25, 100) if profile == "scene" else (0.10, 40)
        hardly = annotation["visible_fraction"] < share or mask_util.area(annotation["segmentation"]) < pixels
        group = annotation["category_id"] == 0 and annotation["head_box"] is None
        assert annotation["iscrowd"] == int(hardly or group)
        ignored += annotation["iscrowd"]
    assert ignored > 0


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`profile` must be one of .*got 'street'"):
        SyntheticScenes("street", "val")
    with pytest.raises(ValueError, match="`split` must be one of .*got 'dev'"):
        SyntheticScenes("scene", "dev")
    with pytest.raises(ValueError, match="`num_images` must be at least 1; got 0"):
        SyntheticScenes("scene", "val", 0)
    with pytest.raises(IndexError, match=r"`index` must be in \[0, 2\); got 2"):
        SyntheticScenes("scene", "val", 2)[2]


def test_command_line_writes_images_of_several_profiles(tmp_path, capsys):
    main(["--profile", "scene", "crowd", "--num-images", "1", "1", "--output", str(tmp_path)])
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "crowd_demo_000000.jpg",
        "scene_demo_000000.jpg",
    ]
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert [image["id"] for image in content["images"]] == [0, 1]
    assert [category["name"] for category in content["categories"]] == ["person", "dog", "car"]
    for annotation in content["annotations"]:  # the first profile's kind of box holds for all
        x, y, w, h = annotation["bbox"]
        assert [x, y, x + w, y + h] == annotation["visible_box"]
    assert len((tmp_path / "annotations.odgt").read_text().splitlines()) == 2
    assert "2 images" in capsys.readouterr().out


def test_command_line_wants_a_number_for_each_profile(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--profile", "scene", "crowd", "--num-images", "1", "--output", str(tmp_path)])
    assert "one number for each" in capsys.readouterr().err
