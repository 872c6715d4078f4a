"""What a trust report says of a detector's maps by a method: counted, and check by check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.run import Run
from probe.attribution.trust.report import ALL
from probe.errors import ProbeError, UnknownNameError

__all__ = ["ALPHA", "Badge", "CheckRow", "Gain", "TrustView", "badge_of", "trust_view", "why_not"]

#: False discovery rate at which a map counts as better than a reference.
ALPHA = 0.05


@dataclass(frozen=True)
class Gain:
    """How much better than one reference.

    Attributes
    ----------
    reference : str
        Which.
    value, low, high, q : float
        Gain with its interval, above 0 is better; one-sided, adjusted. NaN where there is none.
    """

    reference: str
    value: float
    low: float
    high: float
    q: float


@dataclass(frozen=True)
class CheckRow:
    """One check of the maps of a detector by a method.

    Attributes
    ----------
    check, title, group, better, paper : str
        Its name and texts; better is "higher" or "lower".
    value, low, high, chance : float
        What it gave, and what a map that knows nothing gets.
    random_low, random_high : float
        Range over networks of random weights; NaN where none were tried.
    gains : tuple of Gain
        Over each reference that there is a gain over.
    n_samples, n_clusters : int
        What it rests on.
    reason : str
        Why there is no value or no interval.
    """

    check: str
    title: str
    group: str
    better: str
    paper: str
    value: float
    low: float
    high: float
    chance: float
    random_low: float
    random_high: float
    gains: tuple[Gain, ...]
    n_samples: int
    n_clusters: int
    reason: str

    @property
    def tested(self) -> tuple[Gain, ...]:
        """The gains that have a test."""
        return tuple(gain for gain in self.gains if np.isfinite(gain.q))

    @property
    def lost_to(self) -> tuple[str, ...]:
        """References that the map is not better than."""
        return tuple(one.reference for one in self.tested if not (one.q <= ALPHA and one.value > 0))

    @property
    def within_random(self) -> bool:
        """Whether networks that learned nothing reach the value."""
        if not np.isfinite(self.random_low):
            return False
        if self.better == "higher":
            return self.value <= self.random_high
        return self.value >= self.random_low

    @property
    def passed(self) -> bool:
        """Whether the map is better than all that it was tested against; see the help text."""
        return bool(self.tested) and not self.lost_to and not self.within_random


@dataclass(frozen=True)
class Badge:
    """The checks of a detector's maps by a method, counted.

    Attributes
    ----------
    passed, tested : int
        Checks passed, of those that have a test.
    text : str
        Which passed, which did not and why.
    """

    passed: int
    tested: int
    text: str


@dataclass(frozen=True)
class TrustView:
    """All checks of a detector's maps by a method, on one dataset.

    Attributes
    ----------
    detector, method, dataset : str
        Of what; dataset may be "all".
    datasets : tuple of str
        What may be chosen.
    rows : tuple of CheckRow
        Checks.
    coverage : float
        Of the intervals.
    """

    detector: str
    method: str
    dataset: str
    datasets: tuple[str, ...]
    rows: tuple[CheckRow, ...]
    coverage: float


def trust_view(run: Run, label: str, method: str, dataset: str = ALL) -> TrustView:
    """Read what a trust report says of a method.

    Raises
    ------
    ProbeError
        If there is no report, or it does not hold the method or dataset.
    """
    data = run.trust(label).data
    for dim, name in (("method", method), ("dataset", dataset)):
        allowed = [str(value) for value in data[dim].values]
        if name not in allowed:
            raise UnknownNameError(dim, name, allowed, where=f"the trust report of {label}")
    # By a mapping: "method" is also a keyword of its own.
    part = data.sel({"method": method, "dataset": dataset})
    # As plain arrays: a view of several detectors looks up thousands of numbers.
    arrays = {
        str(name): value.transpose("check", ...).values
        for name, value in part.variables.items()
        if "check" in value.dims
    }
    references = [str(name) for name in part["reference"].values]
    rows = tuple(_row(arrays, references, i) for i in range(part.sizes["check"]))
    return TrustView(
        detector=label,
        method=method,
        dataset=dataset,
        datasets=tuple(str(name) for name in data["dataset"].values),
        rows=rows,
        coverage=float(data.attrs.get("ci", 0.95)),
    )


def badge_of(run: Run, label: str, method: str) -> Badge | None:
    """Count the checks that maps pass; None where they were not checked."""
    try:
        rows = trust_view(run, label, method).rows
    except ProbeError:
        return None
    tested = [row for row in rows if row.tested]
    passed = [row for row in tested if row.passed]
    words = [f"Passed: {', '.join(row.check for row in passed) or 'none'}."]
    for row in tested:
        if not row.passed:
            words.append(f"{row.check}: {why_not(row)}.")
    return Badge(len(passed), len(tested), " ".join(words))


def why_not(row: CheckRow) -> str:
    """Say in words why a check that was tested does not count as passed."""
    words = []
    if row.lost_to:
        words.append(f"not better than {', '.join(row.lost_to)}")
    if row.within_random:
        words.append("networks of random weights reach it")
    return " and ".join(words)


def _row(arrays: dict[str, NDArray[Any]], references: list[str], i: int) -> CheckRow:
    def number(name: str) -> float:
        return float(arrays[name][i]) if name in arrays else np.nan

    gains = tuple(
        Gain(name, *(float(arrays[key][i, k]) for key in ("gain", "gain_low", "gain_high", "q")))
        for k, name in enumerate(references)
    )
    return CheckRow(
        check=str(arrays["check"][i]),
        title=str(arrays["title"][i]),
        group=str(arrays["group"][i]),
        better=str(arrays["better"][i]),
        paper=str(arrays["paper"][i]),
        value=number("value"),
        low=number("low"),
        high=number("high"),
        chance=number("chance"),
        random_low=number("randomized_low"),
        random_high=number("randomized_high"),
        gains=tuple(gain for gain in gains if np.isfinite(gain.value)),
        n_samples=int(arrays["n_samples"][i]),
        n_clusters=int(arrays["n_clusters"][i]),
        reason=str(arrays["reason"][i]),
    )
