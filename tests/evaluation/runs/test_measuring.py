"""From the detections of one image to the numbers of its objects."""

import pytest

from odam_d2.evaluation import METRICS, Measuring
from tests.evaluation.scenes import BOXES, UNIFORM, delta, entry, output, record

PLAIN = [
    name
    for name, metric in METRICS.items()
    if not (metric.needs_detector or metric.needs_explainer) and name != "runtime"
]


def measured(one, boxes, *maps, names=PLAIN, **more):
    """The result of an image whose detections, right on `boxes`, have these maps."""
    found = output({"odam": list(maps)}, boxes=boxes, scores=[0.9] * len(boxes))
    return Measuring(names, **more).measure(one, entry()["image"], found)[0]


def test_an_object_of_three_by_three_pixels():
    boxes = [[0.0, 0.0, 3.0, 3.0], [3.0, 3.0, 4.0, 4.0]]
    found = measured(record(boxes=boxes), boxes, delta(1, 2), delta(0, 0))["values"]["odam"]
    # The first has all its heat in its box, though not on its mask, which is pixel (0, 0); the second in the first.
    assert found["pointing_box"] == found["energy_box"] == [1.0, 0.0]
    assert found["pointing_mask"] == found["energy_mask"] == [0.0, 0.0]
    assert found["odi_box"] == [0.0, 1.0] and found["odi_mask"] == [1.0, 1.0]
    assert found["compactness"] == [0.0, 0.0] and found["sparsity"] == pytest.approx([1 - 1 / 16] * 2)


def test_an_object_smaller_than_a_pixel_can_be_pointed_at():
    boxes = [[1.0, 1.0, 1.5, 1.5], [2.0, 2.0, 4.0, 4.0]]
    on, beside = (
        measured(record(boxes=boxes, masks=False), boxes, delta(1, x), UNIFORM)["values"]["odam"] for x in (1, 2)
    )
    names = ("pointing_box", "energy_box", "odi_box")
    assert [on[name][0] for name in names] == [1.0, 1.0, 0.0]
    assert [beside[name][0] for name in names] == [0.0, 0.0, 1.0]


def test_a_mask_without_pixels_is_none():
    one = record()
    one["annotations"][0]["segmentation"] = [[1.0, 1.0, 1.2, 1.0, 1.2, 1.2]]
    result = measured(one, BOXES, delta(0, 0), delta(3, 3))
    assert [about["has_mask"] for about in result["objects"]] == [False, True]
    values = result["values"]["odam"]
    assert values["pointing_mask"] == values["vea"] == [None, 1.0] and values["pointing_box"] == [1.0, 1.0]
    # Heat on the first can't be seen, so the second has no index either.
    assert values["odi_mask"] == [None, None] and values["odi_box"] == [0.0, 0.0]


def test_a_image_with_masks_of_some_objects():
    one = record()
    del one["annotations"][1]["segmentation"]
    result = measured(one, BOXES, delta(0, 0), delta(3, 3))
    values, curves = result["values"]["odam"], result["curves"]["odam"]
    for name in ("pointing_mask", "energy_mask", "vea"):
        assert values[name] == [1.0, None]
    assert curves["vea"] == [[1.0] * 9, [None] * 9]
    assert values["odi_mask"] == [None, None] and "odi_mask" not in result["pairs"]["odam"]
    assert values["odi_box"] == [0.0, 0.0] and len(result["pairs"]["odam"]["odi_box"]) == 2


def test_pairs_number_all_objects_of_the_image():
    # Nothing matches the second of three.
    boxes = [BOXES[0], [2.0, 0.0, 4.0, 1.0], BOXES[1]]
    result = measured(record(masks=False, boxes=boxes), [boxes[0], boxes[2]], delta(0, 0), delta(0, 3))
    assert result["object_ids"] == [10, 11, 12]
    assert [about["annotation_id"] for about in result["objects"]] == [10, 12]
    rows = result["pairs"]["odam"]["odi_box"]
    assert [(row[0], result["object_ids"][int(row[1])], row[3]) for row in rows] == [
        (0, 11, 0), (0, 12, 0), (1, 10, 0), (1, 11, 1),
    ]  # fmt: skip


def test_maps_must_be_there_where_objects_match():
    found = output({"odam": [delta(0, 0), delta(3, 3)]})
    found["heatmaps"]["drise"] = None
    with pytest.raises(ValueError, match=r"must hold maps .* got None by \['drise'\] for 2 matched: let `wanted`"):
        Measuring(PLAIN).measure(record(), entry()["image"], found)


def test_a_broken_mask_is_in_the_way_of_metrics_of_masks_alone():
    broken = record()
    broken["annotations"][0]["segmentation"] = "what"
    maps = delta(0, 0), delta(3, 3)
    assert measured(broken, BOXES, *maps, names=["energy_box"])["values"]["odam"] == {"energy_box": [1.0, 1.0]}
    with pytest.raises(ValueError, match="the mask of annotation 10 must be"):
        measured(broken, BOXES, *maps, names=["energy_box", "energy_mask"])


def test_a_map_of_zeros_hides_and_shows_nothing():
    asked = []

    def score(images, classes, boxes, where):
        asked.append(len(images))
        # .5 where nothing shows, 1 in the untouched image.
        return 0.5 + 0.5 * (images[where] == 100.0).float().mean((1, 2, 3))

    zeros = [[0.0] * 4] * 4
    names = ["deletion", "insertion", "overall"]
    # Even heat is no better.
    for heat in (zeros, UNIFORM):
        result = measured(record(), BOXES, heat, heat, names=names, score=score)
        values = result["values"]["odam"]
        assert values == {"deletion": [1.0, 1.0], "insertion": [0.5, 0.5], "overall": [-0.5, -0.5]}
        assert result["curves"]["odam"] == {"deletion": [[1.0] * 11] * 2, "insertion": [[0.5] * 11] * 2}
    assert asked == [2, 2]


def test_metrics_that_nothing_is_known_of_are_null():
    result = measured(record(), BOXES, delta(0, 0), delta(3, 3), names=["runtime", "pointing_box"])
    assert result["values"]["odam"] == {"runtime": [None, None], "pointing_box": [1.0, 1.0]}
