"""Verdicts on the study's claims: each outcome of each rule, on constructed tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from probe.claims import VERDICTS, Claim, combined, judge_tables

SUPPORTED, REFUTED, MIXED, OPEN = VERDICTS
LABEL = "meso4/base"


def away(lost: dict[str, tuple[float, float]], home_low: float = 0.8) -> list[dict[str, Any]]:
    """Rows of ``generalization``: dataset to the interval of what is lost there."""
    return [
        {
            "detector": LABEL,
            "dataset": name,
            "trained_on": "a",
            "home": 0.9,
            "home_low": home_low,
            "home_high": 0.95,
            "value": 0.9 - (low + high) / 2,
            "low": 0.5,
            "high": 0.6,
            "lost": (low + high) / 2,
            "lost_low": low,
            "lost_high": high,
            "all_low": low,
            "all_high": high,
            "p": 0.01,
            "n_samples": 9,
            "n_clusters": 9,
            "reason": "",
        }
        for name, (low, high) in lost.items()
    ]


def layer(share: tuple[float, float]) -> list[dict[str, Any]]:
    return [
        {
            "detector": LABEL,
            "layer": "units",
            "specific_share": sum(share) / 2,
            "specific_low": share[0],
            "specific_high": share[1],
            "method_accuracy": 0.5,
            "method_low": 0.4,
            "method_high": 0.6,
            "method_chance": 0.2,
            "method_p": 0.01,
            "reason": "",
        }
    ]


def probes(mean: tuple[float, float]) -> list[dict[str, Any]]:
    row = {
        "detector": LABEL,
        "layer": "units",
        "probe": sum(mean) / 2,
        "probe_low": mean[0],
        "probe_high": mean[1],
        "control": 0.5,
        "head": 0.6,
        "q": 0.01,
        "seen": False,
        "reason": "",
    }
    return [
        {**row, "dataset": "a", "seen": True},
        {**row, "dataset": "b"},
        {**row, "dataset": "mean", "q": np.nan},
    ]


def alike(seeds: tuple[float, float] | None = None) -> list[dict[str, Any]]:
    low, high = seeds or (np.nan, np.nan)
    return [
        {
            "architecture": "meso4",
            "mode": "corrected",
            "dataset": "all",
            "variants": "base, deep",
            "mean": 0.6,
            "low": 0.5,
            "high": 0.7,
            "null_mean": 0.2,
            "over_null": 0.4,
            "over_null_low": 0.3,
            "over_null_high": 0.5,
            "over_null_p": 0.001,
            "over_retrained": (low + high) / 2,
            "over_retrained_low": low,
            "over_retrained_high": high,
            "over_retrained_p": 0.01,
            "count_<.7": 3,
            "count_.7-.9": 1,
            "count_>=.9": 0,
            "n_samples": 4,
            "reason": "",
        }
    ]


def counts(universal: float = 4, excess: float = 5.0) -> list[dict[str, Any]]:
    return [
        {
            "detector": LABEL,
            "layer": "units",
            "n_units": 16,
            "n_datasets": 2,
            "n_tested": 2,
            "alpha": 0.05,
            "universal": universal,
            "counted": 8,
            "null": null,
            "expected": 3.0,
            "excess": excess,
            "excess_low": excess - 2,
            "excess_high": excess + 2,
            "p": 0.02,
            "reason": "" if np.isfinite(universal) else "no test: 1 datasets hold both classes",
        }
        for null in ("independence", "untrained")
    ]


def taken(excess: tuple[float, float], p: float = 0.01) -> list[dict[str, Any]]:
    return [
        {
            "detector": LABEL,
            "set": "universal",
            "dataset": "mean",
            "metric": "auroc",
            "drop": 0.1,
            "drop_low": 0.05,
            "drop_high": 0.15,
            "excess": sum(excess) / 2,
            "excess_low": excess[0],
            "excess_high": excess[1],
            "p": p,
            "n_units": 4,
            "n_random": 100,
            "reason": "",
        }
    ]


def missing(reason: str, **lead: object) -> list[dict[str, Any]]:
    return [{"detector": LABEL, **lead, "reason": reason}]


COLUMNS = {
    name: list(rows[0])
    for name, rows in {
        "generalization": away({"mean": (0.1, 0.2)}),
        "layers": layer((0, 1)),
        "separability": probes((0, 1)),
        "similarity": alike(),
        "universality": counts(),
        "ablation": taken((0, 1)),
    }.items()
}


def judged(which: int, **tables: list[dict[str, Any]]) -> Claim:
    frames = {n: pd.DataFrame(tables.get(n, []), columns=c) for n, c in COLUMNS.items()}
    return judge_tables(frames, [LABEL], {LABEL: "units"})[which]


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        ({"b": (0.1, 0.3), "c": (0.2, 0.3), "mean": (0.1, 0.3)}, SUPPORTED),
        ({"b": (0.1, 0.3), "c": (0.0, 0.3), "mean": (0.1, 0.3)}, SUPPORTED),
        ({"b": (0.1, 0.3), "c": (-0.1, 0.04), "mean": (0.06, 0.3)}, MIXED),
        ({"b": (-0.1, 0.04), "c": (-0.1, 0.2), "mean": (-0.1, 0.03)}, REFUTED),
        ({"b": (0.06, 0.2), "c": (-0.3, 0.0), "mean": (-0.1, 0.03)}, MIXED),
        ({"b": (0.0, 0.2), "mean": (0.0, 0.2)}, OPEN),
        ({"b": (0.06, 0.2), "c": (-0.1, 0.0), "mean": (0.0, 0.2)}, MIXED),
    ],
)
def test_generalization(lost: dict[str, tuple[float, float]], verdict: str) -> None:
    claim = judged(0, generalization=away(lost))
    assert claim.verdict == claim.verdicts[LABEL] == verdict
    text = claim.judgments[0].sentence
    low, high = lost["mean"]
    span = f"{(low + high) / 2:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
    assert f"{span} is lost (p = 0.01)" in text
    assert "chance .50" in text


def test_generalization_cannot_be_said_of_what_is_not_told_at_home() -> None:
    claim = judged(0, generalization=away({"b": (0.1, 0.3), "mean": (0.1, 0.3)}, home_low=0.49))
    assert claim.verdict == OPEN and "not above chance" in claim.judgments[0].sentence
    for why in ("its training data are unknown", "3 clusters; an interval takes 5"):
        claim = judged(0, generalization=missing(why))
        assert claim.verdict == OPEN and claim.judgments[0].sentence == f"{why}."


@pytest.mark.parametrize(
    ("share", "probe", "seeds", "verdict"),
    [
        ((0.6, 0.8), (0.5, 0.7), None, SUPPORTED),
        ((0.2, 0.4), (0.8, 0.9), None, REFUTED),
        ((0.6, 0.8), (0.8, 0.9), None, MIXED),
        ((0.4, 0.6), (0.5, 0.7), None, OPEN),
        ((0.6, 0.8), (0.7, 0.8), None, OPEN),
        ((0.6, 0.8), (0.5, 0.7), (-0.3, -0.1), SUPPORTED),
        ((0.6, 0.8), (0.5, 0.7), (0.1, 0.3), MIXED),
        ((0.2, 0.4), (0.8, 0.9), (0.1, 0.3), REFUTED),
        ((0.6, 0.8), (0.5, 0.7), (-0.1, 0.3), SUPPORTED),
    ],
)
def test_artifacts(
    share: tuple[float, float], probe: tuple[float, float], seeds: Any, verdict: str
) -> None:
    claim = judged(1, layers=layer(share), separability=probes(probe), similarity=alike(seeds))
    assert claim.verdict == verdict
    said = {one.part: one.sentence for one in claim.judgments}
    assert f"[{share[0]:.2f}, {share[1]:.2f}]" in said["specific to the method"]
    assert "on 1 of 1 datasets" in said["discriminative"]
    assert "control tasks 0.50" in said["discriminative"]
    assert "+0.40 [+0.30, +0.50]" in said["maps of variants"]
    assert "null 0.20" in said["maps of variants"]
    assert ("one was trained" in said["maps of variants"]) == (seeds is None)


def test_a_share_of_no_difference_is_said_in_words() -> None:
    """A detector that ignores its input: resamples may have a share, the data have none."""
    rows = [layer((0.2, 0.4))[0] | {"specific_share": np.nan}]
    claim = judged(1, layers=rows, separability=probes((0.8, 0.9)), similarity=[])
    said = " ".join(one.sentence for one in claim.judgments)
    assert "do not differ" in said and "nan" not in said and claim.verdict == OPEN


def test_artifacts_that_were_not_computed() -> None:
    claim = judged(1, layers=missing("not computed in this run"))
    assert claim.verdict == OPEN
    assert claim.summary() == "Cannot be said. Of 1 detectors: cannot be said for 1."


@pytest.mark.parametrize(
    ("universal", "ablation", "verdict"),
    [
        (4, taken((0.01, 0.05)), SUPPORTED),
        (4, taken((-0.01, 0.05)), MIXED),
        (4, taken((0.01, 0.05), p=0.2), MIXED),
        (0, [], REFUTED),
        (0, taken((0.01, 0.05)), REFUTED),
        (np.nan, taken((0.01, 0.05)), OPEN),
        (4, missing("not computed in this run", set="universal"), OPEN),
        (
            4,
            missing(
                "no unit was found universal in both halves of the identities", set="universal"
            ),
            MIXED,
        ),
        (4, taken((np.nan, np.nan)), OPEN),
    ],
)
def test_neurons(universal: float, ablation: list[dict[str, Any]], verdict: str) -> None:
    claim = judged(2, universality=counts(universal), ablation=ablation)
    assert claim.verdict == verdict


@pytest.mark.parametrize(("excess", "verdict"), [(5.0, SUPPORTED), (1.0, REFUTED)])
def test_the_count_is_judged_beside_and_does_not_decide(excess: float, verdict: str) -> None:
    claim = judged(2, universality=counts(4, excess), ablation=taken((0.01, 0.05)))
    by_part = {one.part: one for one in claim.judgments}
    assert by_part["count"].verdict == verdict and claim.verdict == SUPPORTED
    assert "8 of 16 units are in all 2 top lists" in by_part["count"].sentence
    assert "untrained 3.0" in by_part["count"].sentence


def test_verdicts_are_combined_and_counted_not_pooled() -> None:
    assert combined([]) == combined([OPEN]) == OPEN
    assert combined([SUPPORTED, OPEN]) == SUPPORTED
    assert combined([SUPPORTED, REFUTED]) == combined([SUPPORTED, MIXED]) == MIXED
    rows = away({"b": (0.1, 0.3), "mean": (0.1, 0.3)})
    labels = [f"meso4/{i}" for i in range(6)]
    many = [{**row, "detector": label} for label in labels[:5] for row in rows]
    frames = {n: pd.DataFrame([], columns=c) for n, c in COLUMNS.items()}
    frames["generalization"] = pd.DataFrame(many)
    claim = judge_tables(frames, labels, {})[0]
    assert claim.verdict == SUPPORTED
    assert claim.summary() == (
        "Supported. Of 6 detectors: supported for 5; cannot be said for 1 (meso4/5). AUROC lost "
        "away from home: median 0.20 over 5, 0.20 to 0.20."
    )
    table = claim.to_dataframe()
    assert list(table.loc[table["part"] == "claim", "verdict"]) == [SUPPORTED] * 5 + [OPEN]


def test_no_table_at_all() -> None:
    for which in range(3):
        claim = judged(which)
        assert claim.verdict == OPEN and claim.rule and claim.summary()
