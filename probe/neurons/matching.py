"""Units across detectors: matched by correlation after retraining, compared between variants."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from probe.errors import ProbeError
from probe.neurons.universality import Universality
from probe.stats import Floats
from probe.store import ActivationStore

__all__ = ["Match", "compare_neurons", "match_units", "reappearing"]

#: Samples per block of the correlation.
BLOCK = 4096


@dataclass(frozen=True)
class Match:
    """Units of one detector matched to units of another.

    Attributes
    ----------
    first, second : numpy.ndarray
        Shape (pairs,): unit of the first detector, and its partner in the second.
    correlation : numpy.ndarray
        Shape (pairs,): Pearson correlation of their activations over samples, in [−1, 1].
    chance : float
        Mean |correlation| of an optimal matching after the samples of the second detector are
        permuted: the level that matching reaches without any correspondence.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    correlation: Floats
    chance: float

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per pair: ``first, second, correlation``."""
        return pd.DataFrame(
            {"first": self.first, "second": self.second, "correlation": self.correlation}
        )

    def __repr__(self) -> str:
        """Say how strongly units match, beside chance."""
        mean = float(np.abs(self.correlation).mean()) if len(self.correlation) else float("nan")
        return (
            f"<Match: {len(self.first):,} pairs, mean |r| {mean:.2f}, by chance {self.chance:.2f}>"
        )


def match_units(
    first: ActivationStore | ArrayLike,
    second: ActivationStore | ArrayLike,
    layer: str = "",
    *,
    signed: bool = True,
    seed: int = 0,
) -> Match:
    """Match the units of a layer in two detectors, one to one, by correlation of activations.

    The assignment maximizes the sum of correlations over the same samples (Hungarian method).

    Parameters
    ----------
    first, second : ActivationStore or array_like
        Recordings of the same samples, or activations of shape (n, units).
    layer : str
        Layer of the stores; not used for arrays.
    signed : bool, default True
        Whether to match by correlation (True) or by its absolute value (False).
    seed : int, default 0
        Seed of the permutation that gives `Match.chance`.

    Returns
    -------
    Match
        As many pairs as the smaller layer has units.

    Raises
    ------
    ProbeError
        If the two are not of the same samples, or have fewer than three.

    Examples
    --------
    >>> import probe
    >>> names = "meso4", "mesoinception4"
    >>> stores = [probe.ActivationStore.open(f"{name}.zarr") for name in names]
    >>> probe.match_units(*stores, "leaky")
    <Match: 16 pairs, mean |r| ..., by chance ...>
    """
    a, b = (_Rows.of(one, layer) for one in (first, second))
    if a.samples is not None and b.samples is not None and a.samples != b.samples:
        raise ProbeError(
            "The two stores hold different samples; units are matched on the same ones. Record "
            "both detectors on the same datasets."
        )
    if len(a) != len(b) or len(a) < 3:
        raise ProbeError(
            f"Activations of {len(a)} and {len(b)} samples were given; matching needs the same "
            "samples in both, at least three."
        )
    found = _correlations(a, b, np.arange(len(a)))
    other = np.random.default_rng(seed).permutation(len(a))
    rows, columns, quality = _assigned(found, signed)
    chance = _assigned(_correlations(a, b, other), signed)[2]
    return Match(rows, columns, found[rows, columns], float(np.abs(chance).mean()))


def _assigned(found: Floats, signed: bool) -> tuple[NDArray[Any], NDArray[Any], Floats]:
    quality = found if signed else np.abs(found)
    rows, columns = optimize.linear_sum_assignment(quality, maximize=True)
    return rows, columns, quality[rows, columns]


@dataclass(frozen=True)
class _Rows:
    """Activations that are read in blocks of rows."""

    values: Any
    samples: list[str] | None

    @classmethod
    def of(cls, given: Any, layer: str) -> _Rows:
        if isinstance(given, ActivationStore):
            data = given[layer]["activation"]
            return cls(data, [str(name) for name in given.samples["sample"]])
        return cls(np.asarray(given, dtype=np.float64), None)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def at(self, where: NDArray[np.int64]) -> Floats:
        return np.asarray(self.values[where], dtype=np.float64)


def _correlations(a: _Rows, b: _Rows, order: NDArray[np.int64]) -> Floats:
    """Return Pearson correlations of all pairs, (units of a, units of b); 0 for constant units."""
    blocks = np.array_split(np.arange(len(a)), max(1, len(a) // BLOCK))
    one, two = (sum(x.at(w).sum(axis=0) for w in blocks) / len(x) for x in (a, b))
    cross: Any = 0.0
    squares: Any = [0.0, 0.0]
    for where in blocks:
        x, y = a.at(where) - one, b.at(order[where]) - two
        cross = cross + x.T @ y
        squares = [squares[0] + (x**2).sum(axis=0), squares[1] + (y**2).sum(axis=0)]
    scale = np.sqrt(np.outer(squares[0], squares[1]))
    found = np.divide(cross, scale, out=np.zeros_like(cross), where=scale > 1e-12 * scale.max())
    return np.asarray(found, dtype=np.float64)


def reappearing(match: Match, first: ArrayLike, second: ArrayLike) -> dict[str, float]:
    """Count the units of a set whose matched units are in the other detector's set.

    Parameters
    ----------
    match : Match
        Matched units of the two detectors.
    first, second : array_like
        Units of each detector, such as `Universality.universal`.

    Returns
    -------
    dict
        ``first, second`` (sizes), ``both`` (number that reappear), ``expected`` under random
        matching, ``p`` (hypergeometric, one-sided) and ``correlation`` (mean over `first`).

    Examples
    --------
    >>> import probe
    >>> names = "meso4", "mesoinception4"
    >>> stores = [probe.ActivationStore.open(f"{name}.zarr") for name in names]
    >>> match = probe.match_units(*stores, "leaky")
    >>> sorted(probe.reappearing(match, [0, 1, 2], [3, 4]))
    ['both', 'correlation', 'expected', 'first', 'p', 'second']
    """
    inside, outside = np.isin(match.first, first), np.isin(match.second, second)
    both, pairs = int((inside & outside).sum()), len(match.first)
    expected, p = _by_chance(pairs, int(inside.sum()), int(outside.sum()), both)
    mean = float(match.correlation[inside].mean()) if inside.any() else float("nan")
    return {
        "first": int(inside.sum()),
        "second": int(outside.sum()),
        "both": both,
        "expected": expected,
        "p": p,
        "correlation": mean,
    }


def compare_neurons(
    found: Mapping[str, Universality], effects: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Compare the universal units of variants of one detector.

    Fine-tuning keeps the order of units: unit 7 of `base` and of `shallow` is the same unit with
    other weights. Detectors trained from different seeds need `match_units` instead.

    Parameters
    ----------
    found : mapping
        Label to `Universality`, all of the same layer.
    effects : mapping, optional
        Label to `NeuronTable`, for the rank correlation of contributions.

    Returns
    -------
    pandas.DataFrame
        One row per pair and set (``universal`` by the test, ``counted`` by the study): sizes,
        ``both``, ``expected`` by chance, ``jaccard``, ``p`` (hypergeometric), and ``spearman``, the
        mean over datasets of the rank correlation of contributions.

    Raises
    ------
    ProbeError
        If two detectors have different numbers of units.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> tables = {name: run.universality(name) for name in run.detectors}
    >>> probe.compare_neurons(tables).columns[:3].tolist()
    ['first', 'second', 'set']
    """
    rows = []
    for (one, a), (two, b) in itertools.combinations(found.items(), 2):
        units = a.data.sizes["unit"]
        if b.data.sizes["unit"] != units:
            raise ProbeError(
                f"{one} has {units} units and {two} {b.data.sizes['unit']}; only variants of one "
                "detector can be compared unit by unit. Match them with match_units."
            )
        rank = _spearman(effects[one], effects[two]) if effects else float("nan")
        for name in ("universal", "counted"):
            x, y = set(getattr(a, name).tolist()), set(getattr(b, name).tolist())
            expected, p = _by_chance(units, len(x), len(y), len(x & y))
            rows.append(
                {
                    "first": one,
                    "second": two,
                    "set": name,
                    "n_first": len(x),
                    "n_second": len(y),
                    "both": len(x & y),
                    "expected": expected,
                    "jaccard": len(x & y) / len(x | y) if x | y else float("nan"),
                    "p": p,
                    "spearman": rank,
                }
            )
    return pd.DataFrame(rows)


def _by_chance(units: int, first: int, second: int, both: int) -> tuple[float, float]:
    """Return the expected overlap of two random sets, and the p-value of the observed overlap."""
    if not first or not second:
        return 0.0, 1.0
    law = stats.hypergeom(units, first, second)
    return float(law.mean()), float(law.sf(both - 1))


def _spearman(first: Any, second: Any) -> float:
    pairs = zip(first.data["contribution"].values, second.data["contribution"].values, strict=True)
    found = [stats.spearmanr(a, b).statistic for a, b in pairs if np.ptp(a) > 0 and np.ptp(b) > 0]
    return float(np.mean(found)) if found else float("nan")
