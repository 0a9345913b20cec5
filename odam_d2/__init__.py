"""Heat maps that explain single detections of Detectron2 models.

Importing the package registers its detectors, its backbones and the addresses of its weights with Detectron2. It
registers no data sets: :func:`odam_d2.data.register_datasets` does.
"""

from .utils.foreign_warnings import ignore_foreign_warnings

ignore_foreign_warnings()  # before Detectron2 is imported, which gives some of them

try:
    import detectron2  # noqa: F401
except ModuleNotFoundError as error:
    # If Detectron2 is there and misses something, its own message says it best; so does that of the alias.
    if error.name != "detectron2":
        raise
    raise ImportError(
        "odam_d2 needs detectron2, which isn't installed: get the official package with `python -m pip install "
        "--no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'`, or LabGym's copy of it with "
        "`make install` (by hand: `pip install --no-deps --ignore-requires-python LabGym==3.1.2`, then "
        "`pip install --no-deps --no-build-isolation packaging/detectron2_alias`).",
        name="detectron2",
    ) from None

# The guard above must come first.
from . import model_zoo  # noqa: E402
from .config import add_odam_config, use_traced_architectures  # noqa: E402
from .explain import (  # noqa: E402
    build_comparison,
    build_explainer,
    comparison_from_config,
    explainer_from_config,
)
from .meta_arch import CallableDetector  # noqa: E402
from .ops.nms import odam_nms  # noqa: E402
from .predictor import OdamPredictor  # noqa: E402
from .structures import DetectionTrace, HeatMaps  # noqa: E402
from .visualize import show  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "CallableDetector",
    "DetectionTrace",
    "HeatMaps",
    "OdamPredictor",
    "__version__",
    "add_odam_config",
    "build_comparison",
    "build_explainer",
    "comparison_from_config",
    "explainer_from_config",
    "model_zoo",
    "odam_nms",
    "show",
    "use_traced_architectures",
]
