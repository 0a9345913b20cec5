"""Programs in fresh processes, for tests of what an import does and of commands that are killed or begin others.

Half a dozen seconds of such a process go into importing torch and torchvision, which no such test is about. So they
are forked from one that has imported these two, and neither Detectron2 nor this package.
"""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300  # after which a program is killed


class Fresh:
    """Runs programs one after the other, each in its own process, which has one thread as the tests have.

    Args:
        server: the process that forks.
        folder: where programs and what they print are kept.
    """

    def __init__(self, server: subprocess.Popen, folder: Path):
        self.server, self.folder = server, folder
        self.count = 0

    def __call__(
        self,
        program: str = "",
        *,
        module: str = "",
        script: Path | None = None,
        arguments: Sequence[object] = (),
        variables: Mapping[str, str] = MappingProxyType({}),
        path: Sequence[Path] = (),
        check: bool = True,
    ) -> subprocess.CompletedProcess:
        """Runs the text of a program, a module or a script.

        Args:
            program: its text, which may be indented.
            module: instead, what ``python -m`` would run.
            script: instead, a file.
            arguments: of the program, module or script.
            variables: what its environment has besides that of the tests.
            path: folders to import from before all others; the repository comes after them.
            check: whether a program that fails, fails the test.
        """
        self.count += 1
        stem = self.folder / str(self.count)
        if script is None:
            script = stem.with_suffix(".py")
            script.write_text(textwrap.dedent(program), encoding="utf-8")
        out, err = stem.with_suffix(".out"), stem.with_suffix(".err")
        request = {
            "script": str(script), "module": module, "arguments": [str(one) for one in arguments],
            "variables": dict(variables), "path": [str(folder) for folder in (*path, ROOT)],
            "cwd": str(ROOT), "stdout": str(out), "stderr": str(err), "seconds": SECONDS,
        }  # fmt: skip
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        result = subprocess.CompletedProcess(request["script"], code, out.read_text(), err.read_text())
        assert not check or code == 0, result.stderr
        return result


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Iterator[Fresh]:
    """Runs programs in fresh processes: see :class:`Fresh`."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "fork_server.py")]
    with subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            yield Fresh(server, tmp_path_factory.mktemp("fresh"))
        finally:
            # Its input may not end: processes that were forked from this one have the other end of the pipe, too.
            server.terminate()
