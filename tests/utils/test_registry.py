"""A registry that is fvcore's and reads like a dict."""

import pytest
from fvcore.common.registry import Registry

from odam_d2.utils.registry import NamedRegistry


@pytest.fixture
def registry():
    made = NamedRegistry("THING")
    made.register_as("b+")(int)
    made.register_as("a")(str)
    return made


def test_reads_like_a_dict_in_the_order_of_registration(registry):
    assert isinstance(registry, Registry)
    assert list(registry) == ["b+", "a"] and sorted(registry) == ["a", "b+"] and len(registry) == 2
    assert list(registry.items()) == [("b+", int), ("a", str)] and list(registry.values()) == [int, str]
    assert "b+" in registry and "c" not in registry and registry["a"] is registry.get("a") is str


def test_a_decorated_class_stays_what_it_is(registry):
    @registry.register_as("c", lambda kind: kind())
    class Counter(list):
        """Registered as an instance."""

    @registry.register()
    class Plain:
        """Under its own name, as in Detectron2."""

    assert Counter([1]) == [1] and registry["c"] == [] and registry["Plain"] is Plain


def test_a_name_is_registered_once(registry):
    with pytest.raises(AssertionError, match="'a' was already registered in 'THING'"):
        registry.register_as("a")(float)
    assert registry["a"] is str


def test_an_unknown_name_is_named(registry):
    with pytest.raises(KeyError, match="No object named 'z' found in 'THING'"):
        registry["z"]
