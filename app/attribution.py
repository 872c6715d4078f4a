"""The images that maps were made of: which there are, worst errors first, and the one chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.images import token_of
from probe.run import MissingTableError
from probe.schema import FAKE
from probe.stats import sigmoid

__all__ = [
    "EACH",
    "FILTERS",
    "Explained",
    "ListView",
    "chosen_image",
    "explained",
    "known_mapped",
    "list_view",
    "listed_detectors",
    "listed_images",
    "mapped_detectors",
]

#: Which images are listed, and its name.
FILTERS = {
    "all": "All",
    "errors": "Errors",
    "missed": "Missed fakes",
    "alarms": "False alarms",
}

#: Images that are shown at once.
EACH = 16


@dataclass(frozen=True)
class Explained:
    """An image that maps were made of, and what a detector says of it.

    Attributes
    ----------
    token, sample, dataset, forgery, video : str
        What names it in addresses, and its columns in the sample table; forgery is "" for reals.
    label, frame : int
        Likewise; label 1 is fake.
    logit : float
        Of the detector, fake above 0; NaN where it was not scored.
    has_mask : bool
        Whether there is a forgery mask to outline.
    """

    token: str
    sample: str
    dataset: str
    forgery: str
    video: str
    label: int
    frame: int
    logit: float
    has_mask: bool

    @property
    def p_fake(self) -> float:
        """The detector's score, in [0, 1]."""
        return float(sigmoid(self.logit))

    @property
    def wrong(self) -> bool:
        """Whether the score is on the wrong side."""
        return bool(self.logit > 0) != (self.label == FAKE) and bool(np.isfinite(self.logit))


@dataclass(frozen=True)
class ListView:
    """A part of the images that a choice leaves, worst errors first.

    Attributes
    ----------
    images : tuple of Explained
        Those of this part.
    page, pages : int
        Which part, from 1, and how many there are.
    found, total : int
        Images that the choice leaves, and all.
    """

    images: tuple[Explained, ...]
    page: int
    pages: int
    found: int
    total: int


def mapped_detectors(run: Run) -> list[str]:
    """List the detectors that maps were made of.

    Raises
    ------
    MissingTableError
        If there are none.
    """
    found = [label for label in run.detectors if run.map_methods(label)]
    if not found:
        raise MissingTableError("attribution maps", run.command)
    return found


def listed_detectors(run: Run) -> list[str]:
    """List all detectors, those that maps were made of first."""
    mapped = mapped_detectors(run)
    return mapped + [label for label in run.detectors if label not in mapped]


def known_mapped(run: Run, chosen: Selection) -> str:
    """Return the detector of the address, or the first that has maps.

    Raises
    ------
    ProbeError
        If there is no such detector, or no maps at all.
    """
    return chosen.named("detector", listed_detectors(run))


def explained(run: Run, label: str) -> pd.DataFrame:
    """Return the images of a detector's maps: columns as in `Explained`, worst errors first.

    Raises
    ------
    ProbeError
        If the detector has no maps, or of images that are not in the run.
    """
    methods = run.map_methods(label)
    if not methods:
        raise MissingTableError(f"attribution maps of {label}", run.command)
    names = _names(run, label, methods)
    rows = [run.rows.get(token_of(name), -1) for name in names]
    if min(rows) < 0:
        lost = names[int(np.argmin(rows))]
        raise StoreError(
            f"The maps of {label} name sample {lost!r}, which is not in the run's sample table: "
            "they were made of another dataset. Make them again."
        )
    table = run.data.samples.table.iloc[rows]
    label_of = table["label"].to_numpy(dtype=np.int64)
    logit = _logits(run, label, names)
    frame = pd.DataFrame(
        {
            "token": [token_of(name) for name in names],
            "sample": names,
            "dataset": table["dataset"].astype(str).to_numpy(),
            "forgery": np.where(label_of == FAKE, table["method"].astype(str), ""),
            "video": table["video"].astype(str).to_numpy(),
            "label": label_of,
            "frame": table["frame"].to_numpy(dtype=np.int64),
            "logit": logit,
            "has_mask": table["mask"].astype(bool).to_numpy(),
        }
    )
    error = np.where(label_of == FAKE, -logit, logit)
    return frame.iloc[np.argsort(-error, kind="stable")].reset_index(drop=True)


