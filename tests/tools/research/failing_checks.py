"""Checks that fail in all ways there are; in a file of its own, which a process loads in no time."""

import os
import signal


def die(data, *_):
    if data:
        os.kill(os.getpid(), signal.SIGSEGV)


def hang(data, *_):
    while data:
        pass


def fail(data, *_):
    if data:
        raise KeyError("nobody expects this")


def fine(data, *_):
    from fuzz_checks import Outcome

    return Outcome("read")
