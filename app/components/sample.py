"""One image: what is known of it, ways to others, its units and maps."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

from app.components.tables import figures_table, number_text
from app.prefix import at
from app.queries.sample import MOST_HITS, Found, Hit, Links, SampleView
from app.queries.sample_place import OneMap
from app.queries.sample_units import FAR, Deviation, DeviationsView
from app.queries.uploads import Dropped
from app.selection import Selection

__all__ = [
    "MOST_UNITS",
    "dropped_facts",
    "hits_list",
    "large",
    "large_dropped",
    "maps_row",
    "sample_facts",
    "sample_link",
    "units_table",
]

#: Units that the table has room for.
MOST_UNITS = 14


def sample_link(token: str, chosen: Selection | None = None) -> str:
    """Return the address of an image's page, with what is selected kept."""
    return at(f"/sample{(chosen or Selection()).but(sample=token, dropped='').search}")


def large(view: SampleView) -> list[Any]:
    """Show an image large, with the outline of its forgery mask over it."""
    about = f"{view.sample}: {view.kind}, video {view.video}, frame {view.frame}"
    layers = [html.Img(src=at(f"/image/{view.token}"), alt=about, className="whole-image")]
    if view.has_mask:
        layers.append(html.Img(src=at(f"/outline/{view.token}"), alt="", className="outline"))
    return [html.Div(layers, className="frame", title=about)]


def large_dropped(fingerprint: str, scored: bool) -> list[Any]:
    """Show an image from elsewhere: what the detectors saw, or the whole before they did."""
    part, about = ("seen", "What the detectors saw") if scored else ("whole", "The chosen image")
    image = html.Img(src=at(f"/dropped/{fingerprint}/{part}"), alt=about, className="whole-image")
    return [html.Div(image, className="frame", title=about)]


def sample_facts(view: SampleView, links: Links, chosen: Selection, worst: str) -> list[Any]:
    """Say what is known of an image, and link to others."""
    method = view.method if view.label else "—"
    lines: list[tuple[str, Any]] = [
        ("Image", view.sample),
        ("Label", html.Span(view.kind, className=f"label {view.kind}")),
        ("Dataset", f"{view.dataset}, {view.split}"),
        ("Method", method or "—"),
        ("Video", view.video or "—"),
        ("Frame", f"{view.frame} (image {links.position} of {links.n_frames} in the video)"),
        ("Identity", view.identity or "not known"),
        ("Source", view.source or "—"),
        ("Mask", "outlined where forged" if view.has_mask else "none"),
    ]
    other = "Paired real image" if view.label else "Paired fake"
    moves = [
        _move("Previous frame", links.before, chosen),
        _move("Next frame", links.after, chosen),
        _move(other, links.paired, chosen),
        _move(f"Worst error of {chosen.detector}", worst if worst != view.token else "", chosen),
    ]
    return [html.Dl(_pairs(lines), className="facts tight"), html.Div(moves, className="moves")]


def dropped_facts(found: Dropped) -> list[Any]:
    """Say what of an image from elsewhere was scored, and how."""
    lines: list[tuple[str, Any]] = [
        ("Image", "chosen from elsewhere, not in this run"),
        ("Size", f"{found.size[0]:,} × {found.size[1]:,} pixels"),
        ("Scored", found.rule),
        ("Seen as", f"{found.seen_size[0]:,} × {found.seen_size[1]:,} pixels"),
    ]
    notes = [html.Div(note) for note in found.notes]
    return [html.Dl(_pairs(lines), className="facts tight"), html.Div(notes, className="reading")]


def hits_list(found: Found, chosen: Selection) -> Any:
    """List what a search found, each a link."""
    if not found.total:
        return html.Div("No image has all of these words.", className="muted")
    more = f"The first {MOST_HITS} of {found.total:,}." if found.total > MOST_HITS else ""
    head = more or f"{found.total:,} image{'s' if found.total > 1 else ''}."
    return [
        html.Div(head, className="muted small", role="status"),
        html.Ul([html.Li(_hit(hit, chosen)) for hit in found.hits], className="hits"),
    ]


