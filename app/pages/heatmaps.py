"""The card of the Attribution page that shows maps of one image side by side, and their trust."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.attribution_findings import checks_table
from app.components.attribution_maps import maps_grid, trust_help
from app.components.card import card
from app.components.download import export_menu
from app.components.help import HELP
from app.components.lacks import lacks_note
from app.components.message import problem
from app.queries.attribution import chosen_image
from app.queries.attribution_maps import MOST_METHODS, maps_view, method_names, shown_methods
from app.queries.attribution_trust import trust_view
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["register", "section"]

TITLE = "What do the maps show?"
LAID = {"map": "Map", "overlay": "Over the image"}
#: What becomes of maps whose image is not here.
WITHOUT = {"map": "Its maps do not need it.", "overlay": "Its maps lie over gray."}

#: Controls to what of the address they set.
CONTROLS = {
    (ids.ATTRIBUTION_METHODS, "value"): "methods",
    (ids.ATTRIBUTION_OVERLAY, "value"): "overlay",
    (ids.ATTRIBUTION_OUTLINE, "checked"): "outline",
}


def section(run: Run, chosen: Selection, detector: str, search: str) -> list[Any]:
    """Lay out the card, and the window of a badge's checks."""
    return [
        dcc.Location(id=ids.ATTRIBUTION_MAPS_URL, refresh="callback-nav", search=search),
        card(
            TITLE,
            html.Div(id=ids.ATTRIBUTION_MAPS, className="maps-room"),
            help=HELP["maps"],
            controls=_controls(run, chosen, detector),
        ),
        dmc.Modal(
            id=ids.ATTRIBUTION_CHECKS,
            title="Can this map be trusted?",
            size="min(1120px, 94vw)",
            closeButtonProps={"aria-label": "Close"},
        ),
    ]


def register(app: Dash, run: Run) -> None:
    """Add the card's callbacks."""
    _register_choices(app, run)
    _register_maps(app, run)


def _register_choices(app: Dash, run: Run) -> None:
    """Keep methods, kind of map, outline and address the same, whichever was changed."""

    @app.callback(
        Output(ids.ATTRIBUTION_MAPS_URL, "search"),
        *(Output(*one) for one in CONTROLS),
        *(Input(*one) for one in CONTROLS),
        Input(ids.ATTRIBUTION_MAPS_URL, "search"),
        State(ids.ATTRIBUTION_DETECTOR, "data"),
        prevent_initial_call=True,
    )
    def follow(methods: list[str], laid: str, outline: bool, search: str, listed: list[str]) -> Any:
        now = (methods, laid, outline)
        try:
            chosen = Selection.parse(search)
            detector = chosen.named("detector", listed or run.detectors)
            shown = _shown(run, chosen, detector)
        except ProbeError:
            return (no_update,) * 4
        if now == shown:
            return (no_update,) * 4
        if ctx.triggered_id == ids.ATTRIBUTION_MAPS_URL:
            moved = [no_update if a == b else b for a, b in zip(now, shown, strict=True)]
            return no_update, *moved
        chosen = chosen.but(
            overlay=laid if laid != "map" else "",
            outline="" if outline else "off",
            # No method at all shows the detector's first ones again.
            methods=",".join(methods or []) if methods != shown[0] else None,
        )
        again = no_update if methods else _shown(run, chosen, detector)[0]
        return chosen.search, again, no_update, no_update


def _register_maps(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.ATTRIBUTION_MAPS, "children"),
        Input(ids.ATTRIBUTION_MAPS_URL, "search"),
        State(ids.ATTRIBUTION_DETECTOR, "data"),
    )
    def show(search: str, listed: list[str]) -> Any:
        try:
            chosen = Selection.parse(search)
            detector = chosen.named("detector", listed or run.detectors)
            view = maps_view(run, chosen, detector, chosen_image(run, chosen, detector))
            _, laid, outline = _shown(run, chosen, detector)
        except ProbeError as error:
            return problem(error)
        return [
            maps_grid(view, laid == "overlay", outline),
            lacks_note(run, [view.image.token], WITHOUT[laid]),
        ]

    @app.callback(
        Output(ids.ATTRIBUTION_CHECKS, "opened"),
        Output(ids.ATTRIBUTION_CHECKS, "title"),
        Output(ids.ATTRIBUTION_CHECKS, "children"),
        Input({"type": ids.ATTRIBUTION_BADGE, "detector": ALL, "method": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    def open_checks(clicks: list[int | None]) -> Any:
        named = ctx.triggered_id
        if not isinstance(named, dict) or not ctx.triggered[0]["value"]:
            # Badges that are laid out count as changed too.
            return no_update, no_update, no_update
        title = f"Can {named['method']} of {named['detector']} be trusted?"
        try:
            table = checks_table(trust_view(run, named["detector"], named["method"]))
            return True, title, [table, html.Div(export_menu("attribution-trust"))]
        except ProbeError as error:
            return True, title, problem(error)


def _shown(run: Run, chosen: Selection, detector: str) -> tuple[list[str], str, bool]:
    """Return what the address selects: methods, kind of map, and whether masks are outlined."""
    laid = chosen.named("overlay", list(LAID))
    return shown_methods(run, chosen, detector), laid, chosen.outline != "off"


def _controls(run: Run, chosen: Selection, detector: str) -> list[Any]:
    methods, laid, outline = _shown(run, chosen, detector)
    named: dict[str, Any] = {"aria-label": "Methods side by side"}
    return [
        trust_help(),
        dmc.MultiSelect(
            id=ids.ATTRIBUTION_METHODS,
            data=[{"value": name, "label": title} for name, title in method_names(run).items()],
            value=methods,
            maxValues=MOST_METHODS,
            size="xs",
            w=380,
            searchable=True,
            **named,
        ),
        dmc.SegmentedControl(
            id=ids.ATTRIBUTION_OVERLAY,
            data=[{"value": name, "label": label} for name, label in LAID.items()],
            value=laid,
            size="xs",
        ),
        dmc.Switch(id=ids.ATTRIBUTION_OUTLINE, label="Outline", checked=outline, size="xs"),
        export_menu("attribution-maps"),
    ]
