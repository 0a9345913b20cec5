"""Names for what has no types: Detectron2, transformers, and attributes of modules, which torch doesn't tell apart."""

from typing import TYPE_CHECKING, Any, TypeAlias

# A module whose attributes are read, which torch doesn't know: a detector, its heads, a network of transformers.
UntypedModule: TypeAlias = Any

# What a mixin that stands in front of a class of Detectron2 finds behind it.
if TYPE_CHECKING:
    StockClass: TypeAlias = Any
else:
    StockClass = object