def units_table(view: DeviationsView, chosen: Selection) -> Any:
    """List the units with the most unusual activation, universal ones marked."""
    own = chosen.but(layer="", dropped="")
    body = []
    for row in _listed(view):
        link = dcc.Link(f"unit {row.name}", href=at(f"/neurons{own.but(unit=row.name).search}"))
        mark = html.Span("universal", className="tag") if row.marked else ""
        body.append(
            [
                html.Span([link, mark], className="whole"),
                _bar(row.deviations),
                _signed(row.deviations),
                number_text(row.value),
                number_text(row.center),
            ]
        )
    head = ["unit", "", "deviations", "activation", "median of reals"]
    return [
        figures_table(head, body, numeric_from=2),
        html.Div(units_text(view), className="reading"),
    ]


def _listed(view: DeviationsView) -> list[Deviation]:
    """Choose the units to list: the most unusual, and universal ones wherever they stand."""
    universal = [i for i, row in enumerate(view.rows) if row.marked][: MOST_UNITS // 2]
    others = [i for i, row in enumerate(view.rows) if not row.marked]
    chosen = sorted([*universal, *others[: MOST_UNITS - len(universal)]])
    return [view.rows[i] for i in chosen]


def units_text(view: DeviationsView) -> list[Any]:
    """Say how many units are far out, and what that is not."""
    marked = [row for row in view.marked if abs(row.deviations) > FAR]
    among = f"{view.n:,} " + ("" if view.n == view.total else f"of {view.total:,} ") + view.among
    lines = [
        f"Layer {view.layer}: {len(view.far):,} of {len(view.rows):,} units lie beyond {FAR:g} "
        f"deviations from the median of {among}."
    ]
    if view.marked:
        lines.append(f"So do {len(marked):,} of the universal ones ({len(view.marked):,}, marked).")
    if view.undefined:
        lines.append(f"{view.undefined:,} units do not vary among the reals and are left out.")
    lines.append("A description of this image, not a test.")
    return [html.Div(" ".join(lines))]


def maps_row(maps: list[OneMap], chosen: Selection) -> Any:
    """Show an image's maps small, and link to the page of maps, which has their scales."""
    figures = [
        html.Figure(
            [
                html.Div(
                    html.Img(src=at(one.source), alt=f"Map by {one.title}"), className="frame"
                ),
                html.Figcaption(one.title, className="small muted"),
            ],
            className="picture",
        )
        for one in maps
    ]
    link = dcc.Link("Attribution", href=at(f"/attribution{chosen.search}"))
    text = f"What moves the logit of {chosen.detector}; scales, methods and how far to trust them: "
    return [
        html.Div(figures, className="sample-maps-row"),
        html.Div([text, link, "."], className="reading"),
    ]


def _pairs(lines: list[tuple[str, Any]]) -> list[Any]:
    return [part for name, value in lines for part in (html.Dt(name), html.Dd(value))]


def _move(text: str, token: str, chosen: Selection) -> Any:
    """Link to another image; where there is none, the words stay, so that nothing moves."""
    if not token:
        absent: dict[str, Any] = {"aria-disabled": "true"}
        return html.Span(text, className="move absent", **absent)
    return dcc.Link(text, href=sample_link(token, chosen), className="move")


def _hit(hit: Hit, chosen: Selection) -> Any:
    kind = "fake" if hit.label else "real"
    about = html.Span(f"{hit.dataset}, {kind}, frame {hit.frame}", className="muted small")
    return dcc.Link([hit.sample, about], href=sample_link(hit.token, chosen))


def _bar(deviations: float) -> Any:
    """Draw a deviation to either side of a middle, which ends at 8."""
    share = min(abs(deviations), 8.0) / 16 * 100
    left = 50 - share if deviations < 0 else 50
    kind = "deviation far" if abs(deviations) > FAR else "deviation"
    return html.Div(
        html.Div(style={"left": f"{left:.1f}%", "width": f"{share:.1f}%"}, className=kind),
        className="deviation-room",
    )


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
