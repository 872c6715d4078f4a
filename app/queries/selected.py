"""What a selection in a picture holds: counts, images, and the units that tell it from the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from app.queries.activations import rows_by_unit, stored_units
from app.queries.deriving import derived
from app.queries.images import Shown, shown_of
from app.queries.lasso import Lasso, read, selected_by
from app.queries.pictures import PictureView, coloring
from app.run import Run
from probe.datasets.dataset import Samples
from probe.errors import ProbeError
from probe.images import token_of
from probe.separability.selection import screen, tell_apart

__all__ = ["Group", "SelectedView", "TellingView", "selected_view", "telling_view"]

#: Images that are shown of a selection.
IMAGES = 24
#: Samples of each side that units are compared on, and that the first look at all units takes.
MOST, FIRST = 10_000, 1_500
#: Units that are measured after the first look, and that are listed.
CANDIDATES, LISTED = 40, 12


@dataclass(frozen=True)
class Group:
    """How much of a group is selected.

    Attributes
    ----------
    name : str
        Of a label, dataset or method.
    selected, total : int
        Samples.
    """

    name: str
    selected: int
    total: int


@dataclass(frozen=True)
class SelectedView:
    """A selection.

    Attributes
    ----------
    selected, total : int
        Samples.
    groups : dict
        "label", "dataset" and "method" to the groups that are touched, the largest first.
    p_fake, rest_p_fake : float
        Mean P(fake) of the selected and of all others; NaN where there are none.
    images : tuple of Shown
        The nearest to the selection's middle, at most one frame a video.
    n_videos : int
        Videos that they were chosen from.
    """

    selected: int
    total: int
    groups: dict[str, tuple[Group, ...]]
    p_fake: float
    rest_p_fake: float
    images: tuple[Shown, ...]
    n_videos: int


@dataclass(frozen=True)
class TellingView:
    """The units that tell a selection from the rest best.

    Attributes
    ----------
    table : xarray.Dataset
        See `probe.separability.selection.tell_apart`, strongest unit first.
    n_units : int
        How many they were chosen from.
    drawn : bool
        Whether only a part of the samples was looked at, chosen at random.
    screened : int
        Samples of a first look, which left `CANDIDATES` units to be measured; 0 if it had all
        that were measured.
    """

    table: xr.Dataset
    n_units: int
    drawn: bool
    screened: int = 0


def selected_view(run: Run, label: str, view: PictureView, lasso: Lasso) -> SelectedView:
    """Count what is selected, and choose its images."""
    inside = selected_by(view, lasso)
    groups = {}
    for by in ("label", "dataset", "method"):
        color = coloring(run, label, view, by, None)
        total = np.bincount(color.code, minlength=len(color.names))
        here = np.bincount(color.code[inside], minlength=len(color.names))
        order = [i for i in np.argsort(-here, kind="stable") if here[i]]
        groups[by] = tuple(Group(color.names[i], int(here[i]), int(total[i])) for i in order)
    score = coloring(run, label, view, "score", None).value
    images, n_videos = _images(run, view, np.flatnonzero(inside))
    return SelectedView(
        selected=int(inside.sum()),
        total=view.total,
        groups=groups,
        p_fake=float(score[inside].mean()) if inside.any() else np.nan,
        rest_p_fake=float(score[~inside].mean()) if not inside.all() else np.nan,
        images=images,
        n_videos=n_videos,
    )


def telling_view(run: Run, label: str, view: PictureView, text: str) -> TellingView:
    """Find the units that tell a selection from the rest.

    All units are looked at with few samples, and the strongest of them measured with more.

    Raises
    ------
    ProbeError
        If nothing or everything is selected, the layer's activations were not kept, or while they
        are being arranged by unit.
    """
    return derived(_telling, (run, view), label, text)


def _telling(run: Run, view: PictureView, label: str, text: str) -> TellingView:
    lasso = read(label, view, text)
    inside = np.zeros(view.total, dtype=bool) if lasso is None else selected_by(view, lasso)
    if inside.all() or not inside.any():
        raise ProbeError("There is nothing to compare: select some of the samples, not all.")
    if view.layer not in run.store(label).layers:
        raise ProbeError(
            f"The activations of {view.layer!r} were not kept for {label}, so its units cannot be "
            "compared. Choose another layer."
        )
    rng = np.random.default_rng(0)
    sides = [rng.permutation(np.flatnonzero(side))[:MOST] for side in (inside, ~inside)]
    first = np.concatenate([side[:FIRST] for side in sides])
    place, numbers = view.samples["place"].to_numpy(), stored_units(run, label, view.layer)
    blocks = rows_by_unit(run, label, view.layer, place[first])
    rough = np.concatenate([screen(values, inside[first]) for values in blocks])
    best = np.sort(_strongest(rough)[:CANDIDATES])
    rows = np.sort(np.concatenate(sides))
    values = np.concatenate(list(rows_by_unit(run, label, view.layer, place[rows], best)), axis=1)
    clusters, strata = derived(_codes, (view.samples,))
    table = tell_apart(values, inside[rows], clusters[rows], strata[rows], numbers[best].tolist())
    listed = _strongest(table["auroc"].values)[:LISTED]
    fewer = len(first) if len(first) < len(rows) else 0
    return TellingView(table.isel(unit=listed), len(rough), len(rows) < view.total, fewer)


def _strongest(auroc: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order units by their distance from 0.5, without those that have none."""
    strength = np.abs(auroc - 0.5)
    order = np.argsort(-strength, kind="stable")
    return order[np.isfinite(strength[order])]


def _codes(samples: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return codes of people, and of dataset and label together."""
    columns = samples.drop(columns=["logit", "written", "place"], errors="ignore")
    strata = 2 * pd.factorize(samples["dataset"])[0] + samples["label"].to_numpy()
    return Samples(columns).clusters, strata.astype(np.int64)


def _images(run: Run, view: PictureView, rows: NDArray[np.int64]) -> tuple[tuple[Shown, ...], int]:
    """Choose images near to the middle of some rows, and count their videos."""
    if not len(rows):
        return (), 0
    x0, x1, y0, y1 = view.extent
    here = view.position[rows] / ((x1 - x0) or 1.0, (y1 - y0) or 1.0)
    order = rows[np.argsort(((here - np.median(here, axis=0)) ** 2).sum(axis=1), kind="stable")]
    # A video key may hold both classes where a layout names them alike.
    table = view.samples.iloc[order][["dataset", "method", "video", "label"]]
    kept = order[~table.duplicated().to_numpy()]
    known = run.rows
    found = [
        shown_of(row | {"activation": np.nan})
        for row in view.samples.iloc[kept[:IMAGES]].to_dict("records")
        if token_of(str(row["sample"])) in known
    ]
    return tuple(found), len(kept)
