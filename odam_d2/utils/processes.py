"""Several processes of one machine that compute on its CPU."""

import datetime
import os
import socket
import sys
import threading
from collections.abc import Callable

import torch
from detectron2.utils import comm
from tqdm import tqdm

from .weight_files import CheckpointError


def launch_on_cpu(function: Callable[..., object], num_processes: int, args: tuple = ()) -> None:
    """Runs ``function(*args)`` in several processes at once that find each other through ``detectron2.utils.comm``.

    Detectron2's ``launch`` does so with one process for each GPU; where there are GPUs it can't do it without them.

    Args:
        function: importable in a new process.
        num_processes: how many, on this machine.
        args: what can be pickled.

    Raises:
        CheckpointError: if one of them raises it, likewise OutputError.
        torch.multiprocessing.ProcessRaisedException: if one of them raises anything else.
    """
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{one.getsockname()[1]}"
    try:
        torch.multiprocessing.spawn(_worker, (function, num_processes, address, args), nprocs=num_processes)
    except torch.multiprocessing.ProcessRaisedException as error:
        # Of what another process raised, only the text arrives; these say in one sentence what is wrong.
        name, _, sentence = str(error).strip().rpartition("\n")[2].partition(": ")
        kind = {"CheckpointError": CheckpointError, "OutputError": OSError}.get(name.rpartition(".")[2])
        if kind is None:
            raise
        raise kind(sentence) from error


def _worker(rank: int, function: Callable[..., object], num_processes: int, address: str, args: tuple) -> None:
    # A progress bar's usual lock is one between processes: it would outlive the end below, and be told as leaked.
    tqdm.set_lock(threading.RLock())
    torch.distributed.init_process_group(
        "gloo",
        init_method=address,
        world_size=num_processes,
        rank=rank,
        # The quickest waits at the end for the slowest, however long that takes.
        timeout=datetime.timedelta(days=7),
    )
    try:
        comm.create_local_process_group(num_processes)
        function(*args)
        comm.synchronize()
    finally:
        torch.distributed.destroy_process_group()
    # The interpreter's own end now and then aborts in a thread that gloo has left running, with the work long done.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
