"""Overview: what is in the run, and how far its detectors generalize."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dash_mantine_components as dmc
import numpy as np
import pandas as pd
from dash import html

from app.card import At, Call, Card, Control, Group, Page, jump
from app.compare import Pair, Side, common_datasets, known_sides
from app.gaps import gaps
from app.help import HELP
from app.layout import figures_table, fixed, signed_text
from app.message import command_line, problem
from app.prefix import at as address
from app.progress import stage_chip, stages_of
from app.run import Ref, Run, RunRow, crop_rule, run_rows
from app.selection import LEVELS, METRICS
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.plots.theme import DARK, LIGHT, Theme, color_at, level, short, signed, span, text_at
from probe.reader import from_here, stamp_of
from probe.run import MissingTableError

__all__ = ["PAGE"]


# --- Head ---------------------------------------------------------------------------------------


def _report(at: At) -> Any:
    """Lead to the report, where the run holds one."""
    if at.run.report is None:
        return None
    # In a page of its own, which has no script: the pages' router must not take the link.
    about = "The run told in one file: claims with verdicts, figures and tables"
    where = address("/report")
    return html.A("Report", href=where, target="_blank", className="report-link", title=about)


def _facts(at: At) -> Any:
    """Say first what every number is subject to, then the run's size in five figures."""
    manifest, detectors = at.run.manifest, at.run.detectors
    try:
        counts = _counts(at).frame()
        images = f"{counts['real'].sum() + counts['fake'].sum():,}"
        detail = f"{counts['videos'].sum():,} videos"
    except ProbeError:
        images, detail = "—", "no sample table"
    kinds = dict.fromkeys(label.split("/")[0] for label in detectors)
    variants = dict.fromkeys(name for label in detectors if (name := label.partition("/")[2]))
    source = str(manifest.get("source", "")) or "—"
    tiles = [
        ("Trained on", source, "source of the base detectors"),
        ("Detectors", str(len(detectors)), ", ".join(kinds) or "none"),
        ("Variants", str(max(1, len(variants))), ", ".join(variants) or "as loaded"),
        ("Datasets", str(len(at.run.datasets)), "each with its own test split"),
        ("Images", images, detail),
    ]
    notices = [_SIMULATED] if manifest.get("simulated") else []
    return [*notices, fixed(html.Div([_tile(*one) for one in tiles], className="tiles"))]


_SIMULATED = html.Div(
    html.Div(
        [
            html.B("Simulated data. "),
            "The images are rendered by the embedded lab. Nothing here is a finding about real "
            "forgeries or about published detectors.",
        ]
    ),
    className="notice simulated",
    role="note",
)


def _tile(name: str, value: str, detail: str) -> Any:
    return html.Div(
        [
            html.Div(name, className="tile-name"),
            html.Div(value, className="tile-value"),
            html.Div(detail, className="tile-detail"),
        ],
        className="tile",
    )


FACTS = Card(id="run-facts", uses=(), body=_facts, is_framed=False, is_menu=False, height=152)


# --- The zero-shot matrix -----------------------------------------------------------------------

#: Differences are colored up to this one, or to the largest, so that noise is no finding.
LEAST = 0.1

#: Room of a dataset's column in pixels, below which the table is scrolled.
_COLUMN = 96


def _matrix_call(at: At) -> Call:
    shown = {"metric": _metric(at), "level": at.chosen.named("level", list(LEVELS))}
    if not at.chosen.against:
        return Call("matrix", at.whole("evaluation"), **shown)
    side = _reference(at.run, at.chosen.against)
    shown["reference"] = side.label
    if not side.place:
        return Call("matrix_differences", at.whole("evaluation"), **shown)
    theirs = side.run.ref("evaluation")
    code = f"probe.open_run({side.run.place!r}).evaluation"
    return Call(
        "matrix_differences",
        at.whole("evaluation"),
        Ref(code, theirs.value, theirs.key),
        called=side.title,
        left_out=_left_out(at.run, side),
        **shown,
    )


def _metric(at: At) -> str:
    return at.chosen.named("metric", list(METRICS))


