"""Compare: whether two detectors differ, and whether by more than noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dash_mantine_components as dmc
import numpy as np
import pandas as pd
from dash import html

from app.card import At, Call, Card, Control, Group, Page, graph, jump
from app.compare import (
    Pair,
    choices,
    common_datasets,
    default_detector,
    default_other,
    known_sides,
    lines,
    map_pair,
    measured_with,
    pair_of,
    require_one_run,
    require_related,
    score_refs,
)
from app.help import HELP
from app.images import Shown, lacks_note, shown_of
from app.layout import figures_table, fixed, interval_text, level_text, number_text, signed_text
from app.message import problem
from app.prefix import at as address
from app.run import Ref, derived
from app.selection import LEVELS, METRICS
from probe import plots
from probe.datasets.dataset import Dataset
from probe.errors import NotComparableError, ProbeError
from probe.plots.compare import ALPHA, MOST, further
from probe.plots.theme import short
from probe.reader import MAP_MODES

__all__ = ["PAGE"]

PAIR = ("detector", "other")

#: Images at each end.
EACH = 4

#: Differences of probes that are written out.
SOME = 6


def _pair(at: At) -> Pair:
    return pair_of(at.run, at.chosen)


# --- The two ------------------------------------------------------------------------------------


def _first_detectors(at: At) -> dict[str, str]:
    """List the detectors, the one first that is chosen where the address is silent."""
    return dict.fromkeys((default_detector(at.run), *at.run.detectors), "")


def _first_others(at: At) -> dict[str, str]:
    detector = at.chosen.detector or default_detector(at.run)
    keys = (side.key for side in known_sides(at.run))
    return dict.fromkeys((default_other(at.run, detector), *keys), "")


def _select(id: dict[str, str], label: str, data: Any, value: str | None) -> Any:
    return dmc.Select(id=id, label=label, data=data, value=value, allowDeselect=False, w=230)


def _detector(id: dict[str, str], at: At) -> Any:
    """Place the select in the order of the run; what the address cannot mean is not chosen."""
    value = at.chosen.detector or default_detector(at.run)
    return _select(id, "Detector", at.run.detectors, value if value in at.run.detectors else None)


def _other(id: dict[str, str], at: At) -> Any:
    """Place the select of all runs, and before it the link that exchanges the two."""
    known = [side.key for side in known_sides(at.run)]
    value = at.chosen.other or next(iter(_first_others(at)))
    select = _select(id, "Compared with", choices(at.run), value if value in known else None)
    return dmc.Group([_swap(at), select], wrap="nowrap", align="flex-end", gap="sm")


def _swap(at: At) -> Any:
    """Exchange the two; of two runs, the first cannot be of the other one."""
    try:
        pair = _pair(at)
    except ProbeError:
        return html.Span("⇄", className="swap off")
    if not pair.same_run:
        return html.Span("⇄", className="swap off")
    given = {"detector": pair.other.label, "other": pair.one.label}
    link = jump("⇄", className="swap", layer="", unit="", units="", **given)
    setattr(link, "aria-label", "Exchange the two")
    return link


_RESETS = ("layer", "unit", "units")

DETECTOR = Control(
    "detector",
    "Detector",
    _first_detectors,
    make=_detector,
    resets=_RESETS,
    head=True,
    twin="other",
)
OTHER = Control(
    "other",
    "Compared with",
    _first_others,
    make=_other,
    resets=_RESETS,
    head=True,
    twin="detector",
)


# --- Does it detect better or worse? ------------------------------------------------------------


def _scores_of(at: At) -> tuple[tuple[Ref, ...], dict[str, Any]]:
    """Return the scores of both and of further seeds, and what of them can be compared."""
    pair = _pair(at)
    refs, (kept, _) = score_refs(pair), common_datasets(pair)
    every = {str(name) for ref in refs[:2] for name in ref.value["dataset"].unique()}
    chosen: dict[str, Any] = {} if pair.same_run else {"names": pair.titles}
    return refs, chosen | ({"datasets": list(kept)} if every - set(kept) else {})


def _scores(at: At) -> Call:
    refs, chosen = _scores_of(at)
    ci, seed = measured_with(_pair(at))
    metric = at.chosen.named("metric", list(METRICS))
    level = at.chosen.named("level", list(LEVELS))
    return Call("pair_scores", *refs, metric=metric, level=level, **chosen, ci=ci, seed=seed)


def _scores_text(at: At, frame: pd.DataFrame) -> Any:
    """Say in how many datasets something changed beyond noise, and whose noise that is."""
    changed, tested = frame[frame["more_than_noise"]], int(np.isfinite(frame["p"]).sum())
    about = frame.attrs
    of = f" the {about['metric']} of {about['names'][0]} differs from that of {about['names'][1]}"
    if not tested:
        first = "No dataset has enough people for an interval, so no difference in "
        parts: list[Any] = [f"{first}{about['metric']} can be told from noise."]
    elif not len(changed):
        parts = [html.B(f"In none of {tested} datasets"), f"{of} by more than noise."]
    else:
        which = ", ".join(
            f"{row['dataset']} ({signed_text(row['difference'])})"
            for row in changed.to_dict("records")
        )
        some = html.B(f"In {len(changed)} of {tested} datasets")
        parts = [some, f"{of} by more than noise: {which}."]
    better = " Lower is better." if frame["metric"].iloc[0] == "eer" else ""
    noise = (
        f"Lines: {about['ci']:.0%} intervals, whole clusters resampled for both together. "
        f"Filled: q ≤ .05, p adjusted over the {tested} datasets (Benjamini-Hochberg).{better}"
    )
    said = [
        html.Div(parts, className="sentence"),
        html.Div(_trainings(frame), className="verdict"),
        html.Div([html.Div(noise), *map(html.Div, _left_out(at, frame))], className="reading"),
    ]
    return html.Div(said, className="compare-text")


def _left_out(at: At, frame: pd.DataFrame) -> Iterator[str]:
    """Say which images and datasets were not compared."""
    yield from common_datasets(_pair(at))[1]
    common, (one, other) = frame.attrs["n_common"], frame.attrs["n_images"]
    if common < max(one, other):
        yield (
            f"{common:,} images are in both score tables ({one:,} and {other:,}); only these are "
            "compared."
        )


def _trainings(frame: pd.DataFrame) -> str:
    """Say what is known of the spread over trainings."""
    names = further(frame)
    if not names:
        return (
            "The noise is over people, not over trainings: with one training each, nothing says "
            "that another seed would not differ as much."
        )
    n = len(names)
    again = f"{n} further {'trainings' if n > 1 else 'training'} from other seeds"
    every = frame[["difference", *names]].to_numpy()
    low, high = np.nanmin(every, axis=1), np.nanmax(every, axis=1)
    widest = int(np.nanargmax(high - low))
    spread = (
        f"Over {n + 1} trainings the difference is {signed_text(low[widest])} to "
        f"{signed_text(high[widest])} in {frame['dataset'].iloc[widest]}, where it varies most."
    )
    changed = frame["more_than_noise"].to_numpy()
    if not changed.any():
        return f"The noise is over people. Crosses: {again}. {spread}"
    signs = np.sign(every[changed])
    held = int((signs == signs[:, :1]).all(axis=1).sum())
    return (
        f"The noise is over people. Crosses: {again}; {held} of the {int(changed.sum())} "
        f"differences keep their sign in all of them. {spread}"
    )


SCORES = Card(
    id="compare-scores",
    title="Does it detect better or worse?",
    uses=PAIR,
    call=_scores,
    text=_scores_text,
    figure=lambda at, frame: plots.figure_pair_scores(frame, at.theme),
    label="Both detectors by dataset, and their paired difference with its interval",
    controls=(
        Control("metric", "Metric", lambda at: METRICS, "segmented"),
        Control("level", "Level", lambda at: LEVELS, "segmented"),
    ),
    about=(*PAIR, "metric", "level"),
    height=342,
    help=HELP["paired"],
)


# --- On which images do they differ most? -------------------------------------------------------


def _images(at: At) -> Call:
    refs, chosen = _scores_of(at)
    chosen = {"dataset": at.chosen.dataset, **chosen} if at.chosen.dataset else chosen
    return Call("pair_images", *refs[:2], **chosen)


def _images_body(at: At) -> Any:
    """Show all images as points, and those at both ends as pictures."""
    frame = _images(at).frame()
    one, other = frame.attrs["names"]
    n = f"{len(frame):,}"
    drawn = f"{MOST:,} of {n} images, drawn at random" if len(frame) > MOST else f"All {n} images"
    note = (
        f"{drawn}. On the dotted line both agree. Under the images: P(fake) of {one} (bold) and of "
        f"{other}. An image opens on its own page."
    )
    figure = plots.figure_pair_images(frame, at.theme)
    points = graph(IMAGES.id, figure, 380, IMAGES.label)
    left = html.Div([points, html.Div(note, className="reading")])
    right = html.Div(_strips(at, frame), className="compare-images")
    return html.Div([left, right], className="compare-columns")


def _strips(at: At, frame: pd.DataFrame) -> Any:
    """Show the images at both ends, each with the scores of both."""
    one, other = frame.attrs["names"]
    ends = {"more": list(_known(at, _end(frame, 1))), "less": list(_known(at, _end(frame, -1)))}
    strips = [
        html.Div(
            [
                html.Div(f"{one} says {way} fake than {other}", className="strip-head"),
                html.Div(
                    [_changed(row, shown, (one, other)) for row, shown in found]
                    or [html.Div("There is no such image.", className="muted small")],
                    className="strip",
                ),
            ],
            className="compare-strip",
        )
        for way, found in ends.items()
    ]
    tokens = (shown.token for found in ends.values() for _, shown in found)
    return fixed(html.Div(strips), lacks_note(at.run, tokens))


def _end(frame: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Return the images that the first calls more, or less, fake; at most one frame a video."""
    rows = frame[np.sign(frame["difference"]) == sign][::sign]
    found: pd.DataFrame = rows.drop_duplicates(["dataset", "video", "label"]).head(EACH)
    return found


