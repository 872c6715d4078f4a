"""`dose_response`: how the logit and every unit change as one artifact is turned up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.datasets.dataset import resize
from probe.detectors.detector import Detector
from probe.errors import ProbeError
from probe.hooks import Recorder, Tap, trace
from probe.progress import progress_bar
from probe.responses.flipping import sign_flip_test
from probe.responses.rendering import REAL_IMAGE, DosedImages, render_doses
from probe.responses.report import ResponseReport, answered
from probe.stats import (
    MIN_CLUSTERS,
    Floats,
    adjust_together,
    cluster_counts,
    percentile_bounds,
)

__all__ = ["dose_response"]

#: A change below this share of a unit's largest value is rounding: results of matrix products
#: depend on an image's place in the batch in the last bits.
ROUNDING = 1e-5


def dose_response(
    detector: Detector,
    layer: str,
    images: DosedImages | None = None,
    *,
    reducer: str = "mean",
    universal: Sequence[int] = (),
    n_resamples: int = 1000,
    n_permutations: int = 9999,
    ci: float = 0.95,
    alpha: float = 0.05,
    smallest: float = 0.1,
    seed: int = 0,
    batch_size: int = 64,
) -> ResponseReport:
    """Measure the response of the fake logit and of every unit to each artifact of the lab.

    Causal: the same face with one artifact turned from 0 up, all else held. Changes are averaged by
    identity, then over identities, dataset by dataset. A unit's response is in standard deviations
    of the unit over the real images of the same people and scenes (pooled within datasets, so that
    what tells datasets apart does not count; over all images for a unit that is constant on real
    ones).

    Parameters
    ----------
    detector : Detector
        Whom.
    layer : str
        The tap whose units are asked.
    images : DosedImages, optional
        What `render_doses` made, once for any number of detectors; its defaults if not given.
    reducer : str, default "mean"
        How maps become one value a unit.
    universal : sequence of int
        Units to be marked in tables and figures.
    n_resamples : int, default 1000
        Of the bootstrap over identities.
    n_permutations : int, default 9999
        Sign flips.
    ci : float, default 0.95
        Coverage of the intervals.
    alpha : float, default 0.05
        False discovery rate at which an answer is given.
    smallest : float, default 0.1
        Smallest mean response, in standard deviations of the unit, that is an answer. Nothing but
        the artifact differs between the images, so that almost any response is significant.
    seed : int, default 0
        Seed of all draws.
    batch_size : int, default 64
        Images a batch.

    Returns
    -------
    ResponseReport
        With the part on doses.

    Raises
    ------
    UnknownNameError
        If the layer or reducer is not known.
    ProbeError
        If `universal` names a unit that is not there, or a number is out of range.
    """
    _check(n_resamples, n_permutations, ci, alpha, batch_size)
    recorder = Recorder.of(trace(detector), [Tap(layer, reducer)])
    shown = images if images is not None else render_doses()
    values = _values(recorder, shown.images, batch_size)
    units = values.shape[1] - 1
    if any(not 0 <= unit < units for unit in universal):
        raise ProbeError(
            f"universal={list(universal)} was given; {layer!r} has units 0 to {units - 1}."
        )
    spread = _spread(values, shown.table)
    changes = _changes(values / spread, shown)
    data = _assembled(changes, shown, n_resamples, n_permutations, ci, seed)
    attrs = {
        **shown.attrs,
        "layer": recorder.names[0],
        "detector": detector.name,
        "detector_fingerprint": detector.fingerprint,
        "universal": sorted(map(int, universal)),
        "reducer": reducer,
        "alpha": alpha,
        "smallest": smallest,
        "ci": ci,
        "seed": seed,
        "n_flips": n_permutations,
        "n_resamples": n_resamples,
    }
    data = data.assign(unit_sd=("unit", spread[1:])).assign_attrs(attrs)
    return ResponseReport(answered(data))


def _values(recorder: Recorder, images: NDArray[np.uint8], batch_size: int) -> Floats:
    """Run the detector on every image; shape (n, 1 + units), the logit first."""
    size, rows = recorder.detector.spec.input_size, []
    with progress_bar(f"doses {recorder.detector.name}", len(images)) as advance:
        for start in range(0, len(images), batch_size):
            some = images[start : start + batch_size]
            batch = np.stack([resize(image, size) for image in some]).transpose(0, 3, 1, 2)
            values, logits = recorder(np.ascontiguousarray(batch, dtype=np.float32) / 255)
            units = values[recorder.names[0]].cpu().double().numpy()
            rows.append(np.column_stack([logits.cpu().double().numpy(), units]))
            advance(len(some))
    return np.concatenate(rows)


def _spread(values: Floats, table: pd.DataFrame) -> Floats:
    """Give what a response is counted in, shape (1 + units,); 1 for the logit and for constants."""
    real = table[table["artifact"] == REAL_IMAGE]
    # Each dataset about its own mean: what tells datasets apart is no spread of the unit.
    groups = [values[rows["image"]] for _, rows in real.groupby("dataset", sort=False)]
    within = np.concatenate([one - one.mean(axis=0) for one in groups])
    freedom = max(len(within) - len(groups), 1)
    spread = np.sqrt((within**2).sum(axis=0) / freedom)
    spread = np.where(spread > _trace(values), spread, values.std(axis=0))
    spread = np.where(spread > _trace(values), spread, 1.0)
    spread[0] = 1.0
    return np.asarray(spread)


def _trace(values: Floats) -> Floats:
    """Below this a difference of values is rounding, column by column."""
    return np.asarray(ROUNDING * np.abs(values).max(axis=0))


@dataclass(frozen=True)
class _Change:
    """Change from dose 0 by identity, shape (identities, doses, 1 + units)."""

    artifact: str
    dataset: str
    values: Floats


def _changes(values: Floats, images: DosedImages) -> list[_Change]:
    trace, out = _trace(values), []
    dosed = images.table[images.table["artifact"] != REAL_IMAGE]
    for (artifact, dataset), rows in dosed.groupby(["artifact", "dataset"], sort=False):
        keys = ["identity", "video", "frame"]
        grid = rows.pivot(index=keys, columns="dose", values="image").sort_index(axis=1)
        at = values[grid.to_numpy()]
        change = at - at[:, :1]
        change[np.abs(change) <= trace] = 0.0
        codes, names = pd.factorize(grid.index.get_level_values("identity"))
        sums = np.zeros((len(names), *change.shape[1:]))
        np.add.at(sums, codes, change)
        means = sums / np.bincount(codes)[:, None, None]
        out.append(_Change(str(artifact), str(dataset), means))
    return out


def _assembled(
    changes: list[_Change],
    images: DosedImages,
    n_resamples: int,
    n_permutations: int,
    ci: float,
    seed: int,
) -> xr.Dataset:
    artifacts = list(images.attrs["artifacts"])
    datasets = list(dict.fromkeys(images.table["dataset"]))
    _, n_doses, columns = changes[0].values.shape
    shape = (len(artifacts), len(datasets))
    mean, low, high = np.full((3, *shape, columns, n_doses), np.nan)
    logit_p = np.full(shape, np.nan)
    for one in changes:
        where = artifacts.index(one.artifact), datasets.index(one.dataset)
        mean[where] = one.values.mean(axis=0).T
        low[where], high[where] = _bounds(one.values, n_resamples, ci, seed)
        logit_p[where] = sign_flip_test([one.values[:, -1, :1]], n_permutations, seed)[1][0]
    effect, p = _pooled(changes, artifacts, n_permutations, seed)
    logit, unit = ("artifact", "dataset", "dose"), ("artifact", "dataset", "unit", "dose")
    variables: dict[str, Any] = {}
    for name, array in (("response", mean), ("low", low), ("high", high)):
        variables[f"logit_{name}"] = (logit, array[:, :, 0])
        variables[f"unit_{name}"] = (unit, array[:, :, 1:])
    variables["logit_p"] = (logit[:2], logit_p)
    variables["logit_q"] = (logit[:2], adjust_together(logit_p))
    variables["effect"] = (("artifact", "unit"), effect)
    variables["effect_p"] = (("artifact", "unit"), p)
    variables["effect_q"] = (("artifact", "unit"), adjust_together(p))
    known = images.table.groupby("dataset")["identity"].nunique().loc[datasets].to_numpy()
    variables["n_identities"] = ("dataset", known)
    variables["dose_reason"] = ("dataset", [_reason(int(n)) for n in known])
    coords = {
        "artifact": artifacts,
        "dataset": datasets,
        "unit": np.arange(columns - 1),
        "dose": list(images.attrs["doses"]),
    }
    return xr.Dataset(variables, coords=coords)


def _bounds(
    change: Floats, n_resamples: int, ci: float, seed: int
) -> tuple[Floats | float, Floats | float]:
    """Resample identities; each bound has shape (1 + units, doses)."""
    count, doses, columns = change.shape
    if count < MIN_CLUSTERS:
        return np.nan, np.nan
    weights = cluster_counts(count, n_resamples, seed) / count
    low, high = percentile_bounds(weights @ change.reshape(count, -1), ci)
    return low.reshape(doses, columns).T, high.reshape(doses, columns).T


def _pooled(
    changes: list[_Change], artifacts: list[str], n_permutations: int, seed: int
) -> tuple[Floats, Floats]:
    """Test units at the highest dose over all datasets that have the artifact."""
    found = []
    for artifact in artifacts:
        strata = [one.values[:, -1, 1:] for one in changes if one.artifact == artifact]
        found.append(sign_flip_test(strata, n_permutations, seed))
    return np.stack([mean for mean, _ in found]), np.stack([p for _, p in found])


def _reason(identities: int) -> str:
    """Say what so few identities do not give."""
    texts = []
    if identities < MIN_CLUSTERS:
        texts.append(f"no interval below {MIN_CLUSTERS}")
    if 2.0 ** (1 - identities) > 0.05:
        texts.append("their sign flips are too few for p ≤ 0.05 in this dataset alone")
    return f"{identities} identities: {', and '.join(texts)}" if texts else ""


def _check(n_resamples: int, n_permutations: int, ci: float, alpha: float, batch_size: int) -> None:
    for name, value in (("ci", ci), ("alpha", alpha)):
        if not 0 < value < 1:
            raise ProbeError(f"{name}={value} was given; it lies in (0, 1).")
    for name, count in (
        ("n_resamples", n_resamples),
        ("n_permutations", n_permutations),
        ("batch_size", batch_size),
    ):
        if count < 1:
            raise ProbeError(f"{name}={count} was given; it takes at least 1.")
