"""Published cross-dataset results, and when they are comparable with those of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

__all__ = ["PUBLISHED", "beside_published", "why_none"]

#: Frame AUROC of DeepfakeBench's detectors, trained on FaceForensics++ c23, by dataset.
PUBLISHED: dict[str, dict[str, float]] = {
    "meso4": {
        "FF++ c23": 0.608,
        "DF": 0.677,
        "F2F": 0.617,
        "FS": 0.595,
        "NT": 0.570,
        "Celeb-DF v1": 0.736,
        "Celeb-DF v2": 0.609,
        "DFD": 0.548,
        "DFDC": 0.556,
    },
    "mesoinception4": {
        "FF++ c23": 0.758,
        "DF": 0.854,
        "F2F": 0.809,
        "FS": 0.742,
        "NT": 0.652,
        "Celeb-DF v1": 0.737,
        "Celeb-DF v2": 0.697,
        "DFD": 0.607,
        "DFDC": 0.623,
    },
    "xception": {
        "FF++ c23": 0.964,
        "DF": 0.980,
        "F2F": 0.979,
        "FS": 0.983,
        "NT": 0.939,
        "Celeb-DF v1": 0.779,
        "Celeb-DF v2": 0.737,
        "DFD": 0.816,
        "DFDC": 0.708,
    },
    "efficientnet_b4": {
        "FF++ c23": 0.957,
        "DF": 0.976,
        "F2F": 0.976,
        "FS": 0.980,
        "NT": 0.931,
        "Celeb-DF v1": 0.791,
        "Celeb-DF v2": 0.749,
        "DFD": 0.815,
        "DFDC": 0.696,
    },
}

#: Published names of datasets: by method in FaceForensics++, and by layout otherwise.
_METHODS = {"deepfakes": "DF", "face2face": "F2F", "faceswap": "FS", "neuraltextures": "NT"}
_OTHERS = {
    "celebdf-v1": "Celeb-DF v1",
    "celebdf-v2": "Celeb-DF v2",
    "dfd": "DFD",
    "dfdc": "DFDC",
}

COLUMNS = ["detector", "dataset", "published_as", "published", "value", "low", "high"]


def beside_published(
    evaluation: pd.DataFrame, specs: Mapping[str, Any], cards: Mapping[str, Any]
) -> pd.DataFrame:
    """Put published AUROCs beside those of a run, where detector and data are the same.

    A detector is the same if its architecture is and its weights are DeepfakeBench's, or if it was
    trained on all four methods of FaceForensics++ and nothing else. Data are the same if they were
    read from the same layout, at compression c23 if there are several.

    Parameters
    ----------
    evaluation : pandas.DataFrame
        Joint table ``evaluation``.
    specs, cards : mapping
        Specs of detectors and cards of datasets, by name, as stored with the zero-shot matrix.

    Returns
    -------
    pandas.DataFrame
        One row per pair: ``detector, dataset, published_as, published, value, low, high``; empty
        if nothing matches.
    """
    rows = []
    frame = evaluation[(evaluation["level"] == "frame") & (evaluation["metric"] == "auroc")]
    for row in frame.to_dict("records"):
        label, name = str(row["detector"]), str(row["dataset"])
        figures = PUBLISHED.get(label.partition("/")[0], {})
        known = dataset_of(name, cards)
        if known in figures and is_published(specs.get(label, {}), cards):
            rows.append(
                {
                    "detector": label,
                    "dataset": name,
                    "published_as": known,
                    "published": figures[known],
                    "value": row["value"],
                    "low": row["low"],
                    "high": row["high"],
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def why_none(
    labels: Sequence[str], specs: Mapping[str, Any], names: Sequence[str], cards: Mapping[str, Any]
) -> str:
    """Return why no published result is comparable with those of a run."""
    if not any(label.partition("/")[0] in PUBLISHED for label in labels):
        return f"none of its detectors is one of {', '.join(PUBLISHED)}"
    if not any(is_published(specs.get(label, {}), cards) for label in labels):
        return "the published detectors were trained on FaceForensics++ c23, and none of these was"
    if not any(dataset_of(name, cards) for name in names):
        return "none of its datasets is known to be one with published results"
    return "no published detector was evaluated here on a dataset with published results"


def is_published(spec: Mapping[str, Any], cards: Mapping[str, Any]) -> bool:
    """Return whether weights are DeepfakeBench's, or were trained on the same data."""
    if spec.get("origin") == "deepfakebench":
        return True
    notes = spec.get("notes") or {}
    parts = notes.get("trained_on", []) if isinstance(notes, Mapping) else []
    names = [str(name) for part in parts for name in part.get("datasets") or [part.get("name")]]
    return {dataset_of(name, cards) for name in names} == set(_METHODS.values())


def dataset_of(name: str, cards: Mapping[str, Any]) -> str:
    """Return the published name of a dataset; empty if it has none, or it is not known."""
    card = cards.get(name) or {}
    # The card of a concatenated dataset holds the cards of its parts by name.
    card = (card.get("parts") or {}).get(name, card)
    layout = str(card.get("layout", ""))
    if str(card.get("compression", "")) not in ("", "c23"):
        return ""
    if layout == "faceforensics":
        return _METHODS.get(name, "")
    if layout == "deepfakebench":
        return {**_METHODS, **_OTHERS}.get(name, "")
    return _OTHERS.get(layout, "")