def _known(at: At, rows: pd.DataFrame) -> Iterator[tuple[dict[Any, Any], Shown]]:
    """Look up the images; what the run's images do not hold is not shown."""
    known = derived(_by_sample, (at.run.data,))
    for row in rows.to_dict("records"):
        if row["sample"] in known.index:
            about = known.loc[[row["sample"]]].iloc[0].to_dict()
            yield row, shown_of({**about, "activation": np.nan, "logit": row["logit"]})


def _by_sample(data: Dataset) -> pd.DataFrame:
    table: pd.DataFrame = data.samples.table
    return table.set_index("sample", drop=False)


def _changed(row: dict[Any, Any], shown: Shown, names: tuple[str, str]) -> Any:
    kind, (one, other) = "fake" if shown.label else "real", names
    p, other_p = f"{row['p_fake']:.2f}", f"{row['other_p_fake']:.2f}"
    about = f"{shown.sample}: {kind}, P(fake) {p} by {one}, {other_p} by {other}"
    layers = [html.Img(src=address(f"/thumb/{shown.token}"), alt=about, className="thumb")]
    if shown.has_mask:
        layers.append(html.Img(src=address(f"/outline/{shown.token}"), alt="", className="outline"))
    place = [
        html.Span(kind, className=f"label {kind}"),
        html.Span(row["dataset"], className="method small"),
    ]
    scores = [
        html.Span(["P(fake) ", html.B(p)], title=f"by {one}"),
        html.Span(other_p, title=f"by {other}"),
    ]
    frame = html.Div(layers, className="frame", title=about)
    caption = [
        html.Div(place, className="caption-line"),
        html.Div(scores, className="caption-line numbers small"),
    ]
    link = jump(frame, "/sample", sample=shown.token, dataset=row["dataset"])
    return html.Figure([link, html.Figcaption(caption)], className="picture")


