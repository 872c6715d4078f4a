"""Whether what a browser sends is what a callback takes, as the callback's annotations say."""

from __future__ import annotations

import inspect
import json
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["are_arguments", "are_changes"]


def are_arguments(function: Callable[..., Any], values: Sequence[Any]) -> bool:
    """Whether a callback can be called with these values.

    Parameters
    ----------
    function : callable
        The callback. Arguments annotated with `Any`, or by classes of other kinds than JSON has,
        are its own affair.
    values : sequence
        Inputs and states in order. None is what a control without a value sends, so it fits any.

    Returns
    -------
    bool
    """
    kinds = _kinds(function)
    return len(values) <= len(kinds) and all(
        value is None or _is(value, kind) for value, kind in zip(values, kinds, strict=False)
    )


def are_changes(changed: Sequence[str], wanted: Sequence[Mapping[str, Any]]) -> bool:
    """Whether what has changed is named as components of these ids are.

    Parameters
    ----------
    changed : sequence of str
        Each an id and a property, with a dot between; ids of buttons that are many are JSON.
    wanted : sequence of mapping
        The callback's inputs.
    """
    patterns = [set(json.loads(one["id"])) for one in wanted if one["id"].startswith("{")]
    return all(_is_change(one, patterns) for one in changed)


def _is_change(name: str, patterns: Sequence[set[str]]) -> bool:
    id, dot, prop = name.rpartition(".")
    if not (id and dot and prop):
        return False
    if not id.startswith("{"):
        return True
    try:
        found = json.loads(id)
    except (ValueError, RecursionError):
        return False
    # A dict, since it begins as one.
    return set(found) in patterns and all(isinstance(one, str | int) for one in found.values())


@lru_cache(maxsize=1024)
def _kinds(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return the annotations of positional parameters; one for many stands for as many as come."""
    function = inspect.unwrap(function)
    hints = get_type_hints(function)
    kinds: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        many = parameter.kind is inspect.Parameter.VAR_POSITIONAL
        kinds += [hints.get(parameter.name, Any)] * (_MANY if many else 1)
    return tuple(kinds)


_LARGEST = sys.float_info.max

#: More values than any callback takes.
_MANY = 64


def _is(value: Any, kind: Any) -> bool:
    """Whether a value from JSON is of a kind."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(_is(value, one) for one in get_args(kind))
    if origin is list:
        (inner,) = get_args(kind)
        return isinstance(value, list) and all(_is(one, inner) for one in value)
    if origin is dict:
        return isinstance(value, dict)
    if kind is float:
        # A number of 400 digits is JSON too, and no float.
        return isinstance(value, int | float) and type(value) is not bool and abs(value) <= _LARGEST
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (str, bool, list, dict, type(None)):
        return isinstance(value, kind)
    return True
