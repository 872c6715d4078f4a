"""Sample: one image, of the run or from elsewhere, through everything."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
import numpy as np
import pandas as pd
from dash import Dash, Input, Output, dcc, html
from numpy.typing import NDArray

from app.card import (
    DETECTOR,
    At,
    Call,
    Card,
    Control,
    Group,
    Job,
    Page,
    QuietError,
    Ref,
    jump,
    part,
)
from app.help import HELP
from app.images import lacks_note
from app.jobs import Jobs, Task, map_task, maps_of
from app.layout import figures_table, fixed, number_text, signed_text
from app.maps import column_of, draw_alone, image_under
from app.maps_grid import scale_bar
from app.message import problem
from app.pages import upload
from app.pages.upload import Elsewhere, dropped_at, notice
from app.prefix import at as address
from app.run import Run, derived, unit_layer
from app.uploads import Dropped, comparable
from probe import plots
from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE, Dataset
from probe.datasets.subset import original_positions
from probe.errors import ProbeError, UnknownNameError
from probe.images import token_of
from probe.plots.sample import KINDS
from probe.reader import stamp_of
from probe.run import MissingTableError

__all__ = ["PAGE"]

#: Images that a search lists, and how long its text may be.
MOST_HITS, LONGEST = 50, 200

#: Units that the table has room for; maps that are shown, the page of maps has the others.
MOST_UNITS, MOST_MAPS = 14, 6

#: Methods of maps that are offered, by their registered names: the study's, and those that checks
#: favor.
METHODS = {
    "gradcam": "Grad-CAM",
    "feature_ablation": "Superpixel ablation",
    "occlusion": "Occlusion",
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "Integrated gradients",
}


# --- Which image --------------------------------------------------------------------------------


def image_of(at: At) -> dict[str, Any]:
    """Return what the sample table says of the chosen image, with its token and kind.

    Raises
    ------
    ProbeError
        If the run holds no such image, or no images.
    """
    token = at.chosen.sample or worst_error(at.run, at.detector)
    row = at.run.rows.get(token)
    if row is None:
        raise QuietError(
            "The address names an image that is not in this run. Search for one on the page."
        )
    table = at.run.data.samples.table
    one = {str(name): value for name, value in table.iloc[row].to_dict().items()}
    return {**one, "token": token, "kind": "fake" if one["label"] else "real"}


def worst_error(run: Run, label: str) -> str:
    """Return the token of the image that a detector is most wrong about, by its logit.

    Without scores it is the first image of the run.

    Raises
    ------
    ProbeError
        If the run holds no images.
    """
    first = token_of(str(run.data.samples.table["sample"].iloc[0]))
    try:
        scores = run.scores
    except ProbeError:
        return first
    worst = derived(_worst, (scores,), label)
    return worst if worst in run.rows else first


def _worst(scores: pd.DataFrame, label: str) -> str:
    """Return the token of the detector's worst error; empty where it has no scores."""
    own = scores[(scores["detector"] == label).to_numpy()]
    if own.empty:
        return ""
    logit = own["logit"].to_numpy(dtype=np.float64)
    wrong = np.where(own["label"].to_numpy() == 1, -logit, logit)
    wrong[~np.isfinite(wrong)] = -np.inf
    return token_of(str(own["sample"].iloc[int(np.argmax(wrong))]))


# --- The image, and ways to others --------------------------------------------------------------


def _image(at: At) -> Any:
    """Show the image large, what is known of it, and links to others."""
    over: list[Any] = []
    under: list[Any] = []
    try:
        shown, facts = _whole_dropped(at) if at.chosen.dropped else _whole(at)
        over = [notice(at.run)] if at.chosen.dropped else []
    except ProbeError as error:
        shown, facts = [], [problem(error)]
        if isinstance(error, QuietError) and error.again:
            shown = _framed(f"/dropped/{at.chosen.dropped}/whole", "The chosen image")
            facts = [html.Div(str(error), className="muted waiting")]
            under = [dcc.Interval(id=part("tick", "sample-view"), interval=1000)]
    outlined = "" if at.chosen.outline == "off" else " outlined"
    columns = [
        html.Div(shown, className=f"sample-image{outlined}"),
        html.Div(facts, className="sample-facts"),
    ]
    return [*over, html.Div(columns, className="sample-columns"), *under]


