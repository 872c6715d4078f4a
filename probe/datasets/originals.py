"""What a fake was made of: the real image beside it, where that is known or can be told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probe.datasets.dataset import Dataset
from probe.schema import FAKE

__all__ = ["original_positions"]


def original_positions(data: Dataset, everything: Dataset) -> NDArray[np.int64]:
    """Find the real image that shows what a fake shows, to be looked at beside it.

    It is the one that the column ``pair`` names; else, of the real images of the same identity,
    that of the nearest frame, from the same dataset if there are any. Frames of two videos may lie
    apart by some: good enough to look at, and not to subtract.

    Parameters
    ----------
    data : Dataset
        Images.
    everything : Dataset
        Where the real images are.

    Returns
    -------
    numpy.ndarray
        Shape (n,), positions in `everything`; −1 for real images, and where there is none.
    """
    table, place = data.samples.table, everything.samples.table
    by_id = {name: i for i, name in enumerate(place["sample"])}
    out = np.full(len(table), -1, dtype=np.int64)
    frames, real = place["frame"].to_numpy(), (place["label"] != FAKE).to_numpy()
    people: dict[tuple[str, str], list[int]] = {}
    for i, (name, who) in enumerate(zip(place["dataset"], place["identity"], strict=True)):
        if real[i] and who:
            for key in ((name, who), ("", who)):
                people.setdefault(key, []).append(i)
    for i, row in enumerate(table.itertuples(index=False)):
        pair = by_id.get(getattr(row, "pair", ""), -1)
        name, who = str(row.dataset), str(row.identity)
        rows = people.get((name, who)) or people.get(("", who))
        if row.label != FAKE:
            continue
        if pair >= 0:
            out[i] = pair
        elif rows:
            out[i] = rows[int(np.argmin(np.abs(frames[rows] - row.frame)))]
    return out
