"""Files that would write a file, if reading them ran what they carry."""

import os
import pathlib
import subprocess
from pathlib import Path
from typing import Any

# What is called -> its arguments for a path to write.
CALLS: dict[str, tuple[Any, Any]] = {
    "os.system": (os.system, lambda path: (f"touch '{path}'",)),
    "subprocess.check_call": (subprocess.check_call, lambda path: (["touch", str(path)],)),
    "eval": (eval, lambda path: (f"open({str(path)!r}, 'w').close()",)),
    "exec": (exec, lambda path: (f"open({str(path)!r}, 'w').close()",)),
    "Path.touch": (pathlib.Path.touch, lambda path: (path,)),
    "os.mkdir": (os.mkdir, lambda path: (str(path),)),
}


class Calls:
    """Pickled, it is the call of one of :data:`CALLS`."""

    def __init__(self, name: str, path: Path):
        self.name, self.path = name, path

    def __reduce__(self):
        function, arguments = CALLS[self.name]
        return function, arguments(self.path)