def _framed(source: str, about: str, *over: Any) -> list[Any]:
    whole = html.Img(src=address(source), alt=about, className="whole-image")
    return [html.Div([whole, *over], className="frame", title=about)]


def _whole(at: At) -> tuple[list[Any], list[Any]]:
    image = image_of(at)
    token = image["token"]
    about = f"{image['sample']}: {image['kind']}, video {image['video']}, frame {image['frame']}"
    over = []
    if image["mask"]:
        over = [html.Img(src=address(f"/outline/{token}"), alt="", className="outline")]
    facts = _facts(at, image)
    if not at.chosen.sample:
        text = f"No image is chosen yet: this is the one that {at.detector} gets most wrong."
        facts = [html.Div(text, className="reading"), *facts]
    return [*_framed(f"/image/{token}", about, *over), lacks_note(at.run, [token])], facts


def _facts(at: At, image: Mapping[str, Any]) -> list[Any]:
    links = links_of(at.run, image)
    place = f"{image['frame']} (image {links['position']} of {links['n_frames']} in the video)"
    lines: list[tuple[str, Any]] = [
        ("Image", str(image["sample"])),
        ("Label", html.Span(image["kind"], className=f"label {image['kind']}")),
        ("Dataset", f"{image['dataset']}, {image['split']}"),
        ("Method", (image["method"] if image["label"] else "") or "—"),
        ("Video", image["video"] or "—"),
        ("Frame", place),
        ("Identity", image["identity"] or "not known"),
        ("Source", image["source"] or "—"),
        ("Mask", "outlined where forged" if image["mask"] else "none"),
    ]
    worst = worst_error(at.run, at.detector)
    moves = [
        _move("Previous frame", links["before"]),
        _move("Next frame", links["after"]),
        _move("Paired real image" if image["label"] else "Paired fake", links["paired"]),
        _move(f"Worst error of {at.detector}", worst if worst != image["token"] else ""),
    ]
    return [_pairs(lines), html.Div(moves, className="moves")]


def _whole_dropped(at: At) -> tuple[list[Any], list[Any]]:
    """Show what the detectors saw of an image from elsewhere; say what was scored, and how."""
    found = dropped_at(at)
    lines: list[tuple[str, Any]] = [
        ("Image", "chosen from elsewhere, not in this run"),
        ("Size", f"{found.size[0]:,} × {found.size[1]:,} pixels"),
        ("Scored", found.rule),
        ("Seen as", f"{found.seen_size[0]:,} × {found.seen_size[1]:,} pixels"),
    ]
    notes = html.Div([html.Div(note) for note in found.notes], className="reading")
    shown = _framed(f"/dropped/{at.chosen.dropped}/seen", "What the detectors saw")
    return shown, [_pairs(lines), notes]


def _pairs(lines: list[tuple[str, Any]]) -> Any:
    pairs = [one for name, value in lines for one in (html.Dt(name), html.Dd(value))]
    return html.Dl(pairs, className="facts tight")


def _move(text: str, token: str) -> Any:
    """Link to another image; where there is none, the words stay, so that nothing moves."""
    if not token:
        absent: dict[str, Any] = {"aria-disabled": "true"}
        return html.Span(text, className="move absent", **absent)
    return jump(text, className="move", sample=token, dropped="")


def links_of(run: Run, image: Mapping[str, Any]) -> dict[str, Any]:
    """Find the images beside one, and the one that it is paired with.

    Parameters
    ----------
    run : Run
        What holds the images.
    image : mapping
        See `image_of`.

    Returns
    -------
    dict
        ``before``, ``after`` (tokens of the frames beside it in its video), ``position`` (its place
        in the video, from 1), ``n_frames`` and ``paired`` (token of the real image that a fake is
        paired with, or of the fake that is paired with a real one); "" where there is none.
    """
    table = run.data.samples.table
    # A video key may hold both classes where a layout names them alike.
    same = _equal(table, **{name: image[name] for name in ("video", "dataset", "method")})
    rows = np.flatnonzero(same & (table["label"].to_numpy() == image["label"]))
    rows = rows[np.argsort(table["frame"].to_numpy()[rows], kind="stable")]
    at = int(np.flatnonzero(rows == run.rows[image["token"]])[0])
    return {
        "before": _token(table, int(rows[at - 1])) if at > 0 else "",
        "after": _token(table, int(rows[at + 1])) if at + 1 < len(rows) else "",
        "position": at + 1,
        "n_frames": len(rows),
        "paired": _paired(run.data, image),
    }


