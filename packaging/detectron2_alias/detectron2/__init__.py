"""``import detectron2`` *is* ``LabGym.detectron2``: the same module objects under both names.

Detectron2 isn't on PyPI, but LabGym carries the whole of its Python code as ``LabGym.detectron2``. This package makes
that copy answer to its own name. There is never a second copy: a finder in front of the others answers
``detectron2.x`` with the module that ``LabGym.detectron2.x`` names, importing it first where need be. Classes thus
keep one identity, whichever name somebody imports first, in this process or in a spawned worker.

LabGym as a whole is GPL-3.0; its ``detectron2`` folder is Detectron2's own code under Apache-2.0. Nothing of either
is copied here. Installing the official package replaces this one.
"""

import importlib
import logging
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType

_ALIAS = "detectron2"
_REAL = "LabGym.detectron2"


class _SameModule(Loader):
    """Puts the module called `real` where the import system is about to look for its alias.

    The import system hands out what lies in ``sys.modules`` after `exec_module`. Swapping it there, rather than
    returning the real module from `create_module`, keeps the real module's ``__spec__`` from being overwritten.
    """

    def __init__(self, real: ModuleSpec) -> None:
        self._real = real

    def exec_module(self, module) -> None:
        sys.modules[module.__name__] = importlib.import_module(self._real.name)

    def get_code(self, fullname: str):
        """The code behind ``python -m detectron2.x``, which runs a module rather than importing it."""
        return self._real.loader.get_code(self._real.name)


class _AliasFinder(MetaPathFinder):
    """Finds ``detectron2.x`` wherever ``LabGym.detectron2.x`` is."""

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith(_ALIAS + "."):
            return None
        real = find_spec(_REAL + fullname[len(_ALIAS) :])
        if real is None:
            return None
        is_package = real.submodule_search_locations is not None
        return ModuleSpec(fullname, _SameModule(real), origin=real.origin, is_package=is_package)


class _ZooFinder(MetaPathFinder):
    """Lets the model zoo do without ``pkg_resources``, which setuptools has dropped and Python brings no more.

    The zoo asks it for one thing, the path of a file beside a package. While its module runs, and only then, a module
    that knows this stands in for it.
    """

    def find_spec(self, fullname, path=None, target=None):
        if fullname != _REAL + ".model_zoo.model_zoo":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _with_stand_in(run, module)
        return spec


def _with_stand_in(run, module) -> None:
    stand_in = ModuleType("pkg_resources")
    stand_in.resource_filename = lambda package, name: os.path.join(os.path.dirname(find_spec(package).origin), name)
    own = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = stand_in
    try:
        run(module)
    finally:
        if own is None:
            del sys.modules["pkg_resources"]
        else:
            sys.modules["pkg_resources"] = own


def _log_under_the_alias() -> None:
    """Makes a logger that is asked for by the copy's name that of the alias: the one that people set up and read.

    LabGym's copy calls its loggers after its modules. Those asked for before this package is imported keep their name.
    """
    manager = logging.root.manager
    find = manager.getLogger

    def get_logger(name: str) -> logging.Logger:
        inside = isinstance(name, str) and f"{name}.".startswith(f"{_REAL}.")
        return find(_ALIAS + name[len(_REAL) :] if inside else name)

    manager.getLogger = get_logger


_log_under_the_alias()
sys.meta_path.insert(0, _ZooFinder())
try:
    sys.modules[__name__] = importlib.import_module(_REAL)
except ModuleNotFoundError as error:
    if error.name not in ("LabGym", _REAL):
        raise
    raise ImportError(
        "detectron2 is installed as an alias of LabGym.detectron2, but LabGym isn't there: install the official "
        "package with `python -m pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/detectron2.git'`, or LabGym's copy with "
        "`make install` (by hand: `pip install --no-deps --ignore-requires-python LabGym==3.1.2`).",
        name=error.name,
    ) from error
sys.meta_path.insert(0, _AliasFinder())
