"""What stands for a detector and for a device on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from probe import report
from probe.compute import AUTO, DEVICE_VARIABLE, described, resolve_device

if TYPE_CHECKING:
    import torch

__all__ = ["DETECTOR", "DEVICE", "detector_of", "detectors_of", "taken"]

DETECTOR = "NAME|FOLDER|NAME=WEIGHTS"

DEVICE = click.option(
    "--device",
    default=AUTO,
    show_default=True,
    envvar=DEVICE_VARIABLE,
    metavar="auto|cpu|cuda|cuda:1|mps",
    help="Where networks run; auto prefers an accelerator.",
)


def taken(device: str) -> torch.device:
    """Find the device that is asked for, and say in one line what it is.

    Raises
    ------
    ProbeError
        If it is not here.
    """
    found = resolve_device(device)
    report.note(described(found, device))
    return found


def detectors_of(texts: Sequence[str], device: str) -> list[Any]:
    """Load detectors by name, by folder, or by name and weights; say where they will run."""
    from probe.detectors import load_detector

    place, out = resolve_device(device), []
    for text in texts:
        name, _, weights = text.partition("=")
        out.append(load_detector(name, weights=weights or None, device=place))
    taken(device)
    return out


def detector_of(text: str, device: str) -> Any:
    """Load one detector; see `detectors_of`."""
    return detectors_of([text], device)[0]
