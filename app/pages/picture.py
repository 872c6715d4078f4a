"""The picture of a layer on the page Separability: its samples, the picked one, and a selection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
import numpy as np
import pandas as pd
import xarray as xr
from dash import ClientsideFunction, Dash, Input, Output, Patch, State, ctx, dcc, html, no_update
from numpy.typing import NDArray

from app import ids
from app.activations import ArrangingError, column, rows_by_unit, stored_units
from app.card import At, Call, Card, Control, Group, graph, jump, part
from app.gallery import sample_link
from app.help import HELP
from app.images import Shown, lacks_note, shown_of
from app.lasso import Lasso, Rule, drawn, places_of, read, ruled
from app.layout import figures_table, fixed, interval_text, number_text
from app.message import arranging, problem
from app.prefix import at as address
from app.run import Ref, Run, derived, named_layer
from app.selection import Selection
from probe import plots
from probe.errors import ProbeError
from probe.images import token_of
from probe.plots.density import Window, extent_of
from probe.plots.embedding import KINDS, RING, is_dense, outlined, seen_in
from probe.plots.theme import empty_figure
from probe.reader import stamp_of
from probe.separability.report import Embeddings
from probe.separability.selection import CANDIDATES, codes_of, strongest_units
from probe.store import ActivationStore

__all__ = ["PICTURE", "register"]

#: What points are colored by, as the address and as people have it.
COLORS = {
    "label": "Label",
    "dataset": "Dataset",
    "method": "Method",
    "score": "P(fake)",
    "unit": "Unit",
}
#: What dragging on the picture does, as plotly names it, and its name.
DRAGS = {"zoom": "Zoom", "select": "Box", "lasso": "Lasso"}
#: Images that are shown of a selection; groups that a sentence names before others are counted.
IMAGES, NAMED = 24, 4

NOTE, KEY, WINDOW, MARKS, DRAG, CLICK, DRAWN, PICTURE_CHOSEN, TICK = (
    f"picture-{name}"
    for name in ("note", "key", "window", "marks", "drag", "click", "drawn", "chosen", "tick")
)
RULE, RULE_CHOSEN, *RULE_FIELDS = (
    f"rule-{name}" for name in ("select", "chosen", "dataset", "label", "method", "low", "high")
)


# --- What is shown ------------------------------------------------------------------------------


def _layer(at: At) -> str:
    return named_layer(at.run, at.detector, at.chosen)


def _kinds(at: At) -> dict[str, str]:
    names = map(str, at.table("embeddings").value.data["method"].values)
    return {name: KINDS.get(name, name) for name in names}


def _kind(at: At) -> str:
    """Return the chosen kind of picture, or the first."""
    return at.chosen.named("embedding", list(_kinds(at)))


def _store(at: At) -> ActivationStore:
    return at.run.store(at.detector)


def _samples(at: At) -> pd.DataFrame:
    """Return the store's sample table in the order of the embeddings; made once."""
    return derived(_aligned, (at.table("embeddings").value, _store(at)))


def _aligned(found: Embeddings, store: ActivationStore) -> pd.DataFrame:
    return found.align(store.samples)


def frame_of(at: At) -> pd.DataFrame:
    """Return the samples of the chosen picture, see `probe.plots.layer_embedding`; made once.

    Datasets and methods are categories, in the order that all figures have.
    """
    found, samples = at.table("embeddings").value, _samples(at)
    return derived(_placed, (found, samples), _layer(at), _kind(at), tuple(at.run.datasets))


def _placed(
    found: Embeddings, samples: pd.DataFrame, layer: str, kind: str, datasets: tuple[str, ...]
) -> pd.DataFrame:
    frame = plots.layer_embedding(found, samples, layer=layer, method=kind)
    for name in ("dataset", "method"):
        frame[name] = derived(_grouped, (samples,), name, datasets)
    return frame


def _grouped(samples: pd.DataFrame, name: str, datasets: tuple[str, ...]) -> Any:
    there = list(dict.fromkeys(samples[name].astype(str)))
    order = [n for n in datasets if n in there] + [n for n in there if n not in datasets]
    return pd.Categorical(samples[name].astype(str), order)


