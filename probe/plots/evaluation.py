"""Detection: detectors × datasets, differences to one detector, and what was measured.

Of each finding ``x`` there are ``x``, the table behind it, and, where it is drawn, ``plot_x``, the
figure for print (matplotlib). Web pages show them as tables, whose cells are links.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from probe.datasets.dataset import Dataset
from probe.errors import ProbeError, UnknownNameError
from probe.evaluation.paired import common_scores, differences, resample_scores
from probe.evaluation.table import ZeroShotMatrix
from probe.plots.compare import forest_figure
from probe.plots.style import STYLE, colors_of, text_on

__all__ = [
    "METRIC_NAMES",
    "dataset_counts",
    "matrix",
    "matrix_differences",
    "plot_matrix",
    "plot_matrix_differences",
]

#: Metrics as they are written for people.
METRIC_NAMES = {"auroc": "AUROC", "accuracy": "Accuracy", "ap": "AP", "eer": "EER"}

_SPLITS = ("train", "val", "test")


# --- Every detector on every dataset ------------------------------------------------------------


def matrix(found: ZeroShotMatrix, metric: str = "auroc", level: str = "frame") -> pd.DataFrame:
    """Return the zero-shot matrix as a table.

    Parameters
    ----------
    found : ZeroShotMatrix
        Scores of detectors on datasets.
    metric, level : str
        Those of the figure, for ``attrs``; the table has all.

    Returns
    -------
    pandas.DataFrame
        `ZeroShotMatrix.to_dataframe` with two more columns: ``seen`` (whether the detector was
        trained on the dataset, as its spec notes it) and ``chance`` (the metric of scores without
        information: the share of fakes for average precision, else 0.5).
    """
    frame = found.to_dataframe()
    seen = pd.DataFrame(
        found.seen,
        index=pd.Index(found.data["detector"].values, name="detector"),
        columns=pd.Index(found.data["dataset"].values, name="dataset"),
    ).stack()
    keys = pd.MultiIndex.from_frame(frame[["detector", "dataset"]])
    frame = frame.assign(seen=seen.loc[keys].to_numpy(), chance=0.5)
    for unit in frame["level"].unique():
        rows = (frame["metric"] == "ap") & (frame["level"] == unit)
        if rows.any():
            fakes = frame.loc[rows, "dataset"].map(_fakes(found.scores, unit))
            frame.loc[rows, "chance"] = fakes
    frame.attrs = {"metric": metric, "level": level, "ci": float(found.data.attrs.get("ci", 0.95))}
    return frame


def _fakes(scores: pd.DataFrame, level: str) -> pd.Series[float]:
    """Return the share of fakes in each dataset, of the first detector's rows."""
    scores = scores[scores["detector"] == scores["detector"].iloc[0]]
    if level == "video":
        scores = scores.drop_duplicates(["dataset", "video", "label"])
    return scores.groupby("dataset")["label"].mean()


