"""fvcore's registry, under names that need not be class names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from fvcore.common.registry import Registry

Item = TypeVar("Item")
Given = TypeVar("Given")


class NamedRegistry(Registry, Mapping[str, Item]):
    """fvcore's ``Registry``, read like a dict: ``registry[name]``, ``sorted(registry)``, ``len(registry)``.

    Two departures from fvcore. A name need not be that of a class ("gradcam++" can't be one), so there is
    :meth:`register_as` beside ``register``. And iterating gives names, as for any mapping; ``items()`` gives pairs.
    A name can be registered once: fvcore refuses the second.

    Args:
        name: of the registry, for messages.
    """

    def __getitem__(self, name: str) -> Item:
        found: Any = self.get(name)  # fvcore's, which raises KeyError
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._obj_map)

    def __len__(self) -> int:
        return len(self._obj_map)

    def register_as(self, name: str, make: Callable[[Any], Any] = lambda item: item) -> Callable[[Given], Given]:
        """Decorator that registers what it decorates.

        Args:
            name: to find it by.
            make: what to register in place of the decorated object; by default the object itself.

        Raises:
            AssertionError: if the name is taken.
        """

        def register(item: Given) -> Given:
            self._do_register(name, make(item))
            return item

        return register