def listed_images(run: Run, chosen: Selection, label: str) -> pd.DataFrame:
    """Return the images that the address leaves of all that were explained, worst errors first.

    Raises
    ------
    ProbeError
        If the address names a dataset, forgery or filter that is not there.
    """
    return _left(run, chosen, explained(run, label))


def _left(run: Run, chosen: Selection, frame: pd.DataFrame) -> pd.DataFrame:
    kept = frame[_wanted(frame, chosen.named("images", list(FILTERS)))]
    for column, value in (("dataset", chosen.dataset), ("forgery", chosen.forgery)):
        if value:
            kept = kept[kept[column] == _known(run, frame, column, value)]
    return kept


def list_view(run: Run, chosen: Selection, label: str) -> ListView:
    """Choose what is listed at once.

    Raises
    ------
    ProbeError
        If the address names a dataset, forgery, filter or part that is not there.
    """
    frame = explained(run, label)
    kept = _left(run, chosen, frame)
    pages = max(1, -(-len(kept) // EACH))
    page = int(chosen.page) if chosen.page.isascii() and chosen.page.isdigit() else 1
    if not 1 <= page <= pages:
        raise ProbeError(
            f"The address asks for part {chosen.page} of the list, which has {pages}. Choose one "
            "below the images."
        )
    shown = kept.iloc[(page - 1) * EACH : page * EACH]
    return ListView(_images(shown), page, pages, len(kept), len(frame))


def chosen_image(run: Run, chosen: Selection, label: str) -> Explained:
    """Find the image that the address names, or the worst error of those listed.

    Raises
    ------
    ProbeError
        If the address names none that was explained, or the choice leaves none.
    """
    if not chosen.sample:
        listed = list_view(run, chosen, label).images
        if not listed:
            raise ProbeError("No image is left by this choice. Choose others above.")
        return listed[0]
    frame = explained(run, label)
    found = frame[frame["token"] == chosen.sample]
    if found.empty:
        raise ProbeError(
            f"No maps of {label} were made of the image in the address. Choose one of the list."
        )
    return _images(found)[0]


def _names(run: Run, label: str, methods: list[str]) -> list[str]:
    """Return the samples of a detector's maps; methods still being written are left out."""
    names: dict[str, None] = {}
    for i, method in enumerate(methods):
        try:
            found = run.maps(label, method).data["sample"].values
        except StoreError:
            if i == len(methods) - 1 and not names:
                raise
            continue
        names |= dict.fromkeys(str(name) for name in found)
    return list(names)


def _images(rows: pd.DataFrame) -> tuple[Explained, ...]:
    return tuple(
        Explained(**{str(k): v for k, v in row.items()}) for row in rows.to_dict("records")
    )


def _wanted(frame: pd.DataFrame, filter: str) -> pd.Series[bool]:
    fake, called = frame["label"] == FAKE, frame["logit"] > 0
    scored = frame["logit"].notna()
    wanted = {
        "errors": scored & (fake != called),
        "missed": scored & fake & ~called,
        "alarms": scored & ~fake & called,
    }
    return wanted.get(filter, fake | True)


def _known(run: Run, frame: pd.DataFrame, column: str, value: str) -> str:
    """Let a name pass that the run has: a dataset without explained images leaves an empty list."""
    allowed = (
        [str(name) for name in run.manifest.get("datasets", [])] if column == "dataset" else []
    )
    allowed = list(dict.fromkeys([*allowed, *frame[column][frame[column] != ""]]))
    if value not in allowed:
        raise UnknownNameError(
            column, value, allowed, where="this run", remedy="Choose one on the page."
        )
    return value


def _logits(run: Run, label: str, names: list[str]) -> np.ndarray:
    scores = run.scores
    own = scores[scores["detector"].astype(str) == label]
    values = pd.Series(own["logit"].to_numpy(dtype=np.float64), index=own["sample"].astype(str))
    return values[~values.index.duplicated()].reindex(names).to_numpy()
