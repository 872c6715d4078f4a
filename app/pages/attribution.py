"""Attribution: where a detector looks, and whether its maps can be trusted."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import numpy as np
import pandas as pd
from dash import ClientsideFunction, Dash, Input, html

from app.attribution import (
    FILTERS,
    Explained,
    ListView,
    chosen_image,
    explained,
    known_mapped,
    list_view,
    listed_detectors,
    listed_images,
    mapped_detectors,
)
from app.card import At, Call, Card, Control, Page, export_menu, jump
from app.help import HELP
from app.images import lacks_note
from app.layout import figures_table, fixed, interval_text, level_text, number_text
from app.maps import (
    MOST_METHODS,
    MapsView,
    image_under,
    map_file,
    maps_view,
    mask_under,
    method_names,
    shown_methods,
)
from app.maps_grid import frame_of, maps_grid
from app.message import problem
from app.run import Ref, Run
from probe import plots
from probe.errors import ProbeError
from probe.plots.attribution import ALPHA, WHAT
from probe.run import MissingTableError

__all__ = ["PAGE"]


def _detector(at: At) -> str:
    """Return the chosen detector, or the first that has maps."""
    return known_mapped(at.run, at.chosen)


#: Those that have maps come first. A part of the list, and units of a layer, belong to one.
DETECTOR = Control(
    "detector",
    "Detector",
    lambda at: {label: label for label in listed_detectors(at.run)},
    resets=("layer", "unit", "page"),
    width=240,
    head=True,
)


# --- Which images -------------------------------------------------------------------------------


def _datasets(at: At) -> dict[str, str]:
    # The same for all detectors, whatever was explained of them.
    held = explained(at.run, mapped_detectors(at.run)[0])["dataset"]
    return {"": "All datasets"} | {name: name for name in (*at.run.datasets, *held)}


def _forgeries(at: At) -> dict[str, str]:
    held = explained(at.run, mapped_detectors(at.run)[0])["forgery"]
    return {"": "All forgeries"} | {name: name for name in sorted(set(held) - {""})}


def _list(at: At) -> Any:
    """Show a part of the images, worst errors first; the one that is looked at is marked."""
    view = list_view(at.run, at.chosen, _detector(at))
    tokens = [one.token for one in view.images]
    chosen = at.chosen.sample or (tokens or [""])[0]
    images = [_image(one, one.token == chosen) for one in view.images]
    nothing = html.Div("No image is left by this choice.", className="explained-none muted")
    return [
        html.Div(_list_text(view, at.chosen.images or "all"), className="sentence"),
        fixed(html.Div(images, className="explained") if images else nothing),
        lacks_note(at.run, tokens),
        _parts_of(view),
    ]


def _list_text(view: ListView, filter: str) -> str:
    kind = "images" if filter == "all" else FILTERS.get(filter, filter).lower()
    part = f", part {view.page} of {view.pages}" if view.pages > 1 else ""
    return (
        f"{view.found} {kind} of {view.total} images with maps, worst errors first{part}. ✗: wrong."
    )


def _image(one: Explained, is_chosen: bool) -> Any:
    kind = "fake" if one.label else "real"
    score = f"{one.p_fake:.2f}" if np.isfinite(one.logit) else "—"
    what = f"{kind}, {one.forgery}" if one.forgery else kind
    verdict = "wrong" if one.wrong else "right"
    first = [
        html.Span(kind, className=f"label {kind}"),
        html.Span(one.forgery or one.dataset, className="method small"),
    ]
    second = [
        html.Span(["P(fake) ", html.B(score)]),
        html.Span("✗", className="wrong", title="on the wrong side") if one.wrong else "",
    ]
    link = jump(
        [
            html.Span(frame_of(one, thumb=True), className="frame"),
            html.Span(first, className="caption-line"),
            html.Span(second, className="caption-line numbers small"),
        ],
        className="explained-one chosen" if is_chosen else "explained-one",
        sample=one.token,
    )
    link.title = one.sample
    name = f"{one.dataset}, {what}, P(fake) {score}, {verdict}: {one.sample}"
    return _named(link, name, is_chosen)


def _named(link: Any, name: str, is_current: bool) -> Any:
    """Give a link the name that is read out, and mark the one that is shown."""
    setattr(link, "aria-label", name)
    setattr(link, "aria-current", "true" if is_current else "false")
    return link


def _parts_of(view: ListView) -> Any:
    """Link to the first, the last and the neighboring parts of the list."""
    near = {1, view.pages, *range(view.page - 2, view.page + 3)}
    links: list[Any] = []
    last = 0
    for page in sorted(one for one in near if 1 <= one <= view.pages):
        if page > last + 1:
            links.append(html.Span("…", className="muted"))
        is_here = page == view.page
        link = jump(
            str(page),
            className="explained-page here" if is_here else "explained-page",
            page="" if page == 1 else page,
        )
        links.append(_named(link, f"Part {page}", is_here))
        last = page
    named: dict[str, Any] = {"aria-label": "Parts of the list"}
    return fixed(html.Nav(links, className="explained-pages", **named))


IMAGES = Card(
    id="explained-images",
    title="Which images?",
    uses=("detector", "page", "sample"),
    body=_list,
    frame=lambda at: listed_images(at.run, at.chosen, _detector(at)).drop(columns="token"),
    controls=(
        Control("images", "Images", lambda at: FILTERS, "segmented", resets=("page",)),
        Control("dataset", "Dataset", _datasets, resets=("page",), width=150),
        Control("forgery", "Forgery", _forgeries, resets=("page",), width=150),
    ),
    height=430,
    about=("detector", "images", "dataset", "forgery"),
    help=HELP["explained"],
)


# --- Maps of one image --------------------------------------------------------------------------

LAID = {"map": "Map", "overlay": "Over the image"}

#: What becomes of maps whose image is not here.
WITHOUT = {"map": "Its maps do not need it.", "overlay": "Its maps lie over gray."}


def _view(at: At) -> MapsView:
    label = _detector(at)
    return maps_view(at.run, at.chosen, label, chosen_image(at.run, at.chosen, label))


def _maps(at: At) -> Any:
    view, laid = _view(at), at.chosen.named("overlay", list(LAID))
    return [
        maps_grid(view, laid == "overlay", at.chosen.outline != "off"),
        lacks_note(at.run, [view.image.token], WITHOUT[laid]),
    ]


def _methods(at: At) -> str:
    """Return the methods that are shown where the address is silent."""
    return ",".join(shown_methods(at.run, at.but(methods="").chosen, _detector(at)))


def _methods_select(id: dict[str, str], at: At) -> Any:
    """Choose methods side by side; a wrong address is told of where the maps would be."""
    names = method_names(at.run)
    try:
        chosen = shown_methods(at.run, at.chosen, _detector(at))
    except ProbeError:
        chosen = []
    named: dict[str, Any] = {"aria-label": "Methods side by side"}
    return dmc.MultiSelect(
        id=id,
        data=[{"value": name, "label": title} for name, title in names.items()],
        value=chosen,
        maxValues=MOST_METHODS,
        size="xs",
        searchable=True,
        className="maps-methods",
        **named,
    )


def _maps_frame(at: At) -> pd.DataFrame:
    """Return one row a method and detector: scale, gap and checks of the map, or why none."""
    view = _view(at)
    return pd.DataFrame(
        {
            "sample": view.image.sample,
            "method": column.method,
            "detector": row.detector,
            "logit": row.logit,
            "scale_end": column.limit_of(row.detector) if cell.source else np.nan,
            "gap": cell.gap,
            "relative_gap": cell.relative_gap,
            "checks_passed": cell.badge.passed if cell.badge else None,
            "checks_tested": cell.badge.tested if cell.badge else None,
            "reason": cell.reason,
        }
        for row in view.rows
        for column, cell in zip(view.columns, row.cells, strict=True)
    )


def _maps_call(at: At) -> Call:
    """Draw the same maps for print, with the image and its mask where they are here."""
    view, run = _view(at), at.run
    token, row = view.image.token, run.rows[view.image.token]
    roots = f", {list(map(str, run.roots))!r}" if run.roots else ""
    data = f"probe.images.run_data(run.folder{roots})"
    image = image_under(run, token)
    is_outlined = view.image.has_mask and at.chosen.outline != "off"
    mask = mask_under(run, token) if is_outlined else None
    return Call(
        "image_maps",
        _maps_ref(run, view),
        Ref("None" if image is None else f"{data}.image({row})", image, token),
        Ref("None" if mask is None else f"{data}.mask({row})", mask, (token, is_outlined)),
        sample=view.image.sample,
        detectors=[one.detector for one in view.rows],
        over=at.chosen.overlay == "overlay",
    )


def _maps_ref(run: Run, view: MapsView) -> Ref:
    """Return the maps that are shown, by method and detector, and how a script opens them."""
    shown = {
        column.method: [row.detector for row in view.rows if row.cells[i].source]
        for i, column in enumerate(view.columns)
    }
    inner = (
        f"{method!r}: {{{', '.join(f'{one!r}: run.maps({one!r}, {method!r})' for one in labels)}}}"
        for method, labels in shown.items()
    )
    value = {
        method: {one: map_file(run, one, method).maps for one in labels}
        for method, labels in shown.items()
    }
    stamps = [run.stamp("maps", one, method) for method in shown for one in shown[method]]
    return Ref(f"{{{', '.join(inner)}}}", value, tuple(stamps))


MAPS = Card(
    id="attribution-maps",
    title="What do the maps show?",
    uses=("detector", "sample", "images", "dataset", "forgery", "page"),
    call=_maps_call,
    body=_maps,
    frame=_maps_frame,
    controls=(
        Control("overlay", "Kind of map", lambda at: LAID, "segmented"),
        Control("outline", "Outline", lambda at: {"1": "on", "off": "off"}, "switch"),
        Control(
            "methods",
            "Methods side by side",
            lambda at: method_names(at.run),
            "many",
            make=_methods_select,
            first=_methods,
        ),
    ),
    height=430,
    about=("detector", "methods"),
    is_printed=True,
    help=HELP["maps"],
)


# --- Whether a map can be trusted ---------------------------------------------------------------

#: The window that a badge opens.
WINDOW = "attribution-window"


def _window(at: At) -> Any:
    """Show the checks that the address names in a window, or keep it closed."""
    method, _, detector = at.chosen.checks.partition(":")
    title, content = "Can this map be trusted?", None
    if at.chosen.checks:
        title = f"Can {method} of {detector} be trusted?"
        try:
            call = Call("trust_checks", at.table("trust", detector), method=method)
            content = [_checks(call.frame()), html.Div(export_menu(TRUST))]
        except ProbeError as error:
            content = problem(error)
    return dmc.Modal(
        content,
        id=WINDOW,
        opened=bool(at.chosen.checks),
        title=title,
        size="min(1120px, 94vw)",
        closeButtonProps={"aria-label": "Close"},
    )


def _checks(frame: pd.DataFrame) -> Any:
    """Lay out all checks, with what speaks for and against the maps."""
    head = [
        "Check",
        "Verdict",
        "Value",
        "Interval",
        "Chance",
        "Random weights",
        "Gain over reference (q)",
        "Images (clusters)",
    ]
    references = frame.attrs["references"]
    body = [
        [_check_name(row), _verdict(row), *_check_numbers(row, references)]
        for row in frame.to_dict("records")
    ]
    dataset = frame.attrs["dataset"]
    shown = "all images together" if dataset == "all" else dataset
    rule = "A gain above 0 is better for every check; bold gains have q ≤ 0.05."
    text: list[Any] = [
        html.B(f"{int(frame['passed'].sum())} of {int(frame['tested'].sum())}"),
        f" tested checks passed, on {shown}. {rule}",
    ]
    table = figures_table(head, body, numeric_from=2)
    return html.Div([html.Div(text, className="sentence"), table], className="checks")


def _check_name(row: dict[Any, Any]) -> Any:
    arrow = "↑" if row["better"] == "higher" else "↓"
    title = f"{row['title']}; {row['better']} is better. Source: {row['paper']}"
    return html.Div(
        [
            html.Div(f"{row['check']} {arrow}", title=title),
            html.Div(row["title"], className="muted small check-title"),
        ]
    )


def _verdict(row: dict[Any, Any]) -> Any:
    if not row["tested"]:
        return html.Span(row["reason"] or "no test for this check", className="muted")
    if row["passed"]:
        return html.Span("✓ passed", className="passed")
    return html.Span(f"✗ {row['why_not']}", className="failed")


def _check_numbers(row: dict[Any, Any], references: list[str]) -> list[Any]:
    low, high = row["randomized_low"], row["randomized_high"]
    tried = html.Span(interval_text(low, high), className="whole")
    gains = [_gain(row, name) for name in references if np.isfinite(row[f"gain_{name}"])]
    return [
        html.B(number_text(row["value"])),
        html.Span(interval_text(row["low"], row["high"]), className="whole", title=row["reason"]),
        number_text(row["chance"]),
        tried if np.isfinite(low) else "not tried",
        gains or "—",
        f"{int(row['n_samples'])} ({int(row['n_clusters'])})",
    ]


def _gain(row: dict[Any, Any], name: str) -> Any:
    value, q = row[f"gain_{name}"], row[f"q_{name}"]
    test = f" ({level_text(q)})" if np.isfinite(q) else " (no test)"
    return html.Div(
        [f"{name} ", _bold(number_text(value), q <= ALPHA and value > 0), test],
        className="whole",
        title=f"interval {interval_text(row[f'gain_low_{name}'], row[f'gain_high_{name}'])}",
    )


def _bold(text: str, yes: bool) -> Any:
    return html.B(text) if yes else text


def _trust_frame(at: At) -> pd.DataFrame:
    """Return the trust reports of all detectors that have one."""
    frames = []
    for label in mapped_detectors(at.run):
        try:
            frame = at.run.trust(label).to_dataframe()
        except MissingTableError:
            continue
        frame.insert(0, "detector", label)
        frames.append(frame)
    if not frames:
        raise MissingTableError("trust report", at.run.command)
    return pd.concat(frames, ignore_index=True)


TRUST = Card(
    id="attribution-trust",
    uses=("checks",),
    body=_window,
    frame=_trust_frame,
    about=(),
    is_framed=False,
    height=0,
)


def _register(app: Dash, run: Run) -> None:
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("attribution", "closed"),
        Input(WINDOW, "opened"),
        prevent_initial_call=True,
    )


# --- Whether maps agree between variants --------------------------------------------------------

MODES = {"corrected": "Corrected", "authors": "The study’s way"}


def _similarity_call(at: At) -> Call:
    mode, name = at.chosen.named("mode", list(MODES)), _detector(at).split("/")[0]
    return Call("map_similarity", at.table("map_similarity", name, mode))


def _similarity_text(at: At, frame: pd.DataFrame) -> Any:
    """Answer whether maps of variants agree more than those of other images do."""
    last, about = frame.iloc[-1], frame.attrs
    words: list[Any] = [
        f"Maps of {', '.join(about['variants'])} ({_detector(at).split('/')[0]}) have an SSIM of ",
        html.B(number_text(last["mean"])),
        f"; maps of other people’s images have {number_text(last['null_mean'])} by the same "
        "measure. ",
    ]
    over, low, high = (last[f"over_null{end}"] for end in ("", "_low", "_high"))
    if not np.isfinite(low):
        verdict, kind = "Whether they agree cannot be said: there is no interval.", ""
    elif low > 0:
        verdict = f"They agree on the image: {number_text(over)} above the null"
        verdict += f" ({interval_text(low, high)})."
        kind = "beyond"
    else:
        verdict, kind = "What they have in common is no more than any two maps have.", ""
    return html.Div(
        [
            html.Div(words, className="sentence"),
            html.Div(verdict, className=f"verdict {kind}"),
            html.Div(f"Compared: {about['rule']}." if about["rule"] else "", className="reading"),
        ]
    )


def _similarity_table(at: At, frame: pd.DataFrame) -> Any:
    """Lay out similarity, null, difference and the study's bins, a row a dataset."""
    bins = frame.attrs["bins"]
    head = ["Dataset", "Same image", "Other image", "Same − other", "p"]
    head += [f"SSIM {_bin(name)}" for name in bins] + ["Images"]
    body = [
        [
            row["dataset"],
            _bounded(row, "mean", ""),
            _bounded(row, "null_mean", "null_"),
            _bounded(row, "over_null", "over_null_", bold=row["over_null_low"] > 0),
            html.Span(level_text(row["over_null_p"]), className="whole"),
            *(str(int(row[f"count_{name}"])) for name in bins),
            html.Span(
                str(int(row["n_samples"])),
                title=f"in {int(row['n_clusters'])} clusters. {row['reason']}".strip(),
            ),
        ]
        for row in frame.to_dict("records")
    ]
    return figures_table(head, body, numeric_from=1)


