"""Deletion and insertion on a detector that counts bright pixels, whose curves are worked out by hand."""

import math

import pytest
import torch

from odam_d2.evaluation.metrics.faithfulness import (
    FaithfulnessCurves,
    faithfulness_curves,
    pixel_order,
    pixels_at_steps,
    replace_pixels,
)

# An image of 10 x 10; the object is the box of 5 x 4 pixels at (2, 3), all 250; the rest is 0.
BOX = torch.tensor([[2.0, 3.0, 7.0, 7.0]])
IMAGE = torch.zeros(3, 10, 10)
IMAGE[:, 3:7, 2:7] = 250.0
ON_OBJECT = (IMAGE[:1] > 0).float()


def brightness(images, classes, boxes, where):
    """The share of the box's pixels that are exactly 250: the object's score."""
    assert len(where) == len(classes) == len(boxes)
    shares = [
        (images[n, 0, int(y1) : int(y2), int(x1) : int(x2)] == 250).float().mean()
        for n, (x1, y1, x2, y2) in zip(where.tolist(), boxes.tolist(), strict=True)
    ]
    return torch.stack(shares)


def test_the_object_first_is_the_best_order():
    # 20 pixels in the box: a step of 10 changes 2 of them, so the score falls and rises by .1 a step.
    curves = faithfulness_curves(brightness, IMAGE, ON_OBJECT, torch.zeros(1), BOX)
    assert curves.deletion[0].tolist() == pytest.approx([1 - 0.1 * k for k in range(11)])
    assert curves.insertion[0].tolist() == pytest.approx([0.1 * k for k in range(11)])
    areas = curves.areas()
    assert areas["deletion"].item() == pytest.approx(0.5) and areas["insertion"].item() == pytest.approx(0.5)


def test_background_first_changes_nothing():
    curves = faithfulness_curves(brightness, IMAGE, 1 - ON_OBJECT, torch.zeros(1), BOX)
    assert curves.deletion[0].tolist() == [1.0] * 11 and curves.insertion[0].tolist() == [0.0] * 11
    areas = curves.areas()
    assert areas["deletion"].item() == 1.0 and areas["insertion"].item() == 0.0 and areas["overall"].item() == -1.0


def one_pixel(y, x):
    heat = torch.zeros(1, 10, 10)
    heat[0, y, x] = 1.0
    return heat


NEIGHBOUR = torch.zeros(1, 10, 10)
NEIGHBOUR[0, 3:7, 8:] = 1.0


