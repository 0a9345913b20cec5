"""Processes that find each other."""

from pathlib import Path

import pytest

from odam_d2.utils.processes import launch_on_cpu


def report(folder):
    from detectron2.utils import comm

    everyone = comm.all_gather(comm.get_rank())
    (Path(folder) / str(comm.get_rank())).write_text(f"{everyone} {comm.get_local_size()}")


@pytest.mark.slow
def test_processes_gather(tmp_path):
    launch_on_cpu(report, 2, (str(tmp_path),))
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"0": "[0, 1] 2", "1": "[0, 1] 2"}
