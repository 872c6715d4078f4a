"""Cells of heatmaps: one diverging scale, text that can be read on it, numbers as in print."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.figures.theme import Theme

__all__ = [
    "cell",
    "color_at",
    "colorbar",
    "heatmap",
    "level",
    "scale",
    "short",
    "signed",
    "span",
    "text_at",
    "text_on",
]

Floats = NDArray[np.float64]


def scale(theme: Theme) -> list[list[Any]]:
    """Return the diverging colors as a scale of plotly."""
    last = len(theme.diverging) - 1
    return [[i / last, color] for i, color in enumerate(theme.diverging)]


def heatmap(theme: Theme, z: Floats, hovers: list[list[str]], **more: Any) -> dict[str, Any]:
    """Return what all heatmaps share; `z` runs from −1 to 1, 0 neutral, unless bounds are given."""
    return {
        "z": z,
        "zmin": -1,
        "zmax": 1,
        "colorscale": scale(theme),
        "xgap": 3,
        "ygap": 3,
        "text": hovers,
        "hovertemplate": "%{text}<extra></extra>",
        **more,
    }


def colorbar(theme: Theme, ends: list[str], **more: Any) -> dict[str, Any]:
    """Return a short horizontal bar at the lower right, named at −1, 0 and 1."""
    return {
        "orientation": "h",
        "thickness": 8,
        "len": 0.32,
        "x": 1.0,
        "xanchor": "right",
        "y": 0,
        "yanchor": "top",
        "ypad": 12,
        "tickvals": [-1, 0, 1],
        "ticktext": ends,
        "tickfont": {"size": 11, "color": theme.muted},
        "outlinewidth": 0,
        **more,
    }


def cell(theme: Theme, x: float, y: float, skill: float, text: str, size: float) -> dict[str, Any]:
    """Return the text of a cell whose color stands for `skill`, from −1 to 1."""
    color = text_at(theme, skill) if np.isfinite(skill) else theme.muted
    return {
        "x": x,
        "y": y,
        "text": text,
        "showarrow": False,
        "font": {"size": size, "color": color},
    }


def color_at(theme: Theme, skill: float) -> str:
    """Return the color of a value from −1 to 1, as ``#rrggbb``."""
    parts = np.round(_between(theme.diverging, min(max(skill, -1.0), 1.0)) * 255).astype(int)
    return "#" + "".join(f"{part:02x}" for part in parts)


def text_at(theme: Theme, skill: float) -> str:
    """Choose black or white for text on the color of a value from −1 to 1."""
    # A step of the scale is less than a step of the 8 bits that a color is shown in.
    return _text_at(theme.diverging, round(min(max(skill, -1.0), 1.0) * 1024))


@lru_cache(maxsize=8192)
def _text_at(diverging: tuple[str, ...], step: int) -> str:
    return text_on(_between(diverging, step / 1024))


def _between(diverging: tuple[str, ...], skill: float) -> Floats:
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in diverging]) / 255
    places = np.linspace(-1, 1, len(stops))
    return np.array([np.interp(skill, places, stops[:, i]) for i in range(3)])


def text_on(color: Floats) -> str:
    """Choose black or white, whichever has more contrast: 4.58 or more (WCAG 2.1)."""
    linear = np.where(color <= 0.03928, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def short(value: float) -> str:
    """Two decimals without the leading zero, as tables in print have it."""
    if not np.isfinite(value):
        return "—"
    if value >= 0.995:
        return "1.0" if value < 1.05 else f"{value:.1f}"
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{text}" if value <= -0.005 else text


def signed(value: float) -> str:
    """Return a difference: `short`, with a plus above 0."""
    return f"+{short(value)}" if value >= 0.005 else short(value)


def span(low: float, high: float, missing: str = "few clusters") -> str:
    """Return an interval, or why there is none."""
    return f"{short(low)} – {short(high)}" if np.isfinite(low) else missing


def level(value: float) -> str:
    """Return a p- or q-value for a hover text; what permutations cannot tell from 0 is no 0."""
    if not np.isfinite(value):
        return "—"
    return f"{value:.3f}" if value >= 0.0005 else "&lt; 0.001"
