"""Whether Detectron2's compiled operators are there: the copy on PyPI has none."""

import importlib


def is_compiled() -> bool:
    """Whether ``detectron2._C`` can be imported, which one that was built for another torch can't."""
    try:
        importlib.import_module("detectron2._C")
    except ImportError:
        return False
    return True
