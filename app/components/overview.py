"""Parts of the Overview page."""

from __future__ import annotations

from typing import Any

from dash import html

from app.components.fixed import fixed
from app.components.message import command_line, problem
from app.components.progress import stage_chip
from app.components.tables import figures_table
from app.prefix import at
from app.queries.summary import (
    Summary,
    common_parts,
    crop_rule,
    dataset_rows,
    parts,
)
from app.run import Run
from probe.errors import ProbeError

__all__ = ["contents", "datasets_table", "facts", "notices", "provenance", "report_link"]


def notices(about: Summary) -> list[Any]:
    """Say first what every number on the page is subject to."""
    out: list[Any] = []
    if about.simulated:
        out.append(
            _notice(
                "Simulated data",
                "The images are rendered by the embedded lab. Nothing here is a finding about "
                "real forgeries or about published detectors.",
                "simulated",
            )
        )
    return out


def report_link(run: Run) -> list[Any]:
    """Lead to the report, where the run holds one."""
    if run.report is None:
        return []
    # In a page of its own, which has no script: the pages' router must not take the link.
    about = "The run told in one file: claims with verdicts, figures and tables"
    return [
        html.A("Report", href=at("/report"), target="_blank", className="report-link", title=about)
    ]


def facts(run: Run, about: Summary) -> Any:
    """Show the run's size in four figures."""
    try:
        rows = dataset_rows(run)
        images = f"{sum(row.real + row.fake for row in rows):,}"
        detail = f"{sum(row.videos for row in rows):,} videos"
    except ProbeError:
        images, detail = "—", "no sample table"
    variants = ", ".join(about.variants)
    tiles = [
        ("Trained on", about.source or "—", "source of the base detectors"),
        ("Detectors", str(len(about.detectors)), ", ".join(about.architectures) or "none"),
        ("Variants", str(max(1, len(about.variants))), variants or "as loaded"),
        ("Datasets", str(len(about.datasets)), "each with its own test split"),
        ("Images", images, detail),
    ]
    return html.Div([_tile(*one) for one in tiles], className="tiles")


def datasets_table(run: Run, about: Summary) -> Any:
    """List the datasets with their counts."""
    try:
        rows = dataset_rows(run)
    except ProbeError as error:
        return problem(error)
    body = [
        [
            [row.name, html.Span("source", className="tag")]
            if row.name == about.source
            else row.name,
            f"{row.real:,}",
            f"{row.fake:,}",
            f"{row.videos:,}",
            f"{row.identities:,}" if row.identities else "—",
            " / ".join(f"{n:,}" for _, n in row.splits),
        ]
        for row in rows
    ]
    splits = " / ".join(name for name, _ in rows[0].splits) if rows else "splits"
    head = ["dataset", "real", "fake", "videos", "identities", splits]
    return figures_table(head, body, numeric_from=1)


def contents(run: Run, about: Summary) -> Any:
    """Say for each detector which tables are there, and the stages of the command."""
    body = [
        [
            one.detector,
            *map(
                _mark,
                (
                    one.store,
                    one.neurons and one.universality,
                    one.separability,
                    one.embeddings,
                    one.responses,
                    one.maps,
                    one.trust,
                    one.attention,
                ),
            ),
        ]
        for one in parts(run)
    ]
    head = [
        "detector",
        "store",
        "neurons",
        "separability",
        "pictures",
        "responses",
        "maps",
        "trust",
        "regions",
    ]
    common = [
        html.Span([_mark(there), name], className="holds")
        for name, there in common_parts(run).items()
    ]
    # While the run is written its stages stand in the notice above, which changes by itself.
    stages = about.stages if about.complete else ()
    return html.Div(
        [
            html.Div(figures_table(head, body, numeric_from=99), className="dense"),
            fixed(html.Div(common, className="reading")),
            fixed(html.Div([stage_chip(stage) for stage in stages], className="stages")),
        ]
    )


def provenance(run: Run, about: Summary) -> Any:
    """State the command, crop rule and versions that every result depends on."""
    try:
        crop = crop_rule(run)
    except ProbeError as error:
        crop = str(error)
    lines = [
        ("Command", command_line(about.command)),
        ("Created", about.created.replace("T", " ") or "not stated"),
        ("Crop rule", crop),
        ("Layers", _layers(about)),
        ("Versions", ", ".join(f"{n} {v}" for n, v in about.versions) or "not stated"),
    ]
    pairs = [part for name, value in lines for part in (html.Dt(name), html.Dd(value))]
    return html.Dl(pairs, className="facts")


def _layers(about: Summary) -> str:
    """Name the layer whose units are asked for; once, where all detectors agree."""
    names = list(dict.fromkeys(layer for _, layer in about.layers))
    if len(names) == 1:
        return f"{names[0]} (all detectors)"
    return "; ".join(f"{label}: {layer}" for label, layer in about.layers) or "not stated"


def _notice(title: str, text: str, kind: str, *more: Any) -> Any:
    words = html.Div([html.B(f"{title}. "), text])
    return html.Div([words, *more], className=f"notice {kind}", role="note")


def _tile(name: str, value: str, detail: str) -> Any:
    return html.Div(
        [
            html.Div(name, className="tile-name"),
            html.Div(value, className="tile-value"),
            html.Div(detail, className="tile-detail"),
        ],
        className="tile",
    )


def _mark(there: bool) -> Any:
    """Mark what is there by a filled circle, named for those who do not see it."""
    said = "yes" if there else "not yet"
    named: dict[str, Any] = {"role": "img", "aria-label": said}
    return html.Span(className="yes" if there else "no", title=said, **named)
