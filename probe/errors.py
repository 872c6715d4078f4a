"""Errors caused by user input; messages state what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "DatasetError",
    "ImageError",
    "NotComparableError",
    "ProbeError",
    "StoreError",
    "TraceError",
    "UnknownNameError",
    "did_you_mean",
]


class ProbeError(Exception):
    """Base class of all errors caused by the input, not by a defect.

    The command line prints the message as one paragraph and exits with code 2. A message states
    what was given, what is allowed and what to do.

    Examples
    --------
    >>> import probe
    >>> try:
    ...     probe.load_detector("messo4")
    ... except probe.ProbeError as error:
    ...     print(error)
    Detector 'messo4' is not known. Did you mean 'meso4'? List them with `probe detectors`; any
    timm model is `timm:<name>`.
    """


class UnknownNameError(ProbeError, KeyError):
    """An unknown name, such as that of a detector, dataset, layout, layer or measure."""

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
        """Return the message without the quotes that `KeyError` adds."""
        return str(self.args[0])


class NotComparableError(ProbeError):
    """Two results have nothing in common that a comparison could be based on."""

    #: What a page writes over the message.
    title = "Not compared"


class DatasetError(ProbeError, ValueError):
    """A dataset that is missing, incomplete or in the wrong format."""


class ImageError(DatasetError):
    """An image that cannot be read; it is never silently replaced or skipped."""


class CheckpointError(ProbeError, ValueError):
    """Weights that cannot be read or do not fit the detector."""


class TraceError(ProbeError, RuntimeError):
    """A module that torch.fx cannot trace, or a layer that cannot be tapped."""


class StoreError(ProbeError, ValueError):
    """A store, table or run that is missing, incomplete, damaged or of another schema version."""


def did_you_mean(given: str, allowed: Iterable[str], most: int = 12) -> str:
    """Return a sentence that suggests the closest allowed names, or lists the first few.

    Parameters
    ----------
    given : str
        The unknown name.
    allowed : iterable of str
        The allowed names.
    most : int, default 12
        Maximum number of names to list if none is close.

    Returns
    -------
    str
        One sentence.
    """
    names = list(allowed)
    # A request may contain any type instead of a name.
    near = difflib.get_close_matches(str(given), names, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(repr(name) for name in near) + "?"
    if not names:
        return "There are none."
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "Known: " + ", ".join(names[:most]) + more + "."
