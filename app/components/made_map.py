"""A map that was made on request, with its scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import html

from app.components.attribution_maps import scale_bar
from app.components.tables import number_text
from app.prefix import at
from app.queries.made_map import MadeMap

__all__ = ["made_map_shown"]


def made_map_shown(found: MadeMap) -> Any:
    """Show the map beside its scale, and whether it sums to what it should."""
    about = f"Map of {found.sample} by {found.column.title}"
    text = "The scale is that of this map alone. "
    if np.isfinite(found.gap):
        text += (
            f"It sums to {number_text(found.total)}, which misses what the method promises by "
            f"{number_text(found.gap)}."
        )
    else:
        text += "The method does not promise what it sums to."
    return html.Div(
        [
            html.Img(src=at(found.source), alt=about, className="made-map"),
            html.Div([scale_bar(found.column, laid=False), html.Div(text, className="reading")]),
        ],
        className="made-map-columns",
    )
