"""`Figure`: what plotly draws, as plain dicts.

plotly's own figures check every property of every trace, which takes longer than all else that an
answer needs. Here nothing is checked when a visitor waits; `Figure.checked` makes plotly's figure,
and tests look at that.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["Figure", "Trace", "bar", "heatmap", "scatter"]

#: A trace is a dict.
Trace = dict[str, Any]

#: How plotly calls the numbers that it takes in bytes.
_KINDS = {
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
_INTEGERS = (np.int8, np.int16, np.int32)

#: What plotly's default template says of what figures here leave open.
_TEMPLATE: dict[str, Any] = {
    "layout": {
        "autotypenumbers": "strict",
        "hovermode": "closest",
        **{
            axis: {
                "ticks": "",
                "title": {"standoff": 15},
                "zerolinecolor": "white",
                "automargin": True,
                "zerolinewidth": 2,
                "gridcolor": "white",
                "linecolor": "white",
            }
            for axis in ("xaxis", "yaxis")
        },
        "shapedefaults": {"line": {"color": "#2a3f5f"}},
        "annotationdefaults": {"arrowcolor": "#2a3f5f", "arrowhead": 0, "arrowwidth": 1},
    },
    "data": {
        "heatmap": [{"type": "heatmap", "colorbar": {"outlinewidth": 0, "ticks": ""}}],
        "scatter": [{"type": "scatter", "marker": {"colorbar": {"outlinewidth": 0, "ticks": ""}}}],
        "bar": [{"type": "bar", "marker": {"line": {"color": "#E5ECF6", "width": 0.5}}}],
    },
}


def scatter(**props: Any) -> Trace:
    """Return a trace of points or lines."""
    return {"type": "scatter", **props}


def heatmap(**props: Any) -> Trace:
    """Return a trace of colored cells."""
    return {"type": "heatmap", **props}


def bar(**props: Any) -> Trace:
    """Return a trace of bars."""
    return {"type": "bar", **props}


class Figure:
    """Traces and layout, put together by the names that plotly's figures have for it.

    Parameters
    ----------
    traces : dict or iterable of dict, optional
        What to begin with.
    """

    def __init__(self, traces: Trace | Iterable[Trace] = ()) -> None:
        self._traces = [traces] if isinstance(traces, dict) else list(traces)
        self._layout: dict[str, Any] = {"template": _TEMPLATE}

    @property
    def data(self) -> Any:
        """Traces as plotly's own objects, checked."""
        return self.checked.data

    @property
    def layout(self) -> Any:
        """Layout as plotly's own object, checked."""
        return self.checked.layout

    @property
    def checked(self) -> Any:
        """The same as plotly's own figure, which raises where a property is wrong."""
        import plotly.graph_objects as go

        return go.Figure({"data": self._traces, "layout": self._layout})

    def add_trace(self, trace: Trace) -> None:
        """Add a trace above the others."""
        self._traces.append(trace)

    def add_traces(self, traces: Iterable[Trace]) -> None:
        """Add traces above the others."""
        self._traces.extend(traces)

    def add_scatter(self, **props: Any) -> None:
        """Add points or lines."""
        self._traces.append(scatter(**props))

    def add_shape(self, **props: Any) -> None:
        """Add a shape."""
        self._layout.setdefault("shapes", []).append(props)

    def add_hline(self, y: float, **props: Any) -> None:
        """Add a line across the whole figure."""
        self.add_shape(type="line", y0=y, y1=y, x0=0, x1=1, xref="x domain", yref="y", **props)

    def add_vline(self, x: float, **props: Any) -> None:
        """Add a line up the whole figure."""
        self.add_shape(type="line", x0=x, x1=x, y0=0, y1=1, yref="y domain", xref="x", **props)

    def add_hrect(self, **props: Any) -> None:
        """Add a band across the whole figure, from ``y0`` to ``y1``."""
        self.add_shape(type="rect", x0=0, x1=1, xref="x domain", yref="y", **props)

    def add_vrect(self, **props: Any) -> None:
        """Add a band up the whole figure, from ``x0`` to ``x1``."""
        self.add_shape(type="rect", y0=0, y1=1, yref="y domain", xref="x", **props)

    def update_layout(self, **props: Any) -> None:
        """Set parts of the layout; of those that are dicts, what is given."""
        for name, value in props.items():
            if name == "shapes":
                value = [*self._layout.get(name, ()), *value]
            self._layout[name] = _merged(self._layout.get(name), value)

    def to_plotly_json(self) -> dict[str, Any]:
        """Return all of it, as Dash sends it."""
        return {"data": [_packed(trace) for trace in self._traces], "layout": self._layout}

    def to_json(self) -> str:
        """Return all of it as JSON, checked."""
        return str(self.checked.to_json())


def _merged(held: Any, new: Any) -> Any:
    if not (isinstance(held, dict) and isinstance(new, dict)):
        return new
    return {**held, **{name: _merged(held.get(name), value) for name, value in new.items()}}


def _packed(value: Any) -> Any:
    """Write arrays of numbers as plotly reads them fastest, everything else as it is."""
    if isinstance(value, dict):
        return {name: _packed(one) for name, one in value.items()}
    return _bytes(value) if isinstance(value, np.ndarray) else value


def _bytes(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind == "i" and array.dtype.itemsize == 8 and array.size:
        low, high = array.min(), array.max()
        fits = (one for one in _INTEGERS if np.iinfo(one).min <= low and high <= np.iinfo(one).max)
        array = array.astype(next(fits, array.dtype))
    kind = _KINDS.get(array.dtype.name)
    if kind is None or not array.size:
        return array.tolist()
    content = base64.b64encode(array.tobytes()).decode("ascii")
    shape = {"shape": str(array.shape)[1:-1]} if array.ndim > 1 else {}
    return {"dtype": kind, "bdata": content, **shape}
