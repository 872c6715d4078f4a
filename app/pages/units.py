"""Part of the Neurons page: the list of units in blocks, and its first units over datasets."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.card import card, graph
from app.components.clicked import coordinate_of
from app.components.download import export_menu
from app.components.help import HELP
from app.components.units import units_grid, units_note, units_place
from app.figures.theme import empty_figure
from app.figures.universal import shares_figure, shares_height
from app.queries.reading import Run
from app.queries.units import UnitsView, shares_view, units_block, units_view
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["ALL", "marked_unit", "register", "shares_card", "units_card"]

#: What the list of datasets calls no choice of one.
ALL = "all datasets"


def units_card(view: UnitsView, unit: int | None) -> Any:
    """Lay out the list, in which a unit is marked."""
    place = units_block(view, {"startRow": 0, "endRow": 0}, unit).place
    return card(
        "Units",
        html.Div(units_grid(view, unit), className="grid-room"),
        html.Div(
            [
                html.Div(units_note(view), id=ids.UNITS_NOTE),
                dmc.Group(
                    [
                        html.Span(
                            units_place(view, unit, place, len(view.order)), id=ids.UNITS_PLACE
                        ),
                        dmc.Button(
                            "Show it", id=ids.UNITS_SHOW, variant="subtle", size="compact-xs"
                        ),
                    ],
                    gap=6,
                    wrap="nowrap",
                ),
            ],
            className="reading list-foot",
        ),
        dcc.Store(id=ids.UNITS_MARKED, data=unit),
        dcc.Store(id=ids.UNITS_FIRST, data=place),
        dcc.Store(id=ids.UNITS_ORDER, data={"sortModel": [], "filterModel": {}}),
        help=HELP["units"],
        controls=export_menu("units"),
    )


def shares_card(view: UnitsView) -> Any:
    """Lay out the heatmap, at first empty."""
    return card(
        "The list's first units over datasets",
        html.Div(
            graph(
                ids.SHARES,
                shares_height(len(view.datasets)),
                empty_figure(),
                "Effects of the first units of the list, as shares of each dataset's largest",
            ),
            className="clickable",
        ),
        html.Div(id=ids.SHARES_TEXT, className="reading line-room"),
        help=HELP["shares"],
        controls=export_menu("units"),
    )


def marked_unit(view: UnitsView, chosen: Selection) -> int | None:
    """Return the unit to mark in the list; none where the address names one that is not there."""
    try:
        return chosen.unit_number(view.order)
    except ProbeError:
        # The panel of the unit says what is wrong with it.
        return None


def register(app: Dash, run: Run) -> None:
    """Add the part's callbacks."""
    _register_choices(app, run)
    _register_rows(app, run)
    _register_shares(app, run)


def _register_choices(app: Dash, run: Run) -> None:
    """Keep the unit, the dataset and the address the same, whichever was changed."""

    @app.callback(
        Output(ids.LIST_URL, "search"),
        Output(ids.DATASET, "value"),
        Output(ids.UNITS, "scrollTo"),
        Output(ids.SHARES, "clickData"),
        Input(ids.UNITS, "selectedRows"),
        Input(ids.SHARES, "clickData"),
        Input(ids.UNITS_SHOW, "n_clicks"),
        Input(ids.DATASET, "value"),
        Input(ids.LIST_URL, "search"),
        State(ids.UNITS, "getRowsRequest"),
        State(ids.UNITS_MARKED, "data"),
        State(ids.DETECTOR, "value"),
        prevent_initial_call=True,
    )
    def follow(
        rows: Any,
        click: Any,
        shown: Any,
        dataset: str,
        search: str,
        request: Any,
        marked: int | None,
        detector: str,
    ) -> Any:
        try:
            chosen, view = Selection.parse(search), units_view(run, detector)
        except ProbeError:
            # The page says what is wrong with the address.
            return (no_update,) * 4
        unit = marked_unit(view, chosen)
        to: Any = no_update
        # What changes while an earlier change is being answered comes together with it.
        changed = set(ctx.triggered_prop_ids.values())
        clicked_now = ids.SHARES in changed and click is not None
        if ids.LIST_URL in changed and not clicked_now:
            if unit not in (None, marked):
                to = _scroll(view, request, unit)
            return no_update, chosen.dataset or ALL, to, no_update
        if ids.UNITS_SHOW in changed and not clicked_now:
            return no_update, no_update, _scroll(view, request, unit), no_update
        clicked: Any = no_update
        if clicked_now:
            number, clicked = _clicked(click, view), None
            if number is not None:
                chosen, to = chosen.but(unit=number), _scroll(view, request, number)
        elif ids.DATASET in changed:
            chosen = chosen.but(dataset="" if dataset == ALL else dataset)
        elif isinstance(rows, list) and rows and isinstance(rows[0], dict):
            # The list also reports the row that it marks by itself; that is no choice.
            if rows[0].get("unit") not in (None, unit):
                chosen = chosen.but(unit=rows[0]["unit"])
        found = chosen.search
        return (found if found != (search or "") else no_update), no_update, to, clicked


