"""Part of the Sample page: an image from elsewhere is taken in, scored by a job, and removed."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update, set_props

from app import ids
from app.card import At, Call, Card, QuietError, jump
from app.help import HELP
from app.jobs import ABSENT, CANCELLED, DONE, TICK, job_text
from app.message import problem
from app.run import Run
from app.selection import Selection
from app.uploads import (
    MOST_BYTES,
    MOST_PIXELS,
    Dropped,
    Taken,
    ask,
    dropped_of,
    forget,
    state_of,
    take_in,
)
from probe.errors import ProbeError

__all__ = ["OWN", "Elsewhere", "dropped_at", "notice", "register"]

#: What ``assets/upload.js`` looks for, too.
UPLOAD, REFUSED = "sample-upload", "sample-upload-refused"
SAID, ROOM, REMOVE, LOOK = (f"sample-upload-{name}" for name in ("said", "room", "remove", "look"))


class Elsewhere(Call):
    """A call for an image that is in no run folder, so that no script can repeat it."""

    def arguments(self) -> str:
        """Raise: a script would find no image."""
        raise ProbeError(
            "An image from elsewhere is not in the run folder, so no code can find it there. Take "
            "the table."
        )


def dropped_at(at: At) -> Dropped:
    """Read what was found of the image from elsewhere that the address names.

    Raises
    ------
    ProbeError
        If it is being scored, or there is none.
    """
    state = state_of(at.run, at.chosen.dropped)
    if state.name == DONE:
        return dropped_of(at.run, at.chosen.dropped)
    if state.is_open:
        raise QuietError(
            "This image is being scored. What is found appears here in a moment.", again=True
        )
    if state.name in (ABSENT, CANCELLED):
        raise QuietError("The image that the address names was removed. Choose it again.")
    raise QuietError(state.error or "This image could not be scored.")


def notice(run: Run) -> Any:
    """Say what a score of an image from elsewhere is, and what it is not."""
    text: list[Any] = [
        html.B("Not from this run's datasets. "),
        "A score on an image from elsewhere is what the detector says, not whether the image is "
        "fake; these detectors generalize poorly (see ",
        jump("Overview", "/"),
        "). ",
    ]
    if run.manifest.get("simulated"):
        text.append(
            "This run's detectors were trained on simulated faces: on photographs their scores "
            "are meaningless."
        )
    return html.Div(text, className="notice", role="note")


def _upload(at: At) -> Any:
    named: dict[str, Any] = {"aria-live": "polite"}
    limits = (
        f"PNG, JPEG or WebP, up to {MOST_BYTES // 2**20} MB and {MOST_PIXELS // 10**6} megapixels."
    )
    zone = [
        dmc.Button("Choose a file", variant="default", size="xs"),
        html.Span(" or drop one here", className="muted"),
        html.Div(limits, className="muted small"),
    ]
    kept = (
        "Its pixels stay on the machine that serves this page, in the dashboard's cache, until "
        "you remove them or newer results need the room."
    )
    said = [html.Div(id=SAID), html.Div(id=ROOM)]
    room = html.Div(said, className="upload-room", style={"flex": 1}, **named)
    remove = dmc.Button("Remove", id=REMOVE, variant="default", size="xs", disabled=True, mt=10)
    return [
        dcc.Upload(
            html.Div(zone),
            id=UPLOAD,
            accept="image/png,image/jpeg,image/webp",
            max_size=MOST_BYTES,
            multiple=False,
            className="drop-zone",
            className_active="drop-zone over",
        ),
        html.Div(
            f"That file was not sent: it has to be {limits}",
            id=REFUSED,
            className="drop-refused",
            hidden=True,
            role="alert",
        ),
        html.Div(kept, className="muted small drop-note"),
        dmc.Group([room, remove], justify="space-between", align="flex-start", wrap="nowrap"),
        dcc.Interval(id=LOOK, interval=TICK, disabled=True),
    ]


OWN = Card(
    id="sample-own",
    title="An image of your own",
    uses=(),
    body=_upload,
    help=HELP["sample_upload"],
    is_menu=False,
    height=220,
)


def register(app: Dash, run: Run) -> None:
    """Take images in, and follow how far they are scored; the address names the one shown."""

    @app.callback(
        Output(UPLOAD, "contents"),
        Output(SAID, "children"),
        Input(UPLOAD, "contents"),
        Input(REMOVE, "n_clicks"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def act(contents: Any, clicks: Any, search: str) -> Any:
        # What the browser sent is not kept there either; and the same file can be chosen again.
        try:
            chosen = Selection.parse(search)
            if ctx.triggered_id == UPLOAD and contents is not None:
                taken = take_in(contents)
                set_props(ids.URL, {"search": chosen.but(dropped=ask(run, taken.png)).search})
                return None, _said(taken)
            if ctx.triggered_id == REMOVE and clicks:
                if chosen.dropped:
                    forget(run, chosen.dropped)
                set_props(ids.URL, {"search": chosen.but(dropped="").search or "?"})
                said = "Removed, with all that was made of it."
                return None, html.Div(said, className="muted")
        except ProbeError as error:
            return None, problem(error)
        return no_update, no_update

    @app.callback(
        Output(ROOM, "children"),
        Output(REMOVE, "disabled"),
        Output(LOOK, "disabled"),
        Input(LOOK, "n_intervals"),
        Input(ids.URL, "search"),
    )
    def look(ticks: Any, search: str) -> Any:
        """Say how far it is."""
        try:
            chosen = Selection.parse(search)
            if not chosen.dropped:
                return None, True, True
            state = state_of(run, chosen.dropped)
        except ProbeError as error:
            return problem(error), True, True
        if state.name == DONE:
            return html.Div("Scored; see the cards.", className="muted"), False, True
        if state.name in (ABSENT, CANCELLED):
            return None, True, True
        return job_text(state), False, not state.is_open


def _said(taken: Taken) -> Any:
    parts = [f"{taken.format}, {taken.width:,} × {taken.height:,} pixels"]
    if taken.conversions:
        parts.append(f"({'; '.join(taken.conversions)})")
    return html.Div(" ".join(parts), className="muted")