def plot_matrix(found: ZeroShotMatrix, metric: str = "auroc", level: str = "frame") -> Figure:
    """Draw the zero-shot matrix, detectors × datasets, with values and intervals in the cells.

    Cells of datasets that a detector was trained on are framed.

    Parameters
    ----------
    found : ZeroShotMatrix
        Scores of detectors on datasets.
    metric, level : str
        Metric, and level ("frame" or "video").

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = matrix(found, metric, level)
    frame = frame[(frame["metric"] == metric) & (frame["level"] == level)]
    rows, columns = (list(frame[name].unique()) for name in ("detector", "dataset"))
    values = frame.pivot(index="detector", columns="dataset", values="value")
    with mpl.rc_context(STYLE):
        # Names of columns and the color bar need their height with one detector, too.
        size = (0.85 * len(columns) + 1.6, max(0.42 * len(rows) + 0.9, 1.9))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        shown = values.loc[rows, columns].to_numpy()
        drawn = axes.imshow(shown, cmap=colors_of(True), vmin=0, vmax=1, aspect="auto")
        for one in frame.to_dict("records"):
            _write_cell(
                axes, drawn, rows.index(one["detector"]), columns.index(one["dataset"]), one
            )
        axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
        axes.set_yticks(range(len(rows)), rows)
        figure.colorbar(drawn, ax=axes, label=f"{metric.upper()} per {level}")
    return figure


def _write_cell(axes: Axes, drawn: AxesImage, r: int, c: int, one: Mapping[Any, Any]) -> None:
    if one["seen"]:
        axes.add_patch(Rectangle((c - 0.46, r - 0.46), 0.92, 0.92, fill=False, lw=1.2))
    if not np.isfinite(one["value"]):
        axes.text(c, r, "one class", ha="center", va="center", fontsize=5)
        return
    color = text_on(drawn.to_rgba(np.asarray(one["value"])))
    axes.text(c, r - 0.12, f"{one['value']:.2f}", ha="center", va="center", color=color)
    bounded = np.isfinite(one["low"])
    span = f"{one['low']:.2f}–{one['high']:.2f}" if bounded else "too few clusters"
    axes.text(c, r + 0.25, span, ha="center", va="center", color=color, fontsize=5)


# --- Differences to one detector ----------------------------------------------------------------


def matrix_differences(
    found: ZeroShotMatrix,
    other: ZeroShotMatrix | None = None,
    *,
    reference: str,
    metric: str = "auroc",
    level: str = "frame",
    called: str = "",
    left_out: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Compare all detectors with one, in each dataset and on the same images.

    Parameters
    ----------
    found : ZeroShotMatrix
        Scores of detectors on datasets.
    other : ZeroShotMatrix, optional
        Scores of the reference, where another run holds them.
    reference : str
        Detector to compare with.
    metric, level : str
        Metric, and level ("frame" or "video").
    called : str
        Name of the reference; its label by default.
    left_out : mapping, optional
        Dataset to the reason why its images are not the same in both runs.

    Returns
    -------
    pandas.DataFrame
        One row per detector, but for the reference, and dataset: ``detector, dataset,
        compared_with, metric, level``; ``difference`` (less the reference), ``low, high, p`` (joint
        cluster bootstrap, see `probe.evaluation.paired.differences`); ``n_samples, n_clusters`` of
        the common images; ``reason`` (why there is no difference or no interval; empty if there
        are both); ``excludes_0`` (whether the interval leaves 0 out).

    Raises
    ------
    UnknownNameError
        If there is no such reference.
    """
    against, left_out = other or found, left_out or {}
    known = [str(name) for name in against.data["detector"].values]
    if reference not in known:
        raise UnknownNameError("detector", reference, known, where="the zero-shot matrix")
    labels, datasets = (list(map(str, found.data[n].values)) for n in ("detector", "dataset"))
    theirs, about = (against, reference), {"metric": metric, "level": level}
    parts = [
        _paired((found, label), theirs, metric, level, left_out).assign(detector=label)
        for label in labels
        if other is not None or label != reference
    ]
    named = ["detector", "dataset", "compared_with", "metric", "level"]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_ROW)
    frame = frame.assign(compared_with=called or reference, **about)[[*named, *_PAIRED]]
    frame["excludes_0"] = (frame["low"] > 0) | (frame["high"] < 0)
    ci = float(found.data.attrs.get("ci", 0.95))
    names = {"reference": called or reference, "detectors": labels, "datasets": datasets}
    frame.attrs.update(about, ci=ci, **names)
    return frame


#: Columns of a comparison.
_PAIRED = ("difference", "low", "high", "p", "n_samples", "n_clusters", "reason")
_ROW = ("detector", "dataset", *_PAIRED)


def _paired(
    ours: tuple[ZeroShotMatrix, str],
    theirs: tuple[ZeroShotMatrix, str],
    metric: str,
    level: str,
    left_out: Mapping[str, str],
) -> pd.DataFrame:
    """Compare two detectors by dataset; where nothing can be compared, with the reason."""
    datasets = [str(name) for name in ours[0].data["dataset"].values]
    reasons = dict.fromkeys(datasets, "no common images") | dict(left_out)
    lacking = {"difference": np.nan, "low": np.nan, "high": np.nan, "p": np.nan}
    rows: dict[str, dict[Any, Any]] = {
        name: lacking | {"n_samples": 0, "n_clusters": 0, "reason": why}
        for name, why in reasons.items()
    }
    try:
        one, other = _resampled(ours, theirs, metric, level, left_out)
        found = differences(one, other, float(ours[0].data.attrs.get("ci", 0.95)))
    except ProbeError as error:
        rows = {
            name: row | {"reason": left_out.get(name, str(error))} for name, row in rows.items()
        }
    else:
        part = found.sel(metric=metric, level=level).to_dataframe()[list(_PAIRED)]
        rows |= {str(name): row for name, row in part.to_dict("index").items()}
    return pd.DataFrame([{"dataset": name, **rows[name]} for name in datasets])


