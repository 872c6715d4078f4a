"""Labels exchanged over people: data on which there is nothing to learn but the setting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from probe.datasets.dataset import Dataset
from probe.datasets.samples import Samples

__all__ = ["shuffle_labels"]


def shuffle_labels(dataset: Dataset, seed: int = 0) -> Dataset:
    """Exchange labels as the permutation test does, split by split and dataset by dataset.

    An identity (else video) that has both labels swaps them or not, by a coin; those that have one
    exchange them among each other. A detector trained on this is the null of label-shuffled
    training: give it to `neuron_importance` as ``shuffled``.

    Parameters
    ----------
    dataset : Dataset
        Any; methods and paths stay as they are.
    seed : int, default 0
        Seed of the draw.
    """
    table = dataset.samples.table.reset_index(drop=True).copy()
    table["cluster"] = dataset.samples.clusters
    rng = np.random.default_rng(seed)
    for _, rows in table.groupby(["dataset", "split"], sort=True):
        by_cluster = rows.groupby("cluster")["label"]
        mixed = by_cluster.nunique() > 1
        swap = mixed.index[mixed & (rng.random(len(mixed)) < 0.5)]
        turned = rows.index[rows["cluster"].isin(swap)]
        table.loc[turned, "label"] = 1 - table.loc[turned, "label"]
        alone = by_cluster.first()[~mixed]
        drawn = pd.Series(rng.permutation(alone.to_numpy(copy=True)), index=alone.index)
        pure = rows.index[rows["cluster"].isin(alone.index)]
        table.loc[pure, "label"] = table.loc[pure, "cluster"].map(drawn).astype(np.int8)
    card = {**dataset.card, "labels_shuffled": seed}
    return replace(dataset, samples=Samples(table.drop(columns="cluster")), card=card)
