"""`Card`, `Control` and `Page`: what the dashboard shows, declared once.

A card is one object. Its frame, loading, the message where its table is missing, its part of the
address, its menu of exports and its tests follow from it, here and in ``assets/card.js``. The
address is the only state: a control writes it, a click on a figure or a link writes it, and a card
is drawn anew when a field that it uses has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Condition
from typing import Any
from urllib.parse import urlencode

import dash_mantine_components as dmc
import pandas as pd
from cachetools import LRUCache, cached
from dash import (
    ALL,
    MATCH,
    ClientsideFunction,
    Dash,
    Input,
    Output,
    State,
    ctx,
    dcc,
    html,
    no_update,
)
from matplotlib.figure import Figure

from app import ids
from app.activations import ArrangingError
from app.help import Help
from app.jobs import DONE, TICK, Jobs, Task, job_text, jobs_of
from app.message import arranging, problem
from app.prefix import at as address
from app.run import Ref, Run, known_detector
from app.selection import Selection
from probe import plots
from probe.errors import ProbeError, UnknownNameError
from probe.plots.theme import Theme, theme_of

__all__ = [
    "At",
    "Call",
    "Card",
    "Control",
    "Group",
    "Page",
    "QuietError",
    "Ref",
    "jump",
    "part",
    "register",
]


# --- What a card is drawn for -------------------------------------------------------------------


class Call:
    """A call of `probe.plots` that the page makes, and that a script can repeat.

    Parameters
    ----------
    plot : str
        Name of the finding: ``probe.plots`` has the table ``<plot>`` and, where it is drawn,
        ``plot_<plot>`` for print and ``figure_<plot>`` for the page.
    *refs : Ref
        Tables that it takes.
    **choice : Any
        Further arguments: plain values.
    """

    def __init__(self, plot: str, *refs: Ref, **choice: Any) -> None:
        self.plot, self.refs, self.choice = plot, refs, choice

    @property
    def key(self) -> Hashable:
        """Equal for calls with the same result."""
        return self.plot, tuple(one.key for one in self.refs), repr(sorted(self.choice.items()))

    def frame(self) -> pd.DataFrame:
        """Return the table, worked out once for all visitors; not to be changed."""
        return _frame_of(self)

    def print(self) -> Figure:
        """Draw the figure for print."""
        figure: Figure = self.run(f"plot_{self.plot}")
        return figure

    @property
    def is_drawn(self) -> bool:
        """Whether there is a figure for print."""
        return hasattr(plots, f"plot_{self.plot}")

    @property
    def attrs(self) -> dict[str, Any]:
        """Provenance of the first table, for files."""
        value = self.refs[0].value if self.refs else None
        return dict(getattr(getattr(value, "data", value), "attrs", {}))

    def arguments(self) -> str:
        """Write the arguments as Python."""
        given = [one.code for one in self.refs]
        return ", ".join([*given, *(f"{name}={value!r}" for name, value in self.choice.items())])

    def run(self, name: str) -> Any:
        """Call a function of `probe.plots` by its name."""
        return getattr(plots, name)(*(one.value for one in self.refs), **self.choice)


# Visitors who ask for the same at the same time wait for one of them.
@cached(LRUCache(256), key=lambda call: call.key, condition=Condition())
def _frame_of(call: Call) -> pd.DataFrame:
    frame: pd.DataFrame = call.run(call.plot)
    return frame


class QuietError(ProbeError):
    """Why a card is empty where nothing is wrong: said in words alone.

    Attributes
    ----------
    again : bool
        Whether what is missing is on its way, so that it is asked for every second.
    """

    def __init__(self, text: str, *, again: bool = False) -> None:
        super().__init__(text)
        self.again = again


@dataclass(frozen=True)
class At:
    """A run, what the address selects of it, and the scheme that the page is shown in."""

    run: Run
    chosen: Selection
    scheme: str = "light"

    @property
    def theme(self) -> Theme:
        """Colors."""
        return theme_of(self.scheme)

    @cached_property
    def detector(self) -> str:
        """Label of the detector: the one that is chosen, or the first.

        Raises
        ------
        UnknownNameError
            If the run does not hold it.
        MissingTableError
            If the run holds none.
        """
        return known_detector(self.run, self.chosen)

    def table(self, name: str, *by: str) -> Ref:
        """Return a table of the run: of the chosen detector, unless `by` says of what."""
        return self.run.ref(name, *(by or (self.detector,)))

    def whole(self, name: str) -> Ref:
        """Return a table that is of the whole run."""
        return self.run.ref(name)

    def but(self, **changes: Any) -> At:
        """Return the same with other choices."""
        return At(self.run, self.chosen.but(**changes), self.scheme)


# --- Declarations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Control:
    """A choice that is kept in the address.

    Attributes
    ----------
    field : str
        Field of the selection.
    label : str
        What it chooses; read out where it is not written.
    options : callable
        Takes `At` and returns values to labels; the first is chosen where the address is silent.
    kind : str
        "select", "segmented", "switch" (on is "1"; off is "off" where "1" is its first option), or
        "many" (values separated by commas).
    make : callable, optional
        Takes the id and `At` and returns a component of its own, for which there is room under the
        heading; its ``value`` is as of `kind`.
    resets : tuple of str
        Fields that lose their values when this one changes.
    sets : tuple of (str, str)
        Fields that get a value when this one changes.
    width : int
        Pixels of a select.
    head : bool
        Whether it is in a page's head, with its label written over it.
    twin : str
        Field that never has the same value: where it would, it is given the value that this one
        had. A change of one writes both into the address.
    first : callable, optional
        Takes `At` and returns what is chosen where the address is silent, if that is not the first
        option.
    """

    field: str
    label: str
    options: Callable[[At], Mapping[str, str]] = lambda at: {"": "off", "1": "on"}
    kind: str = "select"
    make: Callable[[dict[str, str], At], Any] | None = None
    resets: tuple[str, ...] = ()
    sets: tuple[tuple[str, str], ...] = ()
    width: int = 170
    head: bool = False
    twin: str = ""
    first: Callable[[At], str] | None = None


@dataclass(frozen=True)
class Job:
    """A long computation that a card starts on request.

    Everything follows from what is selected, so reloading the page or following a link shows the
    same computation.

    Attributes
    ----------
    start : str
        What the button that starts it says.
    task : callable
        Takes `At` and returns what is to be computed.
    show : callable
        Takes `At`, the jobs and the fingerprint of a finished one, and returns what it found.
    invitation : callable
        Takes the task and returns what is shown before anyone asked.
    """

    start: str
    task: Callable[[At], Task]
    show: Callable[[At, Jobs, str], Any]
    invitation: Callable[[Task], Any]


@dataclass(frozen=True)
class Card:
    """A section of a page.

    Attributes
    ----------
    id : str
        Unique; also the name of its files.
    title : str
        Heading.
    uses : tuple of str
        Fields of the selection that it depends on.
    call : callable, optional
        Takes `At` and returns the `Call` whose table it shows.
    figure : callable, optional
        Takes `At` and that table and returns a figure of plotly. A point's ``customdata`` may be a
        query such as "unit=3": a click selects it.
    text, below : callable, optional
        Take `At` and the table and return what is over and under the figure.
    body : callable, optional
        Takes `At` and returns all of the content, where there is no call, or a table and a figure
        are not enough.
    job : Job, optional
        Computation whose progress and result are the content.
    frame : callable, optional
        Takes `At` and returns the table to export, where there is no call.
    help : Help, optional
        Definition behind a question mark.
    controls : tuple of Control
        In its heading.
    height : int
        Pixels that are kept while it loads; a figure's own height counts once it is there.
    label : str
        What the figure shows, read out.
    about : tuple of str
        Fields of the selection in the names of its files.
    is_menu, is_framed : bool
        Whether it has a menu of exports; whether it has a frame and a heading.
    when : callable, optional
        Takes `At` and returns whether it is on the page at all; must not raise.
    is_printed : bool
        Whether its call draws a figure for print although the page has none of plotly.
    """

    id: str
    title: str = ""
    uses: tuple[str, ...] = ("detector",)
    call: Callable[[At], Call] | None = None
    figure: Callable[[At, pd.DataFrame], dict[str, Any]] | None = None
    text: Callable[[At, pd.DataFrame], Any] | None = None
    below: Callable[[At, pd.DataFrame], Any] | None = None
    body: Callable[[At], Any] | None = None
    job: Job | None = None
    frame: Callable[[At], pd.DataFrame] | None = None
    help: Help | None = None
    controls: tuple[Control, ...] = ()
    height: int = 320
    label: str = ""
    about: tuple[str, ...] = ("detector",)
    is_menu: bool = True
    is_framed: bool = True
    when: Callable[[At], bool] | None = None
    is_printed: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields on which it is drawn anew."""
        own = (one.field for one in self.controls)
        return tuple(dict.fromkeys((*self.uses, *own, *(("scheme",) if self.figure else ()))))

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What it can be exported as, in the order of the menu."""
        is_drawn = self.call and (self.figure or self.is_printed)
        drawn = (".pdf", ".png", ".svg") if is_drawn else ()
        tables = (".csv", ".tex") if self.call or self.frame else ()
        return (*drawn, *tables, *((".py",) if self.call else ()))

    def table(self, at: At) -> pd.DataFrame:
        """Return the table to export."""
        if self.frame:
            return self.frame(at)
        assert self.call is not None
        return self.call(at).frame()

    def content(self, at: At) -> Any:
        """Return what it shows."""
        if self.job:
            return _job(self, self.job, at)
        if self.body:
            return self.body(at)
        assert self.call is not None
        frame = self.call(at).frame()
        parts = [self.text(at, frame)] if self.text else []
        if self.figure:
            parts.append(graph(self.id, self.figure(at, frame), self.height, self.label))
        if self.below:
            parts.append(self.below(at, frame))
        return parts


@dataclass(frozen=True)
class Group:
    """Cards, or groups of them, in a frame of a class such as "columns".

    Attributes
    ----------
    items : tuple
        Cards and groups.
    style : str
        Class of the frame.
    needs : callable, optional
        Takes `At` and raises where nothing of it can be shown: the reason is said once, under the
        title of the first card.
    """

    items: tuple[Card | Group, ...]
    style: str = "columns"
    needs: Callable[[At], Any] | None = None


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes
    ----------
    path, title, question : str
        Where it is, its name among the pages, and what it answers.
    items : tuple
        Cards and groups of cards, from top to bottom.
    controls : tuple of Control
        In the head. What they choose lays the page out anew.
    needs : callable, optional
        Takes `At` and raises where nothing of the page can be shown, with the reason.
    shown : callable, optional
        Takes `At` and returns those of the items that are laid out, where these are not all.
    register : callable, optional
        Takes the app and the run, and adds callbacks that are this page's own.
    aside : callable, optional
        Takes `At` and returns what is at the right of the head, where there are no controls.
    heading : callable, optional
        Takes `At` and returns the heading, where that is not the title.
    """

    path: str
    title: str
    question: str
    items: tuple[Card | Group, ...]
    controls: tuple[Control, ...] = ()
    needs: Callable[[At], Any] | None = None
    shown: Callable[[At], Sequence[Card | Group]] | None = None
    register: Callable[[Dash, Run], None] | None = None
    aside: Callable[[At], Any] | None = None
    heading: Callable[[At], str] | None = None

    @property
    def cards(self) -> tuple[Card, ...]:
        """All cards."""
        return tuple(_cards(self.items))

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields on which the page is laid out anew."""
        return tuple(one.field for one in self.controls)


def _cards(items: Sequence[Card | Group]) -> Iterator[Card]:
    for one in items:
        yield from _cards(one.items) if isinstance(one, Group) else (one,)


#: The detector, in the head of most pages; units and layers are its own.
DETECTOR = Control(
    "detector",
    "Detector",
    lambda at: {label: label for label in at.run.detectors},
    resets=("layer", "unit", "units"),
    width=240,
    head=True,
)


def part(name: str, of: Any) -> dict[str, Any]:
    """Return the id of a part of a card: "card", "key", "graph", "tick", "start" or "cancel"."""
    return {"part": name, "of": of}


# --- Layout -------------------------------------------------------------------------------------


def graph(card: str, figure: dict[str, Any], height: int, label: str) -> Any:
    """Place a figure; its height is kept, so that nothing jumps."""
    named: dict[str, Any] = {"role": "img", "aria-label": label}
    return html.Div(
        dcc.Graph(
            id=part("graph", card),
            figure=figure,
            config={"displayModeBar": False, "responsive": True},
            style={"height": "100%"},
        ),
        style={"height": figure["layout"].get("height", height)},
        className="clickable" if _selects(figure) else None,
        **named,
    )


def _selects(figure: Mapping[str, Any]) -> bool:
    return any("customdata" in trace for trace in figure["data"])


def jump(children: Any, path: str = "", *, className: str = "", **changes: Any) -> Any:
    """Link to the same page, or another, with further choices; what is chosen besides stays.

    Parameters
    ----------
    children : component
        What is shown.
    path : str
        Page, such as "/sample"; this one if empty.
    className : str
        Class of the link.
    **changes : Any
        Fields of the selection; an empty text takes a choice back.
    """
    marked: dict[str, Any] = {"data-jump": path or "here"}
    query = urlencode({name: str(value) for name, value in changes.items()})
    href = f"{address(path) if path else ''}?{query}"
    return html.A(children, href=href, className=className or None, **marked)


def layout(page: Page, at: At) -> Any:
    """Lay out a page for what the address selects, with empty cards; or say why it is empty."""
    controls: list[Any] = []
    try:
        controls = [_control(one, at) for one in page.controls]
        if page.needs:
            page.needs(at)
        items = page.shown(at) if page.shown else page.items
        content = [_item(one, at) for one in items]
    except ProbeError as error:
        if isinstance(error, UnknownNameError) and controls:
            # Components of their own say themselves that a name is not known.
            controls = [
                made if one.make else _control(one, at.but(**{one.field: ""}))
                for one, made in zip(page.controls, controls, strict=True)
            ]
        content = [problem(error)]
    title = page.heading(at) if page.heading else page.title
    head = [dmc.Title(title, order=1), html.Div(page.question, className="question")]
    right = page.aside(at) if page.aside else None
    right = dmc.Group(controls, gap="sm", align="flex-end") if page.controls else right
    return html.Div([html.Div([html.Div(head), right], className="page-head"), *content])


def declared(page: Page, at: At) -> dict[str, Any]:
    """Return what ``assets/card.js`` has to know of a page's cards and controls."""
    shown = [*page.controls, *(control for card in page.cards for control in card.controls)]
    controls = {}
    for one in shown:
        try:
            first = one.first(at) if one.first else next(iter(one.options(at)), "")
        except ProbeError:
            first = ""
        controls[one.field] = {
            "first": first,
            "resets": one.resets,
            "sets": one.sets,
            "kind": one.kind,
            "twin": one.twin,
        }
    cards = {card.id: card.fields for card in page.cards}
    scope = {name: getattr(at.chosen, name) for name in page.fields}
    return {"cards": cards, "controls": controls, "scope": scope}