def _register_rows(app: Dash, run: Run) -> None:
    """Answer the grid with blocks of rows, and mark the unit in those that arrive."""

    @app.callback(
        Output(ids.UNITS, "getRowsResponse"),
        Input(ids.UNITS, "getRowsRequest"),
        State(ids.DETECTOR, "value"),
        prevent_initial_call=True,
    )
    def answer(request: Any, detector: str) -> Any:
        try:
            block = units_block(units_view(run, detector), request)
        except ProbeError:
            # Only what no grid sends; whoever waits for rows has to be told that there are none.
            return {"rowData": [], "rowCount": 0}
        return {"rowData": block.rows, "rowCount": block.total}

    @app.callback(
        Output(ids.UNITS_MARKED, "data"),
        Output(ids.UNITS_PLACE, "children"),
        Input(ids.LIST_URL, "search"),
        Input(ids.UNITS, "getRowsRequest"),
        State(ids.UNITS_MARKED, "data"),
        State(ids.DETECTOR, "value"),
        prevent_initial_call=True,
    )
    def place(search: str, request: Any, marked: int | None, detector: str) -> Any:
        try:
            view = units_view(run, detector)
            unit = marked_unit(view, Selection.parse(search))
            block = units_block(view, _emptied(request), unit)
        except ProbeError as error:
            return no_update, str(error)
        text = units_place(view, unit, block.place, block.total)
        return (no_update if unit == marked else unit), text

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("units", "mark"),
        Output(ids.UNITS, "selectedRows"),
        Input(ids.UNITS, "getRowsResponse"),
        Input(ids.UNITS_MARKED, "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("units", "begin"),
        Output(ids.UNITS, "scrollTo", allow_duplicate=True),
        Output(ids.UNITS_FIRST, "data"),
        Input(ids.UNITS, "getRowsResponse"),
        State(ids.UNITS_FIRST, "data"),
        prevent_initial_call=True,
    )


def _register_shares(app: Dash, run: Run) -> None:
    # Of what the grid asks for, only the order: scrolling draws nothing anew.
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("units", "order"),
        Output(ids.UNITS_ORDER, "data"),
        Input(ids.UNITS, "getRowsRequest"),
        State(ids.UNITS_ORDER, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.SHARES, "figure"),
        Output(ids.SHARES_TEXT, "children"),
        Input(ids.UNITS_ORDER, "data"),
        Input(ids.UNITS_MARKED, "data"),
        Input(ids.SCHEME, "data"),
        State(ids.DETECTOR, "value"),
    )
    def draw(order: Any, unit: int | None, scheme: str, detector: str) -> Any:
        try:
            view = shares_view(units_view(run, detector), order)
        except ProbeError as error:
            return empty_figure(scheme), str(error)
        which = f"The first {len(view.unit)} of {view.total:,} units, as the list is sorted and"
        return shares_figure(view, unit, scheme), f"{which} filtered. A dot: in the dataset's list."


def _emptied(request: Any) -> dict[str, Any]:
    """Ask for the same order and no rows."""
    return {**(request if isinstance(request, dict) else {}), "startRow": 0, "endRow": 0}


def _scroll(view: UnitsView, request: Any, unit: int | None) -> Any:
    """Bring a unit into sight, where it stands in the order that is shown."""
    try:
        place = units_block(view, _emptied(request), unit).place
    except ProbeError:
        return no_update
    return no_update if place is None else {"rowIndex": place, "rowPosition": "middle"}


def _clicked(click: Any, view: UnitsView) -> int | None:
    """Return the unit whose column was clicked."""
    number = coordinate_of(click, "x")
    return int(number) if number is not None and int(number) in view.positions else None
