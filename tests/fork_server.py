"""Run by tests/fresh.py: imports what takes long once, and forks for every program that it is told to run."""

import gc
import json
import os
import runpy
import signal
import sys

import torch  # noqa: F401
import torchvision  # noqa: F401


def next_request() -> dict | None:
    """Returns each request in a process of its own, and None in this one when there are no more.

    The program is run after the return, at the top of the process, so that it ends as any interpreter does.
    """
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            return request
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


gc.freeze()  # what is here belongs to all: no child searches it for garbage, which takes a second when it ends
if (request := next_request()) is not None:
    for number, name in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
    signal.alarm(request["seconds"])
    sys.path[:1] = request["path"]  # the first is the folder of this file
    os.chdir(request["cwd"])
    os.environ.update(request["variables"])
    sys.argv = [request["module"] or request["script"], *request["arguments"]]
    if request["module"]:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(request["script"], run_name="__main__")