def _reference(run: Run, against: str) -> Side:
    """Return what the address names as ``DETECTOR`` or ``RUN:DETECTOR``."""
    sides = {side.key: side for side in known_sides(run)}
    if against not in sides:
        raise UnknownNameError(
            "detector",
            against,
            list(sides),
            where="the runs that are open",
            remedy="Choose one above the matrix.",
        )
    return sides[against]


def _left_out(run: Run, reference: Side) -> dict[str, str]:
    """Return the datasets whose images are not shown to be the same in both runs, and why."""
    datasets = [str(name) for name in run.evaluation.data["dataset"].values]
    try:
        kept = common_datasets(Pair(Side(run, run.detectors[0]), reference))[0]
    except ProbeError as error:
        return dict.fromkeys(datasets, str(error))
    return {name: "no common images" for name in datasets if name not in kept}


def _references(at: At) -> dict[str, str]:
    named = {side.key: f"Against {side.title}" for side in known_sides(at.run)}
    return {"": "Values"} | named


def _matrix(at: At, frame: pd.DataFrame) -> Any:
    """Lay out the matrix, or the differences, and say how to read it."""
    if at.chosen.against:
        table, text = differences_table(frame, at.chosen.against), _differences_text(frame)
    else:
        table, text = matrix_table(frame), _matrix_text(frame)
    return html.Div([fixed(table), html.Div(text, className="reading matrix-reading")])


@dataclass(frozen=True)
class _Cell:
    """What a cell says; `skill` from −1 to 1 is its color, NaN for none; `to` is where it leads."""

    value: str
    small: str
    about: str
    skill: float = np.nan
    to: Callable[[Any], Any] | None = None
    seen: bool = False
    strong: bool = True


def matrix_table(frame: pd.DataFrame) -> Any:
    """Lay out detectors × datasets, value and interval in each cell.

    Color runs from −1 (always wrong) over 0 (chance) to 1 (perfect), whatever the metric. Cells
    of datasets that a detector was trained on are framed. Each leads to the detector's neurons.

    Parameters
    ----------
    frame : pandas.DataFrame
        See `probe.plots.matrix`.
    """
    metric, unit = frame.attrs["metric"], frame.attrs["level"]
    part = frame[(frame["metric"] == metric) & (frame["level"] == unit)]
    cells = {
        (one["detector"], one["dataset"]): _value_cell(one, frame.attrs["ci"])
        for one in part.to_dict("records")
    }
    middle = "0.5" if np.allclose(part["chance"], 0.5) else "chance"
    ends = ("1", middle, "0") if metric == "eer" else ("0", middle, "1")
    return _table(part, cells, ends, f"{METRICS[metric]} of detectors on datasets")


def skill(metric: str, value: float, chance: float) -> float:
    """Return where a value is from −1 (always wrong) over 0 (chance) to 1 (perfect)."""
    if metric == "eer":
        value, chance = 1 - value, 1 - chance
    room = 1 - chance if value >= chance else chance
    return (value - chance) / room if room > 0 else 0.0


def _value_cell(one: Mapping[Any, Any], ci: float) -> _Cell:
    there = np.isfinite(one["value"])
    jumps = {"detector": one["detector"], "dataset": one["dataset"], "unit": ""}
    return _Cell(
        short(one["value"]),
        span(one["low"], one["high"]) if there else "one class only",
        _about_value(one, ci),
        skill(one["metric"], one["value"], one["chance"]) if there else np.nan,
        lambda inside: jump(inside, "/neurons", **jumps),
        bool(one["seen"]),
    )


def _about_value(one: Mapping[Any, Any], ci: float) -> str:
    value = one["value"]
    shown = f"{value:.3f}" if np.isfinite(value) else "not defined (one class only)"
    interval = "no interval: fewer than five clusters"
    if np.isfinite(one["low"]):
        bounds = f"{one['low']:.3f} to {one['high']:.3f}"
        interval = f"{ci:.0%} interval {bounds}, clusters resampled"
    lines = [
        f"{one['detector']} on {one['dataset']}",
        f"{METRICS[one['metric']]} {shown}; chance {one['chance']:.2f}",
        interval,
        f"{one['n_samples']} {_samples(one['level'])} in {one['n_clusters']} clusters",
        f"{'' if one['seen'] else 'not '}noted as seen in training",
    ]
    return "\n".join(lines)


