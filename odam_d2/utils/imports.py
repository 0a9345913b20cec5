"""Importing what a user names on the command line."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType


def look_in_working_directory() -> None:
    """Lets modules be imported from the working directory, after all other places, as for ``python -m``."""
    here = os.getcwd()
    if here not in (os.path.abspath(place) for place in sys.path):
        sys.path.append(here)


def import_file_or_module(name: str) -> ModuleType:
    """Imports a Python file or a module, so that what it registers can be used.

    A file that lies in a package (a folder with ``__init__.py``) is imported as the package's module, so that its
    relative imports work; so is the folder of a package itself. Any other file becomes the module
    ``odam_d2_import_<stem>`` and is run once: naming it again gives the same module, and so does a file that was
    imported by its stem, by a neighbour for example. It is kept in ``sys.modules``, so
    objects of its classes can be pickled; a process that unpickles them must have imported the file as well.

    Args:
        name: path of a ``.py`` file or of a package's folder, or the dotted name of a module on ``sys.path`` or in the
            working directory.

    Returns:
        The module.

    Raises:
        ImportError: if there is no such file or module, or running it fails; the message is one sentence with the
            reason, and what went wrong inside is its ``__cause__``.
    """
    try:
        if _is_package(Path(name)):
            return _import_from_package(Path(name).resolve())
        if name.endswith(".py"):
            file = Path(name).resolve()
            return _import_from_package(file) if _is_package(file.parent) else _import_file(file)
        look_in_working_directory()
        return importlib.import_module(name)
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise ImportError(
            f"`name` must be a .py file or the dotted name of a module, and import without an error; "
            f"got {name!r}, which failed with {type(error).__name__}: {reason}"
        ) from error


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


def _import_from_package(path: Path) -> ModuleType:
    """Imports a module of a package, or a package, by its name from the folder above the outermost package on."""
    parts, above = [path.stem], path.parent
    while _is_package(above):
        parts.insert(0, above.name)
        above = above.parent
    if parts[-1] == "__init__":
        parts.pop()
    if str(above) not in sys.path:
        sys.path.append(str(above))
    name = ".".join(parts)
    module = importlib.import_module(name)
    found = Path(getattr(module, "__file__", None) or "").resolve()
    if found not in (path, path / "__init__.py"):
        raise ValueError(f"the name {name!r} stands for {found} already, so import that, or rename one of the two")
    return module


def _import_file(path: Path) -> ModuleType:
    # Run again, it would register everything twice.
    known = sys.modules.get(path.stem)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == path:
        return known
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