@pytest.mark.parametrize(
    "heat, deletion, insertion",
    [
        # Its pixel changes first, then those of rows 0 and 1, where the object isn't: 1 of its 20 pixels at all steps.
        # Deletion 1, .95, .95 ..: by the trapezoid rule .1 * (1 + .95) / 2 + .9 * .95; insertion 0, .05, .05 ..
        (one_pixel(4, 4), 0.9525, 0.0475),
        # Both of the first step, of 20: deletion 1, .9, .9 .. and insertion 0, .1, .1 ..
        (one_pixel(4, 4) + one_pixel(5, 6), 0.905, 0.095),
        # The neighbour's 8 pixels, then 12 of rows 0 and 1: nothing of the object.
        (NEIGHBOUR, 1.0, 0.0),
        # No order: nothing changes.
        (torch.ones(1, 10, 10), 1.0, 0.0),
        (torch.zeros(1, 10, 10), 1.0, 0.0),
    ],
)
def test_areas_worked_out_by_hand(heat, deletion, insertion):
    areas = faithfulness_curves(brightness, IMAGE, heat, torch.zeros(1), BOX).areas()
    found = [areas[name].item() for name in ("deletion", "insertion", "overall")]
    assert found == pytest.approx([deletion, insertion, insertion - deletion])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_map_without_an_order_has_the_same_value_wherever_the_object_lies(value):
    """In the order of the image an object in the upper left would be found."""

    def dim(images, classes, boxes, where):
        return 0.2 + 0.6 * brightness(images, classes, boxes, where)

    shown = []

    def count(images, *more):
        shown.extend(images)
        return dim(images, *more)

    for box in ([0.0, 0, 5, 4], [5.0, 6, 10, 10]):
        image = torch.zeros(3, 10, 10)
        image[:, int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = 250.0
        # Beside a map that has one: the untouched and the empty image serve both, and ten steps each way are its own.
        heat = torch.cat([torch.full((1, 10, 10), value), (image[:1] > 0).float()])
        curves = faithfulness_curves(count, image, heat, torch.zeros(2), torch.tensor([box, box]))
        assert curves.deletion[0].tolist() == pytest.approx([0.8] * 11)
        assert curves.insertion[0].tolist() == pytest.approx([0.2] * 11)
        areas = {name: found[0].item() for name, found in curves.areas().items()}
        assert areas["deletion"] == pytest.approx(1.0) and areas["insertion"] == pytest.approx(0.25)
        assert curves.deletion[1].tolist() == pytest.approx([0.8 - 0.06 * k for k in range(11)])
    assert len(shown) == 2 * 22


# What a detector of two classes thinks of the channels.
WEIGHTS = [[1.0, 2.0, 3.0], [5.0, 1.0, 0.0]]


def colours(images, classes, boxes, where):
    """A weighted mean of the box's pixels: cheap, and different for every pixel, channel, class and box."""
    weights = torch.tensor(WEIGHTS)
    parts = [images[n, :, int(y1) : int(y2), int(x1) : int(x2)] for n, (x1, y1, x2, y2) in zip(where, boxes.tolist())]
    means = torch.stack([part.mean((1, 2)) for part in parts])
    return (means * weights[classes]).sum(1) / 1530.0


def slow_score(image, label, box):
    rows, columns = range(int(box[1]), int(box[3])), range(int(box[0]), int(box[2]))
    total = sum(WEIGHTS[label][c] * image[c][y][x] for c in range(3) for y in rows for x in columns)
    return total / (len(rows) * len(columns)) / 1530.0


def slow_curve(start, end, heat, label, box):
    """The definition: one step, one pixel, one channel at a time."""
    height, width = len(heat), len(heat[0])
    # Falling heat; of equal pixels the upper one first, and of those the left one.
    order = sorted((-heat[y][x], y, x) for y in range(height) for x in range(width))
    area = (box[2] - box[0]) * (box[3] - box[1])
    scores = [slow_score(start, label, box)]
    for percent in range(10, 101, 10):
        shown = [[list(row) for row in channel] for channel in start]
        for _, y, x in order[: math.ceil(area * percent / 100)]:
            for c in range(3):
                shown[c][y][x] = end[c][y][x]
        scores.append(slow_score(shown, label, box))
    return scores


def slow_area(curve):
    return sum((one + other) / 2 * 0.1 for one, other in zip(curve, curve[1:]))


def test_against_plain_loops():
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(3, 9, 8, generator=generator) * 255
    # Four values for 72 pixels: full of ties.
    heat = torch.randint(0, 4, (3, 9, 8), generator=generator) / 3
    # Areas whose percents are no whole numbers; the last box is almost the image.
    boxes = torch.tensor([[1.5, 2.25, 6.75, 8.5], [3.0, 0.5, 5.75, 3.0], [0.0, 0.0, 7.75, 8.75]])
    classes = torch.tensor([0, 1, 1])
    curves = faithfulness_curves(colours, image, heat, classes, boxes, batch_size=5, seed=11)
    noise = (torch.rand(3, 9, 8, generator=torch.Generator().manual_seed(11)) * 255).tolist()
    empty, areas = [[[0.0] * 8 for _ in range(9)] for _ in range(3)], curves.areas()
    for r in range(3):
        about = heat[r].tolist(), int(classes[r]), boxes[r].tolist()
        deletion = slow_curve(image.tolist(), noise, *about)
        insertion = slow_curve(empty, image.tolist(), *about)
        assert insertion[0] == 0.0 and deletion[0] > 0.1 and min(len(set(deletion)), len(set(insertion))) > 3
        assert curves.deletion[r].tolist() == pytest.approx(deletion, rel=1e-5)
        assert curves.insertion[r].tolist() == pytest.approx(insertion, rel=1e-5)
        raw = {"deletion": slow_area(deletion), "insertion": slow_area(insertion)}
        raw["overall"] = raw["insertion"] - raw["deletion"]
        for name, value in raw.items():
            assert areas[f"raw_{name}"][r].item() == pytest.approx(value, rel=1e-4, abs=1e-6)
            assert areas[name][r].item() == pytest.approx(value / deletion[0], rel=1e-4, abs=1e-6)


def test_batches_change_nothing():
    generator = torch.Generator().manual_seed(0)
    heat = torch.rand(3, 10, 10, generator=generator)
    image = torch.randint(249, 252, (3, 10, 10), generator=generator).float()
    boxes = torch.tensor([[2.0, 3, 7, 7], [0, 0, 10, 10], [1, 1, 3, 9]])
    alone = faithfulness_curves(brightness, image, heat, torch.zeros(3), boxes, batch_size=1)
    together = faithfulness_curves(brightness, image, heat, torch.zeros(3), boxes, batch_size=13)
    assert torch.equal(alone.deletion, together.deletion) and torch.equal(alone.insertion, together.insertion)


def test_order_is_by_falling_heat_and_stable():
    assert pixel_order(torch.tensor([[[0.5, 0.9], [0.5, 0.1]]])).tolist() == [[1, 0, 2, 3]]


def test_pixels_of_a_step_are_of_the_boxs_area_and_end_at_the_image():
    # Area 15: 10 % is 1.5, rounded up. A box larger than the image: all of its 30 pixels at most.
    counts = pixels_at_steps(torch.tensor([[0.0, 0, 5, 3], [-10, -10, 20, 20]]), 5, 6)
    assert counts[0].tolist() == [math.ceil(1.5 * k - 1e-6) for k in range(1, 11)]
    assert counts[1].tolist() == [30] * 10


def test_noise_is_seeded_and_takes_the_place_of_pixels():
    seen = []

    def keep(images, classes, boxes, where):
        seen.append(images.clone())
        return brightness(images, classes, boxes, where)

    for seed in (0, 0, 1):
        faithfulness_curves(keep, IMAGE, ON_OBJECT, torch.zeros(1), BOX, batch_size=22, seed=seed)
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    last_deleted = seen[0][10]
    assert torch.equal(last_deleted[:, :3], IMAGE[:, :3])  # above the object nothing has changed
    inside = last_deleted[:, 3:7, 2:7]
    assert not bool((inside == 250).any()) and 0 <= float(inside.min()) and float(inside.max()) < 255
    assert not bool(seen[0][11].any())  # insertion begins with nothing


def test_areas_are_of_what_is_normalised_and_raw():
    # Untouched score .8. Raw deletion .8, .4, 0: trapezoid over [0, 1]: (.6 + .2) / 2 = .4; normalised by .8: .5.
    curves = FaithfulnessCurves(torch.tensor([[0.8, 0.4, 0.0]]), torch.tensor([[0.0, 0.0, 0.8]]))
    areas = {name: value.item() for name, value in curves.areas().items()}
    assert areas == pytest.approx(
        {
            "deletion": 0.5,
            "insertion": 0.25,
            "overall": -0.25,
            "raw_deletion": 0.4,
            "raw_insertion": 0.2,
            "raw_overall": -0.2,
        }
    )
    lost = FaithfulnessCurves(torch.zeros(1, 3), torch.zeros(1, 3))
    assert math.isnan(lost.areas()["deletion"]) and lost.areas()["raw_deletion"].item() == 0.0


def test_replacing_leaves_the_original_alone():
    image, other = torch.zeros(3, 1, 3), torch.ones(3, 1, 3)
    mixed = replace_pixels(image, other, torch.tensor([2, 0, 1]), 2)
    assert mixed[0, 0].tolist() == [1, 0, 1] and not bool(image.any())


def test_no_objects_and_wrong_sizes():
    none = faithfulness_curves(brightness, IMAGE, torch.zeros(0, 10, 10), torch.zeros(0), torch.zeros(0, 4))
    assert none.deletion.shape == (0, 11) and none.areas()["overall"].shape == (0,)
    with pytest.raises(ValueError, match=r"\(10, 10\); got \(1, 5, 5\)"):
        faithfulness_curves(brightness, IMAGE, torch.zeros(1, 5, 5), torch.zeros(1), BOX)


def test_the_same_image_is_shown_once():
    shown = []

    def count(images, classes, boxes, where):
        shown.extend(images)
        return brightness(images, classes, boxes, where)

    # The third object's box is as large as the image: its last steps show noise alone, and the untouched image.
    boxes = torch.tensor([[2.0, 3, 7, 7], [1, 1, 3, 9], [0, 0, 10, 10]])
    heat = torch.rand(3, 10, 10)
    curves = faithfulness_curves(count, IMAGE, heat, torch.zeros(3), boxes)
    # Untouched, empty, noise, ten steps of each of two objects and nine of the third, both ways.
    assert len(shown) == 3 + 2 * 29
    assert torch.equal(curves.insertion[2, -1], curves.untouched[2])
    for row in range(3):
        one = slice(row, row + 1)
        alone = faithfulness_curves(brightness, IMAGE, heat[one], torch.zeros(1), boxes[one])
        assert torch.equal(alone.deletion, curves.deletion[one]) and torch.equal(alone.insertion, curves.insertion[one])


def test_fewer_steps_are_some_of_all():
    torch.manual_seed(0)
    image, heat = torch.rand(3, 20, 20) * 255, torch.rand(2, 20, 20)
    boxes, classes = torch.tensor([[2.0, 2.0, 12.0, 14.0], [5.0, 5.0, 15.0, 9.0]]), torch.tensor([0, 1])

    def score(images, labels, places, where):
        return images.mean((1, 2, 3))[where] / 255 + 0.1 * labels

    every = faithfulness_curves(score, image, heat, classes, boxes)
    few = faithfulness_curves(score, image, heat, classes, boxes, steps=(50, 100))
    assert torch.equal(few.deletion, every.deletion[:, [0, 5, 10]])
    assert torch.equal(few.insertion, every.insertion[:, [0, 5, 10]])