def _samples(unit: str) -> str:
    return "images" if unit == "frame" else "videos"


def differences_table(frame: pd.DataFrame, against: str) -> Any:
    """Lay out detectors × datasets, difference to the reference and interval in each cell.

    Orange is better than the reference and purple worse, whatever the metric. A diamond marks
    cells whose interval leaves 0 out. Each leads to Compare.

    Parameters
    ----------
    frame : pandas.DataFrame
        See `probe.plots.matrix_differences`.
    against : str
        How the address names the reference.
    """
    about, metric = frame.attrs, frame.attrs["metric"]
    better = frame.assign(better=-frame["difference"] if metric == "eer" else frame["difference"])
    known = better["better"].abs().dropna()
    end = max([LEAST, *map(float, known)])
    cells = {
        (one["detector"], one["dataset"]): _difference_cell(one, about["ci"], end, against)
        for one in better.to_dict("records")
    }
    for detector in about["detectors"]:
        for dataset in about["datasets"]:
            title = f"{detector} on {dataset}\nthe reference itself"
            cells.setdefault((detector, dataset), _Cell("reference", "", title, strong=False))
    # In the order of the colors, from worse to better.
    ends = (f"\N{MINUS SIGN}{end:.2f}", "0", f"+{end:.2f}")
    label = f"{METRICS[metric]} less that of {about['reference']}"
    return _table(frame, cells, ends[::-1] if metric == "eer" else ends, label)


def _difference_cell(one: Mapping[Any, Any], ci: float, end: float, against: str) -> _Cell:
    there, bounded = np.isfinite(one["difference"]), np.isfinite(one["low"])
    value = signed(one["difference"]) if there else "—"
    jumps = {"detector": one["detector"], "dataset": one["dataset"], "unit": "", "other": against}
    return _Cell(
        f"◆ {value}" if one["excludes_0"] else value,
        span(one["low"], one["high"]) if there else "not comparable",
        _about_difference(one, ci, bounded),
        one["better"] / end,
        lambda inside: jump(inside, "/compare", **jumps),
        strong=bool(one["excludes_0"]),
    )


def _about_difference(one: Mapping[Any, Any], ci: float, bounded: bool) -> str:
    head = f"{one['detector']} on {one['dataset']}"
    if not np.isfinite(one["difference"]):
        return f"{head}\n{one['reason']}"
    interval = f"no interval: {one['reason']}"
    if bounded:
        p = level(float(one["p"])).replace("&lt;", "<")
        interval = (
            f"{ci:.0%} interval {signed_text(one['low'])} to {signed_text(one['high'])}, p {p}"
        )
    lines = [
        head,
        f"{METRICS[one['metric']]} {signed_text(one['difference'])} against {one['compared_with']}",
        interval,
        f"{one['n_samples']} common {_samples(one['level'])} in {one['n_clusters']} clusters",
    ]
    return "\n".join(lines)


def _table(
    frame: pd.DataFrame,
    cells: Mapping[tuple[str, str], _Cell],
    ends: tuple[str, ...],
    label: str,
) -> Any:
    detectors, datasets = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    detectors = frame.attrs.get("detectors", detectors)
    head = html.Tr([html.Td(), *(_heading(frame, name) for name in datasets)])
    body = [
        html.Tr([html.Th(one, scope="row"), *(_place(cells[one, name]) for name in datasets)])
        for one in detectors
    ]
    # All columns of datasets have one width, whatever their names are.
    first = f"{min(max(map(len, detectors)), 36) + 2}ch"
    widths = html.Colgroup([html.Col(style={"width": first}), *(html.Col() for _ in datasets)])
    room = {"minWidth": f"calc({first} + {_COLUMN * len(datasets)}px)"}
    named: dict[str, Any] = {"aria-label": label}
    parts = [widths, html.Thead(head), html.Tbody(body)]
    table = html.Table(parts, className="matrix", style=room, **named)
    return [html.Div(table, className="matrix-room"), _key(ends)]