def _paired(data: Dataset, image: Mapping[str, Any]) -> str:
    table = data.samples.table
    if image["label"]:
        # Only what could be its original is handed on: the search walks through every row.
        near = _equal(table, identity=image["identity"]) & bool(image["identity"])
        own = np.flatnonzero(_equal(table, sample=image["sample"]))
        if "pair" in table:
            near |= _equal(table, sample=str(table["pair"].iloc[int(own[0])]))
        rows = np.flatnonzero(near & (table["label"].to_numpy() == 0))
        found = int(original_positions(data.take(own), data.take(rows))[0]) if len(rows) else -1
        return _token(table, int(rows[found])) if found >= 0 else ""
    if "pair" not in table:
        return ""
    fakes = np.flatnonzero(_equal(table, pair=image["sample"]) & (table["label"].to_numpy() == 1))
    # An original may be shared by several datasets; its own comes first.
    fakes = fakes[np.argsort(table["dataset"].to_numpy()[fakes] != image["dataset"], kind="stable")]
    return _token(table, int(fakes[0])) if len(fakes) else ""


def _equal(table: pd.DataFrame, **values: str) -> NDArray[np.bool_]:
    keep = np.ones(len(table), dtype=bool)
    for name, value in values.items():
        keep &= (table[name] == value).fillna(False).to_numpy(dtype=bool)
    return keep


def _token(table: pd.DataFrame, row: int) -> str:
    return token_of(str(table["sample"].iloc[row]))


IMAGE = Card(
    id="sample-view",
    title="The image",
    uses=("detector", "sample", "dropped"),
    body=_image,
    controls=(
        Control(
            "outline", "Outline the forged region", lambda at: {"1": "on", "off": "off"}, "switch"
        ),
    ),
    is_menu=False,
    height=380,
)


# --- Finding another ----------------------------------------------------------------------------

SEARCH, HITS = "sample-search-text", "sample-search-hits"


def _search(at: At) -> Any:
    named: dict[str, Any] = {"aria-label": "Find images by words of their ids"}
    listed: dict[str, Any] = {"role": "region", "aria-label": "Images found"}
    return [
        dmc.TextInput(
            id=SEARCH,
            placeholder="e.g. fake 0020",
            debounce=300,
            size="sm",
            # The page is laid out anew when another detector is chosen.
            persistence=True,
            persistence_type="memory",
            **named,
        ),
        html.Div(id=HITS, className="hits-room", tabIndex="0", **listed),
    ]


def found_rows(run: Run, text: str) -> NDArray[np.int64]:
    """Find images whose id, dataset, video, method or label hold all words of a text."""
    table = run.data.samples.table
    texts = derived(_texts, (run.data,))
    keep = np.ones(len(table), dtype=bool)
    for word in text[:LONGEST].lower().split():
        if word in ("real", "fake"):
            keep &= table["label"].to_numpy() == (word == "fake")
            continue
        keep &= texts.str.contains(word, regex=False).to_numpy(dtype=bool)
    return np.flatnonzero(keep)


def _texts(data: Dataset) -> pd.Series[str]:
    """Join what is searched, one text an image; no word spans two columns, for the line feeds."""
    table = data.samples.table
    joined = table["sample"].astype(str)
    for column in ("video", "dataset", "method"):
        joined = joined + "\n" + table[column].astype(str)
    return joined.str.lower()


def _hits(run: Run, text: str) -> Any:
    """List what a search found, each a link."""
    rows = found_rows(run, text)
    if not len(rows):
        return html.Div("No image has all of these words.", className="muted")
    total = len(rows)
    more = f"The first {MOST_HITS} of {total:,}." if total > MOST_HITS else ""
    head = more or f"{total:,} image{'s' if total > 1 else ''}."
    found = run.data.samples.table.iloc[rows[:MOST_HITS]].to_dict("records")
    return [
        html.Div(head, className="muted small", role="status"),
        html.Ul([html.Li(_hit(one)) for one in found], className="hits"),
    ]


def _hit(one: Mapping[Any, Any]) -> Any:
    kind = "fake" if one["label"] else "real"
    about = html.Span(f"{one['dataset']}, {kind}, frame {one['frame']}", className="muted small")
    name = str(one["sample"])
    return jump([name, about], sample=token_of(name), dropped="")


