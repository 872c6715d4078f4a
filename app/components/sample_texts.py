"""Sentences of the Sample page."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import dcc, html

from app.prefix import at
from app.queries.sample_place import PlaceView
from app.queries.sample_scores import ScoresView
from app.queries.sample_units import FAR, DeviationsView
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.plots.embedding import KINDS

__all__ = [
    "dropped_notice",
    "measured_text",
    "place_text",
    "scores_text",
    "waiting",
]


def waiting(error: ProbeError) -> Any:
    """Keep a place for what is being computed."""
    return html.Div(str(error), className="muted waiting")


def dropped_notice(run: Run) -> Any:
    """Say what a score of an image from elsewhere is, and what it is not."""
    text: list[Any] = [
        html.B("Not from this run's datasets. "),
        "A score on an image from elsewhere is what the detector says, not whether the image is "
        "fake; these detectors generalize poorly (see ",
        dcc.Link("Overview", href=at("/")),
        "). ",
    ]
    if run.manifest.get("simulated"):
        text.append(
            "This run's detectors were trained on simulated faces: on photographs their scores "
            "are meaningless."
        )
    return html.Div(text, className="notice", role="note")


def scores_text(view: ScoresView, chosen: Selection) -> Any:
    """Say how many detectors are right, or where an image from elsewhere is placed."""
    if not view.kind:
        return (
            "Placed among all test images of the run. Whether a detector is right cannot be said: "
            "no label is known."
        )
    count = len(view.scores)
    worst = max(view.scores, key=lambda one: -one.logit if view.kind == "fake" else one.logit)
    text = f"The image is {view.kind}; {view.n_right} of {count} detectors say so at P(fake) = 0.5."
    if not worst.right:
        place = f"{worst.above_reals:.0%} of the reals and {worst.above_fakes:.0%} of the fakes"
        known = np.isfinite(worst.above_reals) and np.isfinite(worst.above_fakes)
        text += f" Most wrong is {worst.detector}" + (
            f", which scores it above {place} of {view.dataset}." if known else "."
        )
    return text


def measured_text(view: DeviationsView, chosen: Selection) -> Any:
    """Say which measurements are far out, and what that is not."""
    far = [row.name for row in view.far]
    named = f": {', '.join(far[:6])}{' and others' if len(far) > 6 else ''}" if far else ""
    parts = [
        f"{len(far)} of {len(view.rows)} measurements lie beyond {FAR:g} deviations from the "
        f"median of {view.n:,} {view.among}{named}."
    ]
    if view.undefined:
        parts.append(f"{view.undefined} are not defined here.")
    parts.append("Arrows: beyond 8. A description of this image, not a test.")
    return " ".join(parts)


def place_text(view: PlaceView, chosen: Selection) -> Any:
    """Say which picture this is, how far to believe it, and where it is large."""
    link = dcc.Link(
        "Separability",
        href=at(f"/separability{chosen.but(embedding=view.kind, dropped='').search}"),
    )
    drawn = len(view.position)
    thinned = f", {drawn:,} of {view.total:,} drawn" if drawn < view.total else ""
    return [
        f"{KINDS.get(view.kind, view.kind)} of {view.layer}{thinned}; trustworthiness "
        f"{view.trustworthiness:.2f}. Distances are no measurement. Larger, with colors to "
        "choose: ",
        link,
        ".",
    ]
