"""Colors, type and cells of plotly figures, in both schemes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DARK",
    "LIGHT",
    "SYMBOLS",
    "Theme",
    "cell",
    "cells",
    "clean",
    "color_at",
    "colorbar",
    "empty_figure",
    "figure_of",
    "heatmap",
    "level",
    "scale",
    "short",
    "signed",
    "span",
    "text_at",
    "text_on",
    "theme_of",
]

FONT = 'Inter, "Segoe UI", system-ui, -apple-system, Roboto, "Helvetica Neue", Arial, sans-serif'

#: Markers of datasets, so that none is told from another by color alone.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star", "x")


@dataclass(frozen=True)
class Theme:
    """Colors of one scheme.

    Attributes
    ----------
    ink, muted, line, ground : str
        Text, secondary text, grid lines, the card that figures stand on.
    accent, warm : str
        This detector; untrained networks. Told apart by all common kinds of color vision.
    series : tuple of str
        Colors of datasets (Okabe and Ito 2008, lightened on dark ground).
    diverging : tuple of str
        Purple over neutral to orange, evenly spaced.
    points, ramp : tuple of str
        The same for points, which the neutral middle must not hide; and one color from weak to
        strong.
    """

    ink: str
    muted: str
    line: str
    ground: str
    accent: str
    warm: str
    series: tuple[str, ...]
    diverging: tuple[str, ...]
    points: tuple[str, ...]
    ramp: tuple[str, ...]

    def layout(self, **more: Any) -> dict[str, Any]:
        """Return the part of a figure's layout that all figures share."""
        return {
            "autotypenumbers": "strict",
            "hovermode": "closest",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 13, "color": self.ink},
            "hoverlabel": {
                "bgcolor": self.ground,
                "bordercolor": self.line,
                "font": {"family": FONT, "size": 13, "color": self.ink},
                "align": "left",
            },
            "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
            "showlegend": False,
            **more,
        }

    def legend(self, **more: Any) -> dict[str, Any]:
        """Return a legend above the figure, from the left."""
        return {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12, "color": self.muted},
            "bgcolor": "rgba(0,0,0,0)",
            **more,
        }

    def top_legend(self, **more: Any) -> dict[str, Any]:
        """Return a legend that has the width of the whole figure, at its upper edge."""
        return self.legend(xref="container", y=1, yref="container", yanchor="top", **more)

    def faded(self, color: str, opacity: float) -> str:
        """Return a color of the theme, made transparent."""
        parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({','.join(map(str, parts))},{opacity})"

    def axis(self, title: str = "", **more: Any) -> dict[str, Any]:
        """Return an axis: thin lines, muted ticks."""
        return {
            "title": {"text": title, "font": {"size": 12, "color": self.muted}, "standoff": 10},
            "tickfont": {"size": 12, "color": self.muted},
            "gridcolor": self.line,
            "zeroline": False,
            "linecolor": self.line,
            "fixedrange": True,
            "ticks": "",
            "automargin": True,
            **more,
        }

    def rows(self, names: Sequence[str], size: int = 13, **more: Any) -> dict[str, Any]:
        """Return a vertical axis of named rows, the first at the top."""
        return self.axis(
            tickvals=list(range(len(names))),
            ticktext=list(names),
            range=[len(names) - 0.5, -0.5],
            showgrid=False,
            tickfont={"size": size, "color": self.ink},
            **more,
        )

    def bars(self, value: ArrayLike, low: ArrayLike, high: ArrayLike, color: str) -> dict[str, Any]:
        """Return error bars from a value to its bounds; none where these are NaN."""
        middle = np.asarray(value, dtype=np.float64)
        return {
            "type": "data",
            "symmetric": False,
            "array": np.nan_to_num(np.asarray(high) - middle).clip(0),
            "arrayminus": np.nan_to_num(middle - np.asarray(low)).clip(0),
            "color": color,
            "thickness": 1.5,
            "width": 0,
        }

    def frame(self, x0: float, x1: float, y0: float, y1: float) -> dict[str, Any]:
        """Return a frame around what is chosen."""
        line = {"width": 2, "color": self.ink}
        ends = {"x0": x0, "x1": x1, "y0": y0, "y1": y1}
        return {"type": "rect", **ends, "line": line, "fillcolor": "rgba(0,0,0,0)"}

    def stripes(self, rows: int) -> list[dict[str, Any]]:
        """Return bands under every other row, so that eyes stay in it."""
        across = {"type": "rect", "xref": "x domain", "x0": 0, "x1": 1, "layer": "below"}
        fill = {"line": {"width": 0}, "fillcolor": self.faded(self.muted, 0.06)}
        return [{**across, **fill, "y0": i - 0.5, "y1": i + 0.5} for i in range(1, rows, 2)]

    def line_at(self, x: float | None = None, y: float | None = None, **more: Any) -> Any:
        """Return a line through the whole figure, at a value of one axis."""
        along, across = ("x", "y") if x is not None else ("y", "x")
        at = x if x is not None else y
        return {
            "type": "line",
            f"{along}0": at,
            f"{along}1": at,
            f"{along}ref": along,
            f"{across}0": 0,
            f"{across}1": 1,
            f"{across}ref": f"{across} domain",
            "line": {"color": self.muted, "width": 1},
            **more,
        }


