"""Work that is handed out one by one."""

import json
import time
from pathlib import Path

import pytest

from odam_d2.utils.processes import launch_on_cpu
from odam_d2.utils.turns import Turns


def test_one_process_gets_everything_in_order():
    turns = Turns("abc", "letters")
    assert len(turns) == 3 and turns.taken == 0
    first = iter(turns)
    assert next(first) == "a" and turns.taken == 1
    assert list(first) == ["b", "c"] and turns.taken == 3
    assert list(Turns([], "none")) == []


def take(folder):
    """The second process is slow: it holds up nobody."""
    from detectron2.utils import comm

    rank, mine = comm.get_rank(), []
    comm.synchronize()
    for item in Turns(range(12), "numbers"):
        mine.append(item)
        time.sleep(1.5 if rank else 0.02)
    empty = list(Turns([], "nothing"))
    again = list(Turns(range(3), "others"))
    Path(folder, f"{rank}.json").write_text(json.dumps({"mine": mine, "empty": empty, "again": again}))


@pytest.mark.slow
def test_each_item_goes_to_one_process(tmp_path):
    launch_on_cpu(take, 2, (str(tmp_path),))
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert sorted(found[0]["mine"] + found[1]["mine"]) == list(range(12))
    assert 1 <= len(found[1]["mine"]) <= 3 and found[0]["mine"] == sorted(found[0]["mine"])
    assert sorted(found[0]["again"] + found[1]["again"]) == [0, 1, 2] and not found[0]["empty"] + found[1]["empty"]
