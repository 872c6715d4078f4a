"""What stands for a detector, a device and a number on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from probe import report
from probe.compute import AUTO, DEVICE_VARIABLE, FLOAT32, PRECISIONS, described, resolve_device

if TYPE_CHECKING:
    import torch

__all__ = [
    "COUNT",
    "DETECTOR",
    "DEVICE",
    "PRECISION",
    "SEED",
    "SHARE",
    "detector_of",
    "detectors_of",
    "say_deviation",
    "taken",
]

#: Numbers: how many, a seed, a share between 0 and 1.
COUNT, SEED = click.IntRange(1), click.IntRange(0)
SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)

DETECTOR = "NAME|FOLDER|NAME=WEIGHTS"

DEVICE = click.option(
    "--device",
    default=AUTO,
    show_default=True,
    envvar=DEVICE_VARIABLE,
    metavar="auto|cpu|cuda|cuda:1|mps",
    help="Where networks run; auto prefers an accelerator.",
)

PRECISION = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=FLOAT32,
    show_default=True,
    help="In which networks run; what it changes is measured and said.",
)


def say_deviation(attrs: Mapping[str, Any]) -> None:
    """Say how far a result in another precision is from float32, where it is."""
    found = attrs.get("deviation")
    if not found:
        return
    each = list(found.values()) if "images" not in found else [found]
    largest = max(one["logit"]["largest"] for one in each)
    mean = sum(one["logit"]["mean"] for one in each) / len(each)
    report.note(
        f"In {attrs['precision']}, logits differ from those in float32 by {mean:.2g} standard "
        f"deviations on average and {largest:.2g} at most, on {each[0]['images']} drawn images."
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
