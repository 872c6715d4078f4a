"""The layers of a detector that a run says something about."""

from __future__ import annotations

from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.run import MissingTableError

__all__ = ["first_layer", "known_detector", "layer_names", "named_layer"]


def known_detector(run: Run, chosen: Selection) -> str:
    """Return the detector that an address names, or the first.

    Raises
    ------
    UnknownNameError
        If the run does not hold it.
    MissingTableError
        If the run holds none.
    """
    if not run.detectors:
        raise MissingTableError("detectors", run.command)
    return chosen.named("detector", run.detectors)


def layer_names(run: Run, label: str) -> list[str]:
    """List the layers of the separability report and of the embeddings, in their order.

    Tables that cannot be read are left to the cards that show them. Without either, the layer
    whose units the run asks for.
    """
    names: list[str] = []
    for read in (run.separability, run.embeddings):
        try:
            names += map(str, read(label).data["layer"].values)
        except ProbeError:
            continue
    return list(dict.fromkeys(names)) or [unit_layer(run, label)]


def unit_layer(run: Run, label: str) -> str:
    """Return the layer whose units the run asks for; empty where its manifest names none."""
    return str(dict(run.manifest.get("layers") or {}).get(label, ""))


def first_layer(run: Run, label: str) -> str:
    """Return the layer that is shown where an address names none: that of the units, if there."""
    names, wanted = layer_names(run, label), unit_layer(run, label)
    return wanted if wanted in names else names[-1]


def named_layer(run: Run, label: str, chosen: Selection) -> str:
    """Return the layer that an address names, or the first to show.

    Raises
    ------
    UnknownNameError
        If neither table holds it.
    """
    if not chosen.layer:
        return first_layer(run, label)
    return chosen.named("layer", layer_names(run, label))
