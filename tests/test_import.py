"""`import odam_d2`: its names, what it costs, and what it leaves alone. Each is tried in a fresh process."""

import ast
import inspect
import json
from pathlib import Path

import odam_d2

ROOT = Path(__file__).resolve().parents[1]


def test_names_are_plain_imports():
    """As an IDE sees them: every name of `__all__` is bound in the text of the file."""
    tree = ast.parse((ROOT / "odam_d2" / "__init__.py").read_text(encoding="utf-8"))
    bound = {name.asname or name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}
    bound |= {t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets}
    assert set(odam_d2.__all__) <= bound and not hasattr(odam_d2, "__getattr__")
    assert odam_d2.__all__ == sorted(odam_d2.__all__)


def test_all_that_users_need_is_there():
    from odam_d2 import (  # noqa: F401
        CallableDetector,
        DetectionTrace,
        HeatMaps,
        OdamPredictor,
        __version__,
        add_odam_config,
        build_comparison,
        build_explainer,
        comparison_from_config,
        explainer_from_config,
        model_zoo,
        odam_nms,
        show,
        use_traced_architectures,
    )

    asked = {name for name in locals() if not name.startswith("@")}  # those are pytest's
    assert set(odam_d2.__all__) == asked
    for name in odam_d2.__all__:
        assert name == "__version__" or inspect.getdoc(getattr(odam_d2, name)), name


PREDICT = """
    import json, sys, tempfile

    class Without:
        '''Makes OpenCV an uninstalled package, and remembers who asks for it.'''

        asked = []

        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if name.split(".")[0] == "cv2":
                frame = sys._getframe(1)
                while frame.f_globals.get("__name__", "").startswith(("importlib", "_frozen_importlib")):
                    frame = frame.f_back
                cls.asked.append(frame.f_globals["__name__"])
                raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    assert "cv2" not in sys.modules
    sys.meta_path.insert(0, Without)

    from odam_d2 import *
    import odam_d2, odam_d2.data, odam_d2.engine, odam_d2.env, odam_d2.evaluation, odam_d2.training
    from odam_d2.visualize import *
    odam_d2.data.register_datasets()
    odam_d2.env.collect_versions()
    predictor = OdamPredictor.from_zoo("synthetic/retinanet_compact_FPN", attributes=("score",))
    image = "datasets/demo/images/scene_demo_000000.jpg"
    instances = predictor(image)["instances"]
    explanation = show(image, instances)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("html", "jpg", "png"):
            explanation.save(f"{folder}/x.{suffix}")
    draw_detections(image, instances), draw_detection(image, instances, 0), draw_attribute_panel(image, instances, 0)
    print(json.dumps([name for name in Without.asked if name.startswith("odam_d2")]))
"""


def test_everything_public_works_without_opencv(fresh):
    """Detectron2 asks for it and does without; of this package only `env` asks, which tells the version."""
    assert json.loads(fresh(PREDICT).stdout) == ["odam_d2.env"]


def test_what_needs_opencv_says_so_where_it_is_missing(fresh):
    program = """
    import sys
    sys.modules["cv2"] = None
    import odam_d2
    from detectron2.data import DatasetCatalog
    odam_d2.data.register_datasets("nowhere")
    try:
        DatasetCatalog.get("synthetic_scene_demo")
    except ModuleNotFoundError as error:
        print(error.name)
    """
    assert fresh(program).stdout.strip() == "cv2"


def test_the_import_brings_nothing_heavy(fresh):
    """What draws, trains or needs a query detector is imported when somebody does so."""
    heavy = ("matplotlib", "transformers", "timm", "pandas", "scipy", "tensorboard", "IPython")
    heavy += ("detectron2.engine", "detectron2.evaluation", "odam_d2.evaluation", "odam_d2.engine", "odam_d2.cli")
    heavy += ("odam_d2.data.synthetic.scenes",)
    program = f"import odam_d2, sys; print([name for name in {heavy!r} if name in sys.modules])"
    assert fresh(program).stdout.strip() == "[]"


def test_data_sets_of_the_users_stay_theirs(fresh):
    program = """
    from detectron2.data import DatasetCatalog, MetadataCatalog
    names = ("crowdhuman_train", "crowdhuman_visible_val", "synthetic_scene_train", "synthetic_crowd_val_odgt")
    for name in names:
        DatasetCatalog.register(name, lambda name=name: ["theirs", name])
        MetadataCatalog.get(name).set(thing_classes=["theirs"])
    before = DatasetCatalog.list()
    import odam_d2
    from odam_d2.data import register_datasets
    assert DatasetCatalog.list() == before  # importing registers none
    register_datasets()
    register_datasets("elsewhere")  # a second call changes nothing either
    odam_d2.model_zoo.get_config("synthetic/fcos_compact_FPN")  # nor does one of the model zoo's
    for name in names:
        assert DatasetCatalog.get(name) == ["theirs", name], name
        assert MetadataCatalog.get(name).thing_classes == ["theirs"], name
    others = {"crowdhuman_val", "crowdhuman_visible_train", "synthetic_scene_val", "synthetic_crowd_train"}
    assert others <= set(DatasetCatalog.list())
    """
    fresh(program)


def test_one_name_that_is_taken_does_not_hinder_the_others(fresh):
    """What would be read from the files of a data set that is now somebody else's is left out."""
    program = """
    from detectron2.data import DatasetCatalog
    DatasetCatalog.register("synthetic_crowd_train", lambda: ["theirs"])
    from odam_d2.data import register_datasets
    register_datasets()
    assert DatasetCatalog.get("synthetic_crowd_train") == ["theirs"]
    assert "synthetic_crowd_train_odgt" not in DatasetCatalog.list()
    assert {"synthetic_crowd_val_odgt", "crowdhuman_train"} <= set(DatasetCatalog.list())
    """
    fresh(program)
