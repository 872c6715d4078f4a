"""How alike the maps of two variants are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.queries.compare import NotComparableError, Pair
from app.run import Run
from probe.attribution.findings import MapSimilarity
from probe.evaluation.paired import mean_by_cluster
from probe.run import MAP_MODES, stamp_of

__all__ = ["MapsView", "compared_pair", "maps_frame", "maps_view"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MapsView:
    """How alike the maps of two variants are on the same images.

    Attributes
    ----------
    method, rule : str
        Of the maps; what was compared, in words.
    datasets : tuple of str
        Rows.
    value, low, high, null, null_low, null_high : numpy.ndarray
        Mean SSIM with its interval over people, and that of maps of different images.
    over, over_low, over_high : numpy.ndarray
        Similarity less null, image by image.
    n_samples, n_clusters : numpy.ndarray
        Shape (dataset,).
    coverage : float
        Of the intervals.
    """

    method: str
    rule: str
    datasets: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    null: Floats
    null_low: Floats
    null_high: Floats
    over: Floats
    over_low: Floats
    over_high: Floats
    n_samples: NDArray[np.int64]
    n_clusters: NDArray[np.int64]
    coverage: float


def maps_view(pair: Pair) -> MapsView:
    """Compare the maps of two variants with those of different images.

    Raises
    ------
    NotComparableError
        If they are no variants of one architecture in one run, or were not compared.
    ProbeError
        If the table is missing.
    """
    run, name = pair.one.run, pair.one.architecture
    found = compared_pair(pair)
    stamp = stamp_of(run.folder.path("map_similarity", name, MAP_MODES[0]) / "zarr.json")
    return _mapped(run, name, found, stamp)


def compared_pair(pair: Pair) -> str:
    """Return what the table of similarity calls two variants.

    Raises
    ------
    NotComparableError, ProbeError
        As for `maps_view`.
    """
    if not pair.same_run or pair.one.architecture != pair.other.architecture:
        raise NotComparableError(
            "Maps are compared image by image between variants of one architecture in one run."
        )
    run, name = pair.one.run, pair.one.architecture
    found = run.map_similarity(name, MAP_MODES[0])
    labels = pair.one.label, pair.other.label
    variants = tuple(label.partition("/")[2] for label in labels)
    known = [str(one) for one in found.data["pair"].values]
    wanted = ["|".join(two) for way in (labels, variants) for two in (way, way[::-1])]
    named = [one for one in wanted if one in known]
    if not named:
        raise NotComparableError(
            f"The maps of {labels[0]} and {labels[1]} were not compared; "
            f"{', '.join(one.replace('|', ' with ') for one in known)} were."
        )
    return named[0]


def maps_frame(pair: Pair) -> pd.DataFrame:
    """Return the similarity of maps, one row a dataset."""
    view = maps_view(pair)
    names = (
        "value",
        "low",
        "high",
        "null",
        "null_low",
        "null_high",
        "over",
        "over_low",
        "over_high",
        "n_samples",
        "n_clusters",
    )
    frame = pd.DataFrame({"dataset": view.datasets, **{n: getattr(view, n) for n in names}})
    return frame.assign(method=view.method)


@lru_cache(maxsize=32)
def _mapped(run: Run, name: str, pair: str, stamp: int) -> MapsView:
    found: MapSimilarity = run.map_similarity(name, MAP_MODES[0])
    part = found.data.sel(pair=pair)
    of, cluster = part["of"].values.astype(str), part["cluster"].values
    own, null = part["similarity"].values, part["null"].values
    datasets = tuple(dict.fromkeys(of))
    ci, seed = (found.data.attrs.get(k, d) for k, d in (("ci", 0.95), ("seed", 0)))
    columns: dict[str, list[float]] = {}
    counts: list[tuple[int, int]] = []
    for dataset in datasets:
        rows = of == dataset
        for prefix, values in (("value", own), ("null", null), ("over", own - null)):
            one = mean_by_cluster(values[rows], cluster[rows], ci=float(ci), seed=int(seed))
            if prefix == "value":
                # Of maps that could be compared: NaN do not count.
                counts.append((one.n_samples, one.n_clusters))
            bounds = "" if prefix == "value" else f"{prefix}_"
            for key, number in (
                (prefix, one.estimate),
                (f"{bounds}low", one.low),
                (f"{bounds}high", one.high),
            ):
                columns.setdefault(key, []).append(number)
    arrays: dict[str, Any] = {key: np.array(values) for key, values in columns.items()}
    return MapsView(
        method=str(found.data.attrs.get("method", "")),
        rule=str(found.data.attrs.get("rule", "")),
        datasets=datasets,
        n_samples=np.array([n for n, _ in counts]),
        n_clusters=np.array([n for _, n in counts]),
        coverage=float(ci),
        **arrays,
    )
