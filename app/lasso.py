"""Selections in the picture of a layer, as text short enough for an address."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.errors import ProbeError
from probe.plots.density import extent_of
from probe.separability.selection import select

__all__ = ["CORNERS", "LONGEST", "Lasso", "Rule", "drawn", "places_of", "read", "ruled"]

Floats = NDArray[np.float64]

#: Corners that a polygon keeps, so that it fits into an address.
CORNERS = 24
#: Coordinates are counted in so many steps over the extent of a picture and a margin of it.
STEPS, MARGIN = 36**3 - 1, 0.1
#: Characters that an address may give to a selection.
LONGEST = 200

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"[pb][0-9a-f]{4}((?:[0-9a-z]{6}){2,24})")


@dataclass(frozen=True)
class Rule:
    """What selects samples without a mouse, see `probe.separability.selection.select`."""

    dataset: str = ""
    label: str = ""
    method: str = ""
    low: float = 0.0
    high: float = 1.0

    @property
    def given(self) -> dict[str, Any]:
        """What of it is not as it is at first."""
        first = vars(Rule())
        return {name: value for name, value in vars(self).items() if value != first[name]}


@dataclass(frozen=True)
class Lasso:
    """A selection.

    Attributes
    ----------
    corners : numpy.ndarray
        Of a polygon in the picture, shape (corner, 2); empty for a rule.
    box : bool
        Whether the polygon is a box.
    rule : Rule or None
        Instead of a polygon.
    """

    corners: Floats
    box: bool = False
    rule: Rule | None = None

    def inside(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Say which samples it holds, shape (sample,)."""
        return select(frame, self.corners, **vars(self.rule or Rule()))

    @property
    def outline(self) -> list[dict[str, Any]]:
        """The outline as plotly's selections; none for a rule."""
        if not len(self.corners):
            return []
        axes = {"xref": "x", "yref": "y"}
        if self.box:
            (x0, y0), (x1, y1) = self.corners[0], self.corners[2]
            return [{"type": "rect", "x0": x0, "y0": y0, "x1": x1, "y1": y1, **axes}]
        path = "L".join(f"{x:.10g},{y:.10g}" for x, y in self.corners)
        return [{"type": "path", "path": f"M{path}Z", **axes}]


def drawn(label: str, frame: pd.DataFrame, event: Mapping[str, Any] | None) -> str:
    """Write what plotly reports of a lasso or a box as text; empty if it reports neither."""
    event = event or {}
    loop, span = places_of(event.get("lassoPoints")), places_of(event.get("range"))
    if len(loop) >= 3:
        corners, kind = loop, "p"
    elif len(span) == 2:
        corners, kind = np.sort(span, axis=0), "b"
    else:
        return ""
    origin, size = _ground(frame)
    steps = np.rint(np.clip((corners - origin) / size, 0, 1) * STEPS).astype(np.int64)
    if kind == "p":
        steps = _simplified(steps)
        if len(steps) < 3:
            return ""
    return kind + _key(label, frame) + "".join(_digits(int(n)) for n in steps.ravel())


def ruled(rule: Rule) -> str:
    """Write a rule as text; empty if it selects everything.

    Raises
    ------
    ProbeError
        If it is too long for an address.
    """
    text = "r" + urlencode(rule.given) if rule.given else ""
    if len(text) > LONGEST:
        raise ProbeError("The names in this rule are too long for an address. Draw a box instead.")
    return text


def read(label: str, frame: pd.DataFrame, text: str) -> Lasso | None:
    """Read what `drawn` or `ruled` wrote; None where it is empty or of another picture.

    Raises
    ------
    ProbeError
        If it is neither.
    """
    if not text:
        return None
    if text[0] == "r":
        return Lasso(np.empty((0, 2)), rule=_rule(text[1:]))
    form = _FORM.fullmatch(text)
    if form is None or (text[0] == "b") != (len(form[1]) == 12):
        raise ProbeError("The address holds no selection that can be read. Draw one anew.")
    if text[1:5] != _key(label, frame):
        return None
    steps = np.array([int(form[1][i : i + 3], 36) for i in range(0, len(form[1]), 3)])
    origin, size = _ground(frame)
    corners = steps.reshape(-1, 2) / STEPS * size + origin
    if text[0] == "b":
        (x0, y0), (x1, y1) = corners
        return Lasso(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), box=True)
    return Lasso(corners)


def places_of(given: Any) -> Floats:
    """Read places as plotly reports them, shape (place, 2); none where these are not places."""
    none = np.empty((0, 2))
    if not isinstance(given, dict):
        return none
    try:
        found = np.array([given.get("x"), given.get("y")], dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        return none
    return found.T if found.ndim == 2 and np.isfinite(found).all() else none


def _rule(text: str) -> Rule:
    try:
        names = tuple(vars(Rule()))
        found = parse_qs(text, strict_parsing=True, max_num_fields=len(names))
        values: dict[str, Any] = {name: found[name][-1] for name in names if name in found}
        for bound in ("low", "high"):
            if bound in values:
                values[bound] = float(values[bound])
        if not values:
            raise ValueError("it selects nothing")
    except ValueError as error:
        raise ProbeError(f"The address holds no rule that can be read ({error}).") from error
    if values.get("label", "real") not in ("real", "fake"):
        raise ProbeError("The rule in the address names a label other than real and fake.")
    return Rule(**values)


def _key(label: str, frame: pd.DataFrame) -> str:
    """Name a picture, so that a polygon is not laid over another one."""
    name = "\n".join((label, frame.attrs["layer"], frame.attrs["kind"]))
    return hashlib.blake2b(name.encode(), digest_size=2).hexdigest()


def _ground(frame: pd.DataFrame) -> tuple[Floats, Floats]:
    x0, x1, y0, y1 = extent_of(frame)
    size = np.array([(x1 - x0) or 1.0, (y1 - y0) or 1.0])
    return np.array([x0, y0]) - MARGIN * size, size * (1 + 2 * MARGIN)


def _digits(number: int) -> str:
    return _DIGITS[number // 1296] + _DIGITS[number // 36 % 36] + _DIGITS[number % 36]


def _simplified(corners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave out the corners that change the area least (Visvalingam and Whyatt 1993)."""
    # Of equal ones the last stays: an outline that plotly reports again ends where it begins, and
    # has to be written as it was.
    corners = corners[(corners != np.roll(corners, -1, axis=0)).any(axis=1)]
    while len(corners) > CORNERS:
        before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
        (ax, ay), (bx, by) = (corners - before).T, (after - before).T
        corners = np.delete(corners, int(np.argmin(np.abs(ax * by - ay * bx))), axis=0)
    return corners
