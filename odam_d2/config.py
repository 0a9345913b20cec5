"""The one configuration node of the project, ``cfg.ODAM``."""

from typing import Any

from detectron2.config import CfgNode as CN
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    GeneralizedRCNN,
    PanopticFPN,
    ProposalNetwork,
    RetinaNet,
)
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf


def add_odam_config(cfg: CN) -> None:
    """Adds the node ``cfg.ODAM`` with its defaults to a Detectron2 config, in place.

    Args:
        cfg: what :func:`detectron2.config.get_cfg` returned; call this before ``cfg.merge_from_file``.
    """
    cfg.ODAM = CN()

    # How to explain, unless an option of a command or an argument says otherwise: a key of odam_d2.explain.METHODS. The
    # keys below that the method has no use for are ignored.
    cfg.ODAM.METHOD = "odam"
    # Scalars to explain, y in the paper: "score" (in [0, 1]), "logit", the sides "left", "top", "right", "bottom"
    # (outward, model-input pixels), the corners "x1", "y1", "x2", "y2" (model-input pixels), "combined"; "mask" and
    # keypoints such as "keypoint_nose" where the detector has them.
    cfg.ODAM.ATTRIBUTES = ("score", "left", "top", "right", "bottom")
    # Width of the Gaussian Phi that smooths the gradient, as a fraction of the box's side on the feature grid,
    # >= 0; 0 leaves the gradient as it is (Phi = identity).
    cfg.ODAM.SMOOTHING = 0.0
    # Whether each map is divided by the mean map of predictions drawn at random, whose shape all maps of a level share;
    # for RetinaNet, FCOS and region proposals alone.
    cfg.ODAM.CENTER_PRIOR = False
    # Gradient engine: "auto" takes the fast one that recognises the detector, else "autograd"; or an engine's name.
    cfg.ODAM.ENGINE = "auto"
    # Group norm in a dense head (FCOS), whose statistics couple all cells of a level: "carried" takes this along to
    # within some hundredths, fast; "frozen" takes statistics as constants, a little faster, far off on coarse levels;
    # "exact" leaves nothing out, and is slow.
    cfg.ODAM.GROUP_NORM = "carried"
    # Module path of the layer to explain on, e.g. "backbone.bottom_up.res4"; "" is the detection's own feature level.
    cfg.ODAM.LAYER = ""

    # Odam-NMS, in place of the non-max suppression of two-stage detectors, RetinaNet and FCOS. Query detectors, which
    # suppress nothing, and region proposals, which have no class, ignore it.
    cfg.ODAM.NMS = CN()
    # Whether Odam-NMS is used.
    cfg.ODAM.NMS.ENABLED = False
    # "hard": boxes are dropped, as published. "soft": scores of duplicates decay, by IoU + WEIGHT * likeness of maps.
    cfg.ODAM.NMS.METHOD = "hard"
    # Of "soft": the weight of likeness, >= 0.
    cfg.ODAM.NMS.WEIGHT = 0.75
    # Of "soft": a score is multiplied by exp(-(IoU + WEIGHT * likeness)^2 / SIGMA), > 0.
    cfg.ODAM.NMS.SIGMA = 2.0
    # IoU above which two boxes overlap, T in the paper, in [0, 1]; replaces the detector's NMS_THRESH_TEST. None
    # for the published value: .6 two-stage (Faster R-CNN), .5 one-stage (FCOS; none was published for RetinaNet).
    cfg.ODAM.NMS.IOU_THRESH = None
    # Boxes that overlap are one object if the cosine of their maps is at least this, T_l in the paper, in [-1, 2]. None
    # for the published value: .3 two-stage, .2 one-stage.
    cfg.ODAM.NMS.LOW = None
    # Boxes that don't overlap are one object if the cosine of their maps is at least this, T_h in the paper, in
    # [-1, 2], at least LOW. None for the published value: .7 two-stage, .8 one-stage.
    cfg.ODAM.NMS.HIGH = None
    # Model-input pixels per cell of the grid that maps are compared on, > 0; 8 to 16 in the paper.
    cfg.ODAM.NMS.STRIDE = 8.0
    # Boxes of an image that are compared, >= 1: the best of those above the detector's score threshold.
    cfg.ODAM.NMS.MAX_CANDIDATES = 1000
    # How many times the candidates' boxes go through a two-stage detector's heads again before their maps are taken,
    # >= 0; 0, maps of the proposals, is as published.
    cfg.ODAM.NMS.REPOOL = 0
    # Group norm in the maps that are compared, see ODAM.GROUP_NORM.
    cfg.ODAM.NMS.GROUP_NORM = "frozen"
    # Whose maps are compared, an attribute; None for the class score, as published: "score" two-stage, and "logit"
    # one-stage, whose maps equal those of its sigmoid up to a factor.
    cfg.ODAM.NMS.ATTRIBUTE = None

    # FCOS, which Detectron2 itself configures in Python only; keys as under MODEL.RETINANET.
    cfg.ODAM.FCOS = CN()
    # Number of classes, without background.
    cfg.ODAM.FCOS.NUM_CLASSES = 80
    # The backbone's maps that the head reads, fine to coarse.
    cfg.ODAM.FCOS.IN_FEATURES = ("p3", "p4", "p5", "p6", "p7")
    # Convolutions before the output convolutions, in each of the two branches.
    cfg.ODAM.FCOS.NUM_CONVS = 4
    # Norm after each of these convolutions: "", "GN" or another name that Detectron2's get_norm knows.
    cfg.ODAM.FCOS.NORM = "GN"
    # Score that an untrained head gives, in (0, 1); sets the bias of its class outputs.
    cfg.ODAM.FCOS.PRIOR_PROB = 0.01
    # Locations within this many strides of an object's centre are positive in training.
    cfg.ODAM.FCOS.CENTER_SAMPLING_RADIUS = 1.5
    # Weight of positives in the focal loss, in [0, 1].
    cfg.ODAM.FCOS.FOCAL_LOSS_ALPHA = 0.25
    # Exponent of the focal loss, >= 0.
    cfg.ODAM.FCOS.FOCAL_LOSS_GAMMA = 2.0
    # Lowest score of a detection, in [0, 1].
    cfg.ODAM.FCOS.SCORE_THRESH_TEST = 0.2
    # Candidates of each level before non-max suppression.
    cfg.ODAM.FCOS.TOPK_CANDIDATES_TEST = 1000
    # IoU above which non-max suppression drops the box with the lower score, in [0, 1].
    cfg.ODAM.FCOS.NMS_THRESH_TEST = 0.6

    # The narrow ResNet of the bundled detectors (MODEL.BACKBONE.NAME: build_compact_resnet_fpn_backbone).
    cfg.ODAM.COMPACT_RESNET = CN()
    # Channels of the stem (stride 4).
    cfg.ODAM.COMPACT_RESNET.STEM_CHANNELS = 16
    # Channels of res2 .. res5 (strides 4, 8, 16, 32).
    cfg.ODAM.COMPACT_RESNET.CHANNELS = (32, 64, 128, 192)
    # Residual blocks in res2 .. res5, each of two 3 x 3 convolutions.
    cfg.ODAM.COMPACT_RESNET.BLOCKS = (1, 2, 2, 2)

    # A query detector of Hugging Face transformers (extra `detr`).
    cfg.ODAM.DETR = CN()
    # Its class: DetrForObjectDetection, ConditionalDetrForObjectDetection, RTDetrForObjectDetection or
    # RTDetrV2ForObjectDetection.
    cfg.ODAM.DETR.ARCHITECTURE = "DetrForObjectDetection"
    # Name or folder for the class's `from_pretrained`, which then decides all sizes; "" builds random weights offline
    # from the keys below.
    cfg.ODAM.DETR.FROM_PRETRAINED = ""
    # Number of classes, without "no object".
    cfg.ODAM.DETR.NUM_CLASSES = 80
    # Number of object queries.
    cfg.ODAM.DETR.NUM_QUERIES = 100
    # Channels of encoder and decoder; a multiple of ATTENTION_HEADS.
    cfg.ODAM.DETR.D_MODEL = 256
    # Transformer layers of the encoder.
    cfg.ODAM.DETR.ENCODER_LAYERS = 6
    # Transformer layers of the decoder.
    cfg.ODAM.DETR.DECODER_LAYERS = 6
    # Attention heads of each layer.
    cfg.ODAM.DETR.ATTENTION_HEADS = 8
    # Hidden channels of each layer's feed-forward part.
    cfg.ODAM.DETR.FEEDFORWARD_DIM = 2048
    # Dropout in training, in [0, 1).
    cfg.ODAM.DETR.DROPOUT = 0.1
    # Whether every decoder layer has losses in training.
    cfg.ODAM.DETR.AUXILIARY_LOSS = True
    # Queries made from noisy annotations in training; RT-DETR only, 0 for none.
    cfg.ODAM.DETR.NUM_DENOISING = 100
    # The network's own ResNet.
    cfg.ODAM.DETR.RESNET = CN()
    # Channels of the stem (stride 4).
    cfg.ODAM.DETR.RESNET.STEM_WIDTH = 64
    # Channels of the four stages (strides 4, 8, 16, 32).
    cfg.ODAM.DETR.RESNET.WIDTHS = (256, 512, 1024, 2048)
    # Blocks of each stage.
    cfg.ODAM.DETR.RESNET.DEPTHS = (3, 4, 6, 3)
    # Kind of the blocks: "basic" or "bottleneck".
    cfg.ODAM.DETR.RESNET.BLOCK = "bottleneck"
    # Whether its batch norms are frozen. RT-DETR can train them; the others always freeze them.
    cfg.ODAM.DETR.RESNET.FREEZE_NORMS = True
    # Maps of the Detectron2 backbone that MODEL.BACKBONE names, fine to coarse, which replace the ResNet's: three for
    # RT-DETR, one for the others; empty keeps the ResNet.
    cfg.ODAM.DETR.IN_FEATURES = ()
    # Lowest score of a detection, in [0, 1]; TEST.DETECTIONS_PER_IMAGE limits their number.
    cfg.ODAM.DETR.SCORE_THRESH_TEST = 0.05
    # The network's label of each class, where they are not 0, 1, 2, ...: official weights have COCO's own category ids.
    cfg.ODAM.DETR.LABELS = ()
    # What to explain on: the maps that come out of "backbone", "projection" or "encoder". "_own_query" behind it leaves
    # out what reaches a query through the other queries (keys and values of the decoder's self-attention), which has
    # less heat on other objects; the paper's ODAM has it in.
    cfg.ODAM.DETR.LAYER = "encoder_own_query"
    # Further arguments of the architecture's own config, by their names there.
    cfg.ODAM.DETR.EXTRA = CN(new_allowed=True)

    # Odam-Train: losses on the heat maps of training positives, for OdamRCNN, OdamPanopticFPN, OdamRetinaNet and
    # OdamFCOS.
    cfg.ODAM.TRAIN = CN()
    # Factor on both losses, lambda in the paper, >= 0; published: 0.2 for two-stage, 0.5 for one-stage detectors. 0 is
    # the stock training step.
    cfg.ODAM.TRAIN.WEIGHT = 0.0
    # Iterations over which the factor rises to WEIGHT in equal steps, >= 0; 0 as published.
    cfg.ODAM.TRAIN.WARMUP_ITERS = 0
    # Whether learning flows through G in h = ReLU(sum G * A) as well; False, through A alone, is as published.
    cfg.ODAM.TRAIN.SECOND_ORDER = False
    # Positives of an image that are explained, those of the highest IoU, >= 1.
    cfg.ODAM.TRAIN.MAX_POSITIVES = 300
    # Objects whose annotated boxes overlap by more than this IoU are not held apart, in [0, 1]; 1 holds all apart.
    cfg.ODAM.TRAIN.DUPLICATE_IOU = 1.0
    # Model-input pixels per cell of the grid on which maps are compared, > 0.
    cfg.ODAM.TRAIN.STRIDE = 8.0
    # "log": the published losses; "ranking": pairs of one object should be more alike than pairs of two.
    cfg.ODAM.TRAIN.LOSS = "log"
    # Of "ranking": the difference of similarities that counts as one, > 0.
    cfg.ODAM.TRAIN.TEMPERATURE = 0.1
    # "anchor": each positive is paired with every object's best one, as published; "every": every two positives are.
    cfg.ODAM.TRAIN.PAIRS = "anchor"
    # Least and largest IoU of the predicted boxes of a pair; (0, 1) leaves out none, as published.
    cfg.ODAM.TRAIN.PAIR_IOU = (0.0, 1.0)
    # What two-stage detectors explain: "sampled", the positives that their own losses are on, as published, or "all"
    # proposals on an object.
    cfg.ODAM.TRAIN.PROPOSALS = "sampled"
    # Of two-stage detectors: how many randomly moved annotated boxes of each object are explained beside them, >= 0.
    cfg.ODAM.TRAIN.JITTERED = 0
    # Of two-stage detectors: whether annotated boxes are explained beside them as given boxes, which become anchors.
    cfg.ODAM.TRAIN.GIVEN = False
    # Of two-stage detectors: how many times predicted boxes go through the heads again before their maps are taken,
    # >= 0; 0, maps of the proposals, is as published.
    cfg.ODAM.TRAIN.REPOOL = 0
    # Of two-stage detectors: a prediction belongs to the object that its proposal was "matched" with, as published, or
    # to the one that the "predicted" box overlaps.
    cfg.ODAM.TRAIN.OWNER = "matched"
    # Of two-stage detectors: what is explained of the class, "logit", as published, or "score".
    cfg.ODAM.TRAIN.ATTRIBUTE = "logit"
    # Of two-stage detectors in second order: whether the gates of ReLUs are learned, too.
    cfg.ODAM.TRAIN.LEARNABLE_GATES = False
    # Iterations after which the same objects are explained again, for curves of ODI and images in TensorBoard, >= 0;
    # 0 for never. They are annotated ones of the first images of DATASETS.TEST.
    cfg.ODAM.TRAIN.WATCH_PERIOD = 0
    # How many images, >= 1.
    cfg.ODAM.TRAIN.WATCH_IMAGES = 8
    # Objects of which images are drawn, >= 0.
    cfg.ODAM.TRAIN.WATCH_DRAWN = 6

    # How detectors are scored, beside the keys of TEST.
    cfg.ODAM.TEST = CN()
    # The rules of AP, MR^-2 and JI of crowds: "toolkit", those of CrowdHuman's public toolkit, to compare with
    # published figures, or "strict" (docs/metrics.md).
    cfg.ODAM.TEST.CROWD_PROTOCOL = "toolkit"

    # What odam train optimises with, beside the keys of SOLVER.
    cfg.ODAM.SOLVER = CN()
    # "SGD" as Detectron2 builds it, or "AdamW".
    cfg.ODAM.SOLVER.OPTIMIZER = "SGD"
    # Factor on the learning rate of the backbone's parameters; AdamW only.
    cfg.ODAM.SOLVER.BACKBONE_MULTIPLIER = 1.0


