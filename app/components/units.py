"""The table of units, and the sentences about counts and about one unit."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
from dash import html

from app import ids
from app.queries.neurons import CountsView, UnitView
from app.queries.units import UnitsView

__all__ = ["columns", "counts_text", "unit_text", "units_grid", "units_note", "units_place"]

#: Rows that are fetched at once.
BLOCK = 100

_FILTER = {"buttons": ["reset"], "inRangeInclusive": True, "debounceMs": 300}

#: The grid takes its colors from the page, so that both schemes need no second definition.
_GRID_THEME = (
    "themeQuartz.withParams({backgroundColor: 'var(--card)', foregroundColor: 'var(--ink)', "
    "headerBackgroundColor: 'var(--card)', headerTextColor: 'var(--muted)', "
    "borderColor: 'var(--line)', rowBorder: true, wrapperBorder: false, columnBorder: false, "
    "selectedRowBackgroundColor: 'var(--chosen)', rowHoverColor: 'var(--hover)', "
    "oddRowBackgroundColor: 'var(--card)', accentColor: 'var(--accent)', "
    "menuBackgroundColor: 'var(--card)', inputBackgroundColor: 'var(--card)', "
    "fontFamily: 'inherit', headerFontFamily: 'inherit', fontSize: 13, headerFontSize: 12, "
    "rowHeight: 34, headerHeight: 34, cellHorizontalPadding: 7, wrapperBorderRadius: 0})"
)


def units_grid(view: UnitsView, unit: int | None) -> Any:
    """Show all units, sortable and filterable; rows come in blocks, and one can be selected."""
    return dag.AgGrid(
        id=ids.UNITS,
        columnDefs=columns(view),
        rowModelType="infinite",
        selectedRows={"ids": [] if unit is None else [str(unit)]},
        getRowId="params.data.unit.toString()",
        columnSize="responsiveSizeToFit",
        defaultColDef={"sortable": True, "resizable": True, "suppressMovable": True},
        dashGridOptions={
            "theme": {"function": _GRID_THEME},
            "rowSelection": {
                "mode": "singleRow",
                "checkboxes": False,
                "enableClickSelection": True,
            },
            "suppressCellFocus": False,
            "animateRows": False,
            "tooltipShowDelay": 300,
            "cacheBlockSize": BLOCK,
            "maxBlocksInCache": 20,
            "infiniteInitialRowCount": len(view.order),
            # The component remembers one request at a time.
            "maxConcurrentDatasourceRequests": 1,
            "blockLoadDebounceMillis": 60,
        },
        style={"height": "100%", "width": "100%"},
        dangerously_allow_code=False,
    )


def columns(view: UnitsView) -> list[dict[str, Any]]:
    """Define the columns: the unit, its count and mean effect, its effect in each dataset."""
    shown = _format(float(view.columns["mean_effect"].max()))
    out: list[dict[str, Any]] = [
        _number("unit", "unit", "Number of the unit in its layer"),
        _adjusted(),
        _number("contributes", "helps", "Number of datasets in which it helps detection by itself"),
        _number("n_datasets", "lists", "Number of datasets in whose list the unit stands"),
        _number("rank", "rank", "Rank of the mean effect; 1 is the largest"),
        _effect("mean_effect", "mean", "", shown, "Mean of the effects over datasets"),
    ]
    for i, name in enumerate(view.datasets):
        tip = f"Effect in {name}; bold where the unit is in its list"
        out.append(_effect(f"e{i}", name, f"s{i}", shown, tip))
    return out


def units_note(view: UnitsView) -> str:
    """Say what the numbers of the table are."""
    return (
        f"{len(view.order):,} units of layer {view.layer}. Effects on the {view.output}. Bold: "
        f"among the {view.kept} strongest of that dataset."
    )


def units_place(view: UnitsView, unit: int | None, place: int | None, total: int) -> str:
    """Say where the marked unit stands, and how many units pass the filters."""
    passed = "" if total == len(view.order) else f"{total:,} units pass the filter. "
    if unit is None:
        return passed
    if place is None:
        return f"{passed}Unit {unit} does not pass it."
    return f"{passed}Unit {unit} stands in row {place + 1:,}."


def counts_text(view: CountsView) -> Any:
    """State the test, the observed count beside its nulls, and what they leave of it."""
    total, n = int(view.observed[-1]), len(view.count) - 1
    untrained = ", ".join(str(int(row[-1])) for row in view.untrained)
    chance = f"{view.expected[-1]:.1f} expected by chance"
    spread = f" (95 % of draws: {view.low[-1]:.0f} to {view.high[-1]:.0f})"
    third = f"; untrained networks: {untrained}" if untrained else "; no untrained network measured"
    heads = ""
    if len(view.heads):
        heads = f"; random heads: {view.heads.mean():.1f} on average of {len(view.heads)}"
    words: list[Any] = [
        f"The study's count: {total} of {view.units} units are in all {_word(n)} lists; ",
        chance,
        html.Span(spread, className="muted"),
        f"{third}{heads}.",
    ]
    return html.Div(
        [
            html.Div(_test(view), className="sentence"),
            html.Div(words, className="sentence"),
            html.Div(_verdict(view), className=f"verdict {view.verdict}"),
        ]
    )


def _test(view: CountsView) -> list[Any]:
    if view.contributing is None:
        return ["No test: fewer than two datasets hold both fakes and reals."]
    return [
        html.B(f"{view.contributing} of {view.units}"),
        f" units contribute to detection in all {_word(view.tested)} datasets ",
        html.Span(
            f"(partial conjunction, q ≤ {view.alpha:g}, {view.correction})", className="muted"
        ),
        ".",
    ]


def unit_text(view: UnitView) -> str:
    """Say in how many lists a unit stands and in which direction it works."""
    n, up = len(view.datasets), int((view.slope >= 0).sum())
    lists = f"in {int(view.selected.sum())} of {n} lists"
    if up in (0, n):
        way = f"{'raises' if up else 'lowers'} the {view.output} in every dataset"
    else:
        way = f"raises the {view.output} in {up} datasets and lowers it in {n - up}"
    return f"{lists}; {way}"


def _verdict(view: CountsView) -> str:
    draws = len(view.untrained)
    if view.verdict == "chance":
        return "The count is no more than independent lists give: no evidence by itself."
    if view.verdict == "untrained":
        return (
            "The count is beyond independent lists, but untrained networks reach it: the overlap "
            "comes with the architecture and the data, and is no evidence that training made it."
        )
    if not draws:
        return "The count is beyond independent lists; whether training made it cannot be said."
    return (
        f"The count is beyond independent lists and each of {draws} untrained networks. That few "
        "draws bound no error rate; the test does."
    )


def _format(largest: float) -> str:
    """Choose one number of decimals for all effects, so that they align and compare by eye."""
    if not 0.01 <= largest < 1e4:
        return ".1e"
    return ".1f" if largest >= 10 else ".2f" if largest >= 1 else ".3f"


def _number(field: str, title: str, tip: str) -> dict[str, Any]:
    # Names of datasets are single words and cannot wrap: room is made for them, and beyond it
    # they end in an ellipsis, so that six stand beside each other on a small screen.
    width = 22 + 7 * min(max(4, len(title)), 9)
    return {
        "field": field,
        "headerName": title,
        "headerTooltip": tip,
        "minWidth": width,
        "type": "rightAligned",
        "filter": "agNumberColumnFilter",
        "filterParams": _FILTER,
        "sortingOrder": ["desc", "asc"],
    }


def _adjusted() -> dict[str, Any]:
    """Define the column of q-values, the small ones bold."""
    out = _number("q", "q", "Adjusted p-value: contributes to detection in all datasets")
    # Room for three decimals, of which the name knows nothing.
    out["minWidth"] = 58
    out["valueFormatter"] = {
        "function": "!params.data ? '' : params.value == null ? '–' : "
        "d3.format('.3f')(params.value)"
    }
    out["cellClassRules"] = {"in-list": "params.value != null && params.value <= 0.05"}
    return out | {"sortingOrder": ["asc", "desc"]}


def _effect(field: str, title: str, flag: str, shown: str, tip: str) -> dict[str, Any]:
    out = _number(field, title, tip)
    # Rows that are still on their way have no values.
    formatted = f"params.value == null ? '' : d3.format('{shown}')(params.value)"
    out["valueFormatter"] = {"function": formatted}
    if flag:
        condition = f"params.data && params.data.{flag}"
        out["cellClassRules"] = {"in-list": condition, "not-in-list": f"!({condition})"}
    return out


def _word(n: int) -> str:
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return words[n] if n < len(words) else str(n)
