"""Deletion and insertion on a detector that counts bright pixels, whose curves are worked out by hand."""

import math

import pytest
import torch

from odam_d2.evaluation.faithfulness import (
    FaithfulnessCurves,
    faithfulness_curves,
    pixel_order,
    pixels_at_steps,
    replace_pixels,
)

# A picture of 10 x 10; the object is the box of 5 x 4 pixels at (2, 3), all 250; the rest is 0.
BOX = torch.tensor([[2.0, 3.0, 7.0, 7.0]])
PICTURE = torch.zeros(3, 10, 10)
PICTURE[:, 3:7, 2:7] = 250.0
ON_OBJECT = (PICTURE[:1] > 0).float()


def brightness(pictures, classes, boxes, where):
    """The share of the box's pixels that are exactly 250: the object's score."""
    assert len(where) == len(classes) == len(boxes)
    shares = [
        (pictures[n, 0, int(y1) : int(y2), int(x1) : int(x2)] == 250).float().mean()
        for n, (x1, y1, x2, y2) in zip(where.tolist(), boxes.tolist(), strict=True)
    ]
    return torch.stack(shares)


def test_the_object_first_is_the_best_order():
    # 20 pixels in the box: a step of 10 changes 2 of them, so the score falls and rises by .1 a step.
    curves = faithfulness_curves(brightness, PICTURE, ON_OBJECT, torch.zeros(1), BOX)
    assert curves.deletion[0].tolist() == pytest.approx([1 - 0.1 * k for k in range(11)])
    assert curves.insertion[0].tolist() == pytest.approx([0.1 * k for k in range(11)])
    areas = curves.areas()
    assert areas["deletion"].item() == pytest.approx(0.5) and areas["insertion"].item() == pytest.approx(0.5)


def test_background_first_changes_nothing():
    curves = faithfulness_curves(brightness, PICTURE, 1 - ON_OBJECT, torch.zeros(1), BOX)
    assert curves.deletion[0].tolist() == [1.0] * 11 and curves.insertion[0].tolist() == [0.0] * 11
    areas = curves.areas()
    assert areas["deletion"].item() == 1.0 and areas["insertion"].item() == 0.0 and areas["overall"].item() == -1.0


def test_batches_change_nothing():
    generator = torch.Generator().manual_seed(0)
    heat = torch.rand(3, 10, 10, generator=generator)
    picture = torch.randint(249, 252, (3, 10, 10), generator=generator).float()
    boxes = torch.tensor([[2.0, 3, 7, 7], [0, 0, 10, 10], [1, 1, 3, 9]])
    alone = faithfulness_curves(brightness, picture, heat, torch.zeros(3), boxes, batch_size=1)
    together = faithfulness_curves(brightness, picture, heat, torch.zeros(3), boxes, batch_size=13)
    assert torch.equal(alone.deletion, together.deletion) and torch.equal(alone.insertion, together.insertion)


def test_order_is_by_falling_heat_and_stable():
    assert pixel_order(torch.tensor([[[0.5, 0.9], [0.5, 0.1]]])).tolist() == [[1, 0, 2, 3]]


def test_pixels_of_a_step_are_of_the_boxs_area_and_end_at_the_picture():
    # Area 15: 10 % is 1.5, rounded up. A box larger than the picture: all of its 30 pixels at most.
    counts = pixels_at_steps(torch.tensor([[0.0, 0, 5, 3], [-10, -10, 20, 20]]), 5, 6)
    assert counts[0].tolist() == [math.ceil(1.5 * k - 1e-6) for k in range(1, 11)]
    assert counts[1].tolist() == [30] * 10


def test_noise_is_seeded_and_takes_the_place_of_pixels():
    seen = []

    def keep(pictures, classes, boxes, where):
        seen.append(pictures.clone())
        return brightness(pictures, classes, boxes, where)

    for seed in (0, 0, 1):
        faithfulness_curves(keep, PICTURE, ON_OBJECT, torch.zeros(1), BOX, batch_size=22, seed=seed)
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    last_deleted = seen[0][10]
    assert torch.equal(last_deleted[:, :3], PICTURE[:, :3])  # above the object nothing has changed
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
    picture, other = torch.zeros(3, 1, 3), torch.ones(3, 1, 3)
    mixed = replace_pixels(picture, other, torch.tensor([2, 0, 1]), 2)
    assert mixed[0, 0].tolist() == [1, 0, 1] and not bool(picture.any())


def test_no_objects_and_wrong_sizes():
    none = faithfulness_curves(brightness, PICTURE, torch.zeros(0, 10, 10), torch.zeros(0), torch.zeros(0, 4))
    assert none.deletion.shape == (0, 11) and none.areas()["overall"].shape == (0,)
    with pytest.raises(ValueError, match=r"\(10, 10\); got \(1, 5, 5\)"):
        faithfulness_curves(brightness, PICTURE, torch.zeros(1, 5, 5), torch.zeros(1), BOX)


def test_the_same_picture_is_shown_once():
    shown = []

    def count(pictures, classes, boxes, where):
        shown.extend(pictures)
        return brightness(pictures, classes, boxes, where)

    # The third object's box is as large as the picture: its last steps show noise alone, and the untouched picture.
    boxes = torch.tensor([[2.0, 3, 7, 7], [1, 1, 3, 9], [0, 0, 10, 10]])
    heat = torch.rand(3, 10, 10)
    curves = faithfulness_curves(count, PICTURE, heat, torch.zeros(3), boxes)
    # Untouched, empty, noise, ten steps of each of two objects and nine of the third, both ways.
    assert len(shown) == 3 + 2 * 29
    assert torch.equal(curves.insertion[2, -1], curves.untouched[2])
    for row in range(3):
        one = slice(row, row + 1)
        alone = faithfulness_curves(brightness, PICTURE, heat[one], torch.zeros(1), boxes[one])
        assert torch.equal(alone.deletion, curves.deletion[one]) and torch.equal(alone.insertion, curves.insertion[one])