FIND = Card(
    id="sample-search", title="Find another", uses=(), body=_search, is_menu=False, height=164
)


def _register_search(app: Dash, run: Run) -> None:
    @app.callback(Output(HITS, "children"), Input(SEARCH, "value"))
    def find(text: Any) -> Any:
        if not isinstance(text, str) or not text.strip():
            return html.Div(
                "Words of an id, a video, a dataset or a method; also real and fake.",
                className="muted",
            )
        try:
            return fixed(_hits(run, text))
        except ProbeError as error:
            return problem(error)


# --- What every detector says -------------------------------------------------------------------

ANY = ("detector", "sample", "dropped")


def _scores(at: At) -> Ref:
    file = at.run.folder.path("evaluation").with_suffix(".scores.parquet")
    return Ref("run.scores", at.run.scores, (str(file), stamp_of(file)))


def _scores_call(at: At) -> Call:
    if at.chosen.dropped:
        found = dropped_at(at)
        try:
            others = _scores(at)
        except MissingTableError:
            nothing = pd.DataFrame({"detector": [], "label": [], "logit": [], "sample": []})
            others = Ref("", nothing, "no scores")
        return Elsewhere("sample_scores", others, Ref("", found.logits, at.chosen.dropped))
    image, scores = image_of(at), _scores(at)
    if image["sample"] not in derived(_ids_of, (scores.value,)):
        raise QuietError(
            f"No detector of this run scored this image: it is of the split {image['split']!r}, "
            "and scores are of test images. Choose one of those."
        )
    return Call("sample_scores", scores, sample=image["sample"], dataset=image["dataset"])


def _ids_of(table: Any) -> pd.Index[str]:
    """Return the ids that a table holds, to be looked up."""
    found: pd.Index[str] = pd.Index(np.asarray(table["sample"], dtype=object)).unique()
    return found


def _scores_text(at: At, frame: pd.DataFrame) -> Any:
    """Say how many detectors are right, or where an image from elsewhere is placed."""
    kind = frame.attrs["kind"]
    if not kind:
        text = (
            "Placed among all test images of the run. Whether a detector is right cannot be said: "
            "no label is known."
        )
        return html.Div(text, className="reading text-line")
    right = int(frame["right"].sum())
    text = f"The image is {kind}; {right} of {len(frame)} detectors say so at P(fake) = 0.5."
    wrong = -frame["logit"] if kind == "fake" else frame["logit"]
    worst = frame.iloc[int(np.argmax(wrong))]
    if not worst["right"]:
        text += f" Most wrong is {worst['detector']}"
        shares = worst["above_reals"], worst["above_fakes"]
        place = f"{shares[0]:.0%} of the reals and {shares[1]:.0%} of the fakes"
        known = np.isfinite(shares).all()
        dataset = frame.attrs["dataset"]
        text += f", which scores it above {place} of {dataset}." if known else "."
    return html.Div(text, className="reading text-line")


SCORES = Card(
    id="sample-scores",
    title="What does each detector say?",
    uses=ANY,
    call=_scores_call,
    figure=lambda at, frame: plots.figure_sample_scores(frame, at.theme),
    below=_scores_text,
    label="Logit of this image by each detector, among other images",
    about=("sample",),
    height=220,
    help=HELP["sample_scores"],
)


# --- What is unusual ----------------------------------------------------------------------------


def _units_call(at: At) -> Call:
    if at.chosen.dropped:
        return _dropped_units(at, dropped_at(at))
    image, store = image_of(at), _store(at)
    if image["sample"] not in derived(_ids_of, (store.value.samples,)):
        raise QuietError(
            f"The activations of this image were not recorded for {at.detector}: it is of the "
            f"split {image['split']!r}. Choose a test image, or record it."
        )
    wanted = (at.chosen.layer, unit_layer(at.run, at.detector))
    layers = store.value.layers
    layer = next((name for name in wanted if name in layers), layers[-1])
    refs = [store, *_universality(at, layer)]
    chosen = {"sample": image["sample"], "dataset": image["dataset"]}
    return Call("sample_units", *refs, layer=layer, **chosen)