def _heading(frame: pd.DataFrame, dataset: str) -> Any:
    part = frame.loc[frame["dataset"] == dataset, ["n_samples", "n_clusters"]]
    n, clusters = part.max().astype(int) if len(part) else (0, 0)
    return html.Th(
        [
            html.Div(dataset),
            html.Div(f"{n} {_samples(frame.attrs['level'])}", className="matrix-small"),
            html.Div(f"{clusters} clusters", className="matrix-small"),
        ],
        scope="col",
    )


def _place(cell: _Cell) -> Any:
    inside: list[Any] = [html.B(cell.value) if cell.strong else html.Span(cell.value)]
    if cell.small:
        inside.append(html.Span(cell.small, className="matrix-small"))
    part: Any = cell.to(inside) if cell.to else html.Div(inside)
    part.className = "matrix-cell seen" if cell.seen else "matrix-cell"
    part.title, part.style = cell.about, _colors(cell)
    return html.Td(part)


def _colors(cell: _Cell) -> dict[str, str]:
    """Give the colors of both schemes, so that the switch needs no answer of the server."""
    if not np.isfinite(cell.skill):
        return {}
    out = {}
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        out[f"--{name}"] = color_at(theme, cell.skill)
        out[f"--{name}-ink"] = text_at(theme, cell.skill)
    return out


def _key(ends: tuple[str, ...]) -> Any:
    bars = {f"--{name}": _gradient(theme) for name, theme in (("light", LIGHT), ("dark", DARK))}
    return html.Div(
        [
            html.Div(className="matrix-bar", style=bars),
            html.Div([html.Span(text) for text in ends], className="matrix-ends"),
        ],
        className="matrix-key",
    )


def _gradient(theme: Theme) -> str:
    return f"linear-gradient(to right, {', '.join(theme.diverging)})"


def _matrix_text(frame: pd.DataFrame) -> Any:
    """Define the metric and say how to read the cells."""
    metric = frame.attrs["metric"]
    colors = "Color is the way from chance (neutral) to perfect (orange) or always wrong (purple)."
    return [
        html.Div([html.B(f"{METRICS[metric]}. "), HELP[metric].text]),
        html.Div(
            f"{colors} Framed cells: the detector's card notes that dataset as seen in training. "
            f"Small: {frame.attrs['ci']:.0%} interval over resampled clusters. A click on a cell "
            "opens the detector's neurons."
        ),
    ]


def _differences_text(frame: pd.DataFrame) -> Any:
    """Say how to read the differences."""
    about = frame.attrs
    better = "lower is better" if about["metric"] == "eer" else "higher is better"
    return [
        html.Div(
            [
                html.B(f"{METRICS[about['metric']]} less that of {about['reference']}. "),
                "The same images, whole clusters resampled for both together: what is hard for "
                "both cancels.",
            ]
        ),
        html.Div(
            f"Orange is better than the reference, purple worse ({better}). ◆: the "
            f"{about['ci']:.0%} interval leaves 0 out; of many cells some do so by chance. "
            "A click on a cell opens Compare, where p is adjusted over datasets."
        ),
    ]


MATRIX = Card(
    id="zero-shot-matrix",
    title="Zero-shot matrix",
    uses=(),
    call=_matrix_call,
    text=_matrix,
    controls=(
        Control("against", "Values, or differences to a detector", _references, width=250),
        Control("metric", "Metric", lambda at: METRICS, "segmented"),
        Control("level", "Level", lambda at: LEVELS, "segmented"),
    ),
    height=260,
    about=("against", "metric", "level"),
    help=HELP["matrix"],
    is_printed=True,
)


# --- What the run holds -------------------------------------------------------------------------