LIGHT = Theme(
    ink="#1f2328",
    muted="#5b636d",
    line="#e3e6ea",
    ground="#ffffff",
    accent="#0072b2",
    warm="#c44e00",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#3f3f46", "#56b4e9", "#7b5aa6"),
    diverging=("#542788", "#998ec3", "#d8daeb", "#f6f6f7", "#fee0b6", "#f1a340", "#b35806"),
    points=("#542788", "#8073ac", "#8f8f94", "#cc7000", "#a34a00"),
    ramp=("#7893ac", "#4a86b8", "#0072b2", "#08284a"),
)
DARK = Theme(
    ink="#e7e9ec",
    muted="#a4abb5",
    line="#363b43",
    ground="#1c1f24",
    accent="#56b4e9",
    warm="#f0904b",
    series=("#56b4e9", "#f0904b", "#35c69b", "#e3a1c8", "#f0e442", "#d4d4d8", "#8fb8ff", "#b79ce0"),
    diverging=("#b39ddb", "#7d68b0", "#483f66", "#2a2d33", "#5e4526", "#a86a1c", "#f5a742"),
    points=("#b39ddb", "#8b7bb5", "#7b7f87", "#c58a3d", "#f5a742"),
    ramp=("#5f6e7e", "#3f7fae", "#56b4e9", "#e8f5ff"),
)


#: Numbers from which on arrays are sent as bytes, which browsers read fastest.
_LONG = 500

#: How plotly names the numbers that it takes as bytes.
_TYPES = {
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}


def figure_of(traces: Sequence[Mapping[str, Any]], theme: Theme, **layout: Any) -> dict[str, Any]:
    """Put traces and a layout together to a figure, as plain values.

    plotly's own figures check every property of every trace, which takes longer than all else
    that an answer of the dashboard needs; ``plotly.graph_objects.Figure(found)`` does it.

    Parameters
    ----------
    traces : sequence of mapping
        Traces of plotly; arrays and columns of tables become lists, or bytes where they are long.
    theme : Theme
        Colors.
    **layout : Any
        Parts of plotly's layout, beside those that all figures share.

    Returns
    -------
    dict
        ``data`` and ``layout``.
    """
    return {"data": [_plain(one) for one in traces], "layout": _plain(theme.layout(**layout))}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    return _packed(value) if isinstance(value, np.ndarray) else value


def _packed(array: NDArray[Any]) -> Any:
    """Write an array as a list, or as bytes if it is long."""
    if array.dtype.kind == "i" and array.dtype.itemsize == 8 and array.size:
        low, high = array.min(), array.max()
        kinds = (np.int8, np.int16, np.int32)
        fits = (one for one in kinds if np.iinfo(one).min <= low and high <= np.iinfo(one).max)
        array = array.astype(next(fits, array.dtype))
    kind = _TYPES.get(array.dtype.name)
    if kind is None or array.size < _LONG:
        return array.tolist()
    content = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    shape = {"shape": str(array.shape)[1:-1]} if array.ndim > 1 else {}
    return {"dtype": kind, "bdata": content, **shape}


def theme_of(scheme: str | None) -> Theme:
    """Return the colors of "dark" or, for anything else, of the light scheme."""
    return DARK if scheme == "dark" else LIGHT


def empty_figure(scheme: str | None = None) -> dict[str, Any]:
    """Return a figure that shows nothing, so that a place is kept for one to come."""
    hidden = {"visible": False}
    layout = theme_of(scheme).layout(xaxis=hidden, yaxis=hidden)
    return {"data": [], "layout": layout}


def clean(text: str) -> str:
    """Take the meaning from what plotly would read as markup in a name."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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


def cells(theme: Theme, z: Floats, hovers: list[list[str]], **more: Any) -> dict[str, Any]:
    """Return the trace of a heatmap; see `heatmap`."""
    return {"type": "heatmap", **heatmap(theme, z, hovers, **more)}


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
