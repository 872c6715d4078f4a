"""What tables and figures of a detector's layers share."""

from __future__ import annotations

from typing import Any

import pandas as pd

from probe.errors import UnknownNameError
from probe.separability.report import SeparabilityReport

__all__ = ["LAYERS", "about", "known_layer", "rows_of"]

#: Color (Okabe and Ito) and marker per layer.
LAYERS = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "D"), ("#cc79a7", "^"), ("#b8860b", "v"))


def about(found: SeparabilityReport) -> dict[str, Any]:
    """Return the confidence level and the datasets of a report, in order."""
    return {
        "ci": float(found.data.attrs.get("ci", 0.95)),
        "datasets": list(map(str, found.data["dataset"].values)),
    }


def known_layer(found: SeparabilityReport, layer: str) -> str:
    """Return the layer.

    Raises
    ------
    UnknownNameError
        If the report does not hold it.
    """
    layers = list(map(str, found.data["layer"].values))
    if layer not in layers:
        raise UnknownNameError(
            "layer",
            layer,
            layers,
            where="the separability report",
            remedy="Choose one of them above, or record the layer and compute the report again.",
        )
    return layer


def rows_of(found: SeparabilityReport, frame: pd.DataFrame, layer: str) -> pd.DataFrame:
    """Return the rows of a layer, and what they are about."""
    frame = frame[frame["layer"].astype(str) == layer].reset_index(drop=True)
    frame.attrs.clear()
    frame.attrs.update(about(found), layer=layer)
    return frame
