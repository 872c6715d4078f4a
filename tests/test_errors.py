from __future__ import annotations

import pytest

from probe.errors import ProbeError, UnknownNameError
from probe.registry import Registry


def test_an_unknown_name_says_what_was_given_and_what_is_near() -> None:
    error = UnknownNameError("layer", "blok3", ["block3", "conv1"], "xception", "List them.")
    assert str(error) == "Layer 'blok3' is not known in xception. Did you mean 'block3'? List them."


def test_nothing_near_lists_what_there_is() -> None:
    assert str(UnknownNameError("measure", "zzz", ["ace"])) == (
        "Measure 'zzz' is not known. Known: ace."
    )


def test_an_unknown_name_is_a_probe_error_and_a_key_error() -> None:
    assert issubclass(UnknownNameError, ProbeError) and issubclass(UnknownNameError, KeyError)


def test_a_registry_refuses_a_name_twice_and_finds_it() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)
    assert registry["one"] == 1 and list(registry) == ["one"] and "one" in registry
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("one")(2)
    with pytest.raises(UnknownNameError, match="Did you mean 'one'"):
        registry["oone"]