def _counts(at: At) -> Call:
    run = at.run
    code = f"probe.open_dataset({from_here(run.folder.data)!r})"
    stamp = stamp_of(run.folder.data / "samples.parquet")
    return Call("dataset_counts", Ref(code, run.data, (str(run.folder.data), stamp)))


def _datasets(at: At, frame: pd.DataFrame) -> Any:
    """List the datasets with their counts."""
    source = str(at.run.manifest.get("source", ""))
    names = [str(name) for name in frame if str(name).endswith("_images")]
    head = ["dataset", "real", "fake", "videos", "identities"]
    body = [
        [
            [one["dataset"], html.Span("source", className="tag")]
            if one["dataset"] == source
            else one["dataset"],
            f"{one['real']:,}",
            f"{one['fake']:,}",
            f"{one['videos']:,}",
            f"{one['identities']:,}" if one["identities"] else "—",
            " / ".join(f"{one[name]:,}" for name in names),
        ]
        for one in frame.to_dict("records")
    ]
    splits = " / ".join(name.removesuffix("_images") for name in names) or "splits"
    return figures_table([*head, splits], body, numeric_from=1)


DATASETS = Card(
    id="datasets",
    title="Datasets",
    uses=(),
    call=_counts,
    text=_datasets,
    height=130,
    about=(),
)

#: What a run may hold of a detector; the store and the maps are no single tables.
_OF_DETECTOR = (
    "neurons",
    "universality",
    "store",
    "separability",
    "embeddings",
    "responses",
    "maps",
    "trust",
    "attention",
)

#: Columns of the list: what it says to what has to be there.
_HELD = {
    "store": ("store",),
    "neurons": ("neurons", "universality"),
    "separability": ("separability",),
    "pictures": ("embeddings",),
    "responses": ("responses",),
    "maps": ("maps",),
    "trust": ("trust",),
    "regions": ("attention",),
}

#: Tables of all detectors together.
_COMMON = ("similarity", "artifact_report", "measurements", "map_similarity")


def contents(at: At) -> pd.DataFrame:
    """Return one row per detector: which tables the run holds of it, and of all together."""
    folder = at.run.folder
    common = (
        folder.path("similarity").is_dir(),
        folder.path("artifacts").is_dir(),
        folder.path("measurements").is_dir(),
        any(folder.path("map_similarity", "", "").parent.glob("*.zarr")),
    )
    rows = [
        {
            "detector": label,
            **{name: _held(at.run, name, label) for name in _OF_DETECTOR},
            **dict(zip(_COMMON, common, strict=True)),
        }
        for label in at.run.detectors
    ]
    return pd.DataFrame(rows, columns=["detector", *_OF_DETECTOR, *_COMMON])


def _held(run: Run, table: str, label: str) -> bool:
    if table == "maps":
        return bool(run.map_methods(label))
    place = run.folder.store(label) if table == "store" else run.folder.path(table, label)
    return place.is_dir()


def _contents(at: At) -> Any:
    """Say for each detector which tables are there, and the stages of the command."""
    rows = contents(at).to_dict("records")
    body = [
        [one["detector"], *(_mark(all(one[n] for n in names)) for names in _HELD.values())]
        for one in rows
    ]
    common = [
        html.Span([_mark(rows[0][name]), name.replace("_", " ")], className="holds")
        for name in (_COMMON if rows else ())
    ]
    # While the run is written its stages are in the notice above, which changes by itself.
    stages = stages_of(at.run) if at.run.manifest.get("complete") else ()
    table = figures_table(["detector", *_HELD], body, numeric_from=99)
    return fixed(
        html.Div(table, className="dense"),
        html.Div(common, className="reading"),
        html.Div([stage_chip(stage) for stage in stages], className="stages"),
    )


def _mark(there: bool) -> Any:
    """Mark what is there by a filled circle, named for those who do not see it."""
    said = "yes" if there else "not yet"
    named: dict[str, Any] = {"role": "img", "aria-label": said}
    return html.Span(className="yes" if there else "no", title=said, **named)


CONTENTS = Card(
    id="contents",
    title="What this run holds",
    uses=(),
    body=_contents,
    frame=contents,
    height=150,
    about=(),
)


