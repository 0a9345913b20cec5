"""Processes that begin behind the imports, which take longer than the short runs that the scripts here look at."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path


class Forked:
    """A process that runs a command.

    Args:
        main: of the command.
        arguments: for it.
        log: file that gets what it prints.
    """

    def __init__(self, main: Callable[[list[str]], int], arguments: list[str], log: Path):
        sys.stdout.flush()
        self.pid, self.code = os.fork(), None
        if not self.pid:
            code = 70
            try:
                with log.open("ab") as file:
                    for stream in (1, 2):
                        os.dup2(file.fileno(), stream)
                    code = main(arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)

    def poll(self) -> int | None:
        """The exit code, None while it runs; that of a signal is below zero."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, until: Callable[[], bool] = lambda: False) -> int | None:
        """Waits for its end, or for something else."""
        while self.poll() is None and not until():
            time.sleep(0.01)
        return self.code

    def kill(self) -> None:
        """Ends it as ``kill -9`` does."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
