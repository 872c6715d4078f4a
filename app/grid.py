"""What a grid asks of a table: which rows, sorted and filtered how. Nothing in it is trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.errors import ProbeError, UnknownNameError

__all__ = ["LARGEST_BLOCK", "OPERATORS", "Asked"]

#: Rows of a block, columns that are sorted by, and conditions on one column, at most.
LARGEST_BLOCK, MOST_SORTS, MOST_CONDITIONS = 500, 20, 10

Flags = NDArray[np.bool_]
Test = Callable[[NDArray[Any], float, float], Flags]

#: AG Grid's number filters. A missing value passes none but "blank".
OPERATORS: dict[str, tuple[int, Test]] = {
    "equals": (1, lambda x, a, b: x == a),
    "notEqual": (1, lambda x, a, b: (x != a) & ~np.isnan(x)),
    "lessThan": (1, lambda x, a, b: x < a),
    "lessThanOrEqual": (1, lambda x, a, b: x <= a),
    "greaterThan": (1, lambda x, a, b: x > a),
    "greaterThanOrEqual": (1, lambda x, a, b: x >= a),
    "inRange": (2, lambda x, a, b: (x >= a) & (x <= b)),
    "blank": (0, lambda x, a, b: np.isnan(x)),
    "notBlank": (0, lambda x, a, b: ~np.isnan(x)),
}


@dataclass(frozen=True)
class Condition:
    """A test of one column, such as "at least 3".

    Attributes
    ----------
    operator : str
        Key of `OPERATORS`.
    first, second : float
        What is compared with; NaN where the operator takes none.
    """

    operator: str
    first: float
    second: float

    def holds(self, values: NDArray[Any]) -> Flags:
        """Test every value."""
        with np.errstate(invalid="ignore"):
            return OPERATORS[self.operator][1](values, self.first, self.second)


@dataclass(frozen=True)
class Filter:
    """Conditions on one column, of which all or any have to hold."""

    column: str
    conditions: tuple[Condition, ...]
    every: bool

    def holds(self, values: NDArray[Any]) -> Flags:
        """Test every value."""
        found = np.stack([one.holds(values) for one in self.conditions])
        return np.asarray(found.all(axis=0) if self.every else found.any(axis=0))


@dataclass(frozen=True)
class Asked:
    """A request for rows that was checked.

    Attributes
    ----------
    start, stop : int
        Which rows of the order.
    sorts : tuple of (str, bool)
        Columns, the first the most important, and whether each descends.
    filters : tuple of Filter
        All have to hold.
    """

    start: int
    stop: int
    sorts: tuple[tuple[str, bool], ...]
    filters: tuple[Filter, ...]

    @classmethod
    def of(cls, request: Any, columns: tuple[str, ...]) -> Asked:
        """Check what a grid sent.

        Raises
        ------
        ProbeError
            If it is not what a grid sends.
        UnknownNameError
            If it names a column or an operator that there is not.
        """
        given = request if isinstance(request, dict) else {}
        start, stop = _bounds(given)
        return cls(
            start,
            stop,
            _sorts(given.get("sortModel") or [], columns),
            _filters(given.get("filterModel") or {}, columns),
        )

    def order(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return the rows that pass, in order; ties stay as they were, missing values come last."""
        n = len(next(iter(columns.values())))
        passed = np.ones(n, dtype=bool)
        for one in self.filters:
            passed &= one.holds(columns[one.column])
        rows = np.flatnonzero(passed)
        keys: list[NDArray[Any]] = []
        for name, descends in reversed(self.sorts):
            values = columns[name][rows]
            # NumPy sorts NaN last, and its negative as well.
            keys.append(-values if descends else values)
        return rows[np.lexsort(keys)] if keys else rows


def _bounds(given: Mapping[str, Any]) -> tuple[int, int]:
    start: Any = given.get("startRow")
    stop: Any = given.get("endRow")
    if not (_is_whole(start) and _is_whole(stop) and 0 <= start <= stop):
        raise ProbeError("The list was asked for rows that are no numbers. Load the page again.")
    if stop - start > LARGEST_BLOCK:
        raise ProbeError(
            f"The list was asked for {stop - start} rows at once; it gives {LARGEST_BLOCK} at most."
        )
    return start, stop


def _sorts(model: Any, columns: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    if not isinstance(model, list) or len(model) > MOST_SORTS:
        raise ProbeError("The list was asked for an order that it does not know. Sort it anew.")
    found = []
    for one in model:
        name, way = (one.get("colId"), one.get("sort")) if isinstance(one, dict) else (None, None)
        found.append((_column(name, columns), _known("order", way, ("asc", "desc")) == "desc"))
    return tuple(found)


def _filters(model: Any, columns: tuple[str, ...]) -> tuple[Filter, ...]:
    if not isinstance(model, dict):
        raise ProbeError("The list was asked for a filter that it does not know. Filter it anew.")
    return tuple(_filter(_column(name, columns), one) for name, one in model.items())


def _filter(column: str, given: Any) -> Filter:
    if not isinstance(given, dict):
        raise ProbeError(f"The filter of {column!r} is no filter. Filter the list anew.")
    if "operator" not in given:
        return Filter(column, (_condition(column, given),), True)
    joined = _known("operator", given["operator"], ("AND", "OR"))
    parts = given.get("conditions")
    if not isinstance(parts, list) or not 1 <= len(parts) <= MOST_CONDITIONS:
        raise ProbeError(
            f"The filter of {column!r} takes 1 to {MOST_CONDITIONS} conditions. Filter it anew."
        )
    return Filter(column, tuple(_condition(column, part) for part in parts), joined == "AND")


def _condition(column: str, given: Any) -> Condition:
    if not isinstance(given, dict):
        raise ProbeError(f"A condition on {column!r} is none. Filter the list anew.")
    operator = _known("filter", given.get("type"), tuple(OPERATORS))
    takes = OPERATORS[operator][0]
    numbers: list[Any] = [given.get("filter"), given.get("filterTo")][:takes]
    if not all(_is_number(number) for number in numbers):
        raise ProbeError(f"The filter of {column!r} takes numbers. Filter the list anew.")
    first, second = (*map(float, numbers), math.nan, math.nan)[:2]
    return Condition(operator, first, second)


def _column(name: Any, columns: tuple[str, ...]) -> str:
    return _known("column", name, columns)


def _known(kind: str, name: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(name, str) or name not in allowed:
        raise UnknownNameError(kind, str(name)[:80], allowed, where="the list of units")
    return name


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e300
        and math.isfinite(value)
    )
