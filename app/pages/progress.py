"""Pages of a run that is being written, or is not there yet: they look again by themselves."""

from __future__ import annotations

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update

from app import ids
from app.components.progress import NEWS, NO_NEWS, progress_text, waiting, watch
from app.queries.progress import progress
from app.run import Run

__all__ = ["register", "watched"]


def watched(run: Run, path: str, content: Any) -> Any:
    """Put over a page how far the run is, unless it is complete."""
    found = progress(run)
    if found.complete:
        return content
    if found.problem:
        return html.Div([content, waiting(found)])
    return html.Div([watch(found, run.command, stages=path == "/"), content])


def register(app: Dash, run: Run) -> None:
    """Add the callbacks of the notice.

    What the visitor looks at changes only at the visitor's request, or where there was nothing.
    """
    # The server is asked only by pages that are seen; see ``assets/progress.js``.
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("probe", "visible"),
        Output(ids.PROGRESS_ASK, "data"),
        Input(ids.PROGRESS_TICK, "n_intervals"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.PROGRESS, "children"),
        Output(ids.PROGRESS_NEWS, "className"),
        Output(ids.PROGRESS_TICK, "disabled"),
        Output(ids.RENDERED, "data"),
        Input(ids.PROGRESS_ASK, "data"),
        State(ids.PROGRESS_SEEN, "data"),
        State(ids.RENDERED, "data"),
        prevent_initial_call=True,
    )
    def look(asked: int, seen: Any, rendered: Any) -> Any:
        again = rendered + 1 if isinstance(rendered, int) else 1
        found = progress(run)
        known = seen if isinstance(seen, dict) else {}
        changed = found.results != known.get("results")
        if not known.get("readable", True):
            return no_update, no_update, no_update, again if changed else no_update
        text = progress_text(found, stages=bool(known.get("stages")))
        # What is complete has to be shown anew once more, for the notice to go.
        news = NEWS if not found.problem and (changed or found.complete) else NO_NEWS
        return text, news, found.complete, no_update

    # By itself: of two questions of one callback browsers take the later answer alone, and a look
    # that comes right after the click would undo it.
    @app.callback(
        Output(ids.RENDERED, "data", allow_duplicate=True),
        Input(ids.PROGRESS_SHOW, "n_clicks"),
        State(ids.RENDERED, "data"),
        prevent_initial_call=True,
    )
    def show(clicks: int | None, rendered: Any) -> Any:
        if not clicks:
            return no_update
        return rendered + 1 if isinstance(rendered, int) else 1
