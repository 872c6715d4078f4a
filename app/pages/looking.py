"""The cards of the Attribution page on what maps say together: variants compared, and regions."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.attribution_findings import regions_text, variants_table, variants_text
from app.components.card import card, graph
from app.components.download import export_menu
from app.components.help import HELP
from app.components.message import problem
from app.figures.maps import variants_figure, variants_height
from app.figures.regions import regions_figure, regions_height
from app.queries.attribution_findings import MODES, WHAT, regions_view, variants_view
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["register", "section"]

VARIANTS = "Do maps agree between variants?"
WHERE = "Where in the face?"

#: Controls to what of the address they set.
CONTROLS = {
    (ids.MAP_MODE, "value"): "mode",
    (ids.REGION_PART, "value"): "part",
    (ids.REGION_WHAT, "value"): "what",
}


def section(run: Run, chosen: Selection, search: str) -> list[Any]:
    """Lay out both cards; what is missing takes away only its own."""
    parts = {name: name.capitalize() for name in _parts(run)}
    return [
        dcc.Location(id=ids.LOOKING_URL, refresh="callback-nav", search=search),
        card(
            VARIANTS,
            html.Div(id=ids.MAP_SIMILARITY, className="variants-room"),
            help=HELP["map_similarity"],
            controls=[
                _switch(ids.MAP_MODE, MODES, chosen.named("mode", list(MODES))),
                export_menu("map-similarity"),
            ],
        ),
        card(
            WHERE,
            html.Div(id=ids.REGIONS, className="regions-room"),
            help=HELP["regions"],
            controls=[
                _switch(ids.REGION_PART, parts, chosen.named("part", list(parts))),
                _switch(ids.REGION_WHAT, WHAT, chosen.named("what", list(WHAT))),
                export_menu("attention-by-region"),
            ],
        ),
    ]


def register(app: Dash, run: Run) -> None:
    """Add the cards' callbacks."""
    _register_choices(app, run)

    @app.callback(
        Output(ids.MAP_SIMILARITY, "children"),
        Input(ids.LOOKING_URL, "search"),
        Input(ids.SCHEME, "data"),
        State(ids.ATTRIBUTION_DETECTOR, "data"),
    )
    def show_variants(search: str, scheme: str, listed: list[str]) -> Any:
        try:
            chosen = Selection.parse(search)
            view = variants_view(run, chosen, chosen.named("detector", listed or run.detectors))
        except ProbeError as error:
            return problem(error)
        figure, height = variants_figure(view, scheme), variants_height(len(view.datasets))
        drawn = graph(ids.MAP_SIMILARITY_FIGURE, height, figure, "Similarity of maps by dataset")
        columns = html.Div([drawn, variants_table(view)], className="variants-columns")
        return [variants_text(view), columns]

    @app.callback(
        Output(ids.REGIONS, "children"),
        Input(ids.LOOKING_URL, "search"),
        Input(ids.SCHEME, "data"),
        State(ids.ATTRIBUTION_DETECTOR, "data"),
    )
    def show_regions(search: str, scheme: str, listed: list[str]) -> Any:
        try:
            chosen = Selection.parse(search)
            view = regions_view(run, chosen, chosen.named("detector", listed or run.detectors))
        except ProbeError as error:
            return problem(error)
        figure, height = regions_figure(view, scheme), regions_height(len(view.groups))
        drawn = graph(ids.REGIONS_FIGURE, height, figure, "Concentration of maps by region")
        return [regions_text(view), drawn]


def _register_choices(app: Dash, run: Run) -> None:
    """Keep the switches and the address the same, whichever was changed."""

    @app.callback(
        Output(ids.LOOKING_URL, "search"),
        *(Output(*one) for one in CONTROLS),
        *(Input(*one) for one in CONTROLS),
        Input(ids.LOOKING_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(mode: str, part: str, what: str, search: str) -> Any:
        now, n = (mode, part, what), len(CONTROLS)
        try:
            chosen = Selection.parse(search)
            first = [next(iter(MODES)), _parts(run)[0], next(iter(WHAT))]
        except ProbeError:
            return (no_update,) * (1 + n)
        fields = list(CONTROLS.values())
        shown = [getattr(chosen, field) or one for field, one in zip(fields, first, strict=True)]
        if ctx.triggered_id == ids.LOOKING_URL:
            return no_update, *(no_update if a == b else b for a, b in zip(now, shown, strict=True))
        if list(now) == shown:
            return (no_update,) * (1 + n)
        # What is shown without a choice needs no place in the address.
        values = ["" if a == one else a for a, one in zip(now, first, strict=True)]
        changed = dict(zip(fields, values, strict=True))
        return chosen.but(**changed).search, *[no_update] * n


def _parts(run: Run) -> list[str]:
    """Return the parts of maps of the first detector that has them; the same for all of a run."""
    for label in run.detectors:
        try:
            return [str(name) for name in run.attention(label).data["part"].values]
        except ProbeError:
            continue
    return ["positive", "negative"]


def _switch(id: str, names: dict[str, str], value: str) -> Any:
    return dmc.SegmentedControl(
        id=id,
        data=[{"value": name, "label": label} for name, label in names.items()],
        value=value,
        size="xs",
    )
