"""`compare_features`: how alike the features of several detectors are, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from probe.datasets.subset import spread
from probe.errors import ProbeError
from probe.progress import progress_bar
from probe.separability.features import PAIRWISE, people_of
from probe.separability.report import SIMILARITY, Similarity
from probe.separability.similarity import Gram, cka, gram_of
from probe.store import ActivationStore

__all__ = ["compare_features"]


def compare_features(
    stores: Mapping[str, ActivationStore | str | Path] | Sequence[ActivationStore | str | Path],
    layers: Sequence[str] | None = None,
    *,
    max_samples: int = PAIRWISE,
    ci: float = 0.95,
    seed: int = 0,
) -> Similarity:
    """Compare the features of detectors, or variants, on the same images by debiased CKA.

    Parameters
    ----------
    stores : mapping or sequence
        Two or more, of the same samples; a mapping gives their labels.
    layers : sequence of str, optional
        Names of layers to compare where two stores have them; all by default. Layers are compared
        by name: `conv4` of one detector with `conv4` of another.
    max_samples : int, default 2000
        Samples that are compared, spread over people.
    ci, seed
        Coverage of the jackknife's intervals; seed of the choice of samples.

    Returns
    -------
    Similarity

    Raises
    ------
    ProbeError
        If fewer than two stores are given, two have one label, or their samples differ.
    """
    opened = _opened(stores)
    table = next(iter(opened.values())).samples
    for name, store in opened.items():
        if list(store.samples["sample"]) != list(table["sample"]):
            raise ProbeError(
                f"The store of {name!r} holds other samples than that of {next(iter(opened))!r}. "
                "Record both on the same dataset and split."
            )
    people = people_of(table)
    groups = pd.factorize(people + "|" + table["dataset"] + "|" + table["label"].astype(str))[0]
    rows = spread(groups, max_samples, seed)
    clusters = np.asarray(pd.factorize(people.iloc[rows])[0], dtype=np.int64)
    found = list(layers or dict.fromkeys(n for one in opened.values() for n in one.layers))
    labels = list(opened)
    out = np.full((3, len(found), len(labels), len(labels)), np.nan)
    with progress_bar("similarity of layers", len(found)) as advance:
        for i, layer in enumerate(found):
            grams = {
                name: _gram(store, layer, rows, clusters)
                for name, store in opened.items()
                if layer in store.layers
            }
            for one, other in combinations_with_replacement(grams, 2):
                a, b = labels.index(one), labels.index(other)
                out[:, i, a, b] = out[:, i, b, a] = cka(grams[one], grams[other], clusters, ci)
            advance(1)
    dims = ("layer", "detector", "other")
    data = xr.Dataset(
        {name: (dims, out[k]) for k, name in enumerate(("cka", "cka_low", "cka_high"))},
        coords={"layer": found, "detector": labels, "other": labels},
        attrs={
            "table": SIMILARITY,
            "n_samples": len(rows),
            "ci": ci,
            "seed": seed,
            "n_clusters": int(clusters.max()) + 1,
            "layers": found,
            "detectors": {n: s.attrs["detector"]["fingerprint"] for n, s in opened.items()},
            "dataset": next(iter(opened.values())).attrs["dataset"]["fingerprint"],
        },
    )
    return Similarity(data)


def _opened(
    stores: Mapping[str, ActivationStore | str | Path] | Sequence[ActivationStore | str | Path],
) -> dict[str, ActivationStore]:
    given = list(stores.values()) if isinstance(stores, Mapping) else list(stores)
    ready = [s if isinstance(s, ActivationStore) else ActivationStore.open(s) for s in given]
    names = (
        list(stores)
        if isinstance(stores, Mapping)
        else [str(store.attrs["detector"]["name"]) for store in ready]
    )
    if len(ready) < 2 or len(set(names)) < len(names):
        raise ProbeError(
            f"Stores of {', '.join(names) or 'nothing'} were given; two or more of different "
            "labels are needed. Give a mapping from label to store where names are the same."
        )
    return dict(zip(names, ready, strict=True))


def _gram(store: ActivationStore, layer: str, rows: np.ndarray, clusters: np.ndarray) -> Gram:
    tap = store[layer]["activation"]
    step = 4096
    blocks = [
        np.asarray(tap[start : start + step].values)[rows[inside] - start]
        for start in range(0, tap.sizes["sample"], step)
        if (inside := (rows >= start) & (rows < start + step)).any()
    ]
    return gram_of(np.concatenate(blocks), clusters)
