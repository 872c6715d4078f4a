"""`MapSimilarity` and `RegionAttention`: similarity of variants' maps, attention by region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.results import Result
from probe.tables import parsed

__all__ = ["BINS", "BY_DATASET", "MapSimilarity", "RegionAttention", "texts"]


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

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.map_similarity("meso4")
    <MapSimilarity: dataset 4, bin 3, sample 36, pair 1>
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("map_similarity",)
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

    def summary(self) -> str:
        """Summarize the similarity, against its null and other seeds, and what is missing."""
        data = self.data
        whole = data.isel(dataset=-1)
        said = [f"Compared: {data.attrs['rule']}."]
        if np.isfinite(float(whole["over_null"])):
            how = _words(whole, "over_null")
            said.append(f"Maps of one image are {how} similar than maps of different images.")
        if np.isfinite(float(whole["over_retrained"])):
            how = _words(whole, "over_retrained")
            said.append(
                f"Maps of two variants are {how} similar than maps of two trainings that "
                "differ only in the seed."
            )
        for name in data["dataset"].values:
            reason = str(data["reason"].sel(dataset=name).values)
            said += [f"{name}: {reason}"] if reason else []
        return "\n".join(said)


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

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.attention("meso4/base")
    <RegionAttention of meso4/base: group 6, part 2, region 3, sample 36>
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("region_attention",)
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

    def summary(self) -> str:
        """Summarize each group: where its mass lies, how it changes, what is missing."""
        data = self.data
        part = str(data["part"].values[0])
        said = [_group_sentence(data.sel(group=group, part=part)) for group in data["group"].values]
        if data["n_faceless"].any():
            names = list(np.asarray(parsed(data.attrs["faceless"])).ravel())
            more = ", …; all are listed in attribute faceless" if len(names) > MOST_NAMES else ""
            said.append(
                f"No face was found in {len(names)} of {data.sizes['sample']} images, which are "
                f"excluded: {', '.join(map(str, names[:MOST_NAMES]))}{more}."
            )
        return "\n".join(said)


def texts(values: NDArray[Any]) -> NDArray[np.str_]:
    """Return texts as NumPy strings, which compare and join; stored text has another type."""
    return np.array([str(value) for value in values], dtype=np.str_)


#: Maximum number of images without a face that are listed.
MOST_NAMES = 5

#: False discovery rate at which a change is reported.
ALPHA = 0.05


def _words(at: Any, column: str) -> str:
    value, p = float(at[column]), float(at[f"{column}_p"])
    known = f" (p = {p:.2g})" if np.isfinite(p) else ""
    return f"by {abs(value):.2f}{known} {'more' if value > 0 else 'less'}"


def _group_sentence(at: Any) -> str:
    group, reason = str(at["group"].values), str(at["reason"].values)
    counts = f"{int(at['n_samples'])} images, {int(at['n_clusters'])} clusters"
    value = at["concentration"].values
    if not np.isfinite(value).any():
        return f"{group}: no result for {counts}. {reason}".strip()
    best = at.isel(region=int(np.nanargmax(value)))
    parts = [
        f"most on {best['region'].values}, {2 ** float(best['concentration']):.1f} times uniform "
        f"attention ({float(best['share']):.0%} of mass on {float(best['area']):.0%} of area)"
    ]
    parts += _changes(at, "change", "change_q", "changed from the paired reals on")
    parts += _changes(at, "change", "other_q", "changed differently from the other datasets on")
    return f"{group}: {'; '.join([*parts, counts])}. {reason}".strip()


def _changes(at: Any, name: str, q: str, words: str) -> list[str]:
    found = np.flatnonzero(at[q].values <= ALPHA)
    if not len(found):
        return []
    each = [
        f"{at['region'].values[k]} ({float(at[name].values[k]):+.1f}, "
        f"q = {float(at[q].values[k]):.2g})"
        for k in found
    ]
    return [f"{words} {', '.join(each)}"]
