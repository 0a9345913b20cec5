"""Heat maps that explain single detections of Detectron2 models.

Importing the package registers its detectors, backbones and the addresses of its weights with Detectron2; data sets
are registered by :func:`odam_d2.data.register_datasets`.
Public names are loaded when they are first asked for.
"""

import importlib

from .utils.foreign_warnings import ignore_foreign_warnings

ignore_foreign_warnings()  # before Detectron2 is imported, which gives some of them

try:
    import detectron2  # noqa: F401
except ModuleNotFoundError as error:
    # Something that Detectron2 itself misses, or LabGym behind the alias, is told best by its own message.
    if error.name != "detectron2":
        raise
    raise ImportError(
        "odam_d2 needs detectron2, which isn't installed: get the official package with "
        "`pip install 'git+https://github.com/facebookresearch/detectron2.git'`, or LabGym's copy of it with "
        "`make install` (by hand: `pip install --no-deps --ignore-requires-python LabGym==3.1.2`, then "
        "`pip install --no-deps --no-build-isolation packaging/detectron2_alias`).",
        name="detectron2",
    ) from None

__version__ = "0.1.0"

# Public name -> the module that holds it.
_HOMES = {
    "CallableDetector": "odam_d2.meta_arch",
    "DetectionTrace": "odam_d2.structures",
    "HeatMaps": "odam_d2.structures",
    "OdamPredictor": "odam_d2.predictor",
    "add_odam_config": "odam_d2.config",
    "build_comparison": "odam_d2.explain",
    "build_explainer": "odam_d2.explain",
    "odam_nms": "odam_d2.ops.nms",
}
__all__ = [
    "CallableDetector",
    "DetectionTrace",
    "HeatMaps",
    "OdamPredictor",
    "add_odam_config",
    "build_comparison",
    "build_explainer",
    "model_zoo",
    "odam_nms",
]


def __getattr__(name: str):
    """Loads a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    """Lists the public names whether or not they are loaded yet."""
    return sorted({*globals(), *__all__})


from . import meta_arch, model_zoo  # noqa: E402, F401  registers them; the guard above must come first
