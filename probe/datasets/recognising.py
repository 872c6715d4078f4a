"""Finding out in which layout a folder is, or saying why that cannot be told."""

from __future__ import annotations

import contextlib
from pathlib import Path

from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE
from probe.datasets.layouts import LAYOUTS
from probe.datasets.walking import folders_in
from probe.errors import DatasetError

__all__ = ["recognise"]

#: Folders one level down that are looked into for a hint.
_MOST_FOLDERS = 200


def recognise(root: str | Path) -> tuple[str, str]:
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
        found = _candidates(root)
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
        raise _unknown(root)
    return next(iter(found.items()))


def _candidates(root: Path) -> dict[str, str]:
    """Ask the layouts; the generic ones only if no other fits."""
    for generic in (False, True):
        layouts = [LAYOUTS[name] for name in LAYOUTS if LAYOUTS[name].generic is generic]
        reasons = {one.name: one.recognise(root) for one in layouts}
        found = {name: why for name, why in reasons.items() if why}
        if found:
            return found
    return {}


def _unknown(root: Path) -> DatasetError:
    shapes = "; ".join(f"{name}: {LAYOUTS[name].shape}" for name in LAYOUTS)
    inner: dict[str, dict[str, str]] = {}
    for folder in folders_in(root)[:_MOST_FOLDERS]:
        # What cannot be listed gives no hint.
        with contextlib.suppress(OSError):
            inner[folder.name] = _candidates(folder)
    inner = {name: found for name, found in inner.items() if found}
    hint = ""
    if len(inner) == 1:
        (name, found), *_ = inner.items()
        hint = f" Its folder {name!r} is in the layout {' or '.join(found)}: give that one."
    return DatasetError(f"{str(root)!r} is in no known layout ({shapes}).{hint}")
