"""The card of the Separability page that compares detectors."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, html

from app import ids
from app.components.card import card, graph
from app.components.download import export_menu
from app.components.help import HELP
from app.components.message import problem
from app.figures import similarity_figure
from app.figures.similarity import similarity_height
from app.queries.similarity import similarity_view
from app.run import Run
from probe.errors import ProbeError
from probe.plots.theme import empty_figure

__all__ = ["register", "section"]

TITLE = "How alike are the detectors?"


def section(run: Run) -> list[Any]:
    """Lay out the card, or say what is missing."""
    try:
        height = similarity_height(run.similarity.data.sizes["detector"])
    except ProbeError as error:
        return [card(TITLE, problem(error), help=HELP["similarity"])]
    return [
        card(
            TITLE,
            graph(ids.SIMILARITY, height, empty_figure(), "Heatmap of CKA of all detectors"),
            html.Div(id=ids.SIMILARITY_TEXT, className="reading"),
            help=HELP["similarity"],
            controls=export_menu("similarity"),
        )
    ]


def register(app: Dash, run: Run) -> None:
    """Add the card's callbacks."""

    @app.callback(
        Output(ids.SIMILARITY, "figure"),
        Output(ids.SIMILARITY_TEXT, "children"),
        Input(ids.LAYER, "value"),
        Input(ids.SCHEME, "data"),
    )
    def draw(layer: str, scheme: str) -> Any:
        try:
            view = similarity_view(run, layer)
        except ProbeError as error:
            return empty_figure(scheme), problem(error)
        text = (
            f"Debiased CKA at {layer}, {view.n_samples:,} images in {view.n_clusters:,} clusters. "
            f"Small: {view.coverage:.0%} interval. Orange: alike; neutral: nothing in common."
        )
        return similarity_figure(view, scheme), text
