"""Neurons: which units matter in every dataset, and what they respond to."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
import numpy as np
import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.card import DETECTOR, At, Call, Card, Control, Group, Job, Page, jump, part
from app.gallery import gallery
from app.grid import Asked
from app.help import HELP
from app.images import Shown, extremes, lacks_note
from app.jobs import Jobs, Task, ablation_of, ablation_task, jobs_of
from app.layout import figures_table, fixed, level_text, number_text, signed_text
from app.run import Ref, Run
from app.selection import Selection
from probe import plots
from probe.errors import ProbeError, UnknownNameError
from probe.neurons.table import MEAN
from probe.plots.neurons import MOST_COLUMNS
from probe.plots.theme import theme_of
from probe.run import MissingTableError

__all__ = ["PAGE"]

#: Images at each end of a unit: of every dataset, and of one dataset alone; and in exports.
FEW, MANY = 4, 12

#: Units of a set that is taken out; those that are proposed where no unit passes the test, and
#: while typing.
MOST_UNITS, STRONGEST, SUGGESTED = 200, 5, 500

UNITS, FIRST, ORDER, MARKED, PLACE = (
    f"neurons-{name}" for name in ("units", "first", "order", "marked", "place")
)


# --- What is shown ------------------------------------------------------------------------------


def _units(at: At) -> Call:
    return Call("units", at.table("neurons"), at.table("universality"))


def _unit(at: At) -> int:
    """Return the chosen unit, or the first of the list."""
    return at.chosen.unit_number(_units(at).frame()["unit"].tolist())


def _dataset(at: At) -> str:
    """Return the chosen dataset; empty for all."""
    names = _units(at).frame().attrs["datasets"]
    return at.chosen.named("dataset", names) if at.chosen.dataset else ""


def _needs(at: At) -> None:
    """Raise where there is no list of units, or the address is of another layer's."""
    layer = _units(at).frame().attrs["layer"]
    if at.chosen.layer and at.chosen.layer != layer:
        raise UnknownNameError(
            "layer", at.chosen.layer, [layer], where="the neuron table of this detector"
        )


# --- How many are universal ---------------------------------------------------------------------


def verdict_of(frame: pd.DataFrame) -> tuple[str, str]:
    """Return what the nulls leave of the count of units in all lists: a class, and a sentence."""
    draws = [str(name) for name in frame if str(name).startswith("untrained_")]
    last = frame.iloc[-1]
    if last["observed"] <= last["independence_high"]:
        return "chance", "The count is no more than independent lists give: no evidence by itself."
    if any(last["observed"] <= last[name] for name in draws):
        return "untrained", (
            "The count is beyond independent lists, but untrained networks reach it: the overlap "
            "comes with the architecture and the data, and is no evidence that training made it."
        )
    said = "The count is beyond independent lists"
    if not draws:
        return "beyond", f"{said}; whether training made it cannot be said."
    return "beyond", (
        f"{said} and each of {len(draws)} untrained networks. That few draws bound no error rate; "
        "the test does."
    )


def _counted(at: At, frame: pd.DataFrame) -> Any:
    """State the test, and the study's count with what its nulls leave of it."""
    found = at.run.universality(at.detector)
    kind, verdict = verdict_of(frame)
    return html.Div(
        [
            html.Div(found.test_sentence(), className="sentence"),
            html.Div(found.count_sentence(), className="sentence"),
            html.Div(verdict, className=f"verdict {kind}"),
        ]
    )


COUNTS = Card(
    id="universal-counts",
    title="How many are universal?",
    call=lambda at: Call("counts", at.table("universality")),
    text=_counted,
    figure=lambda at, frame: plots.figure_counts(frame, at.theme),
    label="Units by number of lists, beside both nulls",
    height=330,
    help=HELP["counts"],
)


# --- The list of units --------------------------------------------------------------------------

#: Rows that are fetched at once.
BLOCK = 100

_FILTER = {"buttons": ["reset"], "inRangeInclusive": True, "debounceMs": 300}