def _dropped_units(at: At, found: Dropped) -> Call:
    label = at.detector
    if label not in found.activations:
        raise QuietError(f"{label} did not score this image: its weights are not in the run.")
    if not len(found.activations[label]):
        raise QuietError(f"The run holds no activations of {label} to compare these with.")
    layer = found.layers[label]
    nothing = Ref("None", None, "no universality")
    universality = (*_universality(at, layer), nothing)[0]
    own = Ref("", found.activations[label], (at.chosen.dropped, label))
    return Elsewhere("sample_units", _store(at), universality, own, layer=layer)


def _store(at: At) -> Ref:
    store = at.run.store(at.detector)
    key = (str(store.path), stamp_of(store.path / "zarr.json"))
    return Ref(f"run.store({at.detector!r})", store, key)


def _universality(at: At, layer: str) -> list[Ref]:
    """Return the universality, where the layer is its and it was looked for."""
    if layer != unit_layer(at.run, at.detector):
        return []
    try:
        return [at.table("universality")]
    except ProbeError:
        return []


def _units(at: At) -> Any:
    """List the units with the most unusual activation, universal ones marked."""
    frame = _units_call(at).frame()
    body = []
    for one in _listed(frame).to_dict("records"):
        name = f"unit {one['unit']}"
        link = jump(name, "/neurons", unit=one["unit"], layer="", dropped="", **_named(at))
        mark = html.Span("universal", className="tag") if one["universal"] else ""
        body.append(
            [
                html.Span([link, mark], className="whole"),
                _bar(one["deviations"], frame.attrs["far"]),
                signed_text(one["deviations"], 1),
                number_text(one["value"]),
                number_text(one["median_of_reals"]),
            ]
        )
    head = ["unit", "", "deviations", "activation", "median of reals"]
    return [
        figures_table(head, body, numeric_from=2),
        html.Div(_units_text(frame), className="reading"),
    ]


def _named(at: At) -> dict[str, str]:
    """Name the detector and the image that are shown where the address names none; for links."""
    if at.chosen.dropped:
        return {"detector": at.detector}
    return {"detector": at.detector, "sample": image_of(at)["token"]}