# --- Other runs ---------------------------------------------------------------------------------


def _runs(at: At) -> Any:
    """List the runs that are open, each with what it does not share with the first."""
    return figures_table(
        ["run", "title", "created", "detectors", "datasets", "differs in"],
        [_run(row, i == 0) for i, row in enumerate(run_rows(at.run))],
        numeric_from=9,
    )


def _run(row: RunRow, first: bool) -> list[Any]:
    if row.problem:
        return [row.name, html.Span(row.problem, className="muted"), "", "", "", ""]
    state = [] if row.complete else [html.Span("incomplete", className="tag")]
    tag = [html.Span("this run", className="tag")] if first else []
    return [
        html.Span([html.B(row.name), *tag]),
        html.Span([row.title, *state]),
        row.created.replace("T", " ")[:16],
        str(len(row.detectors)),
        str(len(row.datasets)),
        "" if first else ", ".join(row.differs) or "nothing that is noted",
    ]


def _runs_frame(at: At) -> pd.DataFrame:
    rows = [vars(one) for one in run_rows(at.run)]
    return pd.DataFrame(
        [{k: ", ".join(v) if isinstance(v, tuple) else v for k, v in row.items()} for row in rows]
    )


RUNS = Card(
    id="runs",
    title="Runs",
    uses=(),
    body=_runs,
    frame=_runs_frame,
    height=110,
    about=(),
    when=lambda at: bool(at.run.others),
)


# --- What is wrong, and what is missing ---------------------------------------------------------

#: The file that a study keeps its audit in, and the columns of its findings.
AUDIT_FILE = "audit.json"
_FINDING = {"check": str, "severity": str, "dataset": str, "message": str, "count": int}

#: Findings that are shown; the others are counted.
MOST = 12

#: What a note of the provenance is about.
_NOTES = {
    "no_ablation": "Taking out universal units",
    "no_correlations": "Relating units to measurements",
    "no_attribution": "Attribution maps",
}


