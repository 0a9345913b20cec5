"""Why annotated objects were missed: by which mechanism, with the evidence for it."""

# Importing a family's file registers it.
from . import one_stage, proposals, queries, two_stage, views  # noqa: F401
from .finder import MissFinder
from .given import ROLES, ask_given, given_boxes
from .mechanisms import MECHANISMS, UNKNOWN
from .miss import Evidence, Miss
from .replay import Replayed, ReplayedImage, replay
from .seen import MissRules

__all__ = [
    "MECHANISMS",
    "ROLES",
    "UNKNOWN",
    "Evidence",
    "Miss",
    "MissFinder",
    "MissRules",
    "Replayed",
    "ReplayedImage",
    "ask_given",
    "given_boxes",
    "replay",
]