def _units(at: At) -> list[int]:
    """List the units of the layer in the activation store; none where it was not recorded."""
    try:
        return [int(unit) for unit in stored_units(at.run, at.detector, _layer(at))]
    except ProbeError:
        return []


def _unit(at: At) -> int | None:
    """Return the unit that colors the picture: the chosen one, or the first; None for none.

    Raises
    ------
    ProbeError
        If the layer does not have it.
    """
    if at.chosen.named("color", list(COLORS)) != "unit":
        return None
    units = _units(at)
    if not units:
        raise ProbeError(
            f"The activations of {_layer(at)!r} were not kept for {at.detector}, so its units "
            "cannot be shown. Color the points by something else."
        )
    return at.chosen.unit_number(units)


def _by(at: At) -> str:
    """Return the column that colors the picture."""
    unit, color = _unit(at), at.chosen.named("color", list(COLORS))
    return {"score": "p_fake", "unit": f"unit_{unit}"}.get(color, color)


def colored(at: At) -> tuple[pd.DataFrame, str]:
    """Return the samples of the chosen picture, and the column that colors them.

    Raises
    ------
    ProbeError
        If there is none of that name, or while the store is being arranged.
    """
    frame, by, unit = frame_of(at), _by(at), _unit(at)
    if unit is not None:
        value = column(at.run, at.detector, frame.attrs["layer"], unit)
        place = _samples(at)["place"].to_numpy()
        frame = frame.assign(**{by: value[place].astype(np.float64)})
    return frame, by


def _lasso(at: At) -> Lasso | None:
    """Read the selection of the address; None where there is none of this picture."""
    return read(at.detector, frame_of(at), at.chosen.lasso)


def _outline(at: At) -> list[dict[str, Any]]:
    """Outline the selection; nothing where it cannot be read, which the card says."""
    try:
        lasso = _lasso(at)
    except ProbeError:
        return []
    return lasso.outline if lasso else []


# --- The picture --------------------------------------------------------------------------------


class Room(Card):
    """A card whose content is laid out once: callbacks of its own follow its controls."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields on which it is laid out anew."""
        return self.uses


def _room(at: At) -> Any:
    """Lay out what the callbacks of the picture draw into."""
    shown = graph(EMBEDDING.id, empty_figure(at.scheme), 520, EMBEDDING.label)
    shown.className = "clickable"
    # What is zoomed to is a range of the figure, which a double click would else lead back to.
    shown.children.config = {**shown.children.config, "doubleClick": "autosize"}
    return [
        html.Div(id=NOTE, className="sentence picture-note"),
        shown,
        *(dcc.Store(id=name) for name in (KEY, WINDOW, MARKS, CLICK, DRAWN, PICTURE_CHOSEN)),
        dcc.Interval(id=TICK, interval=1000, disabled=True),
    ]


def _figure(at: At, window: Window | None = None, drag: str = "zoom") -> dict[str, Any]:
    frame, by = colored(at)
    return plots.figure_layer_embedding(
        frame,
        at.theme,
        by=by,
        ring=place_of(at),
        window=window,
        outline=_outline(at),
        revision=at.chosen.lasso,
        drag=drag if drag in DRAGS else "zoom",
        link=lambda sample: f"sample={token_of(sample)}",
    )


def place_of(at: At) -> tuple[float, float] | None:
    """Return where the picture has the picked image; None where it does not have it."""
    sample = _picked(at)
    if sample is None:
        return None
    place = int(derived(_index, (_samples(at),)).get_indexer(pd.Index([sample]))[0])
    if place < 0:
        return None
    x, y = frame_of(at)[["x", "y"]].iloc[place]
    return float(x), float(y)


def _picked(at: At) -> str | None:
    """Return the name of the picked image; None where there is none of that token."""
    row = at.run.rows.get(at.chosen.sample) if at.chosen.sample else None
    return None if row is None else str(at.run.data.samples.table["sample"].iloc[row])


def _index(samples: pd.DataFrame) -> pd.Index[str]:
    return pd.Index(samples["sample"].astype(str))


def nearest(frame: pd.DataFrame, x: float, y: float) -> str:
    """Return the sample nearest to a place, in shares of the extent."""
    x0, x1, y0, y1 = extent_of(frame)
    across, up = (frame["x"] - x) / ((x1 - x0) or 1.0), (frame["y"] - y) / ((y1 - y0) or 1.0)
    return str(frame["sample"].iloc[int(np.argmin((across**2 + up**2).to_numpy()))])


