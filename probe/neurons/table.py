"""`NeuronTable` and `Ablation`: effects of units, and detection performance without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.results import Result

__all__ = ["Ablation", "BOTH_HALVES", "MEAN", "NeuronTable", "ranks", "strength"]


#: Columns of the exported table, in order.
COLUMNS = (
    "effect",
    "effect_low",
    "effect_high",
    "slope",
    "rank",
    "contribution",
    "contribution_low",
    "contribution_high",
    "p",
    "p_max",
)


@dataclass(frozen=True, repr=False)
class NeuronTable(Result):
    """Causal effects of units on the fake score, per dataset.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``dataset``, ``unit``, ``dose``, ``measure``, ``resample`` and the null detectors
        ``draw`` (untrained), ``head`` (random heads) and ``shuffled`` (trained on shuffled labels):

        - ``effect(dataset, unit)``: the chosen measure, on the scale of attribute ``output``, with
          ``effect_low`` and ``effect_high`` (cluster bootstrap; NaN below five clusters);
        - ``slope(dataset, unit)``: response at the highest dose − response at the lowest;
        - ``rank(dataset, unit)``: 1 is the most important; ties are in order of units;
        - ``contribution(dataset, unit)``: gap between the mean logits of fakes and reals, minus the
          gap without the unit; above 0 the unit helps detection. With ``contribution_low`` and
          ``contribution_high``. NaN where a dataset holds one class;
        - ``p(dataset, unit)``: one-sided permutation p-value that the contribution is above 0, and
          ``p_max``, adjusted for all units of the dataset (maxT);
        - ``beside(measure, dataset, unit)``: further measures, such as ``weight_range`` (|weight| ×
          range), which can explain an effect without any detection;
        - ``value(dataset, unit, dose)``: value that the unit was set to;
        - ``response(dataset, unit, dose)``: mean score of the samples under do(unit = value);
        - ``resampled(resample, dataset, unit)``: bootstrapped effects, for intervals on counts;
        - ``null_effect(draw, dataset, unit)``, ``head_effect(head, dataset, unit)`` and
          ``shuffled_effect(shuffled, dataset, unit)``: effects in null detectors;
        - ``sample(dataset, image)``: ids of the images used, padded with ""; only where not all
          given images were used.

        Attributes: ``measure, mode, order, output, ablation, grid, layer, splits, detector,
        program``; fingerprints of the detector and of the data given; number of samples given
        (``n_available``) and used (``n_samples``), and of their clusters (``n_clusters``);
        ``one_class``, from dataset to the reason why its images are of one class.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> table = run.neurons("meso4/base")
    >>> table
    <NeuronTable of meso4/base: dataset 3, unit 12, dose 4, draw 3, head 5, measure 1>
    >>> table.data["effect"].sel(dataset="alpha").shape
    (12,)
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("unit_doses",)
    KIND: ClassVar[str] = "a neuron table"
    VERSION: ClassVar[int] = 2
    REQUIRED: ClassVar[str] = "effect"
    COMMAND: ClassVar[str] = "probe neurons"

    def _frame(self) -> pd.DataFrame:
        """Return one row per dataset and unit: effect, contribution, p-values, further measures."""
        columns = [name for name in COLUMNS if name in self.data]
        frame = self.data[columns].to_dataframe().reset_index()[["dataset", "unit", *columns]]
        for name in self.data["measure"].values if "beside" in self.data else ():
            frame[str(name)] = self.data["beside"].sel(measure=name).values.ravel()
        return frame

    def summary(self) -> str:
        """Summarize the size of the table and its strongest units."""
        data = self.data
        mean = np.nan_to_num(data["effect"].transpose("dataset", "unit").values.mean(axis=0))
        best = data["unit"].values[np.argsort(-mean, kind="stable")[:3]]
        names = ", ".join(map(str, data["dataset"].values))
        return (
            f"{data.sizes['unit']} units of {data.attrs.get('layer', 'a layer')} in {names} by "
            f"{data.attrs.get('measure', 'effect')}. Largest on average: units "
            f"{', '.join(map(str, best))}."
        )