def _listed(frame: pd.DataFrame) -> pd.DataFrame:
    """Choose the units to list: the most unusual, and universal ones wherever they are."""
    universal = frame.index[frame["universal"]][: MOST_UNITS // 2]
    others = frame.index[~frame["universal"]][: MOST_UNITS - len(universal)]
    return frame.loc[sorted([*universal, *others])]


def _bar(deviations: float, far: float) -> Any:
    """Draw a deviation to either side of a middle, which ends at 8."""
    share = min(abs(deviations), 8.0) / 16 * 100
    left = 50 - share if deviations < 0 else 50
    kind = "deviation far" if abs(deviations) > far else "deviation"
    return html.Div(
        html.Div(style={"left": f"{left:.1f}%", "width": f"{share:.1f}%"}, className=kind),
        className="deviation-room",
    )


def _units_text(frame: pd.DataFrame) -> str:
    """Say how many units are far out, and what that is not."""
    about, marked = frame.attrs, frame[frame["universal"]]
    n, total, far = about["n"], about["total"], about["far"]
    among = f"{n:,} " + ("" if n == total else f"of {total:,} ") + about["among"]
    lines = [
        f"Layer {about['layer']}: {_n_far(frame):,} of {len(frame):,} units lie beyond {far:g} "
        f"deviations from the median of {among}."
    ]
    if len(marked):
        lines.append(f"So do {_n_far(marked):,} of the universal ones ({len(marked):,}, marked).")
    if about["undefined"]:
        lines.append(f"{about['undefined']:,} units do not vary among the reals and are left out.")
    lines.append("A description of this image, not a test.")
    return " ".join(lines)


def _n_far(frame: pd.DataFrame) -> int:
    return int((frame["deviations"].abs() > frame.attrs["far"]).sum())


UNITS = Card(
    id="sample-units",
    title="Which units are unusual?",
    uses=(*ANY, "layer"),
    call=_units_call,
    body=_units,
    figure=lambda at, frame: plots.figure_sample_units(frame, at.theme),
    about=("detector", "sample"),
    height=540,
    help=HELP["sample_units"],
)


def _measurements_call(at: At) -> Call:
    if at.chosen.dropped:
        found, table = dropped_at(at), at.whole("measurements")
        given = comparable(found, table.value.data)
        return Elsewhere("sample_measurements", table, Ref("", given, at.chosen.dropped))
    image, table = image_of(at), at.whole("measurements")
    if image["sample"] not in derived(_ids_of, (table.value.data,)):
        raise QuietError("This image was not measured. Measurements are of test images.")
    chosen = {"sample": image["sample"], "dataset": image["dataset"]}
    return Call("sample_measurements", table, **chosen)


def _measured_text(at: At, frame: pd.DataFrame) -> Any:
    """Say which measurements are far out, and what that is not."""
    about = frame.attrs
    far = list(frame["measurement"][frame["deviations"].abs() > about["far"]])
    named = f": {', '.join(far[:6])}{' and others' if len(far) > 6 else ''}" if far else ""
    parts = [
        f"{len(far)} of {len(frame)} measurements lie beyond {about['far']:g} deviations from the "
        f"median of {about['n']:,} {about['among']}{named}."
    ]
    if about["undefined"]:
        parts.append(f"{about['undefined']} are not defined here.")
    parts.append("Arrows: beyond 8. A description of this image, not a test.")
    return html.Div(" ".join(parts), className="reading text-line")


MEASURED = Card(
    id="sample-measurements",
    title="What is unusual in the image itself?",
    uses=ANY,
    call=_measurements_call,
    figure=lambda at, frame: plots.figure_sample_measurements(frame, at.theme),
    below=_measured_text,
    label="Measurements of the image, in deviations from real images",
    about=("sample",),
    height=540,
    help=HELP["sample_measured"],
)


# --- Where it is among others, and where the detector looked -----------------------------------


def _place_call(at: At) -> Call:
    if at.chosen.dropped:
        dropped_at(at)
        raise QuietError(
            "The pictures are of this run's images. A point cannot be added to UMAP or t-SNE "
            "without moving what it means."
        )
    image, table = image_of(at), at.table("embeddings")
    data, own = table.value.data, unit_layer(at.run, at.detector)
    layers, kinds = ([str(name) for name in data[what].values] for what in ("layer", "method"))
    if image["sample"] not in derived(_ids_of, (data,)):
        raise QuietError(
            f"This image is not in the pictures of {at.detector}, which are of images whose "
            "activations were recorded. Choose a test image."
        )
    layer = at.chosen.layer or (own if own in layers else layers[-1])
    first = next((name for name in KINDS if name in kinds), kinds[0])
    method = at.chosen.embedding or first
    return Call(
        "sample_place", table, _samples(at), sample=image["sample"], layer=layer, method=method
    )


def _samples(at: At) -> Ref:
    root = at.run.folder.data
    stamps = (stamp_of(root / CARD_FILE), stamp_of(root / SAMPLES_FILE))
    return Ref("run.images().samples", at.run.data.samples, (str(root), *stamps))


def _place_text(at: At, frame: pd.DataFrame) -> Any:
    """Say which picture this is, how far to believe it, and where it is large."""
    about = frame.attrs
    kept = {"layer": at.chosen.layer} if at.chosen.layer else {}
    method = about["method"]
    link = jump("Separability", "/separability", embedding=method, dropped="", **kept, **_named(at))
    drawn, total = len(frame) - 1, about["total"]
    thinned = f", {drawn:,} of {total:,} drawn" if drawn < total else ""
    text = (
        f"{KINDS.get(method, method)} of {about['layer']}{thinned}; trustworthiness "
        f"{about['trustworthiness']:.2f}. Distances are no measurement. Larger, with colors to "
        "choose: "
    )
    return html.Div([text, link, "."], className="reading text-line")


PLACE = Card(
    id="sample-place",
    title="Where does it lie among others?",
    uses=(*ANY, "layer", "embedding"),
    call=_place_call,
    figure=lambda at, frame: plots.figure_sample_place(frame, at.theme),
    below=_place_text,
    label="The image's point in the picture of a layer",
    about=("detector", "sample"),
    height=380,
    help=HELP["picture"],
)


def _maps(at: At) -> Any:
    """Show an image's maps small, and link to the page of maps, which has their scales."""
    if at.chosen.dropped:
        dropped_at(at)
        raise QuietError("Maps are made of this run's images only.")
    figures = [
        html.Figure(
            [
                html.Div(html.Img(src=address(source), alt=f"Map by {title}"), className="frame"),
                html.Figcaption(title, className="small muted"),
            ],
            className="picture",
        )
        for title, source in maps_of_image(at).items()
    ]
    link = jump("Attribution", "/attribution", **_named(at))
    text = f"What moves the logit of {at.detector}; scales, methods and how far to trust them: "
    return fixed(
        html.Div(figures, className="sample-maps-row"),
        html.Div([text, link, "."], className="reading"),
    )


def maps_of_image(at: At) -> dict[str, str]:
    """Return the names of methods to addresses of the image's maps, at most `MOST_MAPS`.

    Raises
    ------
    MissingTableError
        If the run holds no maps of the detector.
    ProbeError
        If none of them shows this image.
    """
    run, label, image = at.run, at.detector, image_of(at)
    methods = run.map_methods(label)
    if not methods:
        # Raises that there are none.
        run.maps(label, "")
    found: dict[str, str] = {}
    for method in methods:
        maps = run.maps(label, method)
        if (maps.data["sample"].values.astype(object) == image["sample"]).any():
            title = str(maps.data.attrs.get("title", method))
            # The stamp makes it another address when the maps were made again.
            stamp = stamp_of(run.folder.path("maps", label, method) / "zarr.json")
            found[title] = f"/map/{image['token']}/{token_of(label)}/{method}?v={stamp}"
        if len(found) == MOST_MAPS:
            break
    if not found:
        raise QuietError(
            f"The maps of {label} are of other images. The page Attribution lists which."
        )
    return found


MAPS = Card(
    id="sample-maps",
    title="Where did the detector look?",
    uses=ANY,
    body=_maps,
    is_menu=False,
    height=380,
)


# --- A map on request ---------------------------------------------------------------------------


def _task(at: At) -> Task:
    """Ask for a map of the image that the address names."""
    method = at.chosen.method or next(iter(METHODS))
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS, remedy="Choose one on the page.")
    if at.chosen.dropped:
        raise ProbeError("Maps are made of images of the run; choose one above.")
    return map_task(at.run, at.detector, [image_of(at)["token"]], method)


