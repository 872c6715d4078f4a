"""Colors and type of figures, in both schemes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["DARK", "LIGHT", "SYMBOLS", "Theme", "clean", "empty_figure", "theme_of"]

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
