"""`ResponseReport`: what each unit responds to, by correlation and by dose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.errors import ProbeError
from probe.results import Result

__all__ = ["Answer", "NOTHING", "ResponseReport", "answered"]

#: Answer of a unit without a significant response.
NOTHING = "nothing found"

#: Attributes that must agree for two reports to be joined.
SHARED = ("layer", "detectors")


class Answer(NamedTuple):
    """Strongest response of a unit.

    Attributes
    ----------
    name : str
        An artifact, a measurement, or "nothing found".
    kind : str
        "dose" (the unit changed with the dose of an artifact), "correlation", or "".
    effect : float
        Response at the highest dose in standard deviations of the unit, or rho; NaN for nothing.
    q : float
        q-value of the effect; NaN for nothing.
    """

    name: str
    kind: str
    effect: float
    q: float


@dataclass(frozen=True, repr=False)
class ResponseReport(Result):
    """Responses of the units of one layer.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``dataset``, ``unit``, ``measurement``, ``artifact`` and ``dose``. Correlation, if
        images were measured:

        - ``rho(unit, measurement)``: partial rank correlation of activation and measurement given
          label, dataset and covariates, in [−1, 1], above 0 if the unit increases with the
          measurement; 0 for a constant. NaN where the measurement is undefined;
        - ``p``, ``p_max``, ``q``: two-sided permutation p-value over clusters; p-value against the
          largest of all pairs (maxT); q-value over units × measurements (BH);
        - ``n_datasets(measurement)``: number of datasets used, in which it is known for everybody;
        - ``n_samples(dataset)``, ``n_clusters(dataset)``, and ``reason(dataset)``: why a dataset,
          or images of it, were left out; "" if nothing was.

        Dose, on the synthetic data only; NaN where a dataset's method lacks the artifact:

        - ``logit_response(artifact, dataset, dose)``: mean change of the fake logit from dose 0
          (above 0: towards fake), with ``logit_low`` and ``logit_high`` (bootstrap over
          identities; NaN below five identities); ``logit_p`` and ``logit_q(artifact, dataset)`` at
          the highest dose (sign flips; BH over all);
        - ``unit_response(artifact, dataset, unit, dose)``, ``unit_low``, ``unit_high``: the same
          for units, in standard deviations of the unit over real images (within datasets);
        - ``effect(artifact, unit)``: response at the highest dose, mean over the datasets that
          have the artifact; ``effect_p`` and ``effect_q`` (sign flips of whole identities; BH
          over units × artifacts);
        - ``unit_sd(unit)``: standard deviation in the unit's own scale;
        - ``n_identities(dataset)``: number of identities rendered; ``dose_reason(dataset)``: why
          there are no intervals; "" if there are.

        Both: ``answer(unit)``, ``answer_kind(unit)`` ("dose", "correlation" or ""),
        ``answer_effect(unit)``, ``answer_q(unit)``; see `Answer`.

        Attributes: ``layer``, ``universal`` (list of units), ``alpha``, ``covariates``,
        ``n_permutations``, and for doses ``others`` ("own" or "none"), ``smallest``, ``split``,
        ``frames``; and the provenance.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.responses("meso4/base")
    <ResponseReport of meso4/base: unit 12, measurement 6, dataset 3, artifact 3, dose 5>
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("doses", "dose_effects", "correlations")
    KIND: ClassVar[str] = "a response report"
    REQUIRED: ClassVar[str] = "answer"
    COMMAND: ClassVar[str] = "probe responses"
    FRAMES: ClassVar[Mapping[str, str]] = {
        "correlations": "correlations",
        "doses": "doses",
        "units": "unit_doses",
    }

    @property
    def universal(self) -> NDArray[np.int64]:
        """Units found universal elsewhere, which are marked here."""
        return np.asarray(self.data.attrs.get("universal", []), dtype=np.int64)

    @property
    def has_doses(self) -> bool:
        """Whether the report has dose responses."""
        return "unit_response" in self.data

    @property
    def has_correlations(self) -> bool:
        """Whether the report has correlations with measurements."""
        return "rho" in self.data

    def answer(self, unit: int) -> Answer:
        """Return the strongest response of a unit.

        This is the artifact with the largest |response| at the highest dose among those with
        q ≤ alpha and a response of at least ``smallest``; if there is none, the measurement with
        the largest |rho| among those with q ≤ alpha; else nothing.

        Raises
        ------
        ProbeError
            If the unit number is out of range.
        """
        units = self.data["unit"].values
        if unit not in units:
            raise ProbeError(
                f"Unit {unit} was given; layer {self.data.attrs['layer']!r} has units "
                f"{units.min()} to {units.max()}."
            )
        one = self.data.sel(unit=unit)
        return Answer(
            str(one["answer"].values),
            str(one["answer_kind"].values),
            float(one["answer_effect"]),
            float(one["answer_q"]),
        )

    def answers(self) -> pd.DataFrame:
        """Return one row per unit: ``unit, universal, answer, answer_kind, answer_effect, …``."""
        columns = ["answer", "answer_kind", "answer_effect", "answer_q"]
        frame = self.data[columns].to_dataframe().reset_index()[["unit", *columns]]
        frame.insert(1, "universal", frame["unit"].isin(self.universal))
        return frame

    def correlations(self) -> pd.DataFrame:
        """Return one row per unit and measurement: ``unit, measurement, rho, p, p_max, q``."""
        if not self.has_correlations:
            return pd.DataFrame(columns=["unit", "measurement", "rho", "p", "p_max", "q"])
        frame = self.data[["rho", "p", "p_max", "q"]].to_dataframe().reset_index()
        return frame[["unit", "measurement", "rho", "p", "p_max", "q"]]

    def doses(self) -> pd.DataFrame:
        """Return one row per artifact, dataset and dose: ``logit_response`` with its interval."""
        columns = ["logit_response", "logit_low", "logit_high"]
        keys = ["artifact", "dataset", "dose"]
        if not self.has_doses:
            return pd.DataFrame(columns=[*keys, *columns])
        frame = self.data[columns].to_dataframe().reset_index()[[*keys, *columns]]
        return frame.dropna(subset="logit_response").reset_index(drop=True)

    def unit_doses(self) -> pd.DataFrame:
        """Return one row per unit and artifact: ``effect, effect_p, effect_q``."""
        columns = ["effect", "effect_p", "effect_q"]
        if not self.has_doses:
            return pd.DataFrame(columns=["unit", "artifact", *columns])
        frame = self.data[columns].to_dataframe().reset_index()
        return frame[["unit", "artifact", *columns]]

    def _frame(self) -> pd.DataFrame:
        """Return `answers`."""
        return self.answers()

    def joined(self, other: ResponseReport) -> ResponseReport:
        """Join correlations of one report with doses of another, and compute the answers again.

        Raises
        ------
        ProbeError
            If detector, layer or units differ, or both reports have the same part.
        """
        _check_same(self, other)
        counts = {
            str(name): ("" if "reason" in str(name) else 0)
            for one in (self, other)
            for name in one.data.data_vars
            if one.data[name].dims == ("dataset",)
        }
        both = xr.merge(
            [one.data.drop_vars(_ANSWERS) for one in (self, other)],
            join="outer",
            compat="no_conflicts",
            fill_value=counts,
            combine_attrs="drop",
        )
        order = list(dict.fromkeys([*_names(self.data), *_names(other.data)]))
        if "dataset" in both.dims:
            both = both.sel(dataset=order)
        marked = sorted({*self.universal.tolist(), *other.universal.tolist()})
        # Doses are of rendered images, correlations of the data.
        data = {**other.provenance.data, **self.provenance.data}
        attrs = {**other.data.attrs, **self.data.attrs, "universal": marked, "data": data}
        return ResponseReport(answered(both.assign_attrs(attrs)))

    def summary(self) -> str:
        """Summarize how many units respond to what."""
        frame, parts = self.answers(), []
        for kind, text in (
            ("dose", "respond to an artifact dose"),
            ("correlation", "correlate with a measurement"),
        ):
            names = frame.loc[frame["answer_kind"] == kind, "answer"].value_counts()
            if len(names):
                some = ", ".join(f"{name} {count}" for name, count in names.items())
                parts.append(f"{int(names.sum())} {text} ({some})")
        rest = int((frame["answer_kind"] == "").sum())
        if rest:
            parts.append(f"{rest} have no significant response")
        return (
            f"Of {len(frame)} units of {self.data.attrs['layer']}, {'; '.join(parts)} "
            f"(q ≤ {self.data.attrs['alpha']:g})."
        )


