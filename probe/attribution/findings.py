"""`MapSimilarity` and `RegionAttention`: similarity of variants' maps, attention by region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.results import Result

__all__ = ["BINS", "MapSimilarity", "RegionAttention", "texts"]


#: Bins of the mean similarity, as in the study.
BINS = ("<.7", ".7-.9", ">=.9")

#: Columns of the tables, in order.
BY_DATASET = (
    "mean",
    "low",
    "high",
    "null_mean",
    "null_low",
    "null_high",
    "over_null",
    "over_null_low",
    "over_null_high",
    "over_null_p",
    "retrained_mean",
    "retrained_low",
    "retrained_high",
    "over_retrained",
    "over_retrained_low",
    "over_retrained_high",
    "over_retrained_p",
    "n_samples",
    "n_clusters",
    "reason",
)
BY_REGION = (
    "share",
    "share_low",
    "share_high",
    "area",
    "concentration",
    "concentration_low",
    "concentration_high",
    "p",
    "q",
    "change",
    "change_low",
    "change_high",
    "change_p",
    "change_q",
    "other_p",
    "other_q",
)
BY_GROUP = ("n_samples", "n_clusters", "n_pairs", "n_faceless", "reason")


@dataclass(frozen=True, repr=False)
class MapSimilarity(Result):
    """Similarity of the maps of a detector's variants on the same images.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``sample``, ``pair`` ("base|deep"), ``dataset`` ("all" last, if there are several) and
        ``bin`` (`BINS`):

        - ``similarity(sample, pair)``: SSIM of the two variants' maps of an image, −1 to 1;
        - ``null(sample, pair)``: the same with the second map taken from another image of another
          cluster, of the same dataset and label; NaN if there is none;
        - ``retrained(sample)``: mean SSIM over pairs of trainings that differ by the seed; NaN if
          none were given;
        - ``mean, low, high (dataset)``: mean similarity over pairs and images, with its interval
          over clusters (NaN below five); likewise ``null_mean, null_low, null_high`` and
          ``retrained_mean, retrained_low, retrained_high``;
        - ``over_null, over_null_low, over_null_high, over_null_p (dataset)``: similarity − null per
          image, with interval; two-sided p-value by swapping the two within clusters. Likewise
          ``over_retrained``, ...: similarity − that of retrained detectors;
        - ``count(dataset, bin)``: number of images by their mean over pairs;
        - ``n_samples, n_clusters (dataset)`` and ``reason(dataset)``: why something is missing;
        - coordinates ``of, label, cluster (sample)``: dataset, label and cluster of an image.

        Attributes: ``mode, rule`` (description of the comparison), ``range`` (the shared scale, in
        units of the maps; 255 in mode "authors"), ``variants, method, layer, ci, seed, …``.
    """

    KIND: ClassVar[str] = "a map similarity"
    REQUIRED: ClassVar[str] = "similarity"
    FRAMES: ClassVar[Mapping[str, str]] = {"images": "images"}

    def _frame(self) -> pd.DataFrame:
        """Return one row per dataset: similarity, null, differences, counts by bin."""
        frame = self.data[list(BY_DATASET)].to_dataframe().reset_index()
        frame = frame[["dataset", *BY_DATASET]]
        counts = self.data["count"].to_pandas().add_prefix("count_")
        return frame.merge(counts.reset_index(), on="dataset")

    def images(self) -> pd.DataFrame:
        """Return one row per image: mean over pairs, null, and similarity of retrained ones."""
        about = self.data[["of", "label", "cluster"]].to_dataframe().reset_index()
        about = about[["sample", "of", "label", "cluster"]]
        means = {name: self.data[name].mean("pair").values for name in ("similarity", "null")}
        about = about.rename(columns={"of": "dataset"})
        return about.assign(**means, retrained=self.data["retrained"].values)


@dataclass(frozen=True, repr=False)
class RegionAttention(Result):
    """Share of map mass by region of the face, per dataset and forgery method.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``group`` ("faceswap: real"; "faceswap: fake", or the method if its name differs from
        the dataset's), ``part`` ("positive" and "negative" mass of signed maps, else "magnitude")
        and ``region``, and over ``sample``:

        - ``share, share_low, share_high (group, part, region)``: mean share of an image's mass in
          the region, 0 to 1, with its interval over clusters;
        - ``area(group, part, region)``: mean share of the image that the region covers, which is
          the share under uniform attention;
        - ``concentration`` with ``_low, _high``: log2(share / area); 0 is uniform, 1 is twice
          uniform; at least −10. NaN if the region is not visible;
        - ``p, q``: test of the concentration against the other groups of the same label, clusters
          exchanged; q is Benjamini-Hochberg over groups, parts and regions;
        - ``change`` with ``_low, _high``: concentration on fakes − that on the real images they are
          paired with; ``change_p, change_q``: test against 0, fake and real exchanged within
          clusters; ``other_p, other_q``: test against the change in the other groups;
        - ``n_used(group, part)``: images with any mass of this part; ``n_samples, n_clusters,
          n_pairs, n_faceless (group)``; ``reason(group)``: why something is missing;
        - ``image_share(sample, part, region), image_area(sample, region)``: values per image, NaN
          if no face was found;
        - coordinates ``dataset, label, forgery (group)`` and ``of, cluster (sample)``: group and
          cluster of an image.

        Attributes: ``source, rule`` of the regions, ``faceless`` (ids of images without a face),
        ``method, target, layer, detector, ci, seed, …``.
    """

    KIND: ClassVar[str] = "a region attention"
    REQUIRED: ClassVar[str] = "concentration"
    FRAMES: ClassVar[Mapping[str, str]] = {"images": "images"}

    def _frame(self) -> pd.DataFrame:
        """Return one row per group, part and region."""
        frame = self.data[list(BY_REGION)].to_dataframe().reset_index()
        keys = ["group", "dataset", "label", "forgery", "part", "region"]
        about = self.data[list(BY_GROUP)].to_dataframe()[list(BY_GROUP)].reset_index()
        return frame[[*keys, *BY_REGION]].merge(about, on="group")

    def images(self) -> pd.DataFrame:
        """Return one row per image and region: the share of each part, and the area."""
        shares = self.data["image_share"].to_series().unstack("part")
        area = self.data["image_area"].to_series().rename("area")
        frame = shares.join(area).reset_index()
        about = self.data[["of", "cluster"]].to_dataframe().reset_index()
        about = about[["sample", "of", "cluster"]]
        return about.rename(columns={"of": "group"}).merge(frame, on="sample")


def texts(values: NDArray[Any]) -> NDArray[np.str_]:
    """Return texts as NumPy strings, which compare and join; stored text has another type."""
    return np.array([str(value) for value in values], dtype=np.str_)