def note(frame: pd.DataFrame, seen: int) -> Any:
    """State how far a picture can be believed before anything is read off it, and how it is drawn.

    Where many are `seen`, their density is drawn.
    """
    about, total = frame.attrs, len(frame)
    kept = about["preservation"]
    near = f" of {about['neighbors']}" if about["neighbors"] else ""
    words: list[Any] = [
        f"{KINDS.get(about['kind'], about['kind'])} of {about['layer']}. Trustworthiness ",
        html.B(number_text(about["trustworthiness"])),
        "; neighbors kept ",
        html.B(f"{kept:.0%}" if np.isfinite(kept) else "—"),
        html.Span(near, className="muted"),
        ". ",
        html.Span("A picture, no measurement: the numbers are above.", className="muted"),
    ]
    notes = []
    if is_dense(seen):
        notes.append(
            f"{seen:,} samples, drawn as density: stronger where more lie, with symbols for lone "
            "and for some other samples. Zoom in to see single samples."
        )
    elif seen < total:
        notes.append(f"{seen:,} of {total:,} samples are in view. Double click to see all.")
    if about["n_fitted"] < total:
        notes.append(
            f"Fitted on {about['n_fitted']:,} samples; the other {total - about['n_fitted']:,} "
            "were projected into it."
        )
    return [html.Div(words), html.Div(" ".join(notes), className="muted small")]