def _item(one: Card | Group, at: At) -> Any:
    if isinstance(one, Group):
        try:
            if one.needs:
                one.needs(at)
        except ProbeError as error:
            first = next(_cards(one.items))
            head = dmc.Group(_heading(first), justify="space-between", className="card-head")
            return html.Section([head, problem(error)], className="card")
        return html.Div([_item(part, at) for part in one.items], className=one.style)
    if one.when and not one.when(at):
        return None
    body = html.Div(id=part("card", one.id), style={"minHeight": one.height}, className="card-body")
    key = dcc.Store(id=part("key", one.id))
    if not one.is_framed:
        controls = [_control(control, at, one.id) for control in one.controls]
        right = [dmc.Group(controls, wrap="nowrap", align="flex-end")] if controls else []
        style = f"bare {one.id}" + (" page-head unit-head" if controls else "")
        return html.Div([body, *right, key], className=style)
    head = _heading(one)
    try:
        right = [_control(control, at, one.id) for control in one.controls if not control.make]
        below = [_control(control, at, one.id) for control in one.controls if control.make]
    except ProbeError as error:
        return html.Section([dmc.Group(head), problem(error)], className="card")
    right += [export_menu(one)] if one.is_menu and one.suffixes else []
    if right:
        head.append(dmc.Group(right, gap="sm"))
    group = dmc.Group(head, justify="space-between", className="card-head")
    return html.Section([group, *below, body, key], className=f"card {one.id}")


