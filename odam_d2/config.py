"""The one configuration node of the project, ``cfg.ODAM``."""

import detectron2
from detectron2.config import CfgNode as CN
from detectron2.modeling import META_ARCH_REGISTRY, PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf


def add_odam_config(cfg: CN) -> None:
    """Adds the node ``cfg.ODAM`` with its defaults to a Detectron2 config, in place.

    Args:
        cfg: what :func:`detectron2.config.get_cfg` returned; call this before ``cfg.merge_from_file``.
    """
    cfg.ODAM = CN()

    # What tools/explain.py uses when nothing else is said.
    cfg.ODAM.METHOD = "odam"
    # Scalars to explain, y in the paper: "score" (in [0, 1]), "logit", the sides "left", "top", "right", "bottom"
    # (outward, model-input pixels), the corners "x1", "y1", "x2", "y2" (model-input pixels), "combined".
    cfg.ODAM.ATTRIBUTES = ("score", "left", "top", "right", "bottom")
    # Width of the Gaussian Phi that smooths the gradient, as a fraction of the box's side on the feature grid,
    # >= 0; 0 leaves the gradient as it is (Phi = identity).
    cfg.ODAM.SMOOTHING = 0.0
    # "auto" takes the fast engine that recognises the detector, else "autograd"; or an engine's name.
    cfg.ODAM.ENGINE = "auto"
    # How group norm (in FCOS's head) is taken: "frozen", at its statistics, near and quick; "exact", slower.
    cfg.ODAM.GROUP_NORM = "frozen"
    # Module path of the layer to explain on, e.g. "backbone.bottom_up.res4"; "" is the detection's own feature level.
    cfg.ODAM.LAYER = ""

    # The points detector FCOS, which Detectron2 itself configures in Python only; keys as under MODEL.RETINANET.
    cfg.ODAM.FCOS = CN()
    cfg.ODAM.FCOS.NUM_CLASSES = 80
    cfg.ODAM.FCOS.IN_FEATURES = ("p3", "p4", "p5", "p6", "p7")
    # Convolutions before the output convolutions, in each of the two branches.
    cfg.ODAM.FCOS.NUM_CONVS = 4
    # Norm behind each of them: "", "GN" or another name that Detectron2's get_norm knows.
    cfg.ODAM.FCOS.NORM = "GN"
    cfg.ODAM.FCOS.PRIOR_PROB = 0.01
    # Locations this many strides around an object's centre are positive in training.
    cfg.ODAM.FCOS.CENTER_SAMPLING_RADIUS = 1.5
    cfg.ODAM.FCOS.FOCAL_LOSS_ALPHA = 0.25
    cfg.ODAM.FCOS.FOCAL_LOSS_GAMMA = 2.0
    cfg.ODAM.FCOS.SCORE_THRESH_TEST = 0.2
    cfg.ODAM.FCOS.TOPK_CANDIDATES_TEST = 1000
    cfg.ODAM.FCOS.NMS_THRESH_TEST = 0.6

    # The narrow ResNet behind the bundled detectors (MODEL.BACKBONE.NAME: build_compact_resnet_fpn_backbone).
    cfg.ODAM.COMPACT_RESNET = CN()
    # Channels of the stem (stride 4) and of res2 .. res5 (strides 4, 8, 16, 32).
    cfg.ODAM.COMPACT_RESNET.STEM_CHANNELS = 16
    cfg.ODAM.COMPACT_RESNET.CHANNELS = (32, 64, 128, 192)
    # Residual blocks in res2 .. res5, each of two 3 x 3 convolutions.
    cfg.ODAM.COMPACT_RESNET.BLOCKS = (1, 2, 2, 2)


# Stock names in a config -> our subclasses with the same weights and the same detections.
TRACED_META_ARCHITECTURES = {
    "FCOS": "OdamFCOS",
    "GeneralizedRCNN": "OdamRCNN",
    "ProposalNetwork": "OdamProposalNetwork",
    "RetinaNet": "OdamRetinaNet",
}
TRACED_PROPOSAL_GENERATORS = {"RPN": "OdamRPN"}
TRACED_ROI_HEADS = {
    "StandardROIHeads": "OdamStandardROIHeads",
    "CascadeROIHeads": "OdamCascadeROIHeads",
    "Res5ROIHeads": "OdamRes5ROIHeads",
}


def use_traced_architectures(cfg: CN | DictConfig) -> None:
    """Replaces Detectron2's detectors by the ones that can be explained, in place, so that a stock config just works.

    Names that are neither stock nor ours are left as they are: a project's own classes speak for themselves.

    Args:
        cfg: a yaml config with the ODAM node, not frozen, of which ``MODEL.META_ARCHITECTURE``,
            ``MODEL.ROI_HEADS.NAME`` and ``MODEL.PROPOSAL_GENERATOR.NAME`` change; or a LazyConfig (or its ``model``),
            of which every ``_target_`` changes that is one of these classes.
    """
    if isinstance(cfg, DictConfig):
        _swap_targets(cfg)
        return
    model = cfg.MODEL
    model.META_ARCHITECTURE = TRACED_META_ARCHITECTURES.get(model.META_ARCHITECTURE, model.META_ARCHITECTURE)
    for node, names in ((model.ROI_HEADS, TRACED_ROI_HEADS), (model.PROPOSAL_GENERATOR, TRACED_PROPOSAL_GENERATORS)):
        node.NAME = names.get(node.NAME, node.NAME)


def _swap_targets(node) -> None:
    """The LazyConfig's half of :func:`use_traced_architectures`, for a node and all below it."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            node._target_ = _traced_target(node._target_)
        plain = [k for k in node if not OmegaConf.is_interpolation(node, k) and not OmegaConf.is_missing(node, k)]
        for key in plain:
            _swap_targets(node[key])
    elif isinstance(node, ListConfig):
        for key in range(len(node)):
            if not OmegaConf.is_interpolation(node, key) and not OmegaConf.is_missing(node, key):
                _swap_targets(node[key])


def _traced_target(target):
    """Our class for one of Detectron2's own (or its dotted name); anything else as it is."""
    kind = locate(target) if isinstance(target, str) else target
    if not getattr(kind, "__module__", "").startswith(f"{detectron2.__name__}."):
        return target
    tables = (
        (META_ARCH_REGISTRY, TRACED_META_ARCHITECTURES),
        (ROI_HEADS_REGISTRY, TRACED_ROI_HEADS),
        (PROPOSAL_GENERATOR_REGISTRY, TRACED_PROPOSAL_GENERATORS),
    )
    found = [registry.get(names[kind.__name__]) for registry, names in tables if kind.__name__ in names]
    return found[0] if found else target
