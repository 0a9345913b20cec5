"""Installs the alias as the distribution `detectron2`, so that the official one replaces it and the other way round."""

from setuptools import setup

setup(
    name="detectron2",
    # The local part differs from every official version: pip then sees an official Detectron2 as something else than
    # what is installed, and exchanges the two.
    version="0.6+labgym3.1.2",
    description="Lets `import detectron2` be the copy of Detectron2 that the package LabGym carries",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=["detectron2"],
    # LabGym isn't listed as a requirement: its own requirements (a GUI, TensorFlow, Python < 3.11) must not come along,
    # so it is installed with `pip install --no-deps --ignore-requires-python LabGym==3.1.2`.
    zip_safe=False,
)
