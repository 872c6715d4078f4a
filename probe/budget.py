"""Parsing of memory sizes."""

from __future__ import annotations

import re

from probe.errors import ProbeError

__all__ = ["parse_memory"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_memory(text: str | int) -> int:
    """Return a size such as "4G" or "800M" in bytes; units are powers of 1024.

    Raises
    ------
    ProbeError
        If the text is not a size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", str(text), re.IGNORECASE)
    if not found:
        raise ProbeError(f"memory={text!r} was given; give a size such as 4G or 800M.")
    return int(float(found[1]) * _UNITS[found[2].upper()])
