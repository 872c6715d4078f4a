"""What stands for a detector on the command line."""

from __future__ import annotations

from typing import Any

__all__ = ["DETECTOR", "detector_of"]

DETECTOR = "NAME|FOLDER|NAME=WEIGHTS"


def detector_of(text: str) -> Any:
    """Load a detector by name, by folder, or by name and weights."""
    from probe.detectors import load_detector

    name, _, weights = text.partition("=")
    return load_detector(name, weights=weights or None)
