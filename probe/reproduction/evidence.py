"""What was published: figures with their digits, and scores per image or video."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from probe.errors import ProbeError, UnknownNameError
from probe.stats import METRICS, sigmoid

__all__ = ["Figure", "ScoreFile", "parse_published", "read_scores"]

LEVELS = ("frame", "video")


@dataclass(frozen=True)
class Figure:
    """A published figure.

    Attributes
    ----------
    value : float
        The figure, in [0, 1].
    metric, level : str
        Name in `probe.stats.METRICS`; "frame" or "video".
    dataset : str
        Part of the data that it is of; empty for all of it.
    half : float
        Half a unit of its last digit.
    """

    value: float
    metric: str = "auroc"
    level: str = "frame"
    dataset: str = ""
    half: float = 0.0005

    @property
    def name(self) -> str:
        """Name of the figure in tables: "celebdf auroc frame"."""
        return " ".join(one for one in (self.dataset, self.metric, self.level) if one)


def parse_published(
    published: float | str | Mapping[str, float | str],
    datasets: Sequence[str],
    metric: str = "auroc",
    level: str = "frame",
) -> tuple[Figure, ...]:
    """Return the published figures.

    Parameters
    ----------
    published : float, str or mapping
        A figure (``.779``, ``"77.9%"``); several as a mapping or as text: ``"auroc=.779,ap=.81"``.
        A key names a dataset, metric or level, or several of them joined by colons:
        ``"celebdf:video=.81"``; what it does not name is taken from `metric` and `level`. Text
        keeps zeros at the end, which tell to how many digits a figure was rounded.
    datasets : sequence of str
        Names of datasets that a key may name.
    metric, level : str
        Metric and level of figures whose key does not name them.

    Raises
    ------
    UnknownNameError
        If a key is neither a dataset, a metric nor a level.
    ProbeError
        If a value is no number in [0, 1], a figure is given twice, or there is none.
    """
    _require(metric, "metric", METRICS)
    _require(level, "level", LEVELS)
    figures = []
    for key, value in _items(published):
        number, half = _number(value)
        found = {"metric": metric, "level": level, "dataset": ""}
        for word in filter(None, (one.strip() for one in key.split(":"))):
            found[_kind(word, datasets)] = word
        figures.append(Figure(number, found["metric"], found["level"], found["dataset"], half))
    names = [one.name for one in figures]
    twice = [name for name in names if names.count(name) > 1]
    if twice or not figures:
        raise ProbeError(
            f"Two published figures were given for {twice[0]}; give one." if twice else _NONE
        )
    return tuple(figures)


_NONE = "No published figure was given. Give one, as in published=.779."


def _items(published: float | str | Mapping[str, float | str]) -> list[tuple[str, float | str]]:
    if isinstance(published, Mapping):
        return [(str(key), value) for key, value in published.items()]
    if not isinstance(published, str):
        return [("", published)]
    parts = [one for one in published.split(",") if one.strip()]
    return [(key, value) for key, _, value in (one.rpartition("=") for one in parts)]


def _number(value: float | str) -> tuple[float, float]:
    """Return a figure, and half a unit of its last digit."""
    text = str(value).strip()
    unit = 100.0 if text.endswith("%") else 1.0
    text = text.removesuffix("%").strip()
    try:
        number = float(text) / unit
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise ProbeError(
            f"The published figure {value!r} was given; allowed are shares from 0 to 1, such as "
            '.779, or percent such as "77.9%".'
        )
    mantissa, _, power = text.lower().partition("e")
    digits = len(mantissa.partition(".")[2]) - int(power or 0)
    return number, 0.5 * 10.0**-digits / unit


def _kind(word: str, datasets: Sequence[str]) -> str:
    if word in datasets:
        return "dataset"
    if word in METRICS:
        return "metric"
    if word in LEVELS:
        return "level"
    raise UnknownNameError("dataset, metric or level", word, [*datasets, *METRICS, *LEVELS])


def _require(given: str, kind: str, allowed: Sequence[str] | Mapping[str, object]) -> None:
    if given not in allowed:
        raise UnknownNameError(kind, given, list(allowed))


@dataclass(frozen=True)
class ScoreFile:
    """Scores that the authors released.

    Attributes
    ----------
    scores : pandas.Series
        P(fake) by name of the image or video.
    by : str
        What the names are: "sample", "path" or "video".
    """

    scores: pd.Series
    by: str


#: Columns that name an image or a video, and those that hold a score, in the order of preference.
NAMES = ("sample", "path", "video")
SCORES = ("score", "prob", "probability", "p_fake", "logit", "pred", "prediction")


def read_scores(file: str | Path | pd.DataFrame) -> ScoreFile:
    """Read a table of scores per image or video.

    Parameters
    ----------
    file : path or pandas.DataFrame
        ``.csv`` or ``.parquet`` with a column ``sample``, ``path`` or ``video`` and a column
        ``score`` (P(fake)) or ``logit``. Values outside [0, 1] are taken for logits. Paths are
        compared by their longest common ending.

    Raises
    ------
    ProbeError
        If the file cannot be read, a column is missing, a name occurs twice, or a score is not a
        number.
    """
    table = file if isinstance(file, pd.DataFrame) else _table(Path(file))
    by = next((one for one in NAMES if one in table), "")
    column = next((one for one in SCORES if one in table), "")
    if not by or not column:
        raise ProbeError(
            f"The scores have the columns {', '.join(map(str, table.columns))}. They need one of "
            f"{', '.join(NAMES)}, and one of {', '.join(SCORES)}."
        )
    names, values = table[by].astype(str), pd.to_numeric(table[column], errors="coerce")
    if names.duplicated().any() or not np.isfinite(values.to_numpy(float)).all():
        twice = names[names.duplicated()]
        what = f"{by} {twice.iloc[0]!r} occurs twice" if len(twice) else "a score is no number"
        raise ProbeError(f"The scores cannot be used: {what}. Give one number for each {by}.")
    array = values.to_numpy(float)
    if column == "logit" or array.min(initial=0) < 0 or array.max(initial=1) > 1:
        array = sigmoid(array)
    return ScoreFile(pd.Series(array, index=names.to_numpy(object)), by)


def _table(file: Path) -> pd.DataFrame:
    if file.suffix not in (".csv", ".parquet"):
        raise ProbeError(f"Scores {file.name!r} have an unknown format. Allowed: .csv, .parquet.")
    try:
        return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise ProbeError(f"The scores {str(file)!r} cannot be read ({error}).") from error