def _heading(one: Card) -> list[Any]:
    left = [dmc.Title(one.title, order=2, className="card-title")]
    left += [help_mark(one.help)] if one.help else []
    return [dmc.Group(left, gap=6, wrap="nowrap")]


def _control(one: Control, at: At, of: str = "page") -> Any:
    options = one.options(at)
    given = getattr(at.chosen, one.field)
    value = given if given in options else next(iter(options), None)
    data = [{"value": name, "label": label} for name, label in options.items()]
    id = {"part": "control", "field": one.field, "of": of}
    if one.make:
        return one.make(id, at)
    named: dict[str, Any] = {} if one.head else {"aria-label": one.label}
    if one.kind == "segmented":
        return dmc.SegmentedControl(id=id, data=data, value=value, size="xs", **named)
    if one.kind == "switch":
        return dmc.Switch(id=id, label=one.label, checked=value == "1", size="xs")
    if one.kind == "many":
        listed = given or (one.first(at) if one.first else "")
        chosen = [name for name in listed.split(",") if name in options]
        return dmc.MultiSelect(id=id, data=data, value=chosen, size="xs", w=one.width, **named)
    shown: dict[str, Any] = {"label": one.label} if one.head else {"size": "xs", **named}
    return dmc.Select(
        id=id,
        data=data,
        value=value,
        allowDeselect=False,
        disabled=not data,
        w=one.width,
        searchable=False,
        **shown,
    )