def _resampled(
    ours: tuple[ZeroShotMatrix, str],
    theirs: tuple[ZeroShotMatrix, str],
    metric: str,
    level: str,
    left_out: Mapping[str, str],
) -> tuple[xr.Dataset, xr.Dataset]:
    """Resample two detectors on their common images; each alone where these are all images."""
    whole = [found.scores_of(label) for found, label in (ours, theirs)]
    for (_, label), rows in zip((ours, theirs), whole, strict=True):
        if not len(rows):
            raise ProbeError(
                f"The score table holds no rows of {label}. Run the command of the run again."
            )
    kept = [rows[~rows["dataset"].isin(list(left_out))] for rows in whole]
    common = common_scores(kept[0], kept[1])
    # One seed draws the same clusters for both, so that one's draws serve all its pairs.
    if ours[0] is theirs[0] and all(map(_same_rows, common, whole)):
        one, other = (found.resampled(label, metric, level) for found, label in (ours, theirs))
        return one, other
    seed = int(ours[0].data.attrs.get("seed", 0))
    one, other = (
        resample_scores(rows, metrics=[metric], levels=[level], seed=seed) for rows in common
    )
    return one, other


def _same_rows(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    names = ["dataset", "sample", "video", "cluster"]
    return len(one) == len(other) and all(
        np.array_equal(one[name].to_numpy(), other[name].to_numpy()) for name in names
    )


def plot_matrix_differences(
    found: ZeroShotMatrix,
    other: ZeroShotMatrix | None = None,
    *,
    reference: str,
    metric: str = "auroc",
    level: str = "frame",
    called: str = "",
    left_out: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the differences of all detectors to one, a row per detector and dataset.

    Filled diamonds: the interval leaves 0 out.

    Parameters
    ----------
    found, other, reference, metric, level, called, left_out
        As in `matrix_differences`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    given: dict[str, Any] = {"reference": reference, "metric": metric, "level": level}
    frame = matrix_differences(found, other, **given, called=called, left_out=left_out)
    drawn = frame[frame["difference"].notna()]
    return forest_figure(
        drawn["detector"] + " on " + drawn["dataset"],
        drawn["difference"],
        drawn["low"],
        drawn["high"],
        marked=drawn["excludes_0"],
        label=f"{METRIC_NAMES.get(metric, metric)} less that of\n{frame.attrs['reference']}",
    )


# --- What was measured --------------------------------------------------------------------------


def dataset_counts(data: Dataset) -> pd.DataFrame:
    """Count the images, videos and identities of each dataset.

    Parameters
    ----------
    data : Dataset
        One dataset, or several that were joined.

    Returns
    -------
    pandas.DataFrame
        One row per ``dataset``: ``real`` and ``fake`` images, ``videos`` and ``identities`` (0
        where nobody is identified) over all splits, and images per split, such as
        ``test_images``, for the splits that there are.
    """
    table = data.samples.table
    there = [split for split in _SPLITS if (table["split"] == split).any()]
    rows = []
    for name, part in table.groupby("dataset", sort=False):
        people = part["identity"][part["identity"] != ""]
        rows.append(
            {
                "dataset": str(name),
                "real": int((part["label"] == 0).sum()),
                "fake": int((part["label"] == 1).sum()),
                "videos": len(part[["method", "video", "label", "split"]].drop_duplicates()),
                "identities": int(people.nunique()),
                **{f"{split}_images": int((part["split"] == split).sum()) for split in there},
            }
        )
    return pd.DataFrame(rows)