_ANSWERS = ["answer", "answer_kind", "answer_effect", "answer_q"]


def answered(data: xr.Dataset) -> xr.Dataset:
    """Add ``answer``, ``answer_kind``, ``answer_effect`` and ``answer_q`` per unit."""
    units, alpha = data.sizes["unit"], float(data.attrs["alpha"])
    name = np.full(units, NOTHING, dtype=object)
    kind = np.full(units, "", dtype=object)
    size, level = np.full(units, np.nan), np.full(units, np.nan)
    # Doses come last, because a causal answer replaces a correlation.
    for label, dim, value, q in (
        ("correlation", "measurement", "rho", "q"),
        ("dose", "artifact", "effect", "effect_q"),
    ):
        if value not in data:
            continue
        effects = data[value].transpose("unit", dim).values
        levels = data[q].transpose("unit", dim).values
        floor = float(data.attrs.get("smallest", 0.0)) if label == "dose" else 0.0
        found = np.where((levels <= alpha) & (np.abs(effects) >= floor), np.abs(effects), -1.0)
        rows, best = np.arange(units), found.argmax(axis=1)
        hit = found[rows, best] > 0
        name[hit] = [str(one) for one in data[dim].values[best[hit]]]
        kind[hit] = label
        size[hit], level[hit] = effects[rows, best][hit], levels[rows, best][hit]
    columns: dict[str, Any] = dict(zip(_ANSWERS, (name, kind, size, level), strict=True))
    return data.assign({key: ("unit", values) for key, values in columns.items()})


def _names(data: xr.Dataset) -> list[Any]:
    return list(data["dataset"].values) if "dataset" in data.coords else []


def _check_same(one: ResponseReport, other: ResponseReport) -> None:
    for key in SHARED:
        a, b = one.data.attrs.get(key), other.data.attrs.get(key)
        if a != b:
            raise ProbeError(
                f"One report has {key} {a!r} and the other {b!r}; only correlations and doses of "
                "the same layer of one detector can be joined. Compute the missing part for it."
            )
    if one.data.sizes["unit"] != other.data.sizes["unit"]:
        raise ProbeError(
            f"One report has {one.data.sizes['unit']} units and the other "
            f"{other.data.sizes['unit']}. Compute the doses with the reducer of the store."
        )
    if (one.has_doses and other.has_doses) or (one.has_correlations and other.has_correlations):
        raise ProbeError("Both reports hold the same part; join correlations with doses.")
