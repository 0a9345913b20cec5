"""Processes that find each other."""

from pathlib import Path

import pytest

from odam_d2.utils.processes import launch_on_cpu
from odam_d2.utils.weight_files import CheckpointError, read_weights_file


def report(folder):
    from detectron2.utils import comm
    from tqdm import tqdm

    everyone = comm.all_gather(comm.get_rank())
    (Path(folder) / str(comm.get_rank())).write_text(f"{everyone} {comm.get_local_size()}")
    for _ in tqdm(range(2)):
        pass


@pytest.mark.slow
def test_processes_gather_and_leave_nothing(tmp_path, fresh):
    # What is left behind is told when the process that began them ends.
    imports = f"from odam_d2.utils.processes import launch_on_cpu; from {__name__} import report"
    begin = f"launch_on_cpu(report, 2, ({str(tmp_path)!r},))"
    done = fresh(f"{imports}\nif __name__ == '__main__':\n    {begin}")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"0": "[0, 1] 2", "1": "[0, 1] 2"}
    assert "100%" in done.stderr and "leaked" not in done.stderr


def test_what_a_process_says_in_one_sentence_arrives_as_that(tmp_path):
    (tmp_path / "a.pth").touch()
    with pytest.raises(
        CheckpointError, match="^the weights must be a checkpoint; got '.*a.pth', which is an empty file"
    ):
        launch_on_cpu(read_weights_file, 1, (str(tmp_path / "a.pth"),))