def _job(card: Card, job: Job, at: At) -> Any:
    """Show where a computation is, with the buttons that start and cancel it."""
    wanted, jobs = job.task(at), jobs_of(at.run)
    state = jobs.state(wanted.fingerprint)
    is_done = state.name == DONE
    if is_done:
        shown = job.show(at, jobs, wanted.fingerprint)
    else:
        said = job_text(state, at_once=jobs.at_once) or job.invitation(wanted)
        shown = html.Div(said, className="job-open")
    start = dmc.Button(
        job.start, id=part("start", card.id), size="xs", disabled=state.is_open or is_done
    )
    cancel = dmc.Button(
        "Cancel",
        id=part("cancel", card.id),
        variant="default",
        size="xs",
        disabled=not state.is_open,
    )
    # Closed ones are not looked at.
    tick = [dcc.Interval(id=part("tick", card.id), interval=TICK)] if state.is_open else []
    return [
        dmc.Group([start, cancel], gap="xs", className="job-buttons"),
        # Less the buttons; kept, so that nothing jumps.
        html.Div(shown, className="job-room", style={"minHeight": card.height - 44}),
        *tick,
    ]


def help_mark(help: Help) -> Any:
    """Show a definition and its source on hover or on focus by keyboard."""
    mark: dict[str, Any] = {"aria-label": f"{help.text} Source: {help.source}"}
    return dmc.Tooltip(
        dmc.ActionIcon("?", variant="default", size=18, radius="xl", className="help-mark", **mark),
        label=html.Div(
            [html.Div(help.text), html.Div(f"Source: {help.source}", className="help-source")]
        ),
        multiline=True,
        w=360,
        withArrow=True,
        events={"hover": True, "focus": True, "touch": True},
    )


