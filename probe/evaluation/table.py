"""`ZeroShotMatrix`: scores of detectors on datasets, as a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.evaluation.paired import resample_scores
from probe.results import Result
from probe.tables import export_frame, from_disk, parsed

__all__ = ["ZeroShotMatrix", "trained_on"]


def trained_on(specs: Mapping[str, Any], label: str) -> list[str]:
    """Return the names of the datasets that a detector was trained on, as its spec lists them."""
    notes = (specs.get(label) or {}).get("notes") or {}
    names: list[str] = []
    for part in notes.get("trained_on", []) if isinstance(notes, dict) else []:
        names += [str(name) for name in part.get("datasets") or [part.get("name")]]
    return list(dict.fromkeys(names))


@dataclass(frozen=True, repr=False)
class ZeroShotMatrix(Result):
    """Metrics of detectors on datasets, and the scores they are computed from.

    Attributes
    ----------
    data : xarray.Dataset
        ``value``, ``low``, ``high`` over (detector, dataset, level, metric), with ``n_samples``
        and ``n_clusters`` over (detector, dataset, level). Metrics are ``accuracy`` at P(fake)
        0.5, ``auroc``, ``ap`` and ``eer``, all in [0, 1]. Levels are ``frame`` and ``video`` (mean
        P(fake) of its frames). Bounds are NaN below five clusters; values are NaN for one class.
    scores : pandas.DataFrame
        One row per detector and image: ``detector, dataset, sample, method, video, frame,
        cluster, label, logit``.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.evaluation.to_dataframe().columns[:4].tolist()
    ['detector', 'dataset', 'level', 'metric']
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("matrix",)
    KIND: ClassVar[str] = "a zero-shot matrix"
    REQUIRED: ClassVar[str] = "value"
    COMMAND: ClassVar[str] = "probe evaluate"
    scores: pd.DataFrame
    _resampled: dict[tuple[str, str, str], xr.Dataset] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether a detector was trained on a dataset, by its spec: (detector, dataset)."""
        found = parsed(self.data.attrs.get("specs", "{}"))
        specs = found if isinstance(found, dict) else {}
        names = [str(name) for name in self.data["dataset"].values]
        home = [trained_on(specs, str(label)) for label in self.data["detector"].values]
        return np.array([[name in those for name in names] for those in home], dtype=bool)

    def scores_of(self, detector: str) -> pd.DataFrame:
        """Return the rows of one detector in `scores`."""
        of: pd.DataFrame = self.scores[self.scores["detector"].to_numpy() == detector]
        return of.reset_index(drop=True)

    def resampled(self, detector: str, metric: str, level: str) -> xr.Dataset:
        """Resample the scores of a detector once, for all comparisons that it is in.

        Parameters
        ----------
        detector, metric, level : str
            Names in `data`.

        Returns
        -------
        xarray.Dataset
            See `probe.evaluation.paired.resample_scores`; the seed is that of the matrix.
        """
        key = detector, metric, level
        if key not in self._resampled:
            self._resampled[key] = resample_scores(
                self.scores_of(detector),
                metrics=[metric],
                levels=[level],
                seed=int(self.data.attrs.get("seed", 0)),
            )
        return self._resampled[key]

    def _frame(self) -> pd.DataFrame:
        """Return one row per detector, dataset, level and metric."""
        frame = self.data.to_dataframe().reset_index()
        return frame[
            [
                "detector",
                "dataset",
                "level",
                "metric",
                "value",
                "low",
                "high",
                "n_samples",
                "n_clusters",
            ]
        ]

    def save(self, path: str | Path) -> None:
        """Write the labeled arrays as Zarr, and the scores beside them as Parquet."""
        export_frame(self.scores, Path(path).with_suffix(".scores.parquet"))
        super().save(path)

    @classmethod
    def open(cls, path: str | Path, *, lazy: bool = False) -> ZeroShotMatrix:
        """Read a matrix that `save` wrote; `lazy` has no effect, since it is small.

        Raises
        ------
        StoreError
            If the table, or the scores beside it, are missing or damaged.
        """
        file = Path(path).with_suffix(".scores.parquet")
        with from_disk(file):
            return cls(cls._read(Path(path), lazy), pd.read_parquet(file))

    def summary(self) -> str:
        """Summarize the frame AUROC of detectors, a line each: mean and lowest of datasets."""
        part = self.data["value"].sel(metric="auroc", level="frame")
        said = []
        for name in map(str, part["detector"].values):
            row = part.sel(detector=name).values
            if not np.isfinite(row).any():
                said.append(f"{name}: no dataset has both classes.")
                continue
            worst = int(np.nanargmin(row))
            said.append(
                f"{name}: mean frame AUROC {np.nanmean(row):.3f} over "
                f"{int(np.isfinite(row).sum())} datasets, lowest {row[worst]:.3f} on "
                f"{part['dataset'].values[worst]}."
            )
        return "\n".join(said)
