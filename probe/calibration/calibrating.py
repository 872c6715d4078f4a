"""`calibrate`: power, false-universal rate and ranking of every rule on many planted draws."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from probe.calibration.rules import RULES, Draw, Verdict
from probe.datasets.dataset import Dataset
from probe.detectors.planted import KINDS, Planted, Population, measure_population, plant
from probe.errors import ProbeError
from probe.progress import progress_bar
from probe.stats import auroc
from probe.tables import export_frame

__all__ = ["Calibration", "calibrate"]

#: Settings (units, effect) of the default run.
SETTINGS = ((64, 1.0), (256, 0.6), (256, 0.8), (256, 1.0), (256, 1.2), (1024, 1.0))

#: Shares whose standard errors over draws are given.
UNCERTAIN = ["power", "false_rate", "false_sharpest", "false_discovery"]


@dataclass(frozen=True)
class Calibration:
    """How rules fare where the truth is known.

    Attributes
    ----------
    draws : pandas.DataFrame
        One row a draw and rule: ``units, effect, clusters, draw, rule``. ``power``: share called
        of the units for which the rule's claim is true (a contribution in all datasets, or in as
        many as the rule says). ``false_rate``: share called of the others; ``false_sharpest``: of
        those that lack one dataset only; ``false_<kind>``: of those of a kind, NaN if none.
        ``false_discovery``: share of the called for which the claim is false, 0 if none is
        called. ``auc``: true units ranked above the others. ``called``: how many.
        ``seconds``: time of the rule alone, from features to verdict.
    """

    draws: pd.DataFrame

    def to_dataframe(self) -> pd.DataFrame:
        """Return means over draws and standard errors ``<column>_se``, a row a setting and rule."""
        keys = ["units", "effect", "clusters", "rule"]
        rows = self.draws.drop(columns=["draw"]).groupby(keys, sort=False)
        return rows.mean().join(rows[UNCERTAIN].sem().add_suffix("_se")).reset_index()

    def export(self, path: str | Path) -> Path:
        """Write the means as ``.csv``, ``.parquet``, ``.tex`` or ``.md``."""
        return export_frame(self.to_dataframe(), path, {"draws": int(self.draws["draw"].max()) + 1})


def calibrate(
    data: Dataset | Population,
    *,
    draws: int = 20,
    settings: Sequence[tuple[int, float]] = SETTINGS,
    clusters: int = 25,
    rules: Sequence[str] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Calibration:
    """Judge rules that call units universal by planted detectors.

    Every draw builds a planted detector and draws clusters from the population on which its truth
    is exact. Each rule then calls units universal at a nominal 5 %, without knowing the truth.

    Parameters
    ----------
    data : Dataset or Population
        The lab, all splits; or its features, see `measure_population`.
    draws : int, default 20
        Planted detectors a setting.
    settings : sequence of (int, float)
        Units and effect (mean of the difference between a cluster's fakes and reals, in standard
        deviations over clusters).
    clusters : int, default 25
        Clusters a dataset; the lab's test split has 25.
    rules : sequence of str, optional
        Of `RULES`; all by default.
    seed : int, default 0
        Seed of the first draw.
    device : str or torch.device, default "cpu"
        Where the filter bank and the planted detectors run.

    Returns
    -------
    Calibration
        One row a draw and rule.

    Raises
    ------
    UnknownNameError
        If a rule is not known.
    ProbeError
        If there is nothing to draw.
    """
    if draws < 1 or clusters < 5 or not settings:
        raise ProbeError(
            f"draws={draws}, clusters={clusters} and {len(settings)} settings were given; at least "
            "1 draw, 5 clusters and 1 setting are needed."
        )
    chosen = {name: RULES[name] for name in (rules or RULES)}
    if not isinstance(data, Population):
        data = measure_population(data, device=device)
    population = data
    rows = []
    with progress_bar("calibrate", draws * len(settings) * len(chosen)) as advance:
        for units, effect in settings:
            for number in range(draws):
                planted = plant(population, units, effect, seed + number)
                planted.detector.to(device)
                draw = Draw.of(planted, population, clusters, seed + number)
                for name, rule in chosen.items():
                    began = time.perf_counter()
                    # A fresh draw: what rules share is computed again, so that times are fair.
                    verdict = rule(replace(draw))
                    seconds = time.perf_counter() - began
                    rows.append(
                        {
                            "units": units,
                            "effect": effect,
                            "clusters": clusters,
                            "draw": number,
                            "rule": name,
                            **_judged(verdict, planted),
                            "seconds": seconds,
                        }
                    )
                    advance(1)
    return Calibration(pd.DataFrame(rows))


def _judged(verdict: Verdict, planted: Planted) -> dict[str, float]:
    called, kinds = verdict.called, planted.truth["kind"].to_numpy()
    needed = verdict.at_least or len(planted.truth.filter(like="effect_").columns)
    true = planted.datasets >= needed
    by_kind = {f"false_{kind}": _share(called[~true & (kinds == kind)]) for kind in KINDS}
    return {
        "power": _share(called[true]),
        "false_rate": _share(called[~true]),
        "false_sharpest": _share(called[planted.datasets == needed - 1]),
        **by_kind,
        "false_discovery": float((called & ~true).sum() / max(1, called.sum())),
        "auc": float(auroc(true, np.nan_to_num(verdict.score))[0]),
        "called": float(called.sum()),
    }


def _share(called: NDArray[np.bool_]) -> float:
    return float(called.mean()) if len(called) else np.nan
