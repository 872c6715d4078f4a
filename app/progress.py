"""How far a run is that is being written: what is known of it, and the notice over its pages.

What is known comes from the manifest and from what lies in the run's folder. Pages of a run that is
being written, or is not there yet, look again by themselves.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
import zarr
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update

from app import ids
from app.message import command_line
from app.run import Run
from probe.errors import ProbeError
from probe.run import MANIFEST_FILE, RunFolder

__all__ = [
    "Progress",
    "Stage",
    "elapsed",
    "progress",
    "register",
    "stage_chip",
    "stages_of",
    "watched",
]

# --- What is known --------------------------------------------------------------------------------

#: What a stage makes for each detector, where it makes that.
_MADE: dict[str, Callable[[RunFolder, str], Path]] = {
    "detectors": lambda folder, label: folder.detector(label) / "card.json",
    "activations": RunFolder.store,
    "neurons": lambda folder, label: folder.path("universality", label),
    "ablation": lambda folder, label: folder.path("ablation", label),
    "separability": lambda folder, label: folder.path("separability", label),
    "responses": lambda folder, label: folder.path("responses", label),
    "attribution": lambda folder, label: folder.path("trust", label),
}

#: Seconds without a write after which a run looks as if it had been stopped.
_QUIET = 600.0

#: Levels of folders whose times are read, and entries of each that are looked at.
_DEPTH, _ENTRIES = 3, 2000


@dataclass(frozen=True)
class Stage:
    """One stage of the command that makes the run; `seconds` is 0 until it is done."""

    name: str
    done: bool
    seconds: float


@dataclass(frozen=True)
class Progress:
    """State of a run.

    Attributes
    ----------
    problem : str
        Why the manifest cannot be read; empty where it can.
    complete : bool
        Whether all stages are done.
    stages : tuple of Stage
        Those that are done or begun, in order.
    planned : tuple of str
        Names of all stages; empty where the manifest does not tell.
    stage : str
        The one that is not done; empty where there is none.
    since, written : float
        Seconds since that stage began, and since something was written last.
    detectors : tuple of (float, int), or None
        For how many detectors, of how many, the stage has made what it makes.
    results : str
        Names what the run holds; another where there is more.
    """

    problem: str = ""
    complete: bool = False
    stages: tuple[Stage, ...] = ()
    planned: tuple[str, ...] = ()
    stage: str = ""
    since: float = 0.0
    written: float = 0.0
    detectors: tuple[float, int] | None = None
    results: str = ""

    @property
    def done(self) -> int:
        """How many stages are done."""
        return sum(stage.done for stage in self.stages)

    @property
    def total(self) -> int:
        """How many stages there are; 0 where the manifest does not tell."""
        return len(self.planned)

    @property
    def share(self) -> float:
        """Stages done and the part of the one that is not, over all; 0 where those are unknown."""
        made, of = self.detectors or (0.0, 1)
        return min(1.0, (self.done + made / of) / self.total) if self.total else 0.0

    @property
    def quiet(self) -> bool:
        """Whether nothing was written for so long that the run was perhaps stopped."""
        return self.written > _QUIET


def stages_of(run: Run) -> tuple[Stage, ...]:
    """Return the stages that are done or begun, in order."""
    return tuple(
        Stage(str(one.get("name", "")), bool(one.get("done")), float(one.get("seconds", 0.0)))
        for one in run.manifest.get("stages", [])
    )


def progress(run: Run, now: float | None = None) -> Progress:
    """Look how far a run is.

    Parameters
    ----------
    run : Run
        The run.
    now : float, optional
        Seconds since the epoch; by default the clock says.
    """
    try:
        manifest, stages = run.manifest, stages_of(run)
    except ProbeError as error:
        return Progress(problem=str(error), results=_digest([str(error)]))
    if manifest.get("complete"):
        return Progress(complete=True, stages=stages, results=_results(run.folder.root))
    now = time.time() if now is None else now
    doing = next((stage.name for stage in stages if not stage.done), "")
    return Progress(
        stages=stages,
        planned=tuple(map(str, manifest.get("planned", []))),
        stage=doing,
        since=max(0.0, now - _time(run.folder.root / MANIFEST_FILE)),
        written=max(0.0, now - max(_times(run.folder.root, _DEPTH))),
        detectors=_made(run, doing),
        results=_results(run.folder.root),
    )


def _made(run: Run, stage: str) -> tuple[float, int] | None:
    """Count the detectors that a stage has finished, a store by the part that is written."""
    place, labels = _MADE.get(stage), run.detectors
    if place is None or not labels:
        return None
    paths = [place(run.folder, label) for label in labels]
    part = _written if stage == "activations" else _exists
    return sum(part(path) for path in paths), len(labels)


def _exists(path: Path) -> float:
    return float(path.exists())


def _written(store: Path) -> float:
    """Share of a store's batches that are written: each marks itself by a chunk of its own."""
    try:
        marks = zarr.open_array(store / "written", mode="r")
        return float(marks.nchunks_initialized / max(1, marks.nchunks))
    # One that is only being made has half of its files.
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _results(root: Path) -> str:
    """Name the tables, stores and maps that are there."""
    found = {str(path.relative_to(root)) for path in _tables(root)}
    return _digest(sorted(found))


def _tables(root: Path) -> Iterator[Path]:
    for pattern in ("data/dataset.json", "tables/*.zarr", "tables/*/*.zarr", "maps/*.zarr"):
        yield from root.glob(pattern)
    # A store is there from its first batch on, and is shown when it has its last.
    yield from root.glob("stores/*.zarr/*/moments")


def _digest(names: list[str]) -> str:
    return hashlib.blake2b("\n".join(names).encode(errors="replace"), digest_size=8).hexdigest()


def _times(folder: Path, depth: int) -> Iterator[float]:
    """Yield when a folder's manifest and its folders were written, so many levels down."""
    yield _time(folder)
    yield _time(folder / MANIFEST_FILE)
    try:
        with os.scandir(folder) as found:
            inside = [
                Path(one.path)
                for one in islice(found, _ENTRIES)
                if one.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return
    for one in inside:
        yield from _times(one, depth - 1) if depth else (_time(one),)


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


# --- The notice -----------------------------------------------------------------------------------

#: Milliseconds between two looks.
EVERY = 5000


def _watch(found: Progress, command: str, *, stages: bool) -> Any:
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
    body = html.Div(_text(found, stages=stages), id=ids.PROGRESS)
    parts: list[Any] = [html.Div([body, news], className="progress-head")]
    if stages:
        said = html.Span("If it was stopped, this goes on:", className="muted")
        parts.append(html.Div([said, command_line(command)], className="progress-command"))
    notice = html.Div(parts, className="notice incomplete", role="note")
    return html.Div([notice, *_looking(found, stages)])


def _waiting(found: Progress) -> Any:
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


def _text(found: Progress, *, stages: bool) -> list[Any]:
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


# --- Callbacks ------------------------------------------------------------------------------------


def watched(run: Run, path: str, content: Any) -> Any:
    """Put over a page how far the run is, unless it is complete."""
    found = progress(run)
    if found.complete:
        return content
    if found.problem:
        return html.Div([content, _waiting(found)])
    return html.Div([_watch(found, run.command, stages=path == "/"), content])


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
        text = _text(found, stages=bool(known.get("stages")))
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
