"""Where a detector looks, and whether the map can be believed: the Attribution page."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.attribution import image_list, list_text
from app.components.card import card
from app.components.download import export_menu
from app.components.help import HELP
from app.components.lacks import lacks_note
from app.components.message import problem
from app.pages import heatmaps, looking
from app.queries.attribution import (
    FILTERS,
    explained,
    known_mapped,
    list_view,
    listed_detectors,
    mapped_detectors,
)
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["layout", "register"]

QUESTION = "Where does a detector look, and can the map be believed?"

#: Controls of the list to what of the address they set; the part of the list is the last.
LIST_CONTROLS = {
    (ids.ATTRIBUTION_IMAGES, "value"): "images",
    (ids.ATTRIBUTION_DATASET, "value"): "dataset",
    (ids.ATTRIBUTION_FORGERY, "value"): "forgery",
    (ids.ATTRIBUTION_PAGE, "value"): "page",
}


def layout(run: Run, search: str) -> Any:
    """Lay out the page for what the address selects."""
    chosen = Selection.parse(search)
    detector = known_mapped(run, chosen)
    return html.Div(
        [
            *_page_head(run, detector, search),
            *_images(run, chosen, search),
            *heatmaps.section(run, chosen, detector, search),
            *looking.section(run, chosen, search),
        ]
    )


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks."""
    _register_detector(app)
    _register_list(app, run)
    heatmaps.register(app, run)
    looking.register(app, run)


def _register_detector(app: Dash) -> None:
    """Keep the detector and the address the same; all else follows the address."""

    @app.callback(
        Output(ids.ATTRIBUTION_URL, "search"),
        Output(ids.ATTRIBUTION_DETECTOR, "value"),
        Input(ids.ATTRIBUTION_DETECTOR, "value"),
        Input(ids.ATTRIBUTION_URL, "search"),
        State(ids.ATTRIBUTION_DETECTOR, "data"),
        prevent_initial_call=True,
    )
    def follow(detector: str | None, search: str, listed: list[str]) -> Any:
        try:
            chosen = Selection.parse(search)
        except ProbeError:
            return no_update, no_update
        named = chosen.detector or next(iter(listed or []), "")
        if named == detector or not detector:
            return no_update, no_update
        if ctx.triggered_id == ids.ATTRIBUTION_URL:
            return no_update, named
        # A part of the list, and units of a layer, belong to the detector that was left.
        return chosen.but(detector=detector, layer="", unit="", page="").search, no_update


