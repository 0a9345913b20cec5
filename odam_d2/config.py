"""The one configuration node of the project, ``cfg.ODAM``."""

from detectron2.config import CfgNode as CN


def add_odam_config(cfg: CN) -> None:
    """Adds the node ``cfg.ODAM`` with its defaults to a Detectron2 config, in place.

    Args:
        cfg: what :func:`detectron2.config.get_cfg` returned; call this before ``cfg.merge_from_file``.
    """
    cfg.ODAM = CN()

    # What `build_explainer(cfg=...)` and tools/explain.py use when nothing else is said.
    cfg.ODAM.METHOD = "odam"
    # Scalars to explain, y in the paper: "score" (in [0, 1]), "logit", the sides "left", "top", "right", "bottom"
    # (outward, model-input pixels), the corners "x1", "y1", "x2", "y2" (model-input pixels), "combined".
    cfg.ODAM.ATTRIBUTES = ("score", "left", "top", "right", "bottom")
    # Width of the Gaussian Phi that smooths the gradient, as a fraction of the box's side on the feature grid,
    # >= 0; 0 leaves the gradient as it is (Phi = identity).
    cfg.ODAM.SMOOTHING = 0.0
    # "auto" takes the fast engine that recognises the detector, else "autograd"; or an engine's name.
    cfg.ODAM.ENGINE = "auto"
    # Module path of the layer to explain on, e.g. "backbone.bottom_up.res4"; "" is the detection's own feature level.
    cfg.ODAM.LAYER = ""

    # The narrow ResNet behind the bundled detectors (MODEL.BACKBONE.NAME: build_compact_resnet_fpn_backbone).
    cfg.ODAM.COMPACT_RESNET = CN()
    # Channels of the stem (stride 4) and of res2 .. res5 (strides 4, 8, 16, 32).
    cfg.ODAM.COMPACT_RESNET.STEM_CHANNELS = 16
    cfg.ODAM.COMPACT_RESNET.CHANNELS = (32, 64, 128, 192)
    # Residual blocks in res2 .. res5, each of two 3 x 3 convolutions.
    cfg.ODAM.COMPACT_RESNET.BLOCKS = (1, 2, 2, 2)


# Stock names in a config -> our subclasses with the same weights and the same detections.
TRACED_META_ARCHITECTURES = {"GeneralizedRCNN": "OdamRCNN"}
TRACED_ROI_HEADS = {"StandardROIHeads": "OdamStandardROIHeads"}


def use_traced_architectures(cfg: CN) -> None:
    """Replaces Detectron2's detectors by the ones that can be explained, in place, so that a stock yaml just works.

    Names that are neither stock nor ours are left as they are: a project's own classes speak for themselves.

    Args:
        cfg: a config with the ODAM node, not frozen; ``MODEL.META_ARCHITECTURE`` and ``MODEL.ROI_HEADS.NAME`` change.
    """
    model = cfg.MODEL
    model.META_ARCHITECTURE = TRACED_META_ARCHITECTURES.get(model.META_ARCHITECTURE, model.META_ARCHITECTURE)
    model.ROI_HEADS.NAME = TRACED_ROI_HEADS.get(model.ROI_HEADS.NAME, model.ROI_HEADS.NAME)
