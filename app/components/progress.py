"""How far a run is: the notice over the pages of one that is being written."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from app import ids
from app.components.message import command_line
from app.queries.progress import Progress
from app.queries.summary import Stage

__all__ = ["elapsed", "progress_text", "stage_chip", "waiting", "watch"]

#: Milliseconds between two looks.
EVERY = 5000


def watch(found: Progress, command: str, *, stages: bool) -> Any:
    """Place the notice, and what looks again; only what it says changes by itself.

    Parameters
    ----------
    found : Progress
        State of the run.
    command : str
        What goes on with it.
    stages : bool
        Whether the stages are listed, as on the Overview page.
    """
    button = dmc.Button("Show them", id=ids.PROGRESS_SHOW, variant="light", size="compact-xs")
    named: dict[str, Any] = {"role": "status"}
    news = html.Div(
        ["New results are there. ", button], id=ids.PROGRESS_NEWS, className=NO_NEWS, **named
    )
    body = html.Div(progress_text(found, stages=stages), id=ids.PROGRESS)
    parts: list[Any] = [html.Div([body, news], className="progress-head")]
    if stages:
        said = html.Span("If it was stopped, this goes on:", className="muted")
        parts.append(html.Div([said, command_line(command)], className="progress-command"))
    notice = html.Div(parts, className="notice incomplete", role="note")
    return html.Div([notice, *_looking(found, stages)])


def waiting(found: Progress) -> Any:
    """Place what looks again on a page that has nothing to show yet."""
    hidden = html.Div(
        [html.Div(id=ids.PROGRESS_NEWS), html.Div(html.Button(id=ids.PROGRESS_SHOW))], hidden=True
    )
    text = html.Div(
        "This page looks again every five seconds, and changes when the run is there.",
        id=ids.PROGRESS,
        className="waiting",
    )
    return html.Div([text, hidden, *_looking(found, False)])


#: Classes of the line that tells of new results; without news it keeps its room.
NEWS, NO_NEWS = "news", "news none"


def _looking(found: Progress, stages: bool) -> list[Any]:
    seen = {"results": found.results, "readable": not found.problem, "stages": stages}
    return [
        dcc.Interval(id=ids.PROGRESS_TICK, interval=EVERY),
        dcc.Store(id=ids.PROGRESS_ASK),
        dcc.Store(id=ids.PROGRESS_SEEN, data=seen),
    ]


def progress_text(found: Progress, *, stages: bool) -> list[Any]:
    """Say how far the run is, by a sentence, a bar and, where asked for, its stages."""
    if found.problem:
        return [html.B("The manifest cannot be read now. "), found.problem]
    if found.complete:
        return [html.B("The run is complete. "), "All its stages are done."]
    said: list[Any] = [html.B("Incomplete run. "), _sentence(found)]
    out: list[Any] = [html.Div(said)]
    if found.total:
        named: dict[str, Any] = {"aria-label": "Stages done"}
        out.append(html.Progress(value=f"{found.share:.3f}", max="1", className="bar", **named))
    if stages:
        begun = {stage.name for stage in found.stages}
        rest = [Stage(name, False, 0.0) for name in found.planned if name not in begun]
        chips = [stage_chip(one, found) for one in (*found.stages, *rest)]
        out.append(html.Div(chips, className="stages"))
    return out


def _sentence(found: Progress) -> str:
    of = f" of {found.total}" if found.total else ""
    parts = [f"{found.done}{of} stages are done"]
    if found.stage:
        doing = f"{found.stage!r} began {elapsed(found.since)} ago"
        if found.detectors:
            made, all_ = found.detectors
            count = f"{made:.0f}" if made == int(made) else f"{made:.1f}"
            doing += f", {count} of {all_} detectors"
        parts.append(doing)
    last = f"Last written {elapsed(found.written)} ago"
    stopped = ": it may have been stopped." if found.quiet else "."
    return f"{'; '.join(parts)}. {last}{stopped}"


def stage_chip(stage: Stage, found: Progress | None = None) -> Any:
    """Show a stage and how long it took, or where it is."""
    if stage.done:
        took, state = f"{stage.seconds:.0f} s", "done"
    elif found and stage.name == found.stage:
        took, state = "stopped?" if found.quiet else "now", "undone doing"
    else:
        took, state = "not done", "undone"
    return html.Div(
        [html.Span(stage.name), html.Span(took, className="muted")], className=f"stage {state}"
    )


def elapsed(seconds: float) -> str:
    """Word a time in the two largest units that matter: "4 s", "12 min", "3 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days"