def _datasets(at: At) -> dict[str, str]:
    """List the datasets that have images of both."""
    names = _images(at.but(dataset="")).frame().attrs["datasets"]
    return {"": "All datasets"} | {name: name for name in names}


IMAGES = Card(
    id="compare-images",
    title="On which images do they differ most?",
    uses=PAIR,
    call=_images,
    body=_images_body,
    figure=lambda at, frame: plots.figure_pair_images(frame, at.theme),
    label="Every image at the logits of both detectors",
    controls=(Control("dataset", "Dataset of the images", _datasets),),
    about=(*PAIR, "dataset"),
    height=440,
    help=HELP["changed_images"],
)


# --- Do the same units matter? ------------------------------------------------------------------


def _units(at: At, plot: str = "pair_units") -> Call:
    pair = _pair(at)
    require_related(pair)
    tables = [side.ref(name) for name in ("neurons", "universality") for side in pair.sides]
    return Call(plot, *tables, names=[side.label for side in pair.sides])


def _unrelated(at: At) -> str:
    """Say why units have no common numbering; empty where they have one."""
    try:
        _units(at).frame()
    except NotComparableError as error:
        return str(error)
    except ProbeError:
        # The card says what is missing.
        return ""
    return ""


def _units_text(at: At, frame: pd.DataFrame) -> Any:
    """Say how far two lists overlap, beside what chance gives."""
    names = {"universal": "universal by the test", "counted": "universal by the study's count"}
    body = [
        [
            names[row["set"]],
            str(row["n_first"]),
            str(row["n_second"]),
            html.B(str(row["both"])),
            number_text(row["expected"]),
            level_text(row["p"]),
        ]
        for row in frame.to_dict("records")
    ]
    about = frame.attrs
    total = about["n_units"]
    more = f" The {MOST:,} strongest are drawn." if total > MOST else ""
    sentence: list[Any] = [
        "The contributions of the same units have a rank correlation of ",
        html.B(number_text(frame["spearman"].iloc[0])),
        f" (mean over datasets; {total:,} units of {about['layer']}).{more}",
    ]
    head = ["units that are", *about["names"], "both", "by chance", "p"]
    table = figures_table(head, body, numeric_from=1)
    return html.Div([html.Div(sentence, className="sentence"), table])