def window_of(frame: pd.DataFrame, held: Any) -> Window | None:
    """Return the part of a picture that is in view; none where it is all, or of another picture."""
    key = f"{frame.attrs['layer']} {frame.attrs['kind']}"
    if not isinstance(held, dict) or held.get("key") != key:
        return None
    extent = extent_of(frame)
    try:
        given = [None if value is None else float(value) for value in held["range"]]
        x0, x1, y0, y1 = (
            known if value is None else value for value, known in zip(given, extent, strict=True)
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    window = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    a, b, c, d = extent
    whole = window[0] <= a and window[1] >= b and window[2] <= c and window[3] >= d
    return None if whole or not np.isfinite(window).all() else window


def _tools(id: dict[str, str], at: At) -> Any:
    """Place what dragging does, and the choice of a unit."""
    units, unit = _units(at), at.chosen.unit
    named: dict[str, Any] = {"aria-label": "Unit to color by"}
    drags: dict[str, Any] = {"aria-label": "What dragging on the picture does"}
    # A unit of the address that the layer lacks has to stay, for the picture to say so.
    listed = dict.fromkeys([*map(str, units), *([unit] if unit else [])])
    return dmc.Group(
        [
            dmc.SegmentedControl(
                id=DRAG,
                data=[{"value": name, "label": label} for name, label in DRAGS.items()],
                value="zoom",
                size="xs",
                **drags,
            ),
            dmc.Select(
                id=id,
                data=list(listed),
                value=unit or None,
                size="xs",
                w=110,
                searchable=True,
                allowDeselect=False,
                placeholder="Unit …",
                disabled=not units,
                limit=200,
                **named,
            ),
        ],
        gap="sm",
        justify="flex-end",
        className="picture-tools",
    )


def _call(at: At) -> Call:
    label, frame, unit = at.detector, frame_of(at), _unit(at)
    layer, stamp = frame.attrs["layer"], stamp_of(_store(at).path / "zarr.json")
    code = f"run.store({label!r})"
    refs = [at.table("embeddings"), Ref(f"{code}.samples", _samples(at), (label, stamp))]
    if unit is not None:
        taps = f"{code}[{layer!r}]['activation'].sel(unit={unit})"
        value = column(at.run, label, layer, unit)
        refs.append(Ref(f"{taps}.values.astype('float32')", value, (label, stamp, layer, unit)))
    return Call("layer_embedding", *refs, layer=layer, method=frame.attrs["kind"], by=_by(at))


EMBEDDING = Room(
    id="embedding",
    title="The layer's samples in two dimensions",
    uses=("detector", "layer"),
    body=_room,
    call=_call,
    figure=lambda at, frame: _figure(at),
    # Not kept as other tables are: it is large, and each coloring has its own.
    frame=lambda at: _call(at).run("layer_embedding"),
    controls=(
        Control("embedding", "Kind of picture", _kinds, "segmented"),
        Control("color", "What points are colored by", lambda at: COLORS, "segmented"),
        # Whoever chooses a unit wants to see it.
        Control("unit", "Unit", lambda at: {}, make=_tools, sets=(("color", "unit"),)),
    ),
    label="Scatter of the layer's samples",
    about=("detector", "layer", "embedding"),
    height=572,
    help=HELP["picture"],
)


# --- The picked image ---------------------------------------------------------------------------


def _image(at: At) -> Any:
    """Show the picked image with what is known of it; it leads to its page."""
    if not at.chosen.sample:
        return html.Div("Click on a point to see its image.", className="picked-empty")
    row = _row(at)
    unit = _unit(at) if at.chosen.color == "unit" and _units(at) else None
    layer, place = _layer(at), int(row["place"])
    value = np.nan if unit is None else column(at.run, at.detector, layer, unit)[place]
    shown = shown_of(row | {"activation": value})
    kind = "fake" if shown.label else "real"
    lines: list[tuple[str, Any]] = [
        ("Label", html.Span(kind, className=f"label {kind}")),
        ("Dataset", str(row["dataset"])),
        ("Method", shown.method if shown.label else "—"),
        ("Video", f"{shown.video}, frame {shown.frame}"),
        ("P(fake)", html.B(f"{shown.p_fake:.2f}")),
    ]
    if np.isfinite(shown.activation):
        lines.append((f"Unit {unit}", number_text(shown.activation)))
    pairs = [one for name, value in lines for one in (html.Dt(name), html.Dd(value))]
    about = f"{shown.sample}: {kind}, video {shown.video}, frame {shown.frame}"
    return html.Div(
        [
            _thumb(shown, about, at),
            html.Dl(pairs, className="facts tight"),
            lacks_note(at.run, [shown.token]),
        ],
        className="picked",
    )


def _row(at: At) -> dict[Any, Any]:
    """Return the picked image's row of the store's sample table, with its ``place``.

    Raises
    ------
    ProbeError
        If the run holds no such image, or the detector did not see it.
    """
    sample, store = _picked(at), _store(at)
    if sample is None:
        raise ProbeError(
            "The address names an image that is not in this run. Click on a point of the picture."
        )
    place = int(derived(_index_of, (store,)).get_indexer(pd.Index([sample]))[0])
    if place < 0:
        raise ProbeError(
            f"The activation store of {at.detector} holds no sample {sample!r}. Click on a point "
            "of the picture."
        )
    return {**store.samples.iloc[place].to_dict(), "place": place}


def _index_of(store: ActivationStore) -> pd.Index[str]:
    return _index(store.samples)


def _thumb(shown: Shown, about: str, at: At) -> Any:
    """Show an image that leads to its page, with detector and layer kept."""
    layers = [html.Img(src=address(f"/thumb/{shown.token}"), alt=about, className="thumb")]
    if shown.has_mask:
        outline = address(f"/outline/{shown.token}")
        layers.append(html.Img(src=outline, alt="", className="outline"))
    return dcc.Link(
        html.Div(layers, className="frame", title=about),
        href=sample_link(shown.token, Selection(detector=at.detector, layer=_layer(at))),
        className="frame-link",
    )


PICKED = Card(
    id="picked",
    title="Picked sample",
    uses=("detector", "layer", "sample", "color", "unit"),
    body=_image,
    height=232,
    is_menu=False,
)


# --- A selection --------------------------------------------------------------------------------


def _selected(at: At) -> Any:
    """Place the fields of a rule, say what is selected, and show images of it."""
    frame = frame_of(at)
    try:
        lasso = _lasso(at)
    except ProbeError as error:
        return [_form(frame, Rule(), at), problem(error)]
    form = _form(frame, (lasso and lasso.rule) or Rule(), at)
    if lasso is None:
        text = (
            "Choose Box or Lasso above the picture and draw round some samples, or select by a "
            "rule."
        )
        return [form, html.Div(text, className="selected-empty")]
    inside = lasso.inside(frame)
    if not inside.any():
        return [form, html.Div("No sample lies in the selection.", className="sentence")]
    return [
        form,
        *_counts(frame, inside),
        html.Div(_images(at, inside), className="selected-images"),
    ]


def _form(frame: pd.DataFrame, rule: Rule, at: At) -> Any:
    """Lay out the fields that select samples without a mouse."""
    common: dict[str, Any] = {"size": "xs", "clearable": True, "placeholder": "any"}
    share: dict[str, Any] = {
        "size": "xs",
        "w": 84,
        "min": 0,
        "max": 1,
        "step": 0.05,
        "decimalScale": 2,
        "clampBehavior": "strict",
    }
    names = {name: list(frame[name].cat.categories) for name in ("dataset", "method")}
    dataset, label, method, low, high = RULE_FIELDS
    groups = [
        dmc.Select(
            id=dataset,
            label="Dataset",
            data=names["dataset"],
            w=150,
            value=rule.dataset or None,
            **common,
        ),
        dmc.Select(
            id=label, label="Label", data=["real", "fake"], w=90, value=rule.label or None, **common
        ),
        dmc.Select(
            id=method,
            label="Method",
            data=names["method"],
            w=150,
            value=rule.method or None,
            **common,
        ),
    ]
    bounds = [
        dmc.NumberInput(id=low, label="P(fake) from", value=rule.low, **share),
        dmc.NumberInput(id=high, label="to", value=rule.high, **share),
        dmc.Button("Select", id=RULE, size="xs", variant="default"),
    ]
    if at.chosen.lasso:
        bounds.append(jump("Clear", className="clear-selection", lasso=""))
    rows = [dmc.Group(one, gap="sm", align="flex-end") for one in (groups, bounds)]
    return html.Div([*rows, dcc.Store(id=RULE_CHOSEN)], className="rule-form")


def _counts(frame: pd.DataFrame, inside: NDArray[np.bool_]) -> list[Any]:
    """Say how many samples are selected, and what they are."""
    score = frame["p_fake"].to_numpy()
    rest = float(score[~inside].mean()) if not inside.all() else np.nan
    head = html.Div(
        [
            html.B(f"{int(inside.sum()):,}"),
            f" of {len(frame):,} samples are selected. Mean P(fake) ",
            html.B(number_text(float(score[inside].mean()))),
            html.Span(f", elsewhere {number_text(rest)}", className="muted"),
            ".",
        ],
        className="sentence",
    )
    pairs: list[Any] = []
    for by in ("label", "dataset", "method"):
        pairs += [html.Dt(by.capitalize()), html.Dd(_groups(groups_of(frame, inside, by)))]
    return [head, html.Dl(pairs, className="facts tight")]


def groups_of(
    frame: pd.DataFrame, inside: NDArray[np.bool_], by: str
) -> list[tuple[str, int, int]]:
    """Return name, selected samples and all samples of the groups that are touched."""
    color = plots.embedding.coloring(frame, by)
    total = np.bincount(color.code, minlength=len(color.names))
    here = np.bincount(color.code[inside], minlength=len(color.names))
    order = [i for i in np.argsort(-here, kind="stable") if here[i]]
    return [(color.names[i], int(here[i]), int(total[i])) for i in order]


def _groups(groups: Sequence[tuple[str, int, int]]) -> list[Any]:
    parts: list[Any] = []
    for name, here, total in groups[:NAMED]:
        parts += [
            ", " if parts else "",
            f"{name} ",
            html.B(f"{here:,}"),
            html.Span(f" of {total:,}", className="muted"),
        ]
    if len(groups) > NAMED:
        rest = sum(here for _, here, _ in groups[NAMED:])
        parts.append(html.Span(f", {len(groups) - NAMED} more with {rest:,}", className="muted"))
    return parts


def _images(at: At, inside: NDArray[np.bool_]) -> Any:
    """Show images of the selection, those in its middle first; each leads to its page."""
    images, videos = images_of(at, np.flatnonzero(inside))
    if not images:
        return html.Div("There is no image to show.", className="muted small")
    n = len(images)
    which = f"{n} of {videos:,} videos, those nearest to the middle" if n < videos else "All videos"
    strip = [
        html.Div(f"{which}, one frame each, with P(fake)", className="strip-head"),
        html.Div([_still(shown, at) for shown in images], className="selected-strip"),
    ]
    return fixed(strip, lacks_note(at.run, (shown.token for shown in images)))


def images_of(at: At, rows: NDArray[np.int64]) -> tuple[list[Shown], int]:
    """Choose images near to the middle of some samples, and count their videos."""
    frame, samples, known = frame_of(at), _samples(at), at.run.rows
    x0, x1, y0, y1 = extent_of(frame)
    here = frame[["x", "y"]].to_numpy()[rows] / ((x1 - x0) or 1.0, (y1 - y0) or 1.0)
    order = rows[np.argsort(((here - np.median(here, axis=0)) ** 2).sum(axis=1), kind="stable")]
    # A video key may hold both classes where a layout names them alike.
    table = samples.iloc[order][["dataset", "method", "video", "label"]]
    kept = order[~table.duplicated().to_numpy()]
    found = [
        shown_of(row | {"activation": np.nan})
        for row in samples.iloc[kept[:IMAGES]].to_dict("records")
        if token_of(str(row["sample"])) in known
    ]
    return found, len(kept)


def _still(shown: Shown, at: At) -> Any:
    kind = "fake" if shown.label else "real"
    what = f"{kind}, {shown.method}" if shown.label and shown.method else kind
    about = f"{shown.sample}: {what}, video {shown.video}, frame {shown.frame}"
    caption = [html.Span(kind, className=f"label {kind}"), html.B(f"{shown.p_fake:.2f}")]
    line = html.Figcaption(caption, className="caption-line small", title=f"P(fake) of a {what}")
    return html.Figure([_thumb(shown, about, at), line], className="picture")


SELECTED = Card(
    id="selection",
    title="A selection of samples",
    uses=("detector", "layer", "embedding", "lasso"),
    body=_selected,
    height=185,
    is_menu=False,
)


def _compared(at: At) -> xr.Dataset:
    """Compare units over the selection; made once for it.

    Raises
    ------
    ProbeError
        If nothing is selected, the layer's activations were not kept, or while they are being
        arranged by unit.
    """
    if _lasso(at) is None:
        raise ProbeError("Nothing is selected in this picture. Draw round some samples first.")
    if _layer(at) not in _store(at).layers:
        raise ProbeError(
            f"The activations of {_layer(at)!r} were not kept for {at.detector}, so its units "
            "cannot be compared. Choose another layer."
        )
    return derived(_strongest, (at.run, frame_of(at), _samples(at)), at.detector, at.chosen.lasso)


def _strongest(
    run: Run, frame: pd.DataFrame, samples: pd.DataFrame, label: str, text: str
) -> xr.Dataset:
    lasso, layer = read(label, frame, text), frame.attrs["layer"]
    assert lasso is not None
    return strongest_units(
        lasso.inside(frame),
        samples["place"].to_numpy(),
        *derived(codes_of, (samples,)),
        stored_units(run, label, layer),
        lambda rows, places: rows_by_unit(run, label, layer, rows, places),
    )


def _units_call(at: At) -> Call:
    """Write the comparison itself, since its result is in no run folder."""
    label, frame, lasso, found = at.detector, frame_of(at), _lasso(at), _compared(at)
    assert lasso is not None
    if lasso.rule:
        chosen = f"rule={lasso.rule.given!r}"
    else:
        chosen = f"corners={[(float(x), float(y)) for x, y in lasso.corners]!r}"
    code = (
        f"probe.separability.compare_selection(run.embeddings({label!r}), run.store({label!r}), "
        f"{frame.attrs['layer']!r}, method={frame.attrs['kind']!r}, {chosen})"
    )
    stamps = at.run.stamp("embeddings", label), stamp_of(_store(at).path / "zarr.json")
    return Call("selection_units", Ref(code, found, (code, stamps)))


def _telling(at: At) -> Any:
    """List the units that tell the selection from the rest, each a link that colors by it."""
    if _lasso(at) is None:
        text = "Nothing is selected. The units that tell a selection from the rest are listed here."
        return html.Div(text, className="selected-empty")
    found = _compared(at)
    head = [
        "Unit",
        "In selection",
        "AUROC",
        "95% interval",
        "Same dataset, label",
        "95% interval",
    ]
    body = [
        [
            _unit_link(int(one["unit"]), at.chosen.unit),
            "higher" if one["auroc"] > 0.5 else "lower",
            html.B(number_text(one["auroc"])),
            interval_text(one["low"], one["high"]),
            number_text(one["within"]),
            interval_text(one["within_low"], one["within_high"]),
        ]
        for one in plots.selection_units(found).to_dict("records")
    ]
    notes = [html.Div(line) for line in _notes(found)]
    table = [figures_table(head, body, 2), html.Div(notes, className="reading")]
    return html.Div(table, className="telling-room")


def _unit_link(unit: int, chosen: str) -> Any:
    is_chosen = str(unit) == chosen
    link = jump(
        str(unit),
        className="unit-button chosen" if is_chosen else "unit-button",
        unit=unit,
        color="unit",
    )
    link.title = "Color the picture by this unit"
    setattr(link, "aria-label", f"Color the picture by unit {unit}")
    if is_chosen:
        setattr(link, "aria-current", "true")
    return link


def _notes(found: xr.Dataset) -> list[str]:
    about = found.attrs
    random = ", drawn at random" if about["drawn"] else ""
    lines = [
        f"The strongest {found.sizes['unit']} of {about['n_units']:,} units; "
        f"{about['n_selected']:,} selected samples ({about['n_clusters']:,} people or videos) "
        f"against {about['n_rest']:,} others{random}."
    ]
    if about["screened"]:
        lines.append(
            f"All units were looked at with {about['screened']:,} samples drawn at random, and "
            f"only the {min(CANDIDATES, about['n_units'])} best of this first look were measured: "
            "a unit that it missed is not listed."
        )
    lines.append(
        "The selection was made after looking at these activations, and the strongest of many "
        "units are listed, so no p-value would mean anything: read this as a description."
    )
    if not np.isfinite(found["within"].values).any():
        lines.append(
            "Every dataset and label is selected wholly or not at all, so nothing can be compared "
            "within them: what tells the selection may be what tells the datasets or labels."
        )
    elif about["n_within"] < about["n_selected"]:
        lines.append(
            f"Within the same dataset and label {about['n_within']:,} of the selected samples can "
            "be compared."
        )
    if not np.isfinite(found["low"].values).any():
        lines.append(
            "No interval: one takes five people or videos on each side, and a unit that does not "
            "separate completely."
        )
    return lines


TELLING = Card(
    id="selection-units",
    title="What tells a selection from the rest?",
    uses=("detector", "layer", "embedding", "lasso", "unit"),
    body=_telling,
    call=_units_call,
    about=("detector", "layer", "embedding"),
    height=185,
    help=HELP["selected"],
)

PICTURE = Group(
    (
        Group((EMBEDDING, PICKED), "columns picture-columns"),
        Group((SELECTED, TELLING), "columns selected-columns"),
    ),
    "",
    needs=_kinds,
)


# --- Callbacks: the picture is changed in parts, and asked for by what is in view ----------------

FIGURE = Output(part("graph", EMBEDDING.id), "figure")
_PART = Output(part("graph", EMBEDDING.id), "figure", allow_duplicate=True)


def register(app: Dash, run: Run) -> None:
    """Add the callbacks of the picture."""
    _register_reports(app)
    _register_draw(app, run)
    _register_choices(app, run)


def _at(run: Run, search: Any, scheme: Any = "") -> At:
    return At(run, Selection.parse(search if isinstance(search, str) else ""), str(scheme or ""))


def _register_reports(app: Dash) -> None:
    """Note what the picture reports and what the address says, as far as the server needs it."""
    here = part("graph", EMBEDDING.id)
    reported = (
        ("window", WINDOW, "relayoutData", State(here, "figure"), State(WINDOW, "data")),
        ("click", CLICK, "clickData"),
        ("drawn", DRAWN, "selectedData"),
    )
    for name, store, prop, *states in reported:
        app.clientside_callback(  # type: ignore[no-untyped-call]
            ClientsideFunction("picture", name),
            Output(store, "data"),
            Input(here, prop),
            *states,
            prevent_initial_call=True,
        )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("picture", "key"),
        Output(KEY, "data"),
        Input(ids.URL, "search"),
        Input(ids.SCHEME, "data"),
        State(KEY, "data"),
    )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("picture", "marks"),
        Output(MARKS, "data"),
        Input(ids.URL, "search"),
    )
    for store in (PICTURE_CHOSEN, RULE_CHOSEN):
        app.clientside_callback(  # type: ignore[no-untyped-call]
            ClientsideFunction("picture", "choose"), Input(store, "data"), prevent_initial_call=True
        )


