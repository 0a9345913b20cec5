"""Importing what a user names on the command line."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_file_or_module(name: str) -> ModuleType:
    """Imports a Python file or a module, so that what it registers can be used.

    A file becomes the module ``odam_d2_import_<stem>`` and is run once: naming it again gives the same module. It is
    kept in ``sys.modules``, so objects of its classes can be pickled; a process that unpickles them must have imported
    the file as well.

    Args:
        name: path of a ``.py`` file, or the dotted name of a module on ``sys.path``.

    Returns:
        The module.

    Raises:
        ImportError: if there is no such file or module, or running it fails; the message is one sentence with the
            reason, and what went wrong inside is its ``__cause__``.
    """
    try:
        return _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise ImportError(
            f"`name` must be a .py file or the dotted name of a module, and import without an error; "
            f"got {name!r}, which failed with {type(error).__name__}: {reason}"
        ) from error


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = f"odam_d2_import_{path.stem}"
    if name in sys.modules:
        module = sys.modules[name]
        if module.__file__ != str(path):
            raise ValueError(f"{module.__file__} is already imported under the same stem, so rename one of the two")
        return module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # so it is for the name of a Python file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