def _units_figure(at: At, frame: pd.DataFrame) -> dict[str, Any]:
    return plots.figure_pair_units(_units(at, "pair_effects").frame(), at.theme)


UNITS = Card(
    id="compare-units",
    title="Do the same units matter?",
    uses=PAIR,
    call=_units,
    text=_units_text,
    figure=_units_figure,
    label="Mean effect of units in both",
    about=PAIR,
    height=470,
    help=HELP["same_units"],
    when=lambda at: not _unrelated(at),
)


# --- How alike are their features? --------------------------------------------------------------


def _features(at: At) -> Call:
    pair = _pair(at)
    require_one_run(pair)
    return Call(
        "pair_features", pair.one.run.ref("similarity"), one=pair.one.label, other=pair.other.label
    )


def _features_body(at: At) -> Any:
    """Show the layer that differs most and all layers; first, why units are not compared."""
    why = _unrelated(at)
    said = [html.Div(why, className="verdict")] if why else []
    try:
        frame = _features(at).frame()
    except ProbeError as error:
        return [*said, problem(error)]
    least = frame.iloc[int(np.argmin(frame["cka"]))]
    sentence: list[Any] = [
        f"The features are least alike at {least['layer']}: CKA ",
        html.B(number_text(least["cka"])),
        f" ({interval_text(least['low'], least['high'])}; {least['n_samples']:,} images in "
        f"{least['n_clusters']:,} clusters).",
    ]
    figure = plots.figure_pair_features(frame, at.theme)
    return [
        *said,
        html.Div(sentence, className="sentence"),
        graph(FEATURES.id, figure, FEATURES.height, FEATURES.label),
    ]


FEATURES = Card(
    id="compare-features",
    title="How alike are their features?",
    uses=PAIR,
    call=_features,
    body=_features_body,
    figure=lambda at, frame: plots.figure_pair_features(frame, at.theme),
    label="Similarity of features by layer with its interval",
    about=PAIR,
    height=160,
    help=HELP["pair_features"],
)


# --- Where in the network do real and fake come apart? ------------------------------------------


def _layers(at: At) -> Call:
    pair = _pair(at)
    return Call(
        "pair_layers", *(side.ref("separability") for side in pair.sides), names=pair.titles
    )


def _layers_text(at: At, frame: pd.DataFrame) -> Any:
    """Say where two probes differ by more than noise, and how that was judged."""
    about = frame.attrs
    found = frame[frame["more_than_noise"] != 0]
    some = ", ".join(_above(row, about) for row in found.head(SOME).to_dict("records"))
    some += f" and {len(found) - SOME} more" if len(found) > SOME else ""
    sentence, note = (_unpaired if about["unpaired"] else _paired)(frame, some)
    return html.Div([html.Div(sentence, className="sentence"), html.Div(note, className="reading")])


def _above(row: dict[Any, Any], about: dict[Any, Any]) -> str:
    """Say which of the two is above at a layer and dataset, and by how much if that was tested."""
    by = "" if about["unpaired"] else f" by {short(abs(row['difference']))}"
    name = about["names"][0 if row["more_than_noise"] > 0 else 1]
    return f"{row['layer']} on {row['dataset']} ({name} above{by})"