# Nodes of a yaml's ODAM that describe what is to be built -> where a LazyConfig describes it itself.
BUILDING_NODES = {"FCOS": "model", "COMPACT_RESNET": "model", "DETR": "model", "SOLVER": "optimizer"}


def odam_node(cfg: CN | DictConfig) -> CN:
    """The options of this project in a config of either kind, as ``cfg.ODAM`` with its defaults has them.

    A LazyConfig has them in a top-level ``odam``, its keys in small letters and optional: ``odam = dict(method="drise",
    nms=dict(enabled=True))`` in the file, ``odam.method=drise odam.nms.enabled=True`` on a command line.

    Args:
        cfg: a yaml config, whose own node is returned, or a LazyConfig, from which a new one is made.

    Raises:
        ValueError: if ``odam`` has a key that isn't one of ODAM's, or one that describes what is built from yaml, or a
            value of another type than the default's.
    """
    if not isinstance(cfg, DictConfig):
        return cfg.ODAM
    full = CN()
    add_odam_config(full)
    given = OmegaConf.to_container(cfg.odam, resolve=True) if cfg.get("odam") is not None else {}
    if not isinstance(given, dict):
        raise ValueError(f"`odam` of a LazyConfig must hold keys; got {given!r}: write odam = dict(method=...)")
    _merge_lazy(given, full.ODAM, "odam")
    return full.ODAM


