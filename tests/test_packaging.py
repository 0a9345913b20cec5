"""What is installed holds everything that the package reads, not only its modules, and works without the checkout."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.wants import find_program, require

ROOT = Path(__file__).resolve().parents[1]


def test_all_that_is_no_module_is_installed_as_well(tmp_path):
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    built = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    wanted = [path for path in (ROOT / "odam_d2").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {str(path.relative_to(ROOT)) for path in wanted}
    configs = [path for path in (ROOT / "configs").rglob("*") if path.suffix in (".yaml", ".py")]
    wanted |= {f"odam_d2/model_zoo/configs/{path.relative_to(ROOT / 'configs')}" for path in configs}
    assert "odam_d2/py.typed" in wanted and "odam_d2/visualize/templates/report.html" in wanted
    assert built == wanted | {"odam_d2_cli.py"}


# What the official Detectron2 asks for: an environment with our versions must be able to take it.
OFFICIAL = (
    "Pillow>=7.1", "matplotlib", "pycocotools>=2.0.2", "termcolor>=1.1", "yacs>=0.1.8", "tabulate", "cloudpickle",
    "tqdm>4.29.0", "tensorboard", "fvcore<0.1.6,>=0.1.5", "iopath<0.1.10,>=0.1.7", "omegaconf<2.4,>=2.1",
    "hydra-core>=1.1", "packaging",
)  # fmt: skip


def test_our_versions_are_the_official_detectron2s():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(one.name): next(iter(one.specifier)).version for one in pinned}
    for wanted in map(Requirement, OFFICIAL):
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), wanted
    bounds = {canonicalize_name(one.name): one.specifier for one in map(Requirement, requires("setup.py"))}
    # None of ours leads pip to what the official package refuses.
    for name, refused in (("iopath", "0.1.10"), ("fvcore", "0.1.6"), ("omegaconf", "2.4")):
        assert not bounds[name].contains(refused), name


def requires(path: str) -> list[str]:
    """The list ``install_requires`` of a setup.py, which is not run."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "install_requires":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} has no install_requires")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel of the tracked files, as pip installs it: nothing else of the checkout is in it."""
    require("git", find_program("git") is not None)
    folder = tmp_path_factory.mktemp("wheel")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    require("git's list of files", listing.returncode == 0, listing.stderr.strip())
    for name in listing.stdout.split("\0"):
        if name.startswith(("odam_d2", "configs/", "setup.py", "pyproject.toml")) and (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-index"]
    wheels = str(folder / "wheels")
    run([*pip, "wheel", *offline, "--no-build-isolation", "-w", wheels, "."], folder / "source")
    (wheel,) = (folder / "wheels").glob("odam_d2-*.whl")
    run([*pip, "install", *offline, "--target", str(folder / "site"), str(wheel)], folder)
    return folder / "site"


def run(command, folder, **variables):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_wheel_explains_an_image_in_an_empty_folder(installed, tmp_path):
    photograph = sorted((ROOT / "datasets" / "demo" / "images").glob("*.jpg"))[0]
    shutil.copyfile(photograph, tmp_path / "x.jpg")
    command = [str(installed / "bin" / "odam"), "explain", "--config-file", "synthetic/faster_rcnn_compact_FPN"]
    command += ["--input", "x.jpg", "--output", "out", "MODEL.DEVICE", "cpu"]
    told = run([sys.executable, *command], tmp_path, PYTHONPATH=str(installed), OMP_NUM_THREADS="1")
    assert "1 images, " in told and ", 0 failed" in told
    assert (tmp_path / "out" / "report" / "index.html").is_file()
    assert (tmp_path / "out" / "x" / "heatmaps.npz").is_file()
    assert f'"command": "odam explain {" ".join(command[2:])}"' in (tmp_path / "out" / "run.json").read_text()
    where = "import odam_d2, odam_d2_cli; print(odam_d2.__file__, odam_d2_cli.__file__)"
    files = run([sys.executable, "-c", where], tmp_path, PYTHONPATH=str(installed)).split()
    assert files == [str(installed / "odam_d2" / "__init__.py"), str(installed / "odam_d2_cli.py")]
