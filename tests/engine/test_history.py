"""What was logged and not written is logged again by a resumed training, and what was written is not."""

import json
from types import SimpleNamespace

from detectron2.utils.events import EventStorage, JSONWriter

from odam_d2.engine.history import KeepHistory

EVERY, SELDOM = "loss", "odam/AUC"


def train(folder, iterations, hook, written=()):
    """Logs one number in each iteration and another in the third, as a training does."""
    storage = EventStorage(iterations.start)
    hook.trainer = SimpleNamespace(storage=storage)
    writer = JSONWriter(str(folder / "metrics.json"))
    with storage:
        hook.before_train()
        for storage.iter in iterations:
            storage.put_scalar(EVERY, float(storage.iter) ** 2)
            if storage.iter >= iterations.start + 3:  # as Detectron2's clock
                storage.put_scalar("time", float(iterations.start))
            if storage.iter == 2:
                storage.put_scalar(SELDOM, 0.5, smoothing_hint=False)
            if storage.iter in written:
                writer.write()
    writer.close()
    return hook.state_dict()


def rows(folder):
    found = [json.loads(row) for row in (folder / "metrics.json").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in found]


def test_rows_are_those_of_a_run_without_interruption(tmp_path):
    for name, first in (("whole", ()), ("early", ()), ("late", (3,))):
        (folder := tmp_path / name).mkdir()
        hook = KeepHistory(folder / "metrics.json")
        if name == "whole":
            train(folder, range(8), hook, (7,))
            continue
        state = json.loads(json.dumps(train(folder, range(5), hook, first)))
        resumed = KeepHistory(folder / "metrics.json")
        resumed.load_state_dict(state)
        train(folder, range(5, 8), resumed, (7,))
    # The median of 0, 1, 4, 9, 16, 25, 36, 49.
    seldom, last = {"iteration": 2, SELDOM: 0.5}, {"iteration": 7, EVERY: 12.5}
    assert rows(tmp_path / "whole") == rows(tmp_path / "early")
    assert sorted(rows(tmp_path / "whole"), key=lambda row: row["iteration"]) == [seldom, last]
    assert sorted(rows(tmp_path / "late"), key=lambda row: row["iteration"]) == [
        seldom, {"iteration": 3, EVERY: 2.5}, last,
    ]  # fmt: skip


def test_a_training_that_begins_has_no_history(tmp_path):
    hook = KeepHistory(tmp_path / "metrics.json")
    state = train(tmp_path, range(30), hook)
    # Without what differs from run to run.
    assert set(state["values"]) == set(state["hints"]) == {EVERY, SELDOM}
    assert len(state["values"][EVERY]) == 20 and state["values"][EVERY][-1] == (29.0**2, 29)
