"""Packaging of odam_d2. Detectron2 isn't on PyPI: see packaging/detectron2_alias/README.md for how to get it."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithConfigs(build_py):
    """Ships the top-level `configs/` as `odam_d2/model_zoo/configs`.

    The copies go straight to the build folder, so the source tree stays as it is. An editable install copies nothing:
    there the model zoo finds `configs/` beside the package.
    """

    def _configs(self):
        """Maps each config file to the place it is built to, both as text; sources are relative to the root."""
        target = Path(self.build_lib) / "odam_d2" / "model_zoo" / "configs"
        sources = sorted(p for p in (ROOT / "configs").rglob("*") if p.suffix in (".yaml", ".py"))
        return {str(p.relative_to(ROOT)): str(target / p.relative_to(ROOT / "configs")) for p in sources}

    def run(self):
        super().run()
        if not self.editable_mode:
            for source, target in self._configs().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_source_files(self):
        # A source distribution takes its files from here.
        return [*super().get_source_files(), *self._configs()]

    def get_outputs(self, include_bytecode=True):
        built = [] if self.editable_mode else list(self._configs().values())
        return [*super().get_outputs(include_bytecode), *built]


def version():
    """The package's version, read without importing it: importing needs torch and Detectron2."""
    text = (ROOT / "odam_d2" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


setup(
    name="odam_d2",
    version=version(),
    description="Heat maps that explain single detections of Detectron2 models: which pixels, for which object",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["odam_d2", "odam_d2.*"]),
    py_modules=["odam_d2_cli"],  # not in the package, whose import takes seconds
    entry_points={"console_scripts": ["odam = odam_d2_cli:main"]},
    package_data={
        "odam_d2": ["py.typed"],  # tells type checkers that the package's annotations are meant for them
        "odam_d2.model_zoo": ["**/*.pth"],  # weights of the bundled small detectors
        "odam_d2.visualize": ["templates/*"],  # the report's page
        "odam_d2.serve": ["page/*"],  # the workbench's page
    },
    cmdclass={"build_py": BuildWithConfigs},
    install_requires=[
        # detectron2 can't be listed: PyPI doesn't have it. `import odam_d2` says what to do where it is missing.
        # OpenCV can't be either, since four distributions provide `cv2` and a requirement names one: an environment
        # that has opencv-python keeps it, others take the extra `opencv`.
        "torch>=2.1",  # everything is computed with it
        "torchvision>=0.16",  # NMS and RoIAlign; the release that goes with torch 2.1
        "numpy>=1.23",  # images and COCO's arrays
        "pillow>=10.1",  # reads and writes images; its default font can be scaled
        "jinja2>=3.0",  # the report's page
        "matplotlib>=3.6",  # colour maps and curves
        "pycocotools>=2.0.6",  # COCO annotations, run-length masks, AP
        "scipy>=1.9",  # rank correlation; detectron2.tracking imports it
        "tabulate>=0.9",  # tables in logs and in `python -m odam_d2.env`
        "safetensors>=0.4",  # reads weights in this format; small, and needs nothing itself
        # The next are Detectron2's own, repeated because LabGym's copy of it is installed without dependencies.
        "fvcore>=0.1.5,<0.1.6",  # registries, weight initialisation, checkpoints
        "iopath>=0.1.7,<0.1.10",  # the file layer, within the bounds of the official Detectron2
        "pyyaml>=6.0",  # under yacs and omegaconf; its errors are told in words
        "yacs>=0.1.8",  # yaml configs
        "omegaconf>=2.1,<2.4",  # LazyConfig
        "hydra-core>=1.1",  # LazyConfig's command-line overrides
        "cloudpickle>=2.0",  # dataset lists and config objects
        "termcolor>=1.1",  # coloured logs
        "tqdm>=4.29",  # progress bars
        "tensorboard>=2.10",  # training curves
        "setuptools<81",  # detectron2.model_zoo imports pkg_resources, which setuptools is dropping
    ],
    extras_require={
        "opencv": ["opencv-python-headless>=4.6"],
        # The widget of OdamPredictor.explore: it speaks over the notebook's kernel, without a port of its own.
        "notebook": ["anywidget>=0.9,<1"],
        # The query detectors behind OdamDETR; version 5 rewrote them, and 4.57 is what they were tested with.
        "detr": ["transformers>=4.57,<5"],
        # The server behind `odam serve`: addresses whose values are checked, and what listens.
        "serve": ["fastapi>=0.115", "uvicorn>=0.30"],
        # The site: Sphinx as Detectron2's own docs, a theme that needs no server, and notebooks that it executes.
        "docs": ["sphinx>=8", "furo>=2025", "myst-nb>=1.3", "ipykernel>=6"],
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "timm>=1.0",
            "playwright>=1.45",
            "ruff>=0.6",
            "mypy>=1.10",
            "pre-commit>=3.5",
        ],  # fmt: skip
    },
    zip_safe=False,
)