#: The grid takes its colors from the page, so that both schemes need no second definition.
_GRID_THEME = (
    "themeQuartz.withParams({backgroundColor: 'var(--card)', foregroundColor: 'var(--ink)', "
    "headerBackgroundColor: 'var(--card)', headerTextColor: 'var(--muted)', "
    "borderColor: 'var(--line)', rowBorder: true, wrapperBorder: false, columnBorder: false, "
    "selectedRowBackgroundColor: 'var(--chosen)', rowHoverColor: 'var(--hover)', "
    "oddRowBackgroundColor: 'var(--card)', accentColor: 'var(--accent)', "
    "menuBackgroundColor: 'var(--card)', inputBackgroundColor: 'var(--card)', "
    "fontFamily: 'inherit', headerFontFamily: 'inherit', fontSize: 13, headerFontSize: 12, "
    "rowHeight: 34, headerHeight: 34, cellHorizontalPadding: 7, wrapperBorderRadius: 0})"
)


def _list(at: At) -> Any:
    """Show all units, sortable and filterable; rows come in blocks, and one can be selected."""
    frame = _units(at).frame()
    about = frame.attrs
    grid = dag.AgGrid(
        id=UNITS,
        columnDefs=_columns(frame),
        rowModelType="infinite",
        getRowId="params.data.unit.toString()",
        columnSize="responsiveSizeToFit",
        defaultColDef={"sortable": True, "resizable": True, "suppressMovable": True},
        dashGridOptions={
            "theme": {"function": _GRID_THEME},
            "rowSelection": {
                "mode": "singleRow",
                "checkboxes": False,
                "enableClickSelection": True,
            },
            "suppressCellFocus": False,
            "animateRows": False,
            "tooltipShowDelay": 300,
            "cacheBlockSize": BLOCK,
            "maxBlocksInCache": 20,
            "infiniteInitialRowCount": len(frame),
            # The component remembers one request at a time.
            "maxConcurrentDatasourceRequests": 1,
            "blockLoadDebounceMillis": 60,
        },
        style={"height": "100%", "width": "100%"},
        dangerously_allow_code=False,
    )
    note = (
        f"{len(frame):,} units of layer {about['layer']}. Effects on the {about['output']}. Bold: "
        f"among the {about['kept']} strongest of that dataset."
    )
    show = dmc.Button("Show it", id="neurons-show", variant="subtle", size="compact-xs")
    place = dmc.Group([html.Span(id=PLACE), show], gap=6, wrap="nowrap")
    return [
        html.Div(grid, className="grid-room"),
        html.Div([html.Div(note), place], className="reading list-foot"),
        dcc.Store(id=MARKED),
        dcc.Store(id=FIRST),
        dcc.Store(id=ORDER, data={"sortModel": [], "filterModel": {}}),
        # What the grid's callbacks are about.
        dcc.Store(id="neurons-of", data=at.detector),
    ]


