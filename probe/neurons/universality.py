"""`Universality`: counts of units with their nulls, and the test of an effect in many datasets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from probe.errors import ProbeError, UnknownNameError
from probe.neurons.table import NeuronTable, ranks, strength
from probe.results import Result
from probe.stats import (
    COMBINERS,
    Floats,
    benjamini_hochberg,
    benjamini_yekutieli,
    independence_counts,
    partial_conjunction,
    simulate_counts,
)
from probe.tables import parsed

__all__ = [
    "CORRECTIONS",
    "Excess",
    "Universality",
    "check_rule",
    "excess_over",
    "universal_neurons",
]


class Excess(NamedTuple):
    """A number of units, compared with a null distribution.

    Attributes
    ----------
    expected : float
        Mean of the null distribution.
    excess : float
        Observed − expected.
    low, high : float
        95% confidence interval of the excess; NaN without resamples of the observed number, or
        with one draw of a null of unknown mean.
    p : float
        Share of draws, including the observed one, that reach the observed number.
    """

    expected: float
    excess: float
    low: float
    high: float
    p: float


def excess_over(
    observed: float, resampled: Floats, null: Floats, mean: float = np.nan, ci: float = 0.95
) -> Excess:
    """Compare an observed number with draws of a null distribution.

    The variance of the difference is the bootstrap variance of the observed number plus the
    variance of the null's mean. The degrees of freedom follow Welch and Satterthwaite, so a null
    of three detectors gives a wide interval.

    Parameters
    ----------
    observed : float
        The observed number.
    resampled : numpy.ndarray
        Shape (resamples,): the number in each bootstrap resample; empty if there are none.
    null : numpy.ndarray
        Shape (draws,): the number in each draw of the null.
    mean : float, optional
        Mean of the null, if it is known in closed form.
    ci : float, default 0.95
        Confidence level of the interval, between 0 and 1.
    """
    known = np.isfinite(mean)
    expected = float(mean if known else null.mean())
    p = float((1 + (null >= observed).sum()) / (1 + len(null)))
    excess = observed - expected
    if not len(resampled) or (not known and len(null) < 2):
        return Excess(expected, excess, np.nan, np.nan, p)
    own = float(resampled.var(ddof=1))
    drawn = 0.0 if known else float(null.var(ddof=1)) / len(null)
    freedom = np.inf if not drawn else (own + drawn) ** 2 / (drawn**2 / (len(null) - 1))
    half = float(stats.t.ppf(0.5 + ci / 2, freedom)) * np.sqrt(own + drawn)
    return Excess(expected, excess, excess - half, excess + half, p)


#: Null detectors of a neuron table: variable, its dimension, and the name of the null.
NULLS = (
    ("null_effect", "draw", "untrained"),
    ("head_effect", "head", "random_head"),
    ("shuffled_effect", "shuffled", "label_shuffled"),
)

#: Control of the false discovery rate: under positive dependence, and under any dependence.
CORRECTIONS = {"bh": "q", "by": "q_by"}


@dataclass(frozen=True, repr=False)
class Universality(Result):
    """Units that contribute to detection in every dataset, and the study's count with its nulls.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``dataset``, ``unit``, ``count`` (0..D), ``at_least`` (2..D), ``null``, and the null
        detectors ``draw``, ``head`` and ``shuffled``. The test, if two datasets have p-values:

        - ``p_partial(at_least, unit)``: partial-conjunction p-value that the unit contributes in at
          least r of the D datasets; ``q`` and ``q_by`` adjust it over units (BH, BY);
        - ``significant(dataset, unit)``: whether the unit contributes in the dataset (BH over its
          units, at `alpha`).

        The study's count:

        - ``selected(dataset, unit)``: whether the unit is among the top units of the dataset;
        - ``n_datasets(unit)``: number of datasets in which it is;
        - ``observed(count)``: number of units with that count;
        - ``independence(count)``, ``independence_low``, ``independence_high``: expected number if
          lists were independent of each other, with the 95% range of simulated lists;
        - ``untrained(draw, count)``, ``random_head(head, count)``, ``label_shuffled(shuffled,
          count)``: the same count in null detectors;
        - ``excess(null)``, ``excess_low``, ``excess_high``, ``excess_p``: number of units counted
          in all datasets minus the null's mean, with a 95% interval, and the share of the null's
          draws that reach the observed number.
        Attributes: ``top, kept, alpha, correction, combination`` and those of the neuron table.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> found = run.universality("meso4/base")
    >>> found
    <Universality of meso4/base: unit 12, dataset 3, count 4, draw 3, head 5, at_least 2, null 3>
    >>> figure = found.plot()
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("counts",)
    KIND: ClassVar[str] = "a universality"
    REQUIRED: ClassVar[str] = "excess"
    COMMAND: ClassVar[str] = "probe neurons"
    FRAMES: ClassVar[Mapping[str, str]] = {"units": "units", "nulls": "nulls"}

    @property
    def tested(self) -> tuple[str, ...]:
        """Datasets of the test: those that hold both classes."""
        names = self.data["dataset"].values
        return tuple(str(name) for name in names[self.data["is_tested"].values])

    @property
    def universal(self) -> NDArray[np.int64]:
        """Units that contribute to detection in every dataset, by the test."""
        if "q" not in self.data:
            return np.empty(0, dtype=np.int64)
        name = CORRECTIONS[str(self.data.attrs["correction"])]
        q = self.data[name].values[-1]
        return np.asarray(self.data["unit"].values[q <= self.data.attrs["alpha"]], dtype=np.int64)

    @property
    def counted(self) -> NDArray[np.int64]:
        """Units among the top of every dataset: the universal neurons of the study."""
        chosen = self.data["n_datasets"] == self.data.sizes["dataset"]
        return np.asarray(self.data["unit"].values[chosen.values], dtype=np.int64)

    @property
    def specific(self) -> dict[str, NDArray[np.int64]]:
        """Units that contribute in one dataset only, per dataset."""
        found = self.data["significant"].values
        alone = found.sum(axis=0) == 1
        units = self.data["unit"].values
        return {
            str(name): np.asarray(units[alone & row], dtype=np.int64)
            for name, row in zip(self.data["dataset"].values, found, strict=True)
        }

    @property
    def decoys(self) -> NDArray[np.int64]:
        """Units in the upper half by |weight| × range that contribute in no dataset."""
        if "weight_range" not in self.data:
            return np.empty(0, dtype=np.int64)
        size = self.data["weight_range"].values
        # By rank: of a detector that ignores its units, all are at the median of 0.
        order = np.argsort(-size, kind="stable")[: (len(size) + 1) // 2]
        large = np.zeros(len(size), dtype=bool)
        large[order] = size[order] > 0
        none = ~self.data["significant"].values.any(axis=0)
        return np.asarray(self.data["unit"].values[large & none], dtype=np.int64)

    @property
    def adjusted(self) -> Floats:
        """q-value of "contributes in every dataset", shape (unit,); NaN without a test."""
        if "q" not in self.data:
            return np.full(self.data.sizes["unit"], np.nan)
        name = CORRECTIONS[str(self.data.attrs["correction"])]
        q = self.data[name].transpose("at_least", "unit").values[-1]
        return np.asarray(q, dtype=np.float64)

    def ranked(self, neurons: NeuronTable) -> NDArray[np.int64]:
        """Return units sorted by smallest q, then most datasets, then largest mean effect.

        Parameters
        ----------
        neurons : NeuronTable
            Table that the universality was computed from.

        Returns
        -------
        numpy.ndarray
            Positions of units, shape (unit,).
        """
        mean = neurons.data["effect"].transpose("dataset", "unit").values.mean(axis=0)
        q = np.nan_to_num(self.adjusted, nan=1.0)
        return np.lexsort((-mean, -self.data["n_datasets"].values, q))

    def sets(self) -> dict[str, NDArray[np.int64]]:
        """Return the sets of units to ablate, by name.

        ``universal`` by the test, ``counted`` by the study, ``specific to <dataset>``, ``decoys``.
        Empty sets, and those of all units, which nothing can be compared with, are left out.
        """
        found = {"universal": self.universal, "counted": self.counted}
        found |= {f"specific to {name}": units for name, units in self.specific.items()}
        found["decoys"] = self.decoys
        total = self.data.sizes["unit"]
        return {name: units for name, units in found.items() if 0 < len(units) < total}

    def _frame(self) -> pd.DataFrame:
        """Return one row per count: ``count, observed, independence, …, untrained_1, …``."""
        columns = ["observed", "independence", "independence_low", "independence_high"]
        frame = self.data[columns].to_dataframe().reset_index()
        for _, dim, name in NULLS:
            for draw in range(self.data.sizes.get(dim, 0) if name in self.data else 0):
                frame[f"{name}_{draw + 1}"] = self.data[name].values[draw]
        return frame

    def nulls(self) -> pd.DataFrame:
        """Return a row per null: ``null, expected, excess, excess_low, excess_high, excess_p``."""
        frame = self.data[["expected", "excess", "excess_low", "excess_high", "excess_p"]]
        return frame.to_dataframe().reset_index()

    def units(self) -> pd.DataFrame:
        """Return one row per unit: p- and q-values, counts, and one column per dataset."""
        data = self.data
        frame = pd.DataFrame({"unit": data["unit"].values})
        if "q" in data:
            last = data.isel(at_least=-1)
            frame = frame.assign(
                p=last["p_partial"].values,
                q=last["q"].values,
                q_by=last["q_by"].values,
                contributes_in=data["significant"].values.sum(axis=0),
            )
        frame["n_datasets"] = data["n_datasets"].values
        for name in data["dataset"].values:
            frame[str(name)] = data["selected"].sel(dataset=name).values
        return frame

    def summary(self) -> str:
        """Summarize the test, and the study's count beside its nulls."""
        return f"{self.test_sentence()} {self.count_sentence()}"

    def test_sentence(self) -> str:
        """Summarize how many units contribute to detection in every dataset."""
        data, attrs = self.data, self.data.attrs
        tested = len(self.tested)
        if "q" not in data:
            reasons = parsed(attrs.get("one_class", "{}"))
            why = "; ".join(reasons.values()) if isinstance(reasons, dict) else ""
            return (
                f"No test: {tested} of {data.sizes['dataset']} datasets have both fakes and "
                f"reals, and two are needed{f' ({why})' if why else ''}."
            )
        name = {"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}[str(attrs["correction"])]
        each = ", ".join(
            f"{n} {int(k)}"
            for n, k in zip(
                data["dataset"].values, data["significant"].values.sum(axis=1), strict=True
            )
        )
        return (
            f"{len(self.universal)} of {data.sizes['unit']} units contribute to detection in all "
            f"{tested} datasets (partial conjunction, q ≤ {attrs['alpha']}, {name}). In single "
            f"datasets: {each}."
        )

    def count_sentence(self) -> str:
        """Summarize the study's count of universal units and what the nulls expect of it."""
        data = self.data
        last = data.isel(count=-1)
        untrained = ", ".join(str(int(v)) for v in last["untrained"].values) or "not computed"
        return (
            f"The study's count: {int(last['observed'])} of {data.sizes['unit']} units are in all "
            f"{data.sizes['dataset']} top lists; {float(last['independence']):.1f} are expected "
            f"for independent lists; untrained networks: {untrained}."
        )


def universal_neurons(
    table: NeuronTable,
    top: float = 0.5,
    *,
    alpha: float = 0.05,
    correction: str = "bh",
    combination: str = "simes",
    n_draws: int = 1000,
    seed: int = 0,
) -> Universality:
    """Test which units contribute to detection in every dataset, and count units as the study does.

    Test: a unit is universal if its contribution to telling fakes from reals is above 0 in at
    least r of the D datasets (partial conjunction over the table's permutation p-values; r = D
    means all), with the false discovery rate over units controlled.

    Count: as in the study (arXiv:2308.04177), which used top = 0.5 and five datasets. The count
    is no evidence by itself: independent lists of half of 1024 units share 32 units in all five,
    and an untrained network shares many more, because the effects of a unit are similar in all
    datasets. The count is therefore compared with null distributions.

    Parameters
    ----------
    table : NeuronTable
        Table of at least two datasets.
    top : float, default 0.5
        Share of units kept per dataset, in (0, 1); at least one unit is kept.
    alpha : float, default 0.05
        False discovery rate of the universal units, in (0, 1).
    correction : {"bh", "by"}
        Benjamini-Hochberg, or Benjamini-Yekutieli under any dependence between units.
    combination : {"simes", "bonferroni", "fisher"}
        How p-values are combined if r < D; see `partial_conjunction`.
    n_draws : int, default 1000
        Number of simulated independent lists, for the range of the independence null.
    seed : int, default 0
        Seed of the simulated lists.

    Returns
    -------
    Universality
        Tests and counts per unit, the histogram of counts, and the nulls.

    Raises
    ------
    ProbeError
        If `top` or `alpha` is out of range or the table has fewer than two datasets.
    UnknownNameError
        If the correction or combination is unknown.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> table = probe.neuron_importance(detector, data, "leaky")
    >>> probe.universal_neurons(table)
    <Universality of meso4: dataset 3, unit 16, count 4, draw 3, head 20, shuffled 0, at_least 2,
    null 3>
    """
    data = table.data
    check_rule(top, alpha, correction, combination)
    if data.sizes["dataset"] < 2:
        raise ProbeError("Universality needs at least two datasets; the table has one.")
    kept = max(1, int(data.sizes["unit"] * top))
    lists = [kept] * data.sizes["dataset"]
    draws = simulate_counts(lists, data.sizes["unit"], n_draws, seed)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    selected = data["rank"] <= kept
    histograms = {
        name: ((dim, "count"), _null_histograms(data, variable, kept))
        for variable, dim, name in NULLS
        if variable in data
    }
    out = xr.Dataset(
        {
            "selected": selected,
            "n_datasets": selected.sum("dataset").astype(np.int64),
            "observed": ("count", _histogram(selected.values)),
            "independence": ("count", independence_counts(lists, data.sizes["unit"])),
            "independence_low": ("count", low),
            "independence_high": ("count", high),
            **histograms,
            **_tested(data, alpha, combination),
        },
        coords={"count": np.arange(len(lists) + 1)},
        attrs={
            **data.attrs,
            "top": top,
            "kept": kept,
            "alpha": alpha,
            "correction": correction,
            "combination": combination,
        },
    )
    if "beside" in data and "weight_range" in data["measure"].values:
        # One value per unit for all datasets: the mean over them.
        out["weight_range"] = data["beside"].sel(measure="weight_range", drop=True).mean("dataset")
    return Universality(out.merge(_excesses(out, draws, data, kept)))


def check_rule(
    top: float = 0.5, alpha: float = 0.05, correction: str = "bh", combination: str = "simes"
) -> None:
    """Check the arguments as `universal_neurons` would, before a table is computed."""
    for name, value in (("top", top), ("alpha", alpha)):
        if not 0 < value < 1:
            what = "a share of the units" if name == "top" else "a false discovery rate"
            raise ProbeError(f"{name}={value} was given; it is {what}, in (0, 1).")
    if correction not in CORRECTIONS:
        raise UnknownNameError("correction", correction, CORRECTIONS)
    COMBINERS[combination]


def _tested(data: xr.Dataset, alpha: float, combination: str) -> dict[str, Any]:
    """Test over the datasets that have p-values, which are those with both classes."""
    shape = (data.sizes["dataset"], data.sizes["unit"])
    p = data["p"].values if "p" in data else np.full(shape, np.nan)
    usable = np.isfinite(p).all(axis=1)
    significant = np.zeros(shape, dtype=bool)
    if usable.any():
        significant[usable] = benjamini_hochberg(p[usable]) <= alpha
    out: dict[str, Any] = {
        "is_tested": ("dataset", usable),
        "significant": (("dataset", "unit"), significant),
    }
    at_least = np.arange(2, usable.sum() + 1)
    if not len(at_least):
        return out
    partial = np.stack([partial_conjunction(p[usable], int(r), combination) for r in at_least])
    dims = ("at_least", "unit")
    return out | {
        "p": (("dataset", "unit"), p),
        "at_least": at_least,
        "p_partial": (dims, partial),
        "q": (dims, benjamini_hochberg(partial)),
        "q_by": (dims, benjamini_yekutieli(partial)),
    }


def _excesses(out: xr.Dataset, draws: Floats, data: xr.Dataset, kept: int) -> xr.Dataset:
    """Compare the number of units counted in all datasets with each null."""
    observed = float(out["observed"].values[-1])
    resampled = np.empty(0)
    if "resampled" in data and np.isfinite(data["resampled"].values).all():
        resampled = _histograms(data["resampled"].values, data.attrs, kept)[:, -1].astype(float)
    known = {"independence": (draws[:, -1], float(out["independence"].values[-1]))}
    for _, dim, name in NULLS:
        if name in out and out.sizes[dim]:
            known[name] = (out[name].values[:, -1].astype(float), np.nan)
    found: Mapping[str, Excess] = {
        name: excess_over(observed, resampled, null, mean) for name, (null, mean) in known.items()
    }
    columns = ("expected", "excess", "low", "high", "p")
    return xr.Dataset(
        {
            key if key == "expected" or key == "excess" else f"excess_{key}": (
                "null",
                np.array([getattr(one, key) for one in found.values()]),
            )
            for key in columns
        },
        coords={"null": list(found)},
    )


def _histogram(selected: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of units at each count; (dataset, unit) to (datasets + 1,)."""
    return np.asarray(np.bincount(selected.sum(axis=0), minlength=len(selected) + 1), np.int64)


def _null_histograms(data: xr.Dataset, variable: str, kept: int) -> NDArray[np.int64]:
    return _histograms(data[variable].values, data.attrs, kept)


def _histograms(effects: Floats, attrs: Mapping[Any, Any], kept: int) -> NDArray[np.int64]:
    """Return the histogram of counts of each table of effects, shape (k, dataset, unit)."""
    neutral, one_sided = float(attrs.get("neutral", 0.0)), bool(attrs.get("one_sided", True))
    rows = [_histogram(ranks(strength(one, neutral, one_sided)) <= kept) for one in effects]
    return np.asarray(rows, np.int64).reshape(len(effects), effects.shape[1] + 1)
