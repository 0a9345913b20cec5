"""Attribute names and the scalars behind them: what y is in dy / dA.

A heat map keeps what *raises* its scalar, so sides point outward: the map of ``left`` shows what pushes the left side
further left. Boxes are decoded but not clipped to the picture.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from ..structures import COMBINED_PARTS, Predictions

# name -> (D,) scalars of D instances; sides and corners in model-input pixels.
TARGETS: dict[str, Callable[[Predictions], Tensor]] = {
    "score": lambda p: p.scores,
    "logit": lambda p: p.logits,
    "left": lambda p: -p.boxes[:, 0],
    "top": lambda p: -p.boxes[:, 1],
    "right": lambda p: p.boxes[:, 2],
    "bottom": lambda p: p.boxes[:, 3],
    "x1": lambda p: p.boxes[:, 0],
    "y1": lambda p: p.boxes[:, 1],
    "x2": lambda p: p.boxes[:, 2],
    "y2": lambda p: p.boxes[:, 3],
}
# Maps that are put together from others on the way out.
COMPOSED = {"combined": COMBINED_PARTS}


def known_attributes() -> list[str]:
    """Every attribute that a detector with boxes and classes can be asked for."""
    return [*TARGETS, *COMPOSED]


def expand_attributes(attributes: Sequence[str]) -> tuple[str, ...]:
    """Attributes to compute for those asked for: composed ones give way to their parts, duplicates go.

    Raises:
        ValueError: if an attribute is unknown, or none is asked for.
    """
    if isinstance(attributes, str):
        attributes = (attributes,)
    unknown = [name for name in attributes if name not in TARGETS and name not in COMPOSED]
    if unknown or not attributes:
        raise ValueError(f"`attributes` must be among {known_attributes()}; got {list(attributes)}: choose from these")
    parts = [part for name in attributes for part in COMPOSED.get(name, (name,))]
    return tuple(dict.fromkeys(parts))


def target_scalars(predictions: Predictions, attributes: Sequence[str]) -> list[Tensor]:
    """K times (D,): the scalars of the named attributes, with the graph of `predictions`."""
    return [TARGETS[name](predictions) for name in attributes]