def _columns(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Define the columns: the unit, its test, count and mean effect, its effect by dataset."""
    largest = float(frame["mean_effect"].max())
    # One number of decimals for all effects, so that they align and compare by eye.
    plain = 0.01 <= largest < 1e4
    shown = (".1f" if largest >= 10 else ".2f" if largest >= 1 else ".3f") if plain else ".1e"
    q = _number("q", "q", "Adjusted p-value: contributes to detection in all datasets") | {
        # Room for three decimals, of which the name knows nothing.
        "minWidth": 58,
        "sortingOrder": ["asc", "desc"],
        "valueFormatter": {
            "function": "!params.data ? '' : params.value == null ? '–' : "
            "d3.format('.3f')(params.value)"
        },
        "cellClassRules": {"in-list": "params.value != null && params.value <= 0.05"},
    }
    out = [
        _number("unit", "unit", "Number of the unit in its layer"),
        q,
        _number(
            "contributes_in", "helps", "Number of datasets in which it helps detection by itself"
        ),
        _number("n_datasets", "lists", "Number of datasets in whose list the unit is"),
        _number("rank", "rank", "Rank of the mean effect; 1 is the largest"),
        _effect("mean_effect", "mean", "", shown, "Mean of the effects over datasets"),
    ]
    for i, name in enumerate(frame.attrs["datasets"]):
        tip = f"Effect in {name}; bold where the unit is in its list"
        out.append(_effect(f"e{i}", name, f"s{i}", shown, tip))
    return out


def _number(field: str, title: str, tip: str) -> dict[str, Any]:
    # Names of datasets are single words and cannot wrap: room is made for them, and beyond it
    # they end in an ellipsis, so that six fit beside each other on a small screen.
    return {
        "field": field,
        "headerName": title,
        "headerTooltip": tip,
        "minWidth": 22 + 7 * min(max(5, len(title)), 9),
        "type": "rightAligned",
        "filter": "agNumberColumnFilter",
        "filterParams": _FILTER,
        "sortingOrder": ["desc", "asc"],
    }


def _effect(field: str, title: str, flag: str, shown: str, tip: str) -> dict[str, Any]:
    out = _number(field, title, tip)
    # Rows that are still on their way have no values.
    formatted = f"params.value == null ? '' : d3.format('{shown}')(params.value)"
    out["valueFormatter"] = {"function": formatted}
    if flag:
        condition = f"params.data && params.data.{flag}"
        out["cellClassRules"] = {"in-list": condition, "not-in-list": f"!({condition})"}
    return out


class Rows:
    """The list's columns under the names that the grid has for them.

    Parameters
    ----------
    frame : pandas.DataFrame
        See `probe.plots.units`.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        names = frame.attrs["datasets"]
        plain = ("unit", "q", "contributes_in", "n_datasets", "rank", "mean_effect")
        self.columns = {name: frame[name].to_numpy() for name in plain}
        self.columns |= {f"e{i}": frame[f"effect_{n}"].to_numpy() for i, n in enumerate(names)}
        self.flags = {f"s{i}": frame[f"selected_{n}"].to_numpy() for i, n in enumerate(names)}

    def asked(self, request: Any, *, whole: bool = False) -> tuple[Asked, Any]:
        """Read what a grid asks for, and the order of all rows that pass its filters.

        Raises
        ------
        ProbeError
            If the request names columns or operators that there are not, or more than a block.
        """
        given = request if isinstance(request, dict) else {}
        if whole:
            given = {**given, "startRow": 0, "endRow": 0}
        asked = Asked.of(given, tuple(self.columns))
        return asked, asked.order(self.columns)

    def records(self, rows: Any) -> list[dict[str, Any]]:
        """Return rows as plain values; a q-value that is not there is None."""
        parts = {name: values[rows].tolist() for name, values in self.columns.items()}
        parts["q"] = [None if value != value else value for value in parts["q"]]
        parts |= {name: values[rows].tolist() for name, values in self.flags.items()}
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


LIST = Card(
    id="units",
    title="Units",
    call=_units,
    body=_list,
    figure=lambda at, frame: plots.figure_units(frame, at.theme),
    height=460,
    help=HELP["units"],
)


def _shares(at: At, frame: pd.DataFrame) -> dict[str, Any]:
    return plots.figure_units(frame, at.theme, unit=_unit(at))


SHARES = Card(
    id="unit-shares",
    title="The list's first units over datasets",
    call=_units,
    figure=_shares,
    below=lambda at, frame: html.Div(id="neurons-shares-text", className="reading line-room"),
    label="Effects of the first units of the list, as shares of each dataset's largest",
    height=300,
    help=HELP["shares"],
    is_menu=False,
)


def _register_list(app: Dash, run: Run) -> None:
    """Answer the grid's requests for rows, and keep the list, its mark and the address in step."""

    def at_of(detector: Any) -> At:
        return At(run, Selection(detector=detector if isinstance(detector, str) else ""))

    @app.callback(
        Output(UNITS, "getRowsResponse"),
        Input(UNITS, "getRowsRequest"),
        State("neurons-of", "data"),
        prevent_initial_call=True,
    )
    def answer(request: Any, detector: Any) -> Any:
        try:
            rows = Rows(_units(at_of(detector)).frame())
            asked, order = rows.asked(request)
        except ProbeError:
            # Only what no grid sends; whoever waits for rows has to be told that there are none.
            return {"rowData": [], "rowCount": 0}
        return {"rowData": rows.records(order[asked.start : asked.stop]), "rowCount": len(order)}

    @app.callback(
        Output(MARKED, "data"),
        Output(PLACE, "children"),
        Output(UNITS, "scrollTo"),
        Input(ids.URL, "search"),
        Input("neurons-show", "n_clicks"),
        Input(UNITS, "getRowsRequest"),
        State(MARKED, "data"),
        State("neurons-of", "data"),
        prevent_initial_call=True,
    )
    def place(search: Any, clicks: Any, request: Any, marked: Any, detector: Any) -> Any:
        """Say where the chosen unit is in the order that is shown, and bring it into sight."""
        try:
            chosen = Selection.parse(search if isinstance(search, str) else "")
            frame = _units(at_of(detector)).frame()
            unit = chosen.unit_number(frame["unit"].tolist())
            _, order = Rows(frame).asked(request, whole=True)
        except ProbeError as error:
            return no_update, str(error), no_update
        found = np.flatnonzero(frame["unit"].to_numpy()[order] == unit)
        passed = "" if len(order) == len(frame) else f"{len(order):,} units pass the filter. "
        if not len(found):
            return unit, f"{passed}Unit {unit} does not pass it.", no_update
        row = int(found[0])
        news = unit != marked or ctx.triggered_id == "neurons-show"
        to = {"rowIndex": row, "rowPosition": "middle"} if news else no_update
        return unit, f"{passed}Unit {unit} is in row {row + 1:,}.", to

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("units", "mark"),
        Output(UNITS, "selectedRows"),
        Input(UNITS, "getRowsResponse"),
        Input(MARKED, "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("units", "order"),
        Output(ORDER, "data"),
        Input(UNITS, "getRowsRequest"),
        State(ORDER, "data"),
        prevent_initial_call=True,
    )
    # A row that a visitor selects; the one that the page marks by itself is no choice.
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("units", "select"),
        Input(UNITS, "selectedRows"),
        State(MARKED, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(part("graph", SHARES.id), "figure"),
        Output("neurons-shares-text", "children"),
        Input(ORDER, "data"),
        Input(MARKED, "data"),
        Input(ids.SCHEME, "data"),
        State("neurons-of", "data"),
        prevent_initial_call=True,
    )
    def follow(order: Any, unit: Any, scheme: Any, detector: Any) -> Any:
        """Draw the first units of the list as it is sorted and filtered."""
        try:
            frame = _units(at_of(detector)).frame()
            _, rows = Rows(frame).asked(order, whole=True)
        except ProbeError as error:
            return no_update, str(error)
        figure = plots.figure_units(frame, theme_of(scheme), rows=rows, unit=unit)
        shown = min(len(rows), MOST_COLUMNS)
        text = f"The first {shown} of {len(rows):,} units, as the list is sorted and filtered."
        return figure, f"{text} A dot: in the dataset's list."


# --- Detection without sets of units ------------------------------------------------------------


def _ablation(at: At, frame: pd.DataFrame) -> Any:
    """Show every set beside its matched random sets, on average over datasets."""
    about = at.run.ablation(at.detector).data.attrs
    rows = plots.mean_drops(frame)
    head = ["set", "units", "AUROC lost", "beyond random sets", "p"]
    body = [
        [
            one["set"],
            f"{one['n_units']:g}",
            _bounded(one["drop"], one["drop_low"], one["drop_high"]),
            _bounded(one["excess"], one["excess_low"], one["excess_high"]),
            f"{one['p']:.3f}",
        ]
        for one in rows.to_dict("records")
    ]
    text = (
        f"Mean over datasets. Chosen on: {about['chosen_on']}. Each set beside "
        f"{about['n_random']} random ones of its size and |weight| × range; p is the share that "
        "loses as much."
    )
    poor = rows["set"][(rows["balance"] < 0.8) | (rows["balance"] > 1.25)]
    if len(poor):
        text += f" No close match in |weight| × range exists for: {', '.join(poor)}."
    alone = about.get("one_half_only", ())
    alone = alone if isinstance(alone, list) else [str(alone)] if alone else []
    if alone:
        text += f" Found on one half only, and left in: {', '.join(alone)}."
    table = figures_table(head, body, numeric_from=1)
    return html.Div([table, html.Div(text, className="reading")])


def _bounded(value: float, low: float, high: float) -> Any:
    if not np.isfinite(low):
        return [f"{signed_text(value)} ", html.Span("no interval", className="muted")]
    span = html.Span(f"{signed_text(low)} to {signed_text(high)}", className="muted")
    return [f"{signed_text(value)} ", span]


def _ablation_call(at: At) -> Call:
    try:
        return Call("ablation", at.table("ablation"))
    except MissingTableError as error:
        raise ProbeError(
            "Nothing was taken out: no set of units was found on both halves of the people, or "
            "the data cannot be halved, or it was not asked for. The run's provenance says which."
        ) from error


ABLATION = Card(
    id="ablation",
    title="What does detection lose without them?",
    call=_ablation_call,
    text=_ablation,
    figure=lambda at, frame: plots.figure_ablation(frame, at.theme),
    label="AUROC lost without each set of units, beside matched random sets",
    height=240,
    help=HELP["ablation"],
)


def _proposed(frame: pd.DataFrame) -> list[int]:
    """Return the units that pass the test in every dataset, else the strongest."""
    passed = frame["unit"][frame["q"] <= 0.05][:MOST_UNITS]
    if not len(passed):
        most = min(STRONGEST, len(frame) - 1)
        passed = frame.sort_values("rank", kind="stable")["unit"][:most]
    return sorted(int(unit) for unit in passed)


def _set(at: At) -> list[int]:
    """Return the set that the address names, else the one that is proposed."""
    frame = _units(at).frame()
    return at.chosen.unit_set(frame["unit"].tolist()) or _proposed(frame)


def _first_set(at: At) -> dict[str, str]:
    """Return the set that is proposed, as the address would have it."""
    return {",".join(map(str, _proposed(_units(at).frame()))): "proposed"}


def _tags(id: dict[str, str], at: At) -> Any:
    """Place the field in which a set of units is written."""
    frame, error = _units(at).frame(), ""
    try:
        units = _set(at)
    except ProbeError as why:
        units, error = [], str(why)
    return dmc.TagsInput(
        id=id,
        label="Set of units",
        description=f"Numbers of units of {frame.attrs['layer']}, up to {MOST_UNITS}. At first: "
        "those with q ≤ 0.05 in every dataset; if there are none, the five strongest.",
        value=[str(unit) for unit in units],
        data=[str(unit) for unit in frame["unit"][:SUGGESTED]],
        limit=20,
        maxTags=MOST_UNITS,
        splitChars=[",", " ", ";"],
        acceptValueOnBlur=True,
        clearable=True,
        clearButtonProps={"aria-label": "Clear the set"},
        error=error,
        size="xs",
        className="taken-units",
    )


def _task(at: At) -> Task:
    layer = _units(at).frame().attrs["layer"]
    return ablation_task(at.run, at.detector, layer, _set(at))


def _taken_call(at: At) -> Call:
    """Write the computation itself, since its result is in no run folder."""
    task = _task(at)
    given, found = task.params, ablation_of(jobs_of(at.run), task.fingerprint)
    code = (
        f"probe.ablate(run.detector({given['detector']!r}), run.images(), {given['layer']!r}, "
        f"units={{'chosen': {given['units']!r}}}, n_random={given['n_random']!r}, "
        f"seed={given['seed']!r})"
    )
    return Call("ablation", Ref(code, found, task.fingerprint))


def _show_taken(at: At, jobs: Jobs, fingerprint: str) -> Any:
    """Show a sentence, a row per dataset, and what speaks against trusting them."""
    found = ablation_of(jobs, fingerprint)
    frame, data = plots.ablation(found), found.data
    frame = frame[frame["metric"] == "auroc"]
    mean = frame[frame["dataset"] == MEAN].iloc[0]
    count = len(next(iter(data.attrs["units"].values())))
    beyond = "more than" if mean["p"] <= 0.05 else "no more than"
    p = level_text(mean["p"])
    sentence = (
        f"Without {'this unit' if count == 1 else f'these {count} units'} AUROC "
        f"{'falls' if mean['drop'] >= 0 else 'rises'} by {abs(mean['drop']):.3f} on average over "
        f"datasets, {beyond} without random sets of the same size and |weight| × range "
        f"({signed_text(mean['random_low'])} to {signed_text(mean['random_high'])}; "
        f"p {p if p.startswith('<') else f'= {p}'})."
    )
    head = [
        "dataset",
        "AUROC",
        "lost without the set",
        "lost without random sets",
        "beyond random sets",
        "p",
    ]
    body = [
        [
            html.B("mean") if one["dataset"] == MEAN else one["dataset"],
            f"{one['full']:.3f}",
            _bounded(one["drop"], one["drop_low"], one["drop_high"]),
            f"{signed_text(one['random_low'])} to {signed_text(one['random_high'])}",
            _bounded(one["excess"], one["excess_low"], one["excess_high"]),
            level_text(one["p"]),
        ]
        for one in frame.to_dict("records")
    ]
    n_random, n_distinct = int(data.attrs["n_random"]), int(data["n_distinct"].min())
    balance = float(data["balance"].max())
    notes = [
        f"Chosen {data.attrs['chosen_on']}: this is no honest test of how the set was chosen, "
        "unless it was chosen on other data.",
        f"Intervals resample people; random sets: the middle 95% of {n_random}.",
    ]
    if n_distinct < n_random:
        notes.append(f"Only {n_distinct} of them differ.")
    if not 0.8 <= balance <= 1.25:
        notes.append(
            f"No close match exists: their |weight| × range is {number_text(balance)} times that "
            "of the set."
        )
    return html.Div(
        [
            html.Div(sentence, className="sentence", role="status"),
            figures_table(head, body, numeric_from=1),
            html.Div(" ".join(notes), className="reading"),
        ]
    )


def _invitation(task: Task) -> Any:
    count, n_random = len(task.params["units"]), task.params["n_random"]
    what = (
        "The unit is set to its mean" if count == 1 else f"The {count} units are set to their means"
    )
    text = (
        f"Not computed yet. {what} in each dataset, on the images that this run was measured on; "
        f"{n_random} random sets of the same size and about the same |weight| × range show what "
        "any such set would cost. This takes from seconds to minutes, and goes on if the page is "
        "left."
    )
    return html.Div(text, className="job-note")


TAKEN = Card(
    id="taken-out",
    title="Take units out",
    job=Job("Take them out", _task, _show_taken, _invitation),
    call=_taken_call,
    figure=lambda at, frame: plots.figure_ablation(frame, at.theme),
    controls=(Control("units", "Set of units", _first_set, "many", make=_tags),),
    height=300,
    help=HELP["taken"],
)


# --- One unit -----------------------------------------------------------------------------------


def _unit_head(at: At) -> Any:
    """Name the unit, its direction and what it responds to, with a way on to the artifact."""
    unit = _unit(at)
    frame = Call("unit_effects", *_units(at).refs, unit=unit).frame()
    n, up, output = len(frame), int(frame["raises"].sum()), frame.attrs["output"]
    if up in (0, n):
        way = f"{'raises' if up else 'lowers'} the {output} in every dataset"
    else:
        way = f"raises the {output} in {up} datasets and lowers it in {n - up}"
    note = f"in {int(frame['selected'].sum())} of {n} lists; {way}"
    title = dmc.Title([f"Unit {unit}", html.Span(note, className="title-note")], order=2)
    return [
        html.Div(title, className="unit-head"),
        html.Div(_answer(at, unit), className="unit-answer"),
    ]


def _answer(at: At, unit: int) -> Any:
    """Say what moves a unit, how that is known, and where to see it."""
    try:
        found = at.run.responses(at.detector).answer(unit)
    except MissingTableError:
        return "What it responds to has not been computed in this run."
    except ProbeError as error:
        return str(error)
    q = level_text(found.q)
    q = f"q {q}" if q.startswith("<") else f"q = {q}"
    strength = signed_text(found.effect, 2)
    onward: dict[str, Any] = {"className": "onward", "unit": unit, "layer": ""}
    if not found.kind:
        words: list[Any] = ["Nothing was found that it responds to. "]
        link = jump("See what was asked", "/artifacts", **onward)
    elif found.kind == "dose":
        said = f" (by dose: {strength} SD at full dose, {q}). "
        words = ["Moved most by ", html.B(found.name), html.Span(said)]
        link = jump("See this artifact", "/artifacts", **onward, artifact=found.name)
    else:
        said = f" (correlation {strength}, {q}; not shown to be a cause). "
        words = ["Correlates most with ", html.B(found.name), html.Span(said)]
        link = jump("See this measurement", "/artifacts", **onward)
    return [*words, link]


UNIT = Card(
    id="unit", uses=("detector", "unit"), body=_unit_head, is_framed=False, height=74, is_menu=False
)

EFFECTS = Card(
    id="unit-effects",
    title="Effect in each dataset",
    uses=("detector", "unit"),
    call=lambda at: Call("unit_effects", *_units(at).refs, unit=_unit(at)),
    figure=lambda at, frame: plots.figure_unit_effects(frame, at.theme),
    label="Effect of the unit by dataset",
    about=("detector", "unit"),
    help=HELP["effects"],
)

DOSES = Card(
    id="unit-doses",
    title="Dose and response",
    uses=("detector", "unit", "dataset"),
    call=lambda at: Call("unit_doses", at.table("neurons"), unit=_unit(at)),
    figure=lambda at, frame: plots.figure_unit_doses(frame, at.theme, dataset=_dataset(at)),
    label="Mean score by value of the unit",
    about=("detector", "unit"),
    help=HELP["doses"],
)


def _gallery(at: At) -> Any:
    unit, dataset = _unit(at), _dataset(at)
    layer = _units(at).frame().attrs["layer"]
    found = extremes(at.run, at.detector, layer, unit, MANY if dataset else FEW)
    shown = [one for one in found if not dataset or one.dataset == dataset]
    tokens = (image.token for one in shown for image in (*one.most, *one.least))
    return fixed(lacks_note(at.run, tokens), gallery(shown, unit, at.chosen))


def _images(at: At) -> pd.DataFrame:
    """Return one row per image at either end of the unit, by dataset."""
    layer = _units(at).frame().attrs["layer"]
    rows = []
    for one in extremes(at.run, at.detector, layer, _unit(at), MANY):
        if at.chosen.dataset in ("", one.dataset):
            rows += [_row(one.dataset, "highest", n, s) for n, s in enumerate(one.most, 1)]
            rows += [_row(one.dataset, "lowest", n, s) for n, s in enumerate(one.least, 1)]
    return pd.DataFrame(rows)


def _row(dataset: str, end: str, place: int, shown: Shown) -> dict[str, Any]:
    names = ("sample", "method", "video", "frame", "label", "activation", "p_fake")
    return {
        "dataset": dataset,
        "end": end,
        "place": place,
        **{name: getattr(shown, name) for name in names},
    }


IMAGES = Card(
    id="unit-images",
    title="Images at both ends",
    uses=("detector", "unit", "dataset"),
    body=_gallery,
    frame=_images,
    controls=(
        Control(
            "dataset",
            "Dataset",
            lambda at: {"": "all datasets"} | {n: n for n in _units(at).frame().attrs["datasets"]},
        ),
    ),
    about=("detector", "unit", "dataset"),
    height=560,
    help=HELP["images"],
)


PAGE = Page(
    path="/neurons",
    title="Neurons",
    question="Which units matter in every dataset, and is it more than chance?",
    controls=(DETECTOR,),
    needs=_needs,
    items=(
        Group((COUNTS, LIST), "columns list-columns"),
        SHARES,
        ABLATION,
        TAKEN,
        UNIT,
        Group((EFFECTS, DOSES)),
        IMAGES,
    ),
    register=_register_list,
)