def strength(
    effects: NDArray[np.float64], neutral: float = 0.0, one_sided: bool = True
) -> NDArray[np.float64]:
    """Return the strength that units are ranked by; undefined effects come last."""
    sized = effects - neutral if one_sided else np.abs(effects - neutral)
    return np.nan_to_num(sized, nan=-np.inf)


def ranks(effects: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank units within datasets, 1 for the largest effect; shape (..., unit) in and out.

    Ties are broken by the order of units, so that exactly k units have a rank of at most k.
    """
    order = np.argsort(-effects, axis=-1, kind="stable")
    out = np.empty_like(order)
    np.put_along_axis(out, order, np.arange(1, effects.shape[-1] + 1), axis=-1)
    return np.asarray(out, dtype=np.int64)


#: Name of the row that is the mean over datasets.
MEAN = "mean"

#: Where a set must be found to be ablated; part of the message that says it was not.
BOTH_HALVES = "in both halves of the identities"


@dataclass(frozen=True, repr=False)
class Ablation(Result):
    """Detection performance with and without sets of units.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``set``, ``dataset`` (last ``mean``, over the others), ``metric`` (``accuracy``,
        ``auroc``) and ``random``:

        - ``full(dataset, metric)``, ``without(set, dataset, metric)``: in [0, 1];
        - ``drop(set, dataset, metric)``: full − without, above 0 where the units help; with
          ``drop_low`` and ``drop_high`` (cluster bootstrap of the difference);
        - ``random_drop(set, random, dataset, metric)``: drop of random sets that match the set in
          size and in |weight| × range;
        - ``excess(set, dataset, metric)``: drop − mean drop of the random sets, with
          ``excess_low`` and ``excess_high``;
        - ``p(set, dataset, metric)``: share of sets, including the tested one, whose drop is at
          least as large;
        - ``n_units(set)``; ``n_distinct(set)``, the number of distinct random sets;
          ``balance(set)``, mean |weight| × range of the random sets divided by that of the set (1
          is a perfect match).

        Attributes: ``layer, values, n_random``, fingerprints, and ``chosen_on`` (how sets were
        chosen).

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.ablation("meso4/base")
    <Ablation of meso4/base: set 2, dataset 4, metric 2, random 9>
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("ablation",)
    KIND: ClassVar[str] = "an ablation"
    REQUIRED: ClassVar[str] = "random_drop"
    COMMAND: ClassVar[str] = "probe ablate"

    def _frame(self) -> pd.DataFrame:
        """Return one row per set, dataset and metric."""
        columns = [
            "full",
            "without",
            "drop",
            "drop_low",
            "drop_high",
            "excess",
            "excess_low",
            "excess_high",
            "p",
            "n_units",
            "n_distinct",
            "balance",
        ]
        frame = self.data[columns].to_dataframe().reset_index()
        return frame[["set", "dataset", "metric", *columns]]

    def summary(self) -> str:
        """Summarize the mean AUROC drop over datasets, beyond matched random sets."""
        data = self.data.sel(dataset=MEAN, metric="auroc")
        parts = []
        for name in [str(s) for s in data["set"].values if s in ("universal", "counted")]:
            one = data.sel(set=name)
            low, high = float(one["excess_low"]), float(one["excess_high"])
            bounds = f" ({low:+.3f} to {high:+.3f})" if np.isfinite(low) else ""
            parts.append(
                f"{name} {float(one['drop']):+.3f}, beyond matched random sets "
                f"{float(one['excess']):+.3f}{bounds}, p = {float(one['p']):.3f}"
            )
        return f"Mean AUROC drop by ablation: {'; '.join(parts) or 'neither set in both halves'}."