def _register_list(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.ATTRIBUTION_LIST_URL, "search"),
        *(Output(*one) for one in LIST_CONTROLS),
        *(Input(*one) for one in LIST_CONTROLS),
        Input({"type": ids.ATTRIBUTION_IMAGE, "token": ALL}, "n_clicks"),
        Input(ids.ATTRIBUTION_LIST_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(
        images: str | None,
        dataset: str | None,
        forgery: str | None,
        page: int | None,
        clicks: list[int | None],
        search: str,
    ) -> Any:
        now = [images, dataset, forgery, page]
        still: list[Any] = [no_update] * len(now)
        try:
            chosen = Selection.parse(search)
        except ProbeError:
            return no_update, *still
        shown = [_read(chosen, field) for field in LIST_CONTROLS.values()]
        if ctx.triggered_id == ids.ATTRIBUTION_LIST_URL:
            return no_update, *(no_update if a == b else b for a, b in zip(now, shown, strict=True))
        if isinstance(ctx.triggered_id, dict):
            # A button that is laid out counts as changed too; its number is then none.
            pressed, token = ctx.triggered[0]["value"], ctx.triggered_id["token"]
            return (chosen.but(sample=token).search if pressed else no_update), *still
        changed = {
            field: "" if value is None else str(value)
            for field, value, before in zip(LIST_CONTROLS.values(), now, shown, strict=True)
            if value != before
        }
        if not changed:
            return no_update, *still
        if "page" not in changed:
            # Another list begins at its beginning.
            changed["page"], still[-1] = "", 1 if now[-1] != 1 else no_update
        return chosen.but(**changed).search, *still

    @app.callback(
        Output(ids.ATTRIBUTION_LIST, "children"),
        Output(ids.ATTRIBUTION_LIST_TEXT, "children"),
        Output(ids.ATTRIBUTION_PAGE, "total"),
        Input(ids.ATTRIBUTION_LIST_URL, "search"),
        State(ids.ATTRIBUTION_DETECTOR, "data"),
    )
    def show(search: str, listed: list[str]) -> Any:
        try:
            chosen = Selection.parse(search)
            view = list_view(run, chosen, chosen.named("detector", listed or run.detectors))
        except ProbeError as error:
            return problem(error), "", 1
        token = chosen.sample or (view.images[0].token if view.images else "")
        images = [image_list(view, token), lacks_note(run, (one.token for one in view.images))]
        return images, list_text(view, chosen.images or "all"), view.pages


def _read(chosen: Selection, field: str) -> Any:
    """Return what a control shows for a field of the address."""
    value = str(getattr(chosen, field))
    if field == "page":
        return int(value) if value.isascii() and value.isdigit() else 1
    return value or ("all" if field == "images" else None)


def _page_head(run: Run, detector: str, search: str) -> list[Any]:
    """Choose a detector; those that have maps come first, and the first of them is the default."""
    title = [dmc.Title("Attribution", order=1), html.Div(QUESTION, className="question")]
    named: dict[str, Any] = {"aria-label": "Detector"}
    select = dmc.Select(
        id=ids.ATTRIBUTION_DETECTOR,
        data=listed_detectors(run),
        value=detector,
        allowDeselect=False,
        w=240,
        searchable=True,
        **named,
    )
    return [
        dcc.Location(id=ids.ATTRIBUTION_URL, refresh="callback-nav", search=search),
        html.Div([html.Div(title), select], className="page-head"),
    ]


def _images(run: Run, chosen: Selection, search: str) -> list[Any]:
    # The same controls for all detectors, whatever was explained of them.
    frame = explained(run, mapped_detectors(run)[0])
    datasets = [str(name) for name in run.manifest.get("datasets", [])]
    datasets = list(dict.fromkeys([*datasets, *frame["dataset"]]))
    named: dict[str, Any] = {"aria-label": "Parts of the list"}
    # Its arrows have no names that screen readers could say.
    pages = dmc.Pagination(
        withControls=False,
        id=ids.ATTRIBUTION_PAGE,
        total=1,
        value=_read(chosen, "page"),
        size="sm",
        **named,
    )
    return [
        dcc.Location(id=ids.ATTRIBUTION_LIST_URL, refresh="callback-nav", search=search),
        card(
            "Which images?",
            html.Div(id=ids.ATTRIBUTION_LIST_TEXT, className="sentence line-room"),
            html.Div(id=ids.ATTRIBUTION_LIST, className="explained-room"),
            html.Div(pages, className="explained-pages"),
            help=HELP["explained"],
            controls=_list_controls(chosen, datasets, sorted(set(frame["forgery"]) - {""})),
        ),
    ]


def _list_controls(chosen: Selection, datasets: list[str], forgeries: list[str]) -> list[Any]:
    return [
        dmc.SegmentedControl(
            id=ids.ATTRIBUTION_IMAGES,
            data=[{"value": name, "label": label} for name, label in FILTERS.items()],
            value=chosen.named("images", list(FILTERS)),
            size="xs",
        ),
        _select(ids.ATTRIBUTION_DATASET, "Dataset", "All datasets", datasets, chosen.dataset),
        _select(ids.ATTRIBUTION_FORGERY, "Forgery", "All forgeries", forgeries, chosen.forgery),
        export_menu("explained-images"),
    ]


def _select(id: str, label: str, nothing: str, names: list[str], value: str) -> Any:
    named: dict[str, Any] = {"aria-label": label}
    return dmc.Select(
        id=id,
        data=names,
        value=value or None,
        placeholder=nothing,
        clearable=True,
        size="xs",
        w=150,
        **named,
    )
