"""Several processes that find each other: on one machine or several, on CPUs or GPUs, or begun by torchrun."""

import datetime
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from torch import distributed
from tqdm import tqdm

from .weight_files import CheckpointError

# The quickest waits at the end for the slowest, however long that takes.
_TIMEOUT = datetime.timedelta(days=7)


class ProcessEndedError(RuntimeError):
    """A process of several ended before its work was done. The message is one sentence."""


def launch_on_cpu(
    function: Callable[..., object],
    num_processes: int,
    args: tuple = (),
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> None:
    """Runs ``function(*args)`` in several processes at once that find each other through ``detectron2.utils.comm``.

    Detectron2's ``launch`` does so with one process for each GPU; where there are GPUs it can't do it without them.

    Args:
        function: importable in a new process.
        num_processes: how many, on this machine; each machine has as many.
        args: what can be pickled.
        num_machines: how many machines take part; the same is called on each.
        machine_rank: number of this machine, from 0 on.
        dist_url: where they meet, ``tcp://HOST:PORT`` of the first; "auto" for one machine.

    Raises:
        CheckpointError: if one of them raises it, likewise OutputError.
        ProcessEndedError: if one of them, or a machine, is killed.
        torch.multiprocessing.ProcessRaisedException: if one of them raises anything else.
    """
    if dist_url == "auto":
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            dist_url = f"tcp://127.0.0.1:{one.getsockname()[1]}"
    shared = (function, num_processes, num_machines, machine_rank, dist_url, args)
    try:
        torch.multiprocessing.spawn(_worker, shared, nprocs=num_processes)
    except torch.multiprocessing.ProcessExitedException as error:
        how = f"was killed ({error.signal_name})" if error.signal_name else f"ended with {error.exit_code}"
        raise ProcessEndedError(
            f"every process must end its work; number {error.error_index} {how}: run this again, with --resume where "
            "the command has it; what was finished is kept"
        ) from error
    except torch.multiprocessing.ProcessRaisedException as error:
        # Of what another process raised, only the text arrives; these say in one sentence what is wrong.
        name, _, sentence = str(error).strip().rpartition("\n")[2].partition(": ")
        kinds = {"CheckpointError": CheckpointError, "OutputError": OSError, "ProcessEndedError": ProcessEndedError}
        kind = kinds.get(name.rpartition(".")[2])
        if kind is None:
            raise
        raise kind(sentence) from error


def _worker(
    local_rank: int,
    function: Callable[..., object],
    num_processes: int,
    num_machines: int,
    machine_rank: int,
    dist_url: str,
    args: tuple,
) -> None:
    # A progress bar's usual lock is one between processes: it would outlive the end below, and be told as leaked.
    tqdm.set_lock(threading.RLock())
    rank = machine_rank * num_processes + local_rank
    distributed.init_process_group(
        "gloo", init_method=dist_url, world_size=num_machines * num_processes, rank=rank, timeout=_TIMEOUT
    )
    _work(function, num_processes, args)
    # The interpreter's own end now and then aborts in a thread that gloo has left running, with the work long done.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _work(function: Callable[..., object], num_processes: int, args: tuple) -> None:
    """Runs a function in a process group, and ends the group."""
    try:
        comm.create_local_process_group(num_processes)
        function(*args)
        comm.synchronize()
    except RuntimeError as error:
        # DistError and its kin; gloo has no error of its own.
        if not type(error).__name__.startswith("Dist") and "gloo" not in str(error):
            raise
        raise ProcessEndedError(_lost(error)) from error
    finally:
        distributed.destroy_process_group()


def _lost(error: Exception) -> str:
    said = str(error).strip().partition("\n")[0]
    return (
        f"every process must stay until all are done; another one is gone ({said}): run this again on all machines, "
        "with --resume where the command has it; what was finished is kept"
    )


def begun_by_torchrun() -> bool:
    """Whether torchrun, or what sets the same environment, has begun this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ and "MASTER_ADDR" in os.environ


def is_restart() -> bool:
    """Whether torchrun has begun the processes again, since one of them had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _join_torchrun(backend: str) -> None:
    store, rank, world_size = next(distributed.rendezvous("env://", timeout=_TIMEOUT))
    # torchrun's store may be that of the processes that failed, whose addresses lead nowhere.
    store = distributed.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=_TIMEOUT)


@dataclass(frozen=True)
class ProcessPlan:
    """Which processes share the work of a command.

    Attributes:
        per_machine: processes of each machine.
        num_machines: how many machines.
        machine_rank: number of this machine.
        dist_url: where they meet.
        on_gpus: whether each process has a GPU of its own.
    """

    per_machine: int = 1
    num_machines: int = 1
    machine_rank: int = 0
    dist_url: str = "auto"
    on_gpus: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this process prepares the work for all others, and ends it."""
        return os.environ["RANK"] == "0" if begun_by_torchrun() else self.machine_rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether the work is done in this process, without others."""
        return not begun_by_torchrun() and self.per_machine * self.num_machines == 1

    def run(self, function: Callable[..., object], args: tuple) -> None:
        """Runs ``function(*args)`` in all processes, in this one if torchrun has begun it; ends when they have ended.

        Args:
            function: importable in a new process.
            args: what can be pickled.

        Raises:
            Exception: see :func:`launch_on_cpu`.
        """
        if begun_by_torchrun():
            if self.on_gpus:
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            _join_torchrun("nccl" if self.on_gpus else "gloo")
            _work(function, int(os.environ.get("LOCAL_WORLD_SIZE", "1")), args)
            return
        shared = (self.num_machines, self.machine_rank, self.dist_url)
        if self.on_gpus:
            launch(function, self.per_machine, *shared, args=args, timeout=_TIMEOUT)
        else:
            launch_on_cpu(function, self.per_machine, args, *shared)
