"""What a training has logged and not yet written, through an interruption."""

import os
from typing import Any

from detectron2.engine import HookBase

from .rows import last_iteration

_WINDOW = 20  # values that Detectron2's writers take the median of

# They differ from run to run, and checkpoints of equal runs shall be equal.
_CLOCKS = ("time", "data_time", "rank_data_time", "eta_seconds")


class KeepHistory(HookBase):
    """Puts the last values of everything that is logged into checkpoints.

    Detectron2's writers write every 20 iterations, medians over the last 20; a resumed run would begin with none, and
    lose what was logged since the last row.

    Args:
        rows: path of ``metrics.json``, whose values needn't be written again.
    """

    def __init__(self, rows: str | os.PathLike):
        self.rows, self._state = rows, dict[str, Any]()

    def state_dict(self) -> dict[str, Any]:
        """See :class:`HookBase`."""
        storage = self.trainer.storage
        buffers = ((name, one) for name, one in storage.histories().items() if name not in _CLOCKS)
        values = {name: one.values()[-_WINDOW:] for name, one in buffers}
        hints = storage.smoothing_hints()
        return {"values": values, "hints": {name: hints[name] for name in values}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the values from a checkpoint."""
        self._state = state

    def before_train(self) -> None:
        """Logs them again, each at its own iteration."""
        storage, written = self.trainer.storage, last_iteration(self.rows)
        now = storage.iter
        for name, values in self._state.get("values", {}).items():
            for value, storage.iter in values:
                storage.put_scalar(name, value, smoothing_hint=self._state["hints"][name])
            if values and values[-1][1] <= written:
                del storage.latest()[name]  # or writers would write it once more
        storage.iter, self._state = now, {}