#: What the entries of the menu of exports say.
_LABELS = {
    ".pdf": "PDF",
    ".png": "PNG, 300 dpi",
    ".svg": "SVG",
    ".csv": "CSV",
    ".tex": "LaTeX",
}


def export_menu(card: Card) -> Any:
    """Place the menu that exports a card; its entries get the page's query when one is chosen."""

    def entry(suffix: str) -> Any:
        marked: dict[str, Any] = {"data-export": address(f"/export/{card.id}{suffix}")}
        return dmc.MenuItem(_LABELS[suffix], **marked)

    figures = [entry(suffix) for suffix in card.suffixes if suffix in (".pdf", ".png", ".svg")]
    items: list[Any] = [dmc.MenuLabel("Figure for print"), *figures] if figures else []
    items += [dmc.MenuLabel("Table"), entry(".csv"), entry(".tex")]
    if ".py" in card.suffixes:
        copied: dict[str, Any] = {"data-copy": address(f"/export/{card.id}.py")}
        items += [dmc.MenuDivider(), dmc.MenuItem("Copy as Python", **copied)]
    # The box around a target carries the state of the menu: it is made the button itself, since
    # a button within would not tell whoever hears the page that there is a menu.
    button: dict[str, Any] = {
        "component": "button",
        "type": "button",
        "className": "export-button",
        "data-menu": card.id,
        "aria-label": f"Export {card.id.replace('-', ' ')}",
    }
    return dmc.Menu(
        [dmc.MenuTarget("Export", boxWrapperProps=button), dmc.MenuDropdown(items)],
        position="bottom-end",
        withinPortal=True,
    )


# --- Callbacks ----------------------------------------------------------------------------------


