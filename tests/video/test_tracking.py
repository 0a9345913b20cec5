"""Objects by their boxes, on frames that are written out by hand."""

import pytest
import torch

from odam_d2.video.tracking import Tracks

SIZE, RATE = (100, 400), 10.0


def follow(frames, classes=None, rate=RATE):
    """The objects of each frame's boxes, given as (left side, width) on one line."""
    tracks, found = Tracks(SIZE, rate), []
    for number, spans in enumerate(frames):
        boxes = torch.tensor([[x, 10.0, x + wide, 90.0] for x, wide in spans]).reshape(-1, 4)
        kinds = torch.tensor(classes[number] if classes else [0] * len(spans), dtype=torch.int64)
        found.append(tracks.update(boxes, kinds, torch.full((len(spans),), 0.9)).tolist())
    return found


def test_who_stays_keeps_the_number_in_whatever_order():
    frames = [[(10, 40), (100, 40)], [(104, 40), (12, 40)], [(14, 40), (108, 40)]]
    assert follow(frames) == [[0, 1], [1, 0], [0, 1]]


def test_who_comes_gets_a_new_number_also_when_another_leaves():
    """Every detection could have the number of somebody: that of who left, far away."""
    frames = [[(10, 40), (100, 40)], [(11, 40), (102, 40)], [(12, 40), (300, 40)], [(13, 40), (302, 40)]]
    assert follow(frames) == [[0, 1], [0, 1], [0, 2], [0, 2]]


def test_the_largest_sum_of_overlaps_wins():
    """Both boxes overlap both objects by more than the threshold: IoU 36/44 and 20/60 here, 24/56 and 32/48 there.

    The boxes come in the order that the first pair above the threshold would take wrongly.
    """
    frames = [[(100, 40), (120, 40)], [(112, 40), (104, 40)]]
    # 112: IoU 28/52 with 100, 32/48 with 120. 104: 36/44 with 100, 24/56 with 120.
    assert follow(frames) == [[0, 1], [1, 0]]


def test_who_passes_behind_another_is_found_again_where_the_pace_leads():
    """One walks 6 pixels a frame, hidden in frames 5 to 9 by one who stands: 36 pixels, IoU 4/76 with the last."""
    walker = [(40 + 6 * k, 40) for k in range(15)]
    frames = [[(90, 50)] + ([one] if not 5 <= k <= 9 else []) for k, one in enumerate(walker)]
    found = follow(frames)
    assert all(ids == ([0, 1] if not 5 <= k <= 9 else [0]) for k, ids in enumerate(found))


def test_who_is_away_for_longer_than_a_second_is_gone():
    frames = [[(10, 40)]] * 3 + [[]] * 10 + [[(10, 40)]]
    assert follow(frames)[-1] == [0]
    frames = [[(10, 40)]] * 3 + [[]] * 11 + [[(10, 40)]]
    assert follow(frames)[-1] == [1]
    # At twice the rate a second has twice the frames.
    assert follow(frames, rate=2 * RATE)[-1] == [0]


def test_objects_keep_their_class():
    frames, classes = [[(10, 40)]] * 3 + [[(10, 40), (10, 40)]], [[0]] * 3 + [[1, 0]]
    assert follow(frames, classes) == [[0], [0], [0], [1, 0]]


@pytest.mark.parametrize("first", [[], [(10, 40)]])
def test_frames_without_detections(first):
    assert follow([first, [], [(10, 40)], []])[1::2] == [[], []]


def test_the_given_boxes_stay_as_they_are():
    boxes = torch.tensor([[10.0, 10.0, 50.0, 90.0]])
    tracks = Tracks(SIZE, RATE)
    for step in range(3):
        given = boxes + 4.0 * step
        kept = given.clone()
        tracks.update(given, torch.zeros(1, dtype=torch.int64), torch.ones(1))
        assert torch.equal(given, kept)