def _register_draw(app: Dash, run: Run) -> None:
    @app.callback(
        FIGURE,
        Output(NOTE, "children"),
        Output(TICK, "disabled"),
        Input(KEY, "data"),
        Input(WINDOW, "data"),
        Input(TICK, "n_intervals"),
        State(ids.URL, "search"),
        State(ids.SCHEME, "data"),
        State(DRAG, "value"),
        prevent_initial_call=True,
    )
    def draw(key: Any, held: Any, again: Any, search: Any, scheme: Any, drag: Any) -> Any:
        """Draw the points, or their density, of the window that is zoomed to."""
        try:
            at = _at(run, search, scheme)
            frame = frame_of(at)
            window = window_of(frame, held)
            said = note(frame, len(seen_in(frame, window)))
            if ctx.triggered_id == WINDOW and not is_dense(len(frame)):
                # All points are there, whatever is zoomed to.
                return no_update, said, no_update
            return _figure(at, window, str(drag)), said, True
        except ArrangingError as error:
            return empty_figure(scheme), arranging(error), False
        except ProbeError as error:
            return empty_figure(scheme), problem(error), True

    @app.callback(
        _PART,
        Input(MARKS, "data"),
        State(ids.URL, "search"),
        State(ids.SCHEME, "data"),
        prevent_initial_call=True,
    )
    def mark(marks: Any, search: Any, scheme: Any) -> Any:
        """Ring the picked point and outline the selection; points and zoom stay as they are."""
        changed = Patch()
        try:
            at = _at(run, search, scheme)
            ring, outline = place_of(at), outlined(_outline(at), at.theme)
        except ProbeError:
            return no_update
        changed["data"][RING]["x"] = [ring[0]] if ring else []
        changed["data"][RING]["y"] = [ring[1]] if ring else []
        changed["layout"]["selections"] = outline
        changed["layout"]["selectionrevision"] = at.chosen.lasso
        return changed

    @app.callback(_PART, Input(DRAG, "value"), prevent_initial_call=True)
    def drag(value: str) -> Any:
        """Change what dragging does, and leave the points as they are."""
        changed = Patch()
        changed["layout"]["dragmode"] = value
        return changed