def register(app: Dash, run: Run, pages: Sequence[Page]) -> None:
    """Add the callbacks of all cards, controls and links, and those of pages by themselves."""
    cards = {card.id: card for page in pages for card in page.cards}

    @app.callback(
        Output(part("card", MATCH), "children"),
        Output(part("card", MATCH), "style"),
        Input(part("key", MATCH), "data"),
        prevent_initial_call=True,
    )
    def show(key: Any) -> Any:
        card = cards.get(_asked(ctx.outputs_list))
        return (render(card, run, key) if card else None), {}

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("card", "keys"),
        Output(part("key", ALL), "data"),
        Input(ids.URL, "search"),
        Input(ids.SCHEME, "data"),
        Input(ids.DECLARED, "data"),
        State(part("key", ALL), "data"),
    )
    for prop in ("value", "checked"):
        app.clientside_callback(  # type: ignore[no-untyped-call]
            ClientsideFunction("card", "follow"),
            Output({"part": "control", "field": ALL, "of": ALL}, prop),
            Input({"part": "control", "field": ALL, "of": ALL}, prop),
            Input(ids.URL, "search"),
            State(ids.DECLARED, "data"),
            prevent_initial_call=True,
        )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("card", "click"),
        Input(part("graph", ALL), "clickData"),
        prevent_initial_call=True,
    )
    # Where a card waits for something, it is asked for again.
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("card", "again"),
        Output(part("key", MATCH), "data", allow_duplicate=True),
        Input(part("tick", MATCH), "n_intervals"),
        State(part("key", MATCH), "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(part("key", MATCH), "data", allow_duplicate=True),
        Input(part("start", MATCH), "n_clicks"),
        Input(part("cancel", MATCH), "n_clicks"),
        State(part("key", MATCH), "data"),
        prevent_initial_call=True,
    )
    def work(starts: Any, cancels: Any, key: Any) -> Any:
        card = cards.get(_asked(ctx.outputs_list))
        if not card or not card.job or not isinstance(key, dict) or not ctx.triggered[0]["value"]:
            return no_update
        try:
            wanted, jobs = card.job.task(_at(run, key)), jobs_of(run)
            if ctx.triggered_id["part"] == "start":
                jobs.submit(wanted)
            else:
                jobs.cancel(wanted.fingerprint)
        except ProbeError as error:
            return {**key, "error": str(error)}
        again = key.get("again", 0)
        return {**key, "error": "", "again": again + 1 if isinstance(again, int) else 1}

    for page in pages:
        if page.register:
            page.register(app, run)


def render(card: Card, run: Run, key: Any) -> Any:
    """Return a card's content for a key that the page sent, or why there is none."""
    given = key if isinstance(key, dict) else {}
    try:
        if given.get("error"):
            raise ProbeError(str(given["error"]))
        return card.content(_at(run, given))
    except ArrangingError as error:
        return [arranging(error), dcc.Interval(id=part("tick", card.id), interval=1000)]
    except QuietError as error:
        tick = [dcc.Interval(id=part("tick", card.id), interval=1000)] if error.again else []
        return [html.Div(str(error), className="muted waiting"), *tick]
    except ProbeError as error:
        return problem(error)


def _at(run: Run, key: Mapping[str, Any]) -> At:
    """Read a key that the page sent."""
    search, scheme = key.get("search"), key.get("scheme")
    chosen = Selection.parse(search if isinstance(search, str) else "")
    return At(run, chosen, "dark" if scheme == "dark" else "light")


def _asked(outputs: Any) -> str:
    """Return the id of the card that a callback is asked for."""
    one = outputs[0] if isinstance(outputs, list) else outputs
    return str(one["id"]["of"])


def script(run: Run, card: Card, at: At) -> str:
    """Write Python that makes a card's table and figure from the run folder."""
    assert card.call is not None
    call = card.call(at)
    given = call.arguments()
    places = {"run": run.place, **dict(one.run for one in call.refs if one.run)}
    made = f"table = probe.plots.{call.plot}({given})"
    lines = [
        f"# The run was made by: {' '.join(run.command.split())}",
        "import probe",
        *(["import probe.images"] if "probe.images." in made else []),
        "",
        *(f"{name} = probe.open_run({place!r})" for name, place in places.items()),
        made,
        f"table.to_csv({f'{card.id}.csv'!r}, index=False)",
    ]
    if call.is_drawn:
        lines += [
            f"figure = probe.plots.plot_{call.plot}({given})",
            f"probe.plots.save_figure(figure, {f'{card.id}.pdf'!r})",
        ]
    return "\n".join([*lines, ""])
