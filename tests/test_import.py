"""What importing the package does, and what it leaves alone."""

import subprocess
import sys
from pathlib import Path

import odam_d2

ROOT = Path(__file__).resolve().parents[1]


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_public_names_are_plain_attributes():
    names = (
        "OdamPredictor build_explainer build_comparison explainer_from_config show HeatMaps odam_nms add_odam_config "
        "use_traced_architectures model_zoo CallableDetector"
    ).split()
    assert set(names) <= set(odam_d2.__all__) and all(name in vars(odam_d2) for name in odam_d2.__all__)
    assert "__getattr__" not in vars(odam_d2)


def test_data_sets_are_registered_by_a_call_that_leaves_others_alone():
    code = """
import warnings; warnings.simplefilter("ignore")
import detectron2.data as data
data.DatasetCatalog.register("crowdhuman_train", lambda: ["mine"])
import odam_d2
print([name for name in data.DatasetCatalog.list() if name.startswith(("synthetic", "crowdhuman"))])
from odam_d2.data import register_datasets
register_datasets(); register_datasets()
print(data.DatasetCatalog.get("crowdhuman_train"), "crowdhuman_val" in data.DatasetCatalog)
"""
    assert run(code).splitlines() == ["['crowdhuman_train']", "['mine'] True"]


def test_our_modules_do_without_opencv():
    # Detectron2's own visualizer imports it, where it is asked for; what this package imports must not.
    code = """
import builtins, sys, warnings; warnings.simplefilter("ignore")
real, asked = builtins.__import__, []
def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and name.split(".")[0] == "cv2":
        who = (globals or {}).get("__name__", "")
        asked.append(who)
        if who.startswith("odam_d2"):
            raise ImportError("no cv2 for " + who)
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = guarded
import odam_d2
from odam_d2 import OdamPredictor, show
from odam_d2.data import register_datasets
register_datasets()
image = "datasets/demo/images/scene_demo_000000.jpg"
found = OdamPredictor.from_zoo("synthetic/faster_rcnn_compact_FPN")(image)["instances"]
show(image, found)._repr_png_()
print([who for who in asked if who.startswith("odam_d2")])
"""
    assert run(code).splitlines()[-1] == "[]"