def audit(run: Run) -> pd.DataFrame:
    """Return what the audit of the run's data found, the gravest first.

    Returns
    -------
    pandas.DataFrame
        Columns as in `probe.datasets.audit.Finding`; ``attrs`` have ``images`` and ``parts``
        (datasets and splits), which were looked at.

    Raises
    ------
    MissingTableError
        If the run keeps none.
    StoreError
        If the file is damaged.
    """
    file = run.folder.root / AUDIT_FILE
    if not stamp_of(file):
        words = ["probe", "audit", from_here(run.folder.data), "--json", from_here(file)]
        raise MissingTableError("audit of its data", shlex.join(words))
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        rows = [
            {name: kind({"count": 0, **one}[name]) for name, kind in _FINDING.items()}
            for one in found["findings"]
        ]
        frame = pd.DataFrame(rows, columns=list(_FINDING))
        frame.attrs = {"images": int(found["images"]), "parts": len(found["datasets"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"The audit {AUDIT_FILE} of this run is damaged. Remove it and run the command of the "
            "run again."
        ) from error
    return frame


def not_done(run: Run) -> list[tuple[str, str, str]]:
    """List what the run notes that it could not do: what, of which detector, and why."""
    out = []
    for key, notes in run.folder.read_provenance().items():
        if key.startswith("no_") and isinstance(notes, dict):
            what = _NOTES.get(key, key.removeprefix("no_").replace("_", " ").capitalize())
            out += [(what, str(name), str(why)) for name, why in notes.items()]
    return out


def _audit(at: At) -> Any:
    """Say what the audit found, and what could not be done."""
    try:
        body: list[Any] = [fixed(_findings(audit(at.run)))]
    except ProbeError as error:
        body = [problem(error)]
    found = not_done(at.run)
    if found:
        heading = dmc.Title("What could not be done, and why", order=3, className="part-title")
        rows = [_finding("not done", "note", *one) for one in found]
        body += [heading, fixed(html.Ul(rows, className="findings"))]
    return body


def _findings(frame: pd.DataFrame) -> Any:
    looked = (
        f"{frame.attrs['images']:,} images in {frame.attrs['parts']} parts (dataset and split) "
        "were looked at"
    )
    if not len(frame):
        return html.Div(
            [html.B("Nothing was found. "), f"{looked}: leaks, duplicates, labels, confounds."],
            className="sentence",
        )
    counts = {name: int((frame["severity"] == name).sum()) for name in _SEVERITIES}
    said = ", ".join(f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n)
    more = len(frame) - MOST
    rows = [
        _finding(
            one["severity"],
            one["severity"],
            one["check"].replace("-", " "),
            one["dataset"],
            one["message"],
        )
        for one in frame.head(MOST).to_dict("records")
    ]
    return html.Div(
        [
            html.Div([html.B(f"{said}. "), f"{looked}."], className="sentence"),
            html.Ul(rows, className="findings"),
            html.Div(f"And {more} more." if more > 0 else "", className="reading"),
        ]
    )


_SEVERITIES = ("error", "warning", "note")


def _finding(mark: str, kind: str, what: str, of: str, why: str) -> Any:
    head = html.Div([html.B(what), html.Span(f" {of}", className="muted")])
    return html.Li(
        [
            html.Span(mark, className=f"severity {kind}"),
            html.Div([head, html.Div(why)]),
        ]
    )


AUDIT = Card(
    id="audit",
    title="What is wrong with the data?",
    uses=(),
    body=_audit,
    frame=lambda at: audit(at.run),
    height=170,
    about=(),
    help=HELP["audit"],
)


def _gaps(at: At) -> Any:
    """List what is missing, each with what closes it."""
    found = gaps(at.run)
    if not found:
        return html.Div("Nothing that this page knows of is missing.", className="sentence")
    rows = [
        html.Li(
            [
                html.Div(one.what),
                html.Div(
                    [
                        html.Span(one.remedy, className="muted"),
                        html.Code(one.setting, className="setting") if one.setting else "",
                    ],
                    className="remedy",
                ),
            ]
        )
        for one in found
    ]
    return fixed(html.Ul(rows, className="gap-list"))


GAPS = Card(
    id="gaps",
    title="What is missing to answer more?",
    uses=(),
    body=_gaps,
    frame=lambda at: pd.DataFrame(
        [vars(one) for one in gaps(at.run)], columns=["what", "remedy", "setting"]
    ),
    height=170,
    about=(),
)


def _provenance(at: At) -> Any:
    """State the command, crop rule and versions that every result depends on."""
    manifest = at.run.manifest
    try:
        crop = crop_rule(at.run)
    except ProbeError as error:
        crop = str(error)
    versions = dict(manifest.get("versions") or {})
    lines = [
        ("Command", command_line(at.run.command)),
        ("Created", str(manifest.get("created", "")).replace("T", " ") or "not stated"),
        ("Crop rule", crop),
        ("Layers", _layers(dict(manifest.get("layers") or {}))),
        ("Versions", ", ".join(f"{n} {v}" for n, v in versions.items()) or "not stated"),
    ]
    pairs = [part for name, value in lines for part in (html.Dt(name), html.Dd(value))]
    return html.Dl(pairs, className="facts")


def _layers(layers: Mapping[str, Any]) -> str:
    """Name the layer whose units are asked for; once, where all detectors agree."""
    names = list(dict.fromkeys(map(str, layers.values())))
    if len(names) == 1:
        return f"{names[0]} (all detectors)"
    return "; ".join(f"{label}: {layer}" for label, layer in layers.items()) or "not stated"


PROVENANCE = Card(
    id="provenance", title="Provenance", uses=(), body=_provenance, is_menu=False, height=140
)


PAGE = Page(
    path="/",
    title="Overview",
    heading=lambda at: str(at.run.manifest.get("title", "Run")),
    question="How far does each detector generalize to datasets that it was not trained on?",
    aside=_report,
    items=(
        FACTS,
        MATRIX,
        Group((DATASETS, CONTENTS)),
        RUNS,
        Group((AUDIT, GAPS)),
        PROVENANCE,
    ),
)
