"""The table of what detection loses without sets of units."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import html

from app.components.tables import figures_table
from app.queries.ablation import AblationView, SetRow

__all__ = ["ablation_table"]


def ablation_table(view: AblationView | None) -> Any:
    """Show every set beside its matched random sets, or say that nothing was taken out."""
    if view is None:
        return html.Div(
            "Nothing was taken out: no set of units was found on both halves of the people, or "
            "the data cannot be halved. The run's provenance says which.",
            className="reading",
        )
    head = ["set", "units", "AUROC lost", "beyond random sets", "p"]
    table = figures_table(head, [_row(row) for row in view.rows], numeric_from=1)
    return html.Div([table, html.Div(_note(view), className="reading")])


def _row(row: SetRow) -> list[Any]:
    units = f"{row.n_units:g}"
    lost, beyond = (
        _interval(row.drop, row.low, row.high),
        _interval(row.excess, row.excess_low, row.excess_high),
    )
    return [row.name, units, lost, beyond, f"{row.p:.3f}"]


def _interval(value: float, low: float, high: float) -> Any:
    if not np.isfinite(low):
        return f"{value:+.3f}"
    return [f"{value:+.3f} ", html.Span(f"{low:+.3f} to {high:+.3f}", className="muted")]


def _note(view: AblationView) -> str:
    text = (
        f"Mean over datasets. Chosen on: {view.chosen_on}. Each set beside {view.n_random} random "
        "ones of its size and |weight| × range; p is the share that loses as much."
    )
    poor = [row.name for row in view.rows if not 0.8 <= row.balance <= 1.25]
    if poor:
        text += f" No close match in |weight| × range exists for: {', '.join(poor)}."
    if view.alone:
        text += f" Found on one half only, and left in: {', '.join(view.alone)}."
    return text
