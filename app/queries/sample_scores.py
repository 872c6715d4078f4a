"""What every detector says of one image, beside what it says of its dataset's other images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.queries.deriving import derived
from app.queries.sample import SampleView
from app.run import Run
from probe.errors import ProbeError
from probe.evaluation.one_image import share_below
from probe.run import MissingTableError
from probe.stats import sigmoid

__all__ = [
    "MOST_MARKS",
    "Score",
    "ScoresView",
    "among_all",
    "scores_frame",
    "scores_view",
]

Floats = NDArray[np.float64]

#: Images of each label that the strip of a detector shows; more would be a solid bar.
MOST_MARKS = 160


@dataclass(frozen=True)
class Score:
    """One detector's score of an image, and where it lies in the image's dataset.

    Attributes
    ----------
    detector : str
        Label.
    logit, p_fake : float
        Its score.
    right : bool or None
        Whether it is on its label's side of P(fake) = 0.5; None where no label is known.
    above_reals, above_fakes : float
        Shares of the dataset's real and fake images that score lower, ties counting one half;
        NaN where there are none.
    reals, fakes : numpy.ndarray
        Logits of those, evenly thinned by rank, shape (marks,).
    """

    detector: str
    logit: float
    p_fake: float
    right: bool | None
    above_reals: float
    above_fakes: float
    reals: Floats
    fakes: Floats


@dataclass(frozen=True)
class ScoresView:
    """Scores of an image by all detectors that scored it.

    Attributes
    ----------
    dataset, kind : str
        Of the image; kind is "real" or "fake".
    n_reals, n_fakes : int
        Scored images of the dataset.
    scores : tuple of Score
        In the order of the run's detectors.
    """

    dataset: str
    kind: str
    n_reals: int
    n_fakes: int
    scores: tuple[Score, ...]

    @property
    def n_right(self) -> int:
        """Detectors that are on the right side of P(fake) = 0.5."""
        return sum(bool(score.right) for score in self.scores)


def scores_view(run: Run, view: SampleView) -> ScoresView:
    """Read the scores of an image.

    Raises
    ------
    ProbeError
        If no detector scored it, or the run holds no scores.
    """
    scores = run.scores
    part = scores[(scores["dataset"] == view.dataset).to_numpy()]
    found, counts = [], (0, 0)
    for label in run.detectors:
        own = part[(part["detector"] == label).to_numpy()]
        mine = own[(own["sample"] == view.sample).to_numpy()]
        if len(mine):
            found.append(_score(label, float(mine["logit"].iloc[0]), view.label, own))
            fakes = int((own["label"] == 1).sum())
            counts = len(own) - fakes, fakes
    if not found:
        raise ProbeError(
            f"No detector of this run scored this image: it is of the split {view.split!r}, and "
            "scores are of test images. Choose one of those."
        )
    return ScoresView(view.dataset, view.kind, *counts, tuple(found))


def among_all(run: Run, logits: Mapping[str, float]) -> ScoresView:
    """Place scores of an image from elsewhere among all scored images of a run.

    Parameters
    ----------
    run : Run
        What holds the scores of the others; the strips are empty where it holds none.
    logits : mapping
        Logit of the image by detector.
    """
    try:
        scores = run.scores
    except MissingTableError:
        scores = pd.DataFrame({"detector": [], "label": [], "logit": [], "sample": []})
    found, counts = [], (0, 0)
    for label, logit in logits.items():
        own = derived(_scored_once, (scores,), label)
        found.append(_score(label, logit, None, own))
        fakes = int((own["label"] == 1).sum())
        counts = len(own) - fakes, fakes
    return ScoresView("", "", *counts, tuple(found))


def scores_frame(view: ScoresView) -> pd.DataFrame:
    """Return one row a detector."""
    columns = ("detector", "logit", "p_fake", "right", "above_reals", "above_fakes")
    return pd.DataFrame([{name: getattr(one, name) for name in columns} for one in view.scores])


def _score(label: str, logit: float, truth: int | None, own: pd.DataFrame) -> Score:
    values = own["logit"].to_numpy(dtype=np.float64)
    fake = own["label"].to_numpy() == 1
    reals, fakes = np.sort(values[~fake]), np.sort(values[fake])
    return Score(
        detector=label,
        logit=logit,
        p_fake=float(sigmoid(logit)),
        right=None if truth is None else (logit > 0) == bool(truth),
        above_reals=share_below(logit, reals),
        above_fakes=share_below(logit, fakes),
        reals=_thinned(reals),
        fakes=_thinned(fakes),
    )


def _scored_once(scores: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return a detector's scores; originals that several datasets share count once."""
    own = scores[(scores["detector"] == label).to_numpy(dtype=bool)]
    return own.drop_duplicates("sample")


def _thinned(ordered: Floats) -> Floats:
    """Keep evenly spaced ranks, both ends among them."""
    if len(ordered) <= MOST_MARKS:
        return ordered
    kept = np.linspace(0, len(ordered) - 1, MOST_MARKS).round().astype(int)
    return np.asarray(ordered[kept])
