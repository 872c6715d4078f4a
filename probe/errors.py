"""The errors a user can cause, each with what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "DatasetError",
    "ImageError",
    "ProbeError",
    "StoreError",
    "TraceError",
    "UnknownNameError",
    "did_you_mean",
]


class ProbeError(Exception):
    """Base of every error that comes from the input rather than from a defect.

    The command line prints the message as one paragraph and exits with code 2. A message says
    what was given, what is allowed and what to do.
    """


class UnknownNameError(ProbeError, KeyError):
    """A name that is not registered: a detector, a dataset, a layout, a layer, a measure."""

    def __init__(
        self, kind: str, given: str, allowed: Iterable[str], where: str = "", remedy: str = ""
    ) -> None:
        self.kind = kind
        self.given = given
        self.allowed = tuple(allowed)
        place = f" in {where}" if where else ""
        parts = [f"{kind.capitalize()} {given!r} is not known{place}."]
        parts.append(did_you_mean(given, self.allowed))
        parts.append(remedy)
        super().__init__(" ".join(part for part in parts if part))

    def __str__(self) -> str:
        """Return the message itself; `KeyError` would quote it."""
        return str(self.args[0])


class DatasetError(ProbeError, ValueError):
    """A dataset that is missing, incomplete or of the wrong form."""


class ImageError(DatasetError):
    """An image that cannot be read; it is never replaced or skipped in silence."""


class CheckpointError(ProbeError, ValueError):
    """Weights that cannot be read or do not fit the detector."""


class TraceError(ProbeError, RuntimeError):
    """A module that torch.fx cannot trace in the way that was asked for."""


class StoreError(ProbeError, ValueError):
    """An activation store that is missing, incomplete, damaged or of another schema."""


def did_you_mean(given: str, allowed: Iterable[str], most: int = 12) -> str:
    """Say which allowed name is nearest to the one given, or list the first few.

    Parameters
    ----------
    given : str
        The name that was not found.
    allowed : iterable of str
        The names that would have been.
    most : int, default 12
        How many names are listed when none is near.

    Returns
    -------
    str
        One sentence.
    """
    names = list(allowed)
    # A request may give anything in place of a name.
    near = difflib.get_close_matches(str(given), names, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(repr(name) for name in near) + "?"
    if not names:
        return "There are none."
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "Known: " + ", ".join(names[:most]) + more + "."
