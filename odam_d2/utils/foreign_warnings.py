"""Warnings that Detectron2 and what it stands on give of themselves, and that nobody who explains a detector can heed.

They are ignored by name, from the import of this package on; all others come through. The tests take every warning for
an error but these.
"""

import logging
import re
import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class ForeignWarning:
    """A warning of somebody else's.

    Attributes:
        message: regular expression for the beginning of its text, without a colon, which pytest takes for an end.
        category: the class of the warning.
        module: regular expression for the beginning of the name of the module that gives it.
        reason: where it comes from and why it is none of ours.
    """

    message: str
    category: type[Warning]
    module: str
    reason: str

    def option(self) -> str:
        """As a line of pytest's `filterwarnings`.

        What a ``pytest.warns`` didn't expect is given once more, by the file's path in the module's place.
        """
        module = self.module.replace(r"\.", "[./]")
        return f"ignore:{self.message}:{self.category.__name__}:(.*/)?{module}"


IGNORED = (
    ForeignWarning(
        r"`torch\.jit\.script` is ",
        FutureWarning,
        r"torch\.jit\._script",
        "detectron2.modeling.box_regression compiles two classes when it is imported",
    ),
    ForeignWarning(
        r"torch\.meshgrid",
        UserWarning,
        r"torch\.functional",
        "detectron2.modeling.anchor_generator leaves out `indexing`, whose default it means",
    ),
    ForeignWarning(
        "pkg_resources is deprecated as an API",
        UserWarning,
        r"((LabGym\.)?detectron2\.(model_zoo|config\.lazy)|torch\.utils\.cpp_extension)",
        "the official detectron2.model_zoo and torch 2.1 use it; setup.py holds setuptools at a version that has it",
    ),
    ForeignWarning(
        r"You'd better set embed_dim \(d_model\)",
        UserWarning,
        r"transformers\.models\.",
        "transformers speaks of a CUDA kernel that isn't used here",
    ),
    ForeignWarning(
        "The given NumPy array is not writable",
        UserWarning,
        r"(LabGym\.)?detectron2\.data\.(detection_utils|dataset_mapper)",
        "detectron2.data makes tensors of decoded masks and of grey images, and writes to none of them",
    ),
    ForeignWarning(
        r"Importing from timm\.models\.layers is deprecated",
        FutureWarning,
        r"timm\.models\.layers",
        "detectron2.modeling.backbone.vit imports timm's layers from their former place",
    ),
    ForeignWarning(
        "__array__ implementation doesn't accept a copy keyword",
        DeprecationWarning,
        r"(LabGym\.)?detectron2\.evaluation\.sem_seg_evaluation",
        "detectron2.evaluation.sem_seg_evaluation makes an array of a tensor, which copies it either way",
    ),
    ForeignWarning(
        "The 'warn' method is deprecated",
        DeprecationWarning,
        r"(LabGym\.)?detectron2\.",
        "detectron2.evaluation.coco_evaluation logs by a method's former name",
    ),
    ForeignWarning(
        "unclosed file",
        ResourceWarning,
        r"(LabGym\.)?detectron2\.engine\.defaults",
        "detectron2.engine.default_setup reads the config file and doesn't close it",
    ),
    ForeignWarning(
        "`broadcast_buffers` is deprecated",
        FutureWarning,
        r"(LabGym\.)?detectron2\.engine\.defaults",
        "detectron2.engine.create_ddp_model names the option so",
    ),
    ForeignWarning(
        "__array__ implementation doesn't accept a copy keyword",
        DeprecationWarning,
        r"(pycocotools\.mask|(LabGym\.)?detectron2\.evaluation\.coco_evaluation)",
        "pycocotools and detectron2.evaluation.coco_evaluation were written for NumPy 1",
    ),
    ForeignWarning(
        "TypedStorage is deprecated",
        UserWarning,
        r"torch\.",
        "torch 2.1 itself, when it reads checkpoints without running what is in them",
    ),
    ForeignWarning(
        "You are using `torch.load` with `weights_only=False`",
        FutureWarning,
        r"(fvcore\.common\.checkpoint|(LabGym\.)?detectron2\.checkpoint)",
        "Detectron2's checkpointers leave the default to torch, of which 2.4 and 2.5 warn",
    ),
)


# Logged rather than warned of: logger, and what marks the records that are none of ours.
IGNORED_RECORDS = {
    # detectron2.modeling.poolers asks, and either answer will do for it.
    "torch.fx._symbolic_trace": re.compile("is_fx_tracing will return true for both"),
    # detectron2.utils.collect_env asks what could be compiled, on machines without a GPU as well.
    "torch.utils.cpp_extension": re.compile("No CUDA runtime is found"),
    # Of the configs that Detectron2 brings along; of anybody else's it is told.
    "fvcore.common.config": re.compile("Loading config .*/detectron2/model_zoo/configs/.* with yaml.unsafe_load"),
}


def ignore_foreign_warnings() -> None:
    """Ignores them in this process, now and later."""
    for one in IGNORED:
        warnings.filterwarnings("ignore", one.message, one.category, one.module)
    for name in IGNORED_RECORDS:
        logging.getLogger(name).addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    return not IGNORED_RECORDS[record.name].match(record.getMessage())