def _made_map(at: At, jobs: Jobs, fingerprint: str) -> Any:
    """Show the map beside its scale, and whether it sums to what it should."""
    maps = maps_of(jobs, fingerprint)
    sample = str(maps.data["sample"].values[0])
    values = np.asarray(maps.values[0], dtype=np.float64)
    image = image_under(at.run, token_of(sample))
    height, width = values.shape if image is None else image.shape[:2]
    content, limit = draw_alone(values, maps.signed, width, height)
    column, gap = column_of(maps, limit), float(maps.data["gap"].values[0])
    text = "The scale is that of this map alone. "
    if np.isfinite(gap):
        text += (
            f"It sums to {number_text(float(values.sum()))}, which misses what the method promises "
            f"by {number_text(gap)}."
        )
    else:
        text += "The method does not promise what it sums to."
    source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    shown = html.Img(src=source, alt=f"Map of {sample} by {column.title}", className="made-map")
    scale = html.Div([scale_bar(column, laid=False), html.Div(text, className="reading")])
    return html.Div([shown, scale], className="made-map-columns")


def _invitation(task: Task) -> Any:
    method = task.params["method"]
    text = (
        f"Not made yet. {METHODS.get(method, method)} explains the fake logit of the detector "
        "above; this takes seconds to minutes, and goes on if the page is left."
    )
    return html.Div(text, className="job-note")


MADE = Card(
    id="sample-made",
    title="Make a map of this image",
    uses=ANY,
    job=Job("Make it", _task, _made_map, _invitation),
    controls=(Control("method", "Method of the map", lambda at: METHODS, width=180),),
    is_menu=False,
    height=240,
    help=HELP["maps"],
)


def _register(app: Dash, run: Run) -> None:
    _register_search(app, run)
    upload.register(app, run)


PAGE = Page(
    path="/sample",
    title="Sample",
    question="What does one image look like to every detector?",
    controls=(DETECTOR,),
    needs=lambda at: at.detector,
    items=(
        Group((IMAGE, Group((FIND, upload.OWN), "stack")), "columns wide-columns"),
        SCORES,
        Group((UNITS, MEASURED)),
        Group((PLACE, MAPS)),
        MADE,
    ),
    register=_register,
)
