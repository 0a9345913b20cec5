"""``import detectron2`` is ``LabGym.detectron2``: one set of modules under two names, whatever is imported first."""

import importlib
import io
import os
import pickle
import sys
import textwrap
from pathlib import Path

import detectron2
import pytest

from tests.wants import needs

# As it stands in the repository, which need not be the installed one.
ALIAS = Path(__file__).resolve().parents[1] / "packaging" / "detectron2_alias"
OFFICIAL_REMEDY = "python -m pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"

# The official package leaves no alias to check.
needs_alias = needs("LabGym's copy of Detectron2", detectron2.__name__ != "detectron2")


@needs_alias
@pytest.mark.parametrize(
    "name",
    [
        "",
        ".checkpoint",
        ".config",
        ".config.lazy",
        ".data",
        ".data.datasets.coco",
        ".data.transforms",
        ".engine.defaults",
        ".evaluation",
        ".layers",
        ".layers.roi_align",
        ".model_zoo",
        ".modeling",
        ".modeling.meta_arch.fcos",
        ".modeling.roi_heads.fast_rcnn",
        ".projects.point_rend",
        ".solver",
        ".structures",
        ".structures.boxes",
        ".utils.comm",
        ".utils.events",
    ],
)
def test_both_names_are_one_module(name):
    alias = importlib.import_module("detectron2" + name)
    real = importlib.import_module("LabGym.detectron2" + name)

    assert alias is real
    assert sys.modules["detectron2" + name] is sys.modules["LabGym.detectron2" + name]
    # The import system knows the module as what it is, so that reloading it and finding its files work.
    assert alias.__spec__.name == alias.__name__ == "LabGym.detectron2" + name


@needs_alias
def test_attributes_are_reached_by_every_form_of_import():
    import detectron2.utils.comm
    import detectron2.utils.comm as renamed
    from detectron2.utils import comm
    from detectron2.utils.comm import get_world_size

    assert comm is renamed is detectron2.utils.comm
    assert get_world_size is comm.get_world_size


@needs_alias
@pytest.mark.parametrize(
    "order",
    [
        "import LabGym.detectron2.structures.boxes, detectron2.structures.boxes",
        "from detectron2.structures import boxes; import detectron2.structures.boxes, LabGym.detectron2",
    ],
)
def test_import_order_does_not_matter(fresh, order):
    check = """
    import sys
    names = [name for name in sys.modules if name.split(".")[0] == "detectron2"]
    assert "detectron2.structures.boxes" in names
    assert all(sys.modules[name] is sys.modules["LabGym." + name] for name in names)
    files = [module.__file__ for name, module in sys.modules.items() if name.startswith("LabGym.detectron2")]
    assert len(files) == len(set(files))  # nothing was loaded twice
    """
    fresh(order + textwrap.dedent(check), path=[ALIAS])


@needs_alias
def test_spawned_worker_shares_classes_with_its_parent(fresh, tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing

            def enlarge(boxes):
                # What arrives was pickled by the parent; the worker knows the class under both names.
                import LabGym.detectron2.structures
                from detectron2.structures import Boxes
                assert type(boxes) is Boxes is LabGym.detectron2.structures.Boxes
                return Boxes(boxes.tensor + 1)

            if __name__ == "__main__":
                from detectron2.structures import Boxes
                import torch
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    result = pool.apply(enlarge, (Boxes(torch.zeros(1, 4)),))
                assert type(result) is Boxes
                print(result.tensor.tolist())
            """
        )
    )
    assert fresh(script=script, path=[ALIAS]).stdout.strip() == "[[1.0, 1.0, 1.0, 1.0]]"


@needs_alias
@pytest.mark.parametrize("package", ["detectron2", "LabGym.detectron2"])
def test_pickles_made_under_either_name_load(package):
    from detectron2.structures import BoxMode

    # Protocol 0 says "c<module>\n<name>\n" and stop: the class as a process with the package of that name wrote it.
    assert pickle.loads(f"c{package}.structures.boxes\nBoxMode\n.".encode()) is BoxMode


@needs_alias
def test_objects_survive_pickling():
    import torch
    from detectron2.structures import Boxes, Instances

    instances = Instances((4, 5), pred_boxes=Boxes(torch.tensor([[0.0, 1.0, 2.0, 3.0]])))
    copy = pickle.loads(pickle.dumps(instances))
    assert type(copy) is Instances and type(copy.pred_boxes) is Boxes
    assert copy.pred_boxes.tensor.tolist() == [[0.0, 1.0, 2.0, 3.0]]

    buffer = io.BytesIO()
    torch.save(instances, buffer)
    buffer.seek(0)
    assert type(torch.load(buffer, weights_only=False)) is Instances


@needs_alias
def test_module_runs_as_a_script(fresh):
    output = fresh(module="detectron2.utils.collect_env", path=[ALIAS]).stdout
    assert f"{detectron2.__version__} @{os.path.dirname(detectron2.__file__)}" in output


@needs_alias
@pytest.mark.parametrize("first", ["", "from LabGym.detectron2.utils.logger import setup_logger"])
@pytest.mark.parametrize("arguments", ["", "name='detectron2'"])
def test_logs_say_detectron2(fresh, tmp_path, first, arguments):
    """Also where the name is the stock default, which the copy changed; and never twice."""
    program = f"""
    import logging, detectron2
    {first or "from detectron2.utils.logger import setup_logger"}
    setup_logger({str(tmp_path)!r}, color=False, {arguments})
    import detectron2.checkpoint.detection_checkpoint, detectron2.utils.events as events
    from detectron2.utils.logger import log_first_n
    from detectron2.data.catalog import MetadataCatalog
    logging.getLogger("LabGym.detectron2.data").warning("by the copy's name")
    logging.getLogger("LabGym.detectron2").getChild("engine").warning("by its child's")
    logging.getLogger("detectron2.modeling").warning("by its own")
    events.CommonMetricPrinter(1).logger.warning("from the copy itself")
    logging.getLogger("LabGym.detectron2x").warning("somebody else")
    assert logging.getLogger("LabGym.detectron2") is logging.getLogger("detectron2")
    logging.getLogger("detectron2").setLevel(logging.ERROR)
    logging.getLogger("LabGym.detectron2.data").warning("not wanted")
    """
    told = fresh(program, path=[ALIAS])
    expected = [
        "detectron2.data WARNING: by the copy's name",
        "detectron2.engine WARNING: by its child's",
        "detectron2.modeling WARNING: by its own",
        "detectron2.utils.events WARNING: from the copy itself",
    ]
    for lines in (told.stdout.splitlines(), (tmp_path / "log.txt").read_text().splitlines()):
        assert [line.partition("] ")[2] for line in lines] == expected
    assert told.stderr.splitlines()[-1] == "somebody else"


@needs_alias
def test_lazy_config_builds_what_it_names(tmp_path):
    from detectron2.config import LazyConfig, instantiate
    from detectron2.layers import ShapeSpec

    (tmp_path / "base.py").write_text(
        "from detectron2.config import LazyCall as L\n"
        "from detectron2.layers import ShapeSpec\n"
        "shape = L(ShapeSpec)(channels=3)\n"
    )
    (tmp_path / "child.py").write_text("from .base import shape\nshape.stride = 8\n")
    config = LazyConfig.load(str(tmp_path / "child.py"))
    assert instantiate(config.shape) == ShapeSpec(channels=3, stride=8)

    # Saved as text, a class is found again by either name.
    config.shape._target_ = "detectron2.layers.ShapeSpec"
    LazyConfig.save(config, str(tmp_path / "saved.yaml"))
    assert type(instantiate(LazyConfig.load(str(tmp_path / "saved.yaml")).shape)) is ShapeSpec


@pytest.fixture
def extra_modules(tmp_path, monkeypatch):
    """Lets a test put modules of its own into LabGym's package; returns the function that writes one."""
    monkeypatch.setattr(detectron2, "__path__", [*detectron2.__path__, str(tmp_path)])
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]
    for name in [p.stem for p in tmp_path.glob("*.py")]:
        vars(detectron2).pop(name, None)


