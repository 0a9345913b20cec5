"""Work in threads: the loop's results, one torch thread each, and everything as it was afterwards."""

import threading

import pytest
import torch

from odam_d2.utils.threads import map_in_threads


@pytest.fixture
def two_threads():
    own = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(own)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(workers):
    assert map_in_threads(lambda n: n * n, range(5), workers) == [0, 1, 4, 9, 16]
    assert map_in_threads(lambda n: n * n, [], workers) == []


def test_workers_run_side_by_side_and_share_torchs_threads(two_threads):
    barrier = threading.Barrier(2, timeout=30)

    def work(_):
        barrier.wait()  # only two at a time get past
        return torch.get_num_threads()

    assert map_in_threads(work, range(2), 2) == [1, 1]
    assert torch.get_num_threads() == 2


def test_an_error_comes_through_and_leaves_torchs_threads(two_threads):
    with pytest.raises(ZeroDivisionError):
        map_in_threads(lambda n: 1 // n, [1, 0, 1], 2)
    assert torch.get_num_threads() == 2