def _merge_lazy(given: dict, node: CN, path: str) -> None:
    for key, value in given.items():
        name, where = str(key).upper(), f"{path}.{key}"
        if path == "odam" and name in BUILDING_NODES:
            raise ValueError(
                f"`{where}` must be left out of a LazyConfig; got {value!r}: it is for yaml, so describe this in "
                f"`{BUILDING_NODES[name]}`"
            )
        if name not in node:
            known = [one.lower() for one in node if not (path == "odam" and one in BUILDING_NODES)]
            raise ValueError(f"`{where}` must be an option of ODAM; there is none: choose among {known}")
        if isinstance(node[name], CN):
            if not isinstance(value, dict):
                raise ValueError(f"`{where}` must hold keys; got {value!r}: give {[k.lower() for k in node[name]]}")
            _merge_lazy(value, node[name], where)
            continue
        node[name] = _of_the_type_of(node[name], value, where)


def _of_the_type_of(default: Any, value: Any, where: str) -> Any:
    """`value`, where it is of the default's type or a whole number for a fraction; lists stand for tuples."""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if default is None or type(default) is type(value):
        return value
    raise ValueError(f"`{where}` must be a {type(default).__name__}; got {value!r}: its default is {default!r}")


# Stock names in a config -> our subclasses with the same weights and the same detections.
TRACED_META_ARCHITECTURES = {
    "FCOS": "OdamFCOS",
    "GeneralizedRCNN": "OdamRCNN",
    "PanopticFPN": "OdamPanopticFPN",
    "ProposalNetwork": "OdamProposalNetwork",
    "RetinaNet": "OdamRetinaNet",
}
TRACED_PROPOSAL_GENERATORS = {"RPN": "OdamRPN"}
TRACED_ROI_HEADS = {
    "StandardROIHeads": "OdamStandardROIHeads",
    "CascadeROIHeads": "OdamCascadeROIHeads",
    "Res5ROIHeads": "OdamRes5ROIHeads",
}
# The classes behind these names: somebody else's class of the same name is not replaced in a LazyConfig.
STOCK_CLASSES = (
    FCOS, GeneralizedRCNN, PanopticFPN, ProposalNetwork, RetinaNet, RPN, StandardROIHeads, CascadeROIHeads,
    Res5ROIHeads,
)  # fmt: skip


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
        keys: list[Any] = list(node)
        for key in keys:
            if not OmegaConf.is_interpolation(node, key) and not OmegaConf.is_missing(node, key):
                _swap_targets(node[key])
    elif isinstance(node, ListConfig):
        for key in range(len(node)):
            if not OmegaConf.is_interpolation(node, key) and not OmegaConf.is_missing(node, key):
                _swap_targets(node[key])


def _traced_target(target):
    """Our class for one of Detectron2's own (or its dotted name); anything else as it is."""
    kind = locate(target) if isinstance(target, str) else target
    tables = (
        (META_ARCH_REGISTRY, TRACED_META_ARCHITECTURES),
        (ROI_HEADS_REGISTRY, TRACED_ROI_HEADS),
        (PROPOSAL_GENERATOR_REGISTRY, TRACED_PROPOSAL_GENERATORS),
    )
    if any(kind is stock for stock in STOCK_CLASSES):
        return next(registry.get(names[kind.__name__]) for registry, names in tables if kind.__name__ in names)
    return target
