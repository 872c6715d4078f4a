"""One image of a run: which it is, what is known of it, and how to get to others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.queries.deriving import derived
from app.queries.images import thumbnail
from app.run import Run
from app.selection import Selection
from probe.datasets.dataset import Dataset
from probe.datasets.subset import original_positions
from probe.errors import ProbeError
from probe.images import token_of

__all__ = [
    "MOST_HITS",
    "Found",
    "Hit",
    "Links",
    "SampleView",
    "find_samples",
    "large_image",
    "links_of",
    "sample_row",
    "sample_view",
    "worst_error",
]

#: Longest side in pixels of the image that the page shows.
LARGE = 1024

#: Images that a search lists, and how long its text may be.
MOST_HITS, _LONGEST = 50, 200


@dataclass(frozen=True)
class SampleView:
    """What the sample table says of an image.

    Attributes
    ----------
    token, sample : str
        Its name in addresses, and its id.
    dataset, split, method, video, identity, source : str
        Columns of `probe.datasets.dataset.Samples`; "" where unknown.
    label, frame : int
        Likewise; label 1 is fake.
    has_mask : bool
        Whether there is a forgery mask to outline.
    """

    token: str
    sample: str
    dataset: str
    split: str
    method: str
    video: str
    identity: str
    source: str
    label: int
    frame: int
    has_mask: bool

    @property
    def kind(self) -> str:
        """Return "fake" or "real"."""
        return "fake" if self.label else "real"


@dataclass(frozen=True)
class Links:
    """Other images to go to from one, by token; "" where there is none.

    Attributes
    ----------
    before, after : str
        The frames beside it in its video.
    position, n_frames : int
        Its place in the video, from 1, and the video's images.
    paired : str
        The real image that a fake is paired with, or the fake that is paired with a real one.
    """

    before: str
    after: str
    position: int
    n_frames: int
    paired: str


@dataclass(frozen=True)
class Hit:
    """One image that a search found: its token, id, label, dataset, video and frame."""

    token: str
    sample: str
    label: int
    dataset: str
    video: str
    frame: int


@dataclass(frozen=True)
class Found:
    """What a search found: the first `MOST_HITS`, and how many there are."""

    hits: tuple[Hit, ...]
    total: int


def sample_row(run: Run, token: str) -> int:
    """Return the row of an image in the sample table.

    Raises
    ------
    ProbeError
        If the run holds no such image.
    """
    row = run.rows.get(token)
    if row is None:
        raise ProbeError(
            "The address names an image that is not in this run. Search for one on the page."
        )
    return row


def sample_view(run: Run, chosen: Selection, label: str) -> SampleView:
    """Read the image that the address names, or else the one that a detector gets most wrong.

    Raises
    ------
    ProbeError
        If the run holds no such image, or no images.
    """
    token = chosen.sample or worst_error(run, label)
    one = run.data.samples.table.iloc[sample_row(run, token)]
    text = {
        name: str(one[name])
        for name in ("sample", "dataset", "split", "method", "video", "identity", "source")
    }
    return SampleView(
        token=token,
        label=int(one["label"]),
        frame=int(one["frame"]),
        has_mask=bool(one["mask"]),
        **text,
    )


def worst_error(run: Run, label: str) -> str:
    """Return the token of the image that a detector is most wrong about, by its logit.

    Without scores it is the first image of the run.

    Raises
    ------
    ProbeError
        If the run holds no images.
    """
    first = token_of(str(run.data.samples.table["sample"].iloc[0]))
    try:
        scores = run.scores
    except ProbeError:
        return first
    worst = derived(_worst, (scores,), label)
    return worst if worst in run.rows else first


def _worst(scores: pd.DataFrame, label: str) -> str:
    """Return the token of the detector's worst error; empty where it has no scores."""
    own = scores[(scores["detector"] == label).to_numpy()]
    if own.empty:
        return ""
    logit = own["logit"].to_numpy(dtype=np.float64)
    wrong = np.where(own["label"].to_numpy() == 1, -logit, logit)
    wrong[~np.isfinite(wrong)] = -np.inf
    return token_of(str(own["sample"].iloc[int(np.argmax(wrong))]))


