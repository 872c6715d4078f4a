"""An image from elsewhere, on the Sample page: taken in, scored in a job, and removed again."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.card import card
from app.components.help import HELP
from app.components.jobs import TICK, job_text
from app.components.message import problem
from app.jobs import ABSENT, CANCELLED, DONE
from app.queries.uploads import (
    MOST_BYTES,
    MOST_PIXELS,
    Taken,
    ask,
    forget,
    state_of,
    take_in,
)
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["register", "section"]


def section(run: Run) -> Any:
    """Lay out the card."""
    named: dict[str, Any] = {"aria-live": "polite"}
    limits = (
        f"PNG, JPEG or WebP, up to {MOST_BYTES // 2**20} MB and {MOST_PIXELS // 10**6} megapixels."
    )
    zone = dcc.Upload(
        html.Div(
            [
                dmc.Button("Choose a file", variant="default", size="xs"),
                html.Span(" or drop one here", className="muted"),
                html.Div(limits, className="muted small"),
            ]
        ),
        id=ids.UPLOAD,
        accept="image/png,image/jpeg,image/webp",
        max_size=MOST_BYTES,
        multiple=False,
        className="drop-zone",
        className_active="drop-zone over",
    )
    kept = (
        "Its pixels stay on the machine that serves this page, in the dashboard's cache, until "
        "you remove them or newer results need the room."
    )
    remove = dmc.Button("Remove", id=ids.UPLOAD_REMOVE, variant="default", size="xs", disabled=True)
    return card(
        "An image of your own",
        dcc.Location(id=ids.UPLOAD_URL, refresh="callback-nav"),
        dcc.Interval(id=ids.UPLOAD_TICK, interval=TICK, disabled=True),
        zone,
        html.Div(
            f"That file was not sent: it has to be {limits}",
            id="sample-upload-refused",
            className="drop-refused",
            hidden=True,
            role="alert",
        ),
        html.Div(kept, className="muted small drop-note"),
        html.Div(id=ids.UPLOAD_ROOM, className="upload-room", **named),
        help=HELP["sample_upload"],
        controls=[remove],
    )


def register(app: Dash, run: Run) -> None:
    """Add the callbacks of the card."""

    @app.callback(
        Output(ids.UPLOAD_URL, "search"),
        Output(ids.UPLOAD, "contents"),
        Output(ids.UPLOAD_ROOM, "children"),
        Output(ids.UPLOAD_REMOVE, "disabled"),
        Output(ids.UPLOAD_TICK, "disabled"),
        Output(ids.UPLOAD_DONE, "data"),
        Input(ids.UPLOAD, "contents"),
        Input(ids.UPLOAD_REMOVE, "n_clicks"),
        Input(ids.UPLOAD_TICK, "n_intervals"),
        Input(ids.UPLOAD_URL, "search"),
        State(ids.UPLOAD_DONE, "data"),
    )
    def follow(contents: Any, clicks: Any, ticks: Any, search: str, done: Any) -> Any:
        try:
            chosen = Selection.parse(search)
            if ctx.triggered_id == ids.UPLOAD and contents is not None:
                return _take(run, chosen, contents)
            if ctx.triggered_id == ids.UPLOAD_REMOVE and clicks:
                return _remove(run, chosen)
            return no_update, no_update, *_look(run, chosen, done)
        except ProbeError as error:
            return no_update, None, problem(error), True, True, no_update


def _take(run: Run, chosen: Selection, contents: Any) -> Any:
    """Decode, ask for scores, and go to the address of the image."""
    taken = take_in(contents)
    found = chosen.but(dropped=ask(run, taken.png))
    # What the browser sent is not kept there either; and the same file can be chosen again.
    return found.search, None, _said(taken), False, False, no_update


def _remove(run: Run, chosen: Selection) -> Any:
    if chosen.dropped:
        forget(run, chosen.dropped)
    said = html.Div("Removed, with all that was made of it.", className="muted")
    return chosen.but(dropped="").search or "?", None, said, True, True, None


def _look(run: Run, chosen: Selection, done: Any) -> Any:
    """Say how far it is; the cards are told once, when the scores have come."""
    if not chosen.dropped:
        return no_update, True, True, no_update
    state = state_of(run, chosen.dropped)
    if state.name == DONE:
        arrived = no_update if done == chosen.dropped else chosen.dropped
        return html.Div("Scored; see the cards.", className="muted"), False, True, arrived
    if state.name in (ABSENT, CANCELLED):
        return no_update, True, True, no_update
    # A failure is told to the cards too, since they wait for the scores.
    arrived = no_update if state.is_open or done == chosen.dropped else chosen.dropped
    return job_text(state), False, not state.is_open, arrived


def _said(taken: Taken) -> Any:
    parts = [f"{taken.format}, {taken.width:,} × {taken.height:,} pixels"]
    if taken.conversions:
        parts.append(f"({'; '.join(taken.conversions)})")
    return html.Div(" ".join(parts), className="muted")
