"""Finding out in which layout a folder is, or saying why that cannot be told."""

from __future__ import annotations

import contextlib
from pathlib import Path

from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE
from probe.datasets.layouts import LAYOUTS
from probe.datasets.layouts.files import folders_in
from probe.errors import DatasetError

__all__ = ["recognize"]

#: Folders one level down that are looked into for a hint.
_MOST_FOLDERS = 200


def recognize(root: str | Path) -> tuple[str, str]:
    """Name the layout of a folder or a list.

    Layouts that know their datasets by name are asked first, the generic ones only if none of
    those knows the folder.

    Parameters
    ----------
    root : path
        Folder, or the file of a list.

    Returns
    -------
    str
        Name in `LAYOUTS`.
    str
        Why, such as "it holds original_sequences/youtube".

    Raises
    ------
    DatasetError
        If it is missing, no layout fits, or several do: these are named with their reasons.
    """
    root = Path(root)
    if not root.exists():
        raise DatasetError(f"The folder {str(root)!r} is missing. Give one that is there.")
    if (root / SAMPLES_FILE).is_file() and (root / CARD_FILE).is_file():
        raise DatasetError(
            f"{str(root)!r} holds {SAMPLES_FILE} and {CARD_FILE}: it is a dataset as "
            "`probe ingest` writes it. Open it as it is."
        )
    try:
        found = _candidates(root, generic=False)
        inner = {} if found else _one_level_down(root)
        # A folder that holds a known dataset holds more than a generic layout would see.
        if not found and not inner:
            found = _candidates(root, generic=True)
    except OSError as error:
        raise DatasetError(
            f"{str(root)!r} cannot be looked into ({error}). Make it readable."
        ) from error
    if len(found) > 1:
        reasons = "; ".join(f"{name}, since {why}" for name, why in found.items())
        raise DatasetError(
            f"{str(root)!r} could be in {len(found)} layouts: {reasons}. Name the one that is "
            "meant, or give a folder with one dataset in it."
        )
    if not found:
        raise _unknown(root, inner)
    return next(iter(found.items()))


def _candidates(root: Path, generic: bool) -> dict[str, str]:
    """Ask the layouts of one kind; returns the reasons of those that fit."""
    layouts = [LAYOUTS[name] for name in LAYOUTS if LAYOUTS[name].generic is generic]
    reasons = {one.name: one.recognize(root) for one in layouts}
    return {name: why for name, why in reasons.items() if why}


def _one_level_down(root: Path) -> dict[str, list[str]]:
    """Look for known datasets in the folders of a folder: its name to their layouts."""
    inner = {}
    for folder in folders_in(root)[:_MOST_FOLDERS]:
        # What cannot be listed gives no hint.
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