def _unpaired(frame: pd.DataFrame, some: str) -> tuple[str, str]:
    sentence = (
        f"The intervals do not overlap at {some}."
        if some
        else "The intervals overlap at every layer and dataset, so none of these differences is "
        "shown to be more than noise."
    )
    note = (
        f"No paired interval: {frame.attrs['unpaired']} Intervals that do not overlap are a "
        "stricter test than a paired one, so small differences may be missed."
    )
    return sentence, note


def _paired(frame: pd.DataFrame, some: str) -> tuple[str, str]:
    tested = int(np.isfinite(frame["p"]).sum())
    found = int((frame["more_than_noise"] != 0).sum())
    sentence = (
        f"More than noise over people at {found} of {tested}: {some}."
        if some
        else f"None of {tested} differences is more than noise over people (q ≤ {ALPHA:g})."
        if tested
        else "No difference has an interval: fewer than five people or videos in every dataset."
    )
    note = (
        f"◆: q ≤ {ALPHA:g} over all layers and datasets, the same people resampled for both, other "
        "people to fit on allowed for. Bars are of each probe by itself and may overlap."
    )
    return sentence, note


LAYERS = Card(
    id="compare-layers",
    title="Where in the network do real and fake come apart?",
    uses=PAIR,
    call=_layers,
    text=_layers_text,
    figure=lambda at, frame: plots.figure_pair_layers(frame, at.theme),
    label="AUROC of probes of both detectors through the layers, by dataset",
    about=PAIR,
    height=310,
    help=HELP["pair_layers"],
)


# --- Do they look at the same places? -----------------------------------------------------------


def _maps(at: At) -> Call:
    pair = _pair(at)
    if not pair.same_run or pair.one.architecture != pair.other.architecture:
        raise NotComparableError(
            "Maps are compared image by image between variants of one architecture in one run."
        )
    found = pair.one.ref("map_similarity", pair.one.architecture, MAP_MODES[0])
    return Call("pair_maps", found, pair=map_pair(pair, found.value))


def _maps_text(at: At, frame: pd.DataFrame) -> Any:
    """Say whether maps of one image are more alike than maps of different ones."""
    tested, about = int(np.isfinite(frame["over_low"]).sum()), frame.attrs
    sentence = (
        f"In {int(frame['more_than_noise'].sum())} of {tested} datasets the maps of one image are "
        f"more alike than maps of different images ({about['ci']:.0%} interval of the paired "
        "difference above 0)."
        if tested
        else "No dataset has enough people for an interval."
    )
    rule = f"{about['method']}: {about['rule']}".strip(": ")
    return html.Div([html.Div(sentence, className="sentence"), html.Div(rule, className="reading")])


MAPS = Card(
    id="compare-maps",
    title="Do they look at the same places?",
    uses=PAIR,
    call=_maps,
    text=_maps_text,
    figure=lambda at, frame: plots.figure_pair_maps(frame, at.theme),
    label="Similarity of the maps of both by dataset, beside that of different images",
    about=PAIR,
    height=300,
    help=HELP["pair_maps"],
)


# --- What were they made of? --------------------------------------------------------------------


def _made_of(at: At) -> pd.DataFrame:
    """Set side by side what the two were made of."""
    pair = _pair(at)
    one, other = pair.titles
    rows = [
        {"what": line.what, one: line.one, other: line.other, "same": line.same}
        for line in lines(pair)
    ]
    return pd.DataFrame(rows)


def _made_of_table(at: At) -> Any:
    """Lay it out; differing lines come first, in bold."""
    pair = _pair(at)
    body = [
        [
            line.what if line.same else html.B(line.what),
            html.Span(
                "same" if line.same else "differs",
                className="tag-only same" if line.same else "tag-only",
            ),
            line.one,
            line.other,
        ]
        for line in sorted(lines(pair), key=lambda line: line.same)
    ]
    head: list[Any] = ["", "", *pair.titles]
    return html.Div(figures_table(head, body, numeric_from=9), className="made-of")


MADE_OF = Card(
    id="compare-made-of",
    title="What were they made of?",
    uses=PAIR,
    body=_made_of_table,
    frame=_made_of,
    about=PAIR,
    height=300,
    help=HELP["made_of"],
)


PAGE = Page(
    path="/compare",
    title="Compare",
    question="What differs between two detectors, and is it more than noise?",
    controls=(DETECTOR, OTHER),
    needs=_pair,
    items=(
        SCORES,
        IMAGES,
        Group((UNITS, Group((FEATURES, MAPS), "stack"))),
        LAYERS,
        MADE_OF,
    ),
)
