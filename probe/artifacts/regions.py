"""Which part of an image counts as inside: one rule a dataset, never two."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from probe.artifacts.picture import Bools, central_ellipse
from probe.datasets.dataset import Dataset

__all__ = ["ELLIPSE", "MASKS", "mask_rows", "region_of"]

MASKS = "forgery mask; reals by the mask of their pair"
ELLIPSE = "central ellipse; no masks"


def mask_rows(dataset: Dataset) -> NDArray[np.int64] | None:
    """Find whose mask is the region of each image.

    Parameters
    ----------
    dataset : Dataset
        One dataset.

    Returns
    -------
    numpy.ndarray or None
        Shape (n,): an image's own position if it has a mask, as fakes have, else that of the fake
        that it is paired with. None where any image has neither: then the central ellipse stands
        for the region in all images of the dataset, since two rules for two labels would be told
        apart by any measurement.
    """
    table = dataset.samples.table
    masked = pd.Series(np.arange(len(table)), index=table["sample"])
    masked = masked[(table["mask"] != "").to_numpy(dtype=bool)]
    own = (table["mask"] != "") | (table["label"] == 1)
    names = table["sample"].where(own, table["pair"] if "pair" in table else "")
    found = masked.reindex(names.fillna("").astype(str))
    return None if found.isna().any() else found.to_numpy().astype(np.int64)


def region_of(mask: NDArray[np.uint8] | None, height: int, width: int) -> Bools:
    """Turn a mask into a region of an image's size; without one, the central ellipse.

    A mask of another size is resized to the image, each pixel as its nearest.
    """
    if mask is None:
        return central_ellipse(height, width)
    if mask.shape != (height, width):
        resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        mask = np.asarray(resized)
    return np.asarray(mask > 127)
