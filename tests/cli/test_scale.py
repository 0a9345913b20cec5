"""Runs of several processes: on one machine, on two, under torchrun, and with one of them killed."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from odam_d2.store import RunReader
from tests.cli.test_evaluate import folder, numbers  # noqa: F401  (a fixture)
from tests.cli.test_evaluate import tool as evaluate_tool  # noqa: F401  (a fixture)
from tests.cli.test_evaluate_resume import seeded
from tests.cli.test_explain import TINY, ZOO_NAME, image, run, run_json, tool, weights  # noqa: F401  (fixtures)
from tests.cli.test_explain_resume import rows_of

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
# Kills the second process at its second image, once something is finished, unless the file `once` is gone.
KILLER = """
import multiprocessing, os, pathlib, signal, time
from detectron2.utils import comm
from odam_d2.cli.image_explainer import ImageExplainer
from odam_d2.evaluation.runs.evaluator import GuardedComparison
from odam_d2.store import RunFolder
once, seen = pathlib.Path({once!r}), []
def killing(original):
    def call(self, *rest):
        seen.append(1)
        if comm.get_rank() == 1 and len(seen) == 2 and once.exists():
            while not RunFolder(once.with_name("two")).finished():
                time.sleep(0.05)
            once.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *rest)
    return call
# Not in the process that begins the others: it may go on to other tests.
if multiprocessing.parent_process() is not None or "RANK" in os.environ:
    originals = ImageExplainer.explain, GuardedComparison.__call__
    ImageExplainer.explain, GuardedComparison.__call__ = map(killing, originals)
"""


@pytest.fixture
def one_thread():
    """Sums depend on how many threads share them; processes have one each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def killer(tmp_path):
    (tmp_path / "once").touch()
    path = tmp_path / f"killer_in_{tmp_path.name}.py"  # two of one name can't be imported
    path.write_text(KILLER.format(once=str(tmp_path / "once")))
    return path


@pytest.fixture
def images(tmp_path):
    for k in range(8):
        image(tmp_path / "images" / f"{k}.png", seed=k)
    (tmp_path / "images" / "5.png").write_text("no image")
    return tmp_path / "images"


def explain(weights, images, output, *options):  # noqa: F811
    """The command line of a run."""
    command = ["--config-file", ZOO_NAME, "--input", images, "--output", output, "--max-detections", "2"]
    command += ["--score-threshold", "0.1", "--strips", "0", *options, *TINY, "MODEL.WEIGHTS", weights]
    return [str(part) for part in command]


def begin(command, prefix=(), **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    whole = [str(part) for part in (*prefix, *command)]
    return subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_a_killed_process_ends_the_run_which_goes_on(tool, weights, images, tmp_path, killer, one_thread, capsys):  # noqa: F811
    assert tool.main(explain(weights, images, tmp_path / "one", "--import", killer)) == 1
    output = tmp_path / "two"
    both = ("--import", killer, "--num-processes", "2")
    assert tool.main(explain(weights, images, output, *both)) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    known = r"error: every process must end its work; number 1 was killed \(SIGKILL\): .*--resume.*"
    assert len(told) == 1 and re.fullmatch(known, told[0]) and not (output / "run.json").exists()
    with RunReader(output) as reader:
        before = len(reader)
    assert 1 <= before < 8 and len(list((output / "store").glob("part-*.sqlite"))) == 2
    assert tool.main(explain(weights, images, output, "--resume", *both)) == 1
    assert rows_of(output) == rows_of(tmp_path / "one")
    told = run_json(output)
    assert len(told["images"]) == 7 and [Path(one["file"]).name for one in told["failures"]] == ["5.png"]
    # One process goes on where two began.
    shutil.copy(images / "4.png", images / "5.png")
    assert tool.main(explain(weights, images, output, "--resume", "--import", killer)) == 0


@contextlib.contextmanager
def two_machines():
    """Addresses of two machines, and what commands on them begin with: two network namespaces, or else loopback."""
    spaces = [f"odam{os.getpid()}{k}" for k in "ab"]
    steps = [
        *(["ip", "netns", "add", name] for name in spaces),
        ["ip", "link", "add", "odam-a", "netns", spaces[0], "type", "veth", "peer", "odam-b", "netns", spaces[1]],
        *(["ip", "-n", name, "addr", "add", f"10.213.7.{k + 1}/24", "dev", f"odam-{'ab'[k]}"]
          for k, name in enumerate(spaces)),
        *(["ip", "-n", name, "link", "set", device, "up"]
          for name, end in zip(spaces, "ab", strict=True) for device in (f"odam-{end}", "lo")),
    ]  # fmt: skip
    try:
        try:
            for step in steps:
                subprocess.run(step, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                yield f"tcp://127.0.0.1:{one.getsockname()[1]}", [(), ()]
            return
        devices = ("env", "GLOO_SOCKET_IFNAME=odam-a"), ("env", "GLOO_SOCKET_IFNAME=odam-b")
        yield "tcp://10.213.7.1:29517", [("ip", "netns", "exec", n, *e) for n, e in zip(spaces, devices, strict=True)]
    finally:
        with contextlib.suppress(OSError):
            for name in spaces:
                subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_two_machines_share_the_images(tool, weights, images, tmp_path, one_thread):  # noqa: F811
    assert tool.main(explain(weights, images, tmp_path / "one")) == 1
    output = tmp_path / "two"
    with two_machines() as (url, prefixes):
        machines = [
            begin([sys.executable, ROOT / "tools" / "explain.py", *explain(
                weights, images, output, "--num-machines", "2", "--machine-rank", rank, "--dist-url", url)], prefix)
            for rank, prefix in enumerate(prefixes)
        ]  # fmt: skip
        told = [machine.communicate(timeout=300)[0] for machine in machines]
    # The first machine tells of the run, and of the image that failed by its exit code.
    assert [machine.returncode for machine in machines] == [1, 0], told
    assert "8 images, 14 detections, 1 failed" in told[0] and "images, " not in told[1]
    assert rows_of(output) == rows_of(tmp_path / "one")


def test_torchrun_begins_again_and_goes_on(evaluate_tool, folder, tmp_path, killer):  # noqa: F811
    assert evaluate_tool.main(seeded(folder, tmp_path / "one", "--import", killer)) == 0
    output = tmp_path / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts"]
    command += ["1", ROOT / "tools" / "evaluate.py", *seeded(folder, output, "--import", killer)]
    torchrun = begin(command)
    told = torchrun.communicate(timeout=300)[0]
    assert torchrun.returncode == 0, told
    assert not (tmp_path / "once").exists() and numbers(output) == numbers(tmp_path / "one")
