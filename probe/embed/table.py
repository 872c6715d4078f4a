"""`Embeddings`: samples in two dimensions, with measures of how faithful the embedding is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from probe.results import Result

__all__ = ["Embeddings"]


@dataclass(frozen=True, repr=False)
class Embeddings(Result):
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

    KIND: ClassVar[str] = "an embedding"
    REQUIRED: ClassVar[str] = "position"
    COMMAND: ClassVar[str] = "probe embed"

    def _frame(self) -> pd.DataFrame:
        """Return one row per layer, method and sample: ``x``, ``y``, ``fitted``."""
        frame = self.data["position"].to_dataset("axis").rename({0: "x", 1: "y"}).to_dataframe()
        fitted = self.data["fitted"].to_series()
        frame = frame.reset_index()[["layer", "method", "sample", "x", "y"]]
        return frame.assign(fitted=fitted.reindex(frame["sample"]).to_numpy())