def links_of(run: Run, view: SampleView) -> Links:
    """Find the images beside one, and the one it is paired with."""
    table = run.data.samples.table
    # A video key may hold both classes where a layout names them alike.
    same = _equal(table, video=view.video, dataset=view.dataset, method=view.method)
    rows = np.flatnonzero(same & (table["label"].to_numpy() == view.label))
    rows = rows[np.argsort(table["frame"].to_numpy()[rows], kind="stable")]
    at = int(np.flatnonzero(rows == sample_row(run, view.token))[0])
    return Links(
        before=_token(table, int(rows[at - 1])) if at > 0 else "",
        after=_token(table, int(rows[at + 1])) if at + 1 < len(rows) else "",
        position=at + 1,
        n_frames=len(rows),
        paired=_paired(run.data, view),
    )


def find_samples(run: Run, text: str) -> Found:
    """Find images whose id, dataset, video, method or label hold all words of a text."""
    table = run.data.samples.table
    texts = derived(_texts, (run.data,))
    keep = np.ones(len(table), dtype=bool)
    for word in text[:_LONGEST].lower().split():
        if word in ("real", "fake"):
            keep &= table["label"].to_numpy() == (word == "fake")
            continue
        keep &= texts.str.contains(word, regex=False).to_numpy(dtype=bool)
    rows = np.flatnonzero(keep)
    return Found(tuple(_hit(table, int(row)) for row in rows[:MOST_HITS]), len(rows))


def large_image(run: Run, row: int) -> bytes:
    """Decode an image and encode it at no more than `LARGE` pixels a side, as WebP.

    Raises
    ------
    ImageError
        If the image cannot be read.
    """
    return thumbnail(run, row, LARGE, quality=92)


def _paired(data: Dataset, view: SampleView) -> str:
    table = data.samples.table
    if view.label:
        # Only what could be its original is handed on: the search walks through every row.
        near = _equal(table, identity=view.identity) & bool(view.identity)
        own = np.flatnonzero(_equal(table, sample=view.sample))
        if "pair" in table:
            near |= _equal(table, sample=str(table["pair"].iloc[int(own[0])]))
        rows = np.flatnonzero(near & (table["label"].to_numpy() == 0))
        found = int(original_positions(data.take(own), data.take(rows))[0]) if len(rows) else -1
        return _token(table, int(rows[found])) if found >= 0 else ""
    if "pair" not in table:
        return ""
    fakes = np.flatnonzero(_equal(table, pair=view.sample) & (table["label"].to_numpy() == 1))
    # An original may be shared by several datasets; its own comes first.
    fakes = fakes[np.argsort(table["dataset"].to_numpy()[fakes] != view.dataset, kind="stable")]
    return _token(table, int(fakes[0])) if len(fakes) else ""


def _equal(table: pd.DataFrame, **values: str) -> NDArray[np.bool_]:
    keep = np.ones(len(table), dtype=bool)
    for name, value in values.items():
        keep &= (table[name] == value).fillna(False).to_numpy(dtype=bool)
    return keep


def _texts(data: Dataset) -> pd.Series[str]:
    """Join what is searched, one text an image; no word spans two columns, for the line feeds."""
    table = data.samples.table
    joined = table["sample"].astype(str)
    for column in ("video", "dataset", "method"):
        joined = joined + "\n" + table[column].astype(str)
    return joined.str.lower()


def _token(table: pd.DataFrame, row: int) -> str:
    return token_of(str(table["sample"].iloc[row]))


def _hit(table: pd.DataFrame, row: int) -> Hit:
    one = table.iloc[row]
    return Hit(
        token_of(str(one["sample"])),
        str(one["sample"]),
        int(one["label"]),
        str(one["dataset"]),
        str(one["video"]),
        int(one["frame"]),
    )
