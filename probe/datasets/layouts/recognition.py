"""Recognition of the layout of a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE
from probe.datasets.layouts import LAYOUTS
from probe.datasets.layouts.files import folders_in
from probe.errors import DatasetError

__all__ = ["recognize"]

#: Maximum number of subfolders that are searched for a hint.
_MOST_FOLDERS = 200


def recognize(root: str | Path) -> tuple[str, str]:
    """Return the layout of a folder or a list file.

    Layouts of specific datasets are tried first; generic layouts only if none of these matches.

    Parameters
    ----------
    root : path
        Folder, or list file.

    Returns
    -------
    str
        Name in `LAYOUTS`.
    str
        Reason, such as "it holds original_sequences/youtube".

    Raises
    ------
    DatasetError
        If the folder is missing, or no layout or several layouts match; the message lists these
        with their reasons.
    """
    root = Path(root)
    if not root.exists():
        raise DatasetError(f"The folder {str(root)!r} is missing. Give an existing one.")
    if (root / SAMPLES_FILE).is_file() and (root / CARD_FILE).is_file():
        raise DatasetError(
            f"{str(root)!r} holds {SAMPLES_FILE} and {CARD_FILE}: it is a dataset written by "
            "`probe ingest`. Open it directly, without a layout."
        )
    try:
        found = _candidates(root, generic=False)
        inner = {} if found else _one_level_down(root)
        # If subfolders are known datasets, a generic layout would miss part of the data.
        if not found and not inner:
            found = _candidates(root, generic=True)
    except OSError as error:
        raise DatasetError(
            f"{str(root)!r} cannot be listed ({error}). Make it readable."
        ) from error
    if len(found) > 1:
        reasons = "; ".join(f"{name}, since {why}" for name, why in found.items())
        raise DatasetError(
            f"{str(root)!r} could be in {len(found)} layouts: {reasons}. Give the name of the "
            "right one, or a folder with one dataset in it."
        )
    if not found:
        raise _unknown(root, inner)
    return next(iter(found.items()))


def _candidates(root: Path, generic: bool) -> dict[str, str]:
    """Return the matching layouts of one kind, generic or not, with their reasons."""
    layouts = [LAYOUTS[name] for name in LAYOUTS if LAYOUTS[name].generic is generic]
    reasons = {one.name: one.recognize(root) for one in layouts}
    return {name: why for name, why in reasons.items() if why}


def _one_level_down(root: Path) -> dict[str, list[str]]:
    """Return the subfolders that are known datasets, with their layouts."""
    inner = {}
    for folder in folders_in(root)[:_MOST_FOLDERS]:
        # Folders that cannot be listed give no hint.
        with contextlib.suppress(OSError):
            inner[folder.name] = list(_candidates(folder, generic=False))
    return {name: found for name, found in inner.items() if found}


def _unknown(root: Path, inner: dict[str, list[str]]) -> DatasetError:
    if inner:
        hints = [f"{name!r} is in the layout {' or '.join(one)}" for name, one in inner.items()]
        return DatasetError(
            f"{str(root)!r} is in no known layout itself; of its folders {', and '.join(hints[:5])}"
            f"{f', and {len(hints) - 5} more are' if len(hints) > 5 else ''}. Give "
            f"{'that one' if len(inner) == 1 else 'one of them'}."
        )
    shapes = "; ".join(f"{name}: {LAYOUTS[name].shape}" for name in LAYOUTS)
    return DatasetError(
        f"{str(root)!r} is in no known layout. Give a folder in one of them ({shapes}), or write "
        "a manifest."
    )