def _register_choices(app: Dash, run: Run) -> None:
    """Choose what was clicked on or drawn round, as the address has it."""

    @app.callback(
        Output(PICTURE_CHOSEN, "data"),
        Input(CLICK, "data"),
        Input(DRAWN, "data"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def choose(click: Any, event: Any, search: Any) -> Any:
        """Pick the sample nearest to a cell that was clicked on, or select what was drawn round."""
        try:
            at = _at(run, search)
            frame = frame_of(at)
            if ctx.triggered_id == CLICK:
                (place,) = places_of({name: [click[name]] for name in ("x", "y")})
                return [["sample", token_of(nearest(frame, *map(float, place)))]]
            text = drawn(at.detector, frame, event if isinstance(event, dict) else None)
        except (ProbeError, KeyError, TypeError, ValueError):
            return no_update
        # The picture also reports an outline that it was given; that is no choice.
        return [["lasso", text]] if text else no_update

    @app.callback(
        Output(RULE_CHOSEN, "data"),
        Input(RULE, "n_clicks"),
        *(State(name, "value") for name in RULE_FIELDS),
        prevent_initial_call=True,
    )
    def rule(
        clicks: int | None,
        dataset: str | None,
        label: str | None,
        method: str | None,
        low: float | str | None,
        high: float | str | None,
    ) -> Any:
        if not clicks:
            return no_update
        given = Rule(dataset or "", label or "", method or "", *_bounds(low, high))
        try:
            return [["lasso", ruled(given)]]
        except ProbeError:
            return no_update


def _bounds(low: Any, high: Any) -> tuple[float, float]:
    """Read the bounds of P(fake); a field that was emptied is no bound."""
    given = (
        low if isinstance(low, int | float) else 0.0,
        high if isinstance(high, int | float) else 1.0,
    )
    return float(min(given)), float(max(given))
