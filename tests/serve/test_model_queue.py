"""One job after the other, in the order of arrival, and none that nobody waits for."""

import threading

import pytest

from odam_d2.serve.model_queue import ModelQueue
from odam_d2.serve.refusals import RefusedError
from odam_d2.utils.progress import tell_progress

WAIT = 20


class Told:
    """What was told of a job."""

    def __init__(self):
        self.events = []
        self.ended = threading.Event()

    def __call__(self, kind, value):
        self.events.append((kind, value))
        if kind in ("result", "error"):
            self.ended.set()

    def last(self):
        assert self.ended.wait(WAIT)
        return self.events[-1]


@pytest.fixture
def queue():
    queue = ModelQueue(3)
    yield queue
    queue.close()


@pytest.fixture
def gate(queue):
    """Holds the queue until it is set; the job that does so is being done."""
    begun, gate = threading.Event(), threading.Event()
    queue.submit(lambda: (begun.set(), gate.wait(WAIT)), Told())
    assert begun.wait(WAIT)
    yield gate
    gate.set()


def test_jobs_are_done_in_their_order_and_hear_how_many_are_before_them(queue, gate):
    done, told = [], [Told() for _ in range(3)]
    for number, tell in enumerate(told):
        queue.submit(lambda number=number: done.append(number) or number, tell)
    gate.set()
    assert [one.last() for one in told] == [("result", 0), ("result", 1), ("result", 2)]
    assert done == [0, 1, 2]
    places = [[value for kind, value in one.events if kind == "queued"] for one in told]
    assert places == [[1, 0], [2, 1, 0], [3, 2, 1, 0]]


def test_too_many_are_refused(queue, gate):
    for _ in range(3):
        queue.submit(lambda: None, Told())
    with pytest.raises(RefusedError, match="3 requests are waiting") as caught:
        queue.submit(lambda: None, Told())
    assert caught.value.status == 503 and queue.length == 4


def test_what_nobody_waits_for_leaves_the_queue(queue, gate):
    done, told = [], [Told() for _ in range(3)]
    jobs = [queue.submit(lambda number=number: done.append(number), tell) for number, tell in enumerate(told)]
    queue.abandon(jobs[1])
    assert told[2].events[-1] == ("queued", 2)
    gate.set()
    told[2].last()
    assert done == [0, 2]
    queue.abandon(jobs[0])  # long done: nothing happens


def test_what_is_being_done_ends_where_nobody_waits(queue):
    begun, goes_on, after = threading.Event(), threading.Event(), Told()
    steps, told = [], Told()

    def work():
        for step in range(1000):
            steps.append(step)
            begun.set()
            assert goes_on.wait(WAIT)
            tell_progress(step, 1000)

    job = queue.submit(work, told)
    assert begun.wait(WAIT)
    queue.abandon(job)
    goes_on.set()
    queue.submit(lambda: "next", after)
    assert after.last() == ("result", "next")
    assert steps == [0] and told.events == [("queued", 0)]


@pytest.mark.parametrize(
    "error, words",
    [
        (ValueError("`x` must be 1;\n got 2"), "`x` must be 1; got 2"),
        (RefusedError(422, "no"), "no"),
        (FloatingPointError("NaN"), "NaN"),
        (ZeroDivisionError("oh"), "it can't be answered, since the detector failed: oh"),
        (KeyError(), "it can't be answered, since the detector failed: KeyError"),
    ],
)
def test_errors_are_told_and_the_next_is_done(queue, error, words):
    failed, after = Told(), Told()

    def work():
        raise error

    queue.submit(work, failed)
    queue.submit(lambda: 7, after)
    assert failed.last() == ("error", words)
    assert after.last() == ("result", 7)


def test_nothing_is_done_once_it_is_closed():
    queue = ModelQueue(3)
    queue.close()
    with pytest.raises(RefusedError, match="being stopped"):
        queue.submit(lambda: None, Told())