def _bin(name: str) -> str:
    """Write a bin of the study as in print: "<.7" becomes "< .7"."""
    return name.replace(">=", "≥ ").replace("<", "< ").replace("-", "–")


def _bounded(row: dict[Any, Any], name: str, start: str, bold: bool = False) -> Any:
    bounds = interval_text(row[f"{start}low"], row[f"{start}high"])
    value = _bold(number_text(row[name]), bold)
    return html.Div([value, html.Div(bounds, className="muted small")], className="whole")


SIMILARITY = Card(
    id="map-similarity",
    title="Do maps agree between variants?",
    call=_similarity_call,
    text=_similarity_text,
    figure=lambda at, frame: plots.figure_map_similarity(frame, at.theme),
    below=_similarity_table,
    label="Similarity of maps by dataset",
    controls=(Control("mode", "Way of comparing", lambda at: MODES, "segmented"),),
    height=420,
    about=("detector", "mode"),
    help=HELP["map_similarity"],
)


# --- Where in the face --------------------------------------------------------------------------


def _parts(at: At) -> dict[str, str]:
    """Return the parts of maps of the first detector that has them; the same for all of a run."""
    names = ["positive", "negative"]
    for label in at.run.detectors:
        try:
            names = [str(name) for name in at.run.attention(label).data["part"].values]
            break
        except ProbeError:
            continue
    return {name: name.capitalize() for name in names}


