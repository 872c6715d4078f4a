"""What detection lost without a set that was taken out on request."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import html

from app.components.download import export_menu
from app.components.tables import figures_table, level_text, number_text
from app.queries.taken import TakenRow, TakenView

__all__ = ["taken_result", "taken_sentence"]


def taken_result(view: TakenView) -> Any:
    """Show a sentence, a row a dataset, and what speaks against trusting them."""
    head = [
        "dataset",
        "AUROC",
        "lost without the set",
        "lost without random sets",
        "beyond random sets",
        "p",
    ]
    return html.Div(
        [
            html.Div(
                [
                    html.Div(taken_sentence(view), className="sentence", role="status"),
                    export_menu("taken-out"),
                ],
                className="taken-head",
            ),
            figures_table(head, [_row(row) for row in view.rows], numeric_from=1),
            html.Div(_note(view), className="reading"),
        ]
    )


def taken_sentence(view: TakenView) -> str:
    """Say what was found on average over datasets."""
    mean, count = view.mean, len(view.units)
    units = "this unit" if count == 1 else f"these {count} units"
    verb = "falls" if mean.drop >= 0 else "rises"
    beyond = "more than" if mean.p <= 0.05 else "no more than"
    return (
        f"Without {units} AUROC {verb} by {abs(mean.drop):.3f} on average over datasets, "
        f"{beyond} without random sets of the same size and |weight| × range "
        f"({_signed(mean.random_low)} to {_signed(mean.random_high)}; p = {level_text(mean.p)})."
    )


def _row(row: TakenRow) -> list[Any]:
    name: Any = html.B("mean") if row.dataset == "mean" else row.dataset
    return [
        name,
        f"{row.full:.3f}",
        _value(row.drop, row.low, row.high),
        f"{_signed(row.random_low)} to {_signed(row.random_high)}",
        _value(row.excess, row.excess_low, row.excess_high),
        level_text(row.p),
    ]


def _value(value: float, low: float, high: float) -> Any:
    if not np.isfinite(low):
        return [f"{_signed(value)} ", html.Span("no interval", className="muted")]
    interval = html.Span(f"{_signed(low)} to {_signed(high)}", className="muted")
    return [f"{_signed(value)} ", interval]


def _signed(value: float) -> str:
    """Write a difference with three decimals, whatever its size, so that columns line up."""
    text = f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
    return text[1:] if text.endswith("0.000") else text


def _note(view: TakenView) -> str:
    parts = [
        f"Chosen {view.chosen_on}: this is no honest test of how the set was chosen, unless it was "
        "chosen on other data.",
        f"Intervals resample people; random sets: the middle 95 % of {view.n_random}.",
    ]
    if view.n_distinct < view.n_random:
        parts.append(f"Only {view.n_distinct} of them differ.")
    if not 0.8 <= view.balance <= 1.25:
        parts.append(
            f"No close match exists: their |weight| × range is {number_text(view.balance)} times "
            "that of the set."
        )
    return " ".join(parts)
