"""`Embeddings`: samples in two dimensions, with measures of how faithful the embedding is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import xarray as xr

from probe.errors import StoreError
from probe.tables import export_frame, open_table, save_table

__all__ = ["EMBEDDINGS", "Embeddings"]

#: Version of the table format.
EMBEDDINGS = 1


@dataclass(frozen=True)
class Embeddings:
    """Two-dimensional embeddings of layers.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``layer``, ``method`` (pca, umap, tsne), ``sample`` (ids, in the order of the store)
        and ``axis`` (0, 1):

        - ``position(layer, method, sample, axis)``, in arbitrary units;
        - ``trustworthiness(layer, method)``: 1 if no sample is placed among neighbors that are far
          from it in the features (Venna and Kaski 2001), about 0.5 for a random embedding;
        - ``preservation(layer, method)``: share of the nearest neighbors in the features that are
          also nearest in the embedding;
        - ``fitted(sample)``: whether the embedding was fitted on the sample; the others were
          projected into it.

        Attributes: ``detector, dataset, seed, neighbors, n_fitted, n_judged``.
    """

    data: xr.Dataset

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per layer, method and sample: ``x``, ``y``, ``fitted``."""
        frame = self.data["position"].to_dataset("axis").rename({0: "x", 1: "y"}).to_dataframe()
        fitted = self.data["fitted"].to_series()
        frame = frame.reset_index()[["layer", "method", "sample", "x", "y"]]
        return frame.assign(fitted=fitted.reindex(frame["sample"]).to_numpy())

    def export(self, path: str | Path) -> Path:
        """Write the table as ``.csv``, ``.parquet``, ``.tex`` or ``.md``."""
        return export_frame(self.to_dataframe(), path, self.data.attrs)

    def save(self, path: Path) -> None:
        """Write the labeled arrays as Zarr."""
        save_table(self.data, path)

    @classmethod
    def open(cls, path: Path) -> Embeddings:
        """Read a table that `save` wrote."""
        data = open_table(path)
        if "position" not in data or data.attrs.get("table") != EMBEDDINGS:
            raise StoreError(
                f"The table {str(path)!r} holds no embeddings of version {EMBEDDINGS}. Compute "
                "them again with `probe embed`."
            )
        return cls(data)
