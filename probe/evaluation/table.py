"""`ZeroShotMatrix`: scores of detectors on datasets, as a result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from probe.results import Result
from probe.tables import export_frame, from_disk

__all__ = ["ZeroShotMatrix"]


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
    """

    KIND: ClassVar[str] = "a zero-shot matrix"
    REQUIRED: ClassVar[str] = "value"
    COMMAND: ClassVar[str] = "probe evaluate"
    scores: pd.DataFrame

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