def _attention_call(at: At) -> Call:
    found = at.table("attention", _detector(at))
    part = at.chosen.named("part", [str(name) for name in found.value.data["part"].values])
    return Call("region_attention", found, what=at.chosen.named("what", list(WHAT)), part=part)


#: How regions were found, in words.
_REGIONS = {"lab": "exact, drawn again from the lab", "landmarks": "placed by landmarks"}


def _attention_text(at: At, frame: pd.DataFrame) -> Any:
    """Say how many cells differ, and what regions rest on."""
    about, q = frame.attrs, plots.shown_regions(frame)["value_q"]
    asked = (
        "changes from the real frame differ from 0"
        if about["what"] == "change"
        else "concentrations differ from those of the other groups of their label"
    )
    rests = f"{about['method']} at {about['layer']}" if about["layer"] else about["method"]
    n = about["n_faceless"]
    faceless = f" {n} images without a face are left out." if n else ""
    regions = _REGIONS.get(about["source"], about["source"])
    found = html.B(f"{int((q <= ALPHA).sum())} of {int(q.notna().sum())}")
    return html.Div(
        [
            html.Div([found, f" {asked} (q ≤ 0.05)."], className="sentence"),
            html.Div(
                f"{rests}; {about['part']} mass. Regions: {regions}.{faceless}",
                className="reading",
            ),
        ]
    )


ATTENTION = Card(
    id="attention-by-region",
    title="Where in the face?",
    call=_attention_call,
    text=_attention_text,
    figure=lambda at, frame: plots.figure_region_attention(frame, at.theme),
    label="Concentration of maps by region",
    controls=(
        Control("part", "Part of the mass", _parts, "segmented"),
        Control("what", "Statistic", lambda at: WHAT, "segmented"),
    ),
    height=420,
    about=("detector", "part", "what"),
    help=HELP["regions"],
)


PAGE = Page(
    path="/attribution",
    title="Attribution",
    question="Where does a detector look, and can the map be believed?",
    controls=(DETECTOR,),
    needs=_detector,
    items=(IMAGES, MAPS, TRUST, SIMILARITY, ATTENTION),
    register=_register,
)