@needs_alias
@pytest.mark.parametrize("first", ["detectron2.odam_one", "LabGym.detectron2.odam_one"])
def test_circular_imports_through_both_names_meet_in_one_module(extra_modules, first):
    extra_modules("odam_one", "runs = []\nimport detectron2.odam_two\nruns.append(1)\n")
    extra_modules(
        "odam_two",
        "import detectron2.odam_one as alias, LabGym.detectron2.odam_one as real\n"
        "from detectron2 import odam_one\n"
        "assert alias is real is odam_one\n"
        "assert odam_one.runs == []\n",  # seen half way through its import, not run again
    )
    one = importlib.import_module(first)
    assert one.runs == [1]
    assert one is sys.modules["LabGym.detectron2.odam_one"]
    assert one is importlib.import_module("detectron2.odam_one")


@needs_alias
def test_failing_module_leaves_nothing_behind(extra_modules):
    extra_modules("odam_broken", "raise RuntimeError('broken on purpose')\n")
    for name in ("detectron2.odam_broken", "LabGym.detectron2.odam_broken") * 2:
        with pytest.raises(RuntimeError, match="broken on purpose"):
            importlib.import_module(name)
    assert not [name for name in sys.modules if "odam_broken" in name]


@needs_alias
def test_missing_module_is_reported_under_the_name_that_was_asked_for():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'detectron2\.nowhere'$"):
        importlib.import_module("detectron2.nowhere")


def blocking(package: str) -> str:
    """The text of a program's beginning after which `package` isn't installed."""
    return textwrap.dedent(
        f"""
        import sys

        class Blocker:
            def find_spec(name, path=None, target=None):
                if name == "{package}":
                    raise ModuleNotFoundError("No module named '{package}'", name="{package}")

        sys.meta_path.insert(0, Blocker)
        """
    )


@pytest.mark.parametrize(
    "missing, program",
    [
        ("LabGym", "import detectron2"),
        ("LabGym", "import detectron2.utils.comm"),
        ("LabGym", "import odam_d2"),
        ("detectron2", "import odam_d2"),
    ],
)
def test_one_error_names_both_remedies(fresh, missing, program):
    result = fresh(blocking(missing) + program, path=[ALIAS], check=False)
    message = result.stderr.strip().splitlines()[-1]

    assert result.returncode == 1
    assert message.startswith("ImportError: ")
    assert OFFICIAL_REMEDY in message
    assert "make install" in message and "LabGym==3.1.2" in message


@needs_alias
def test_the_model_zoo_does_without_pkg_resources(fresh):
    """It is neither imported, where it is there, nor missed where it isn't; who wants it gets the real one."""
    program = """
    import sys

    class Gone:
        def find_spec(self, name, path=None, target=None):
            if name == "pkg_resources":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Gone())
    from detectron2 import model_zoo

    file = model_zoo.get_config_file("COCO-Detection/retinanet_R_50_FPN_1x.yaml")
    assert file.endswith("model_zoo/configs/COCO-Detection/retinanet_R_50_FPN_1x.yaml"), file
    assert len(model_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x.py").model) > 3
    assert "pkg_resources" not in sys.modules
    try:
        import pkg_resources
    except ModuleNotFoundError:
        print("still missing")
    """
    assert fresh(program, path=[ALIAS]).stdout.strip() == "still missing"
