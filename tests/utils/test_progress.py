"""How far work is, for whoever listens."""

import threading

import pytest

from odam_d2.utils.progress import listening, part_of_work, tell_progress


def test_whoever_listens_hears_and_may_end_the_work():
    heard = []
    tell_progress(1, 2)  # nobody listens
    with listening(lambda *told: heard.append(told)):
        tell_progress(1, 2)
        tell_progress()
    tell_progress(2, 2)
    assert heard == [(1, 2), (None, None)]

    def stop(*_):
        raise KeyError("enough")

    with pytest.raises(KeyError), listening(stop):
        tell_progress()


def test_other_threads_are_not_heard():
    heard = []
    with listening(lambda *told: heard.append(told)):
        thread = threading.Thread(target=tell_progress, args=(1, 2))
        thread.start()
        thread.join()
    assert heard == []


def test_parts_are_told_as_shares_of_the_whole():
    heard = []
    with listening(lambda *told: heard.append(told)):
        for number in range(2):
            with part_of_work(number, 2):
                tell_progress(1, 4)
                tell_progress()
    assert heard == [(0, 200), (25, 200), (None, None), (100, 200), (100, 200), (125, 200), (None, None), (200, 200)]
    with part_of_work(0, 2):
        tell_progress(1, 4)  # nobody listens
