"""The study's three claims, judged detector by detector, by rules that are stated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from probe.joint import joint_tables
from probe.neurons.table import BOTH_HALVES, MEAN
from probe.run import RunFolder
from probe.tables import export_frame

__all__ = ["VERDICTS", "Claim", "Judgment", "judge_claims", "judge_tables", "write_claims"]

SUPPORTED, REFUTED, MIXED, OPEN = VERDICTS = (
    "supported",
    "not supported",
    "mixed",
    "cannot be said",
)

#: AUROC that may be lost away from home before a detector is said to generalize no more.
MARGIN = 0.05

#: Halfway from nothing to all: of a share, and of an AUROC from chance to perfect.
HALF, HALFWAY = 0.5, 0.75

CHANCE, ALPHA = 0.5, 0.05


@dataclass(frozen=True)
class Judgment:
    """What one part of a claim is found to be, of one detector.

    Attributes
    ----------
    part, of : str
        Part of the claim; detector, or architecture where its variants are compared.
    verdict : str
        One of `VERDICTS`.
    sentence : str
        The finding with its interval and null, or why there is none.
    value, low, high : float
        What is judged, and its interval; NaN where there is none.
    null : float
        What it would be if nothing were there.
    """

    part: str
    of: str
    verdict: str
    sentence: str
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    null: float = np.nan


@dataclass(frozen=True)
class Claim:
    """A claim of the study, and what a run says of it.

    Attributes
    ----------
    key, title : str
        Short names, for addresses and headings.
    paper : str
        The claim.
    ours : str
        What is measured here in its place.
    rule : tuple of str
        How verdicts are reached, in sentences.
    judgments : tuple of Judgment
        By part and detector.
    verdicts : mapping
        Detector to the verdict on the claim.
    value : str
        Part whose values are summed up over detectors, and what they are.
    """

    key: str
    title: str
    paper: str
    ours: str
    rule: tuple[str, ...]
    judgments: tuple[Judgment, ...]
    verdicts: Mapping[str, str]
    value: tuple[str, str]

    @property
    def verdict(self) -> str:
        """The verdict over all detectors: theirs where those that can be judged agree."""
        return combined(list(self.verdicts.values()))

    def of(self, label: str) -> tuple[Judgment, ...]:
        """Return the judgments of one detector."""
        return tuple(one for one in self.judgments if one.of == label)

    def summary(self) -> str:
        """Say the verdict, for how many detectors it holds, and how large the effect is."""
        if not self.verdicts:
            return "Cannot be said: the run has no detector."
        counts = Counter(self.verdicts.values())
        total = len(self.verdicts)
        said = [
            f"{word} for {counts[word]}{_named(self.verdicts, word, total)}"
            for word in VERDICTS
            if counts[word]
        ]
        head = f"{self.verdict.capitalize()}. Of {total} detectors: {'; '.join(said)}."
        return f"{head} {self._range()}".strip()

    def _range(self) -> str:
        """Say the median over detectors and their range; no pooled p, since they share images."""
        part, what = self.value
        values = [one.value for one in self.judgments if one.part == part]
        known = [value for value in values if np.isfinite(value)]
        if not known:
            return ""
        if len(known) == 1:
            return f"{what}: {known[0]:.2f}."
        low, high = min(known), max(known)
        return f"{what}: median {np.median(known):.2f} over {len(known)}, {low:.2f} to {high:.2f}."

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a part and detector: verdict, value, interval, null and sentence."""
        rows = [{"claim": self.key, **vars(one)} for one in self.judgments]
        whole = [
            {"claim": self.key, "part": "claim", "of": label, "verdict": verdict, "sentence": ""}
            for label, verdict in self.verdicts.items()
        ]
        columns = ["claim", *Judgment.__dataclass_fields__]
        return pd.DataFrame(rows + whole, columns=columns)


def judge_claims(run: RunFolder | str | Path) -> tuple[Claim, ...]:
    """Judge the study's three claims by what a run holds.

    Parameters
    ----------
    run : RunFolder or path
        The run; it need not be finished.

    Returns
    -------
    tuple of Claim
        Generalization, artifacts, neurons. Their rules stand in `Claim.rule`.

    Raises
    ------
    StoreError
        If the folder is no run, or a table is damaged.

    Examples
    --------
    >>> for claim in judge_claims("runs/demo"):
    ...     print(claim.title, claim.summary())
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(Path(run))
    return _judged(folder, joint_tables(folder))


def write_claims(run: RunFolder, tables: Mapping[str, pd.DataFrame]) -> tuple[Claim, ...]:
    """Judge the claims by the joint tables of a run, and write ``tables/joint/claims.csv``."""
    claims = _judged(run, tables)
    frame = pd.concat([claim.to_dataframe() for claim in claims], ignore_index=True)
    export_frame(frame, run.joint / "claims.csv")
    return claims


def _judged(run: RunFolder, tables: Mapping[str, pd.DataFrame]) -> tuple[Claim, ...]:
    manifest = run.read_manifest()
    return judge_tables(tables, manifest.get("detectors", []), manifest.get("layers", {}))


def judge_tables(
    tables: Mapping[str, pd.DataFrame], detectors: Sequence[str], layers: Mapping[str, str]
) -> tuple[Claim, ...]:
    """Judge the claims by joint tables.

    Parameters
    ----------
    tables : mapping
        As `probe.joint.joint_tables` returns them.
    detectors : sequence of str
        Labels, in the order of tables.
    layers : mapping
        Detector to the layer whose units and features are judged.
    """
    made: tuple[Callable[..., Claim], ...] = (_generalization, _artifacts, _neurons)
    return tuple(make(tables, list(detectors), layers) for make in made)


def combined(verdicts: Sequence[str]) -> str:
    """Combine verdicts: what can be said, where it agrees; else mixed."""
    known = {one for one in verdicts if one != OPEN}
    if not known:
        return OPEN
    return known.pop() if len(known) == 1 else MIXED


def _named(verdicts: Mapping[str, str], word: str, total: int) -> str:
    """Name the few that a verdict is for, where it is not for all."""
    those = [label for label, one in verdicts.items() if one == word]
    return f" ({', '.join(those)})" if len(those) <= min(3, total - 1) else ""


def _span(value: float, low: float, high: float, form: str = ".2f") -> str:
    bounds = f" [{low:{form}}, {high:{form}}]" if np.isfinite(low) else ""
    return f"{value + 0.0:{form}}{bounds}".replace("-", "−")


def _p(value: float) -> str:
    return f"p = {value:.2g}" if np.isfinite(value) else "no p"


def _one(frame: pd.DataFrame, **equal: object) -> pd.Series | None:
    """Return the first row in which columns have these values; None without one."""
    for column, wanted in equal.items():
        frame = frame[frame[column] == wanted]
    return frame.iloc[0] if len(frame) else None


def _side(low: float, high: float, at: float) -> str:
    """Say on which side of a mark an interval lies."""
    return "above" if low > at else "below" if high < at else "across"


# --- 1: no zero-shot generalization ----------------------------------------------------------

_AWAY = "generalization"


def _generalization(
    tables: Mapping[str, pd.DataFrame], detectors: list[str], layers: Mapping[str, str]
) -> Claim:
    found = [_away(tables["generalization"], label) for label in detectors]
    return Claim(
        key="generalization",
        title="Detectors do not generalize zero-shot",
        paper="Detectors do not generalize zero-shot.",
        ours="Frame AUROC on the test people of the datasets that a detector was trained on (home) "
        "and of all others (away).",
        rule=(
            "A dataset is where a detector falls if it loses more than "
            f"{MARGIN:.2f} of its AUROC at home, and where it holds if it loses less, by intervals "
            "that hold for all its datasets at once (people resampled together, Bonferroni).",
            f"Supported: on average over datasets away from home it loses more than {MARGIN:.2f} "
            "(95 % interval), and holds on none. Not supported: it loses less on average, and "
            "falls on none. Mixed: it falls and holds.",
            "It cannot be said where the interval of the average spans the margin, where people "
            "are too few for an interval, or where the detector is not above chance (AUROC .5) at "
            "home: nothing is there to generalize.",
        ),
        judgments=tuple(found),
        verdicts={one.of: one.verdict for one in found},
        value=(_AWAY, "AUROC lost away from home"),
    )


def _away(frame: pd.DataFrame, label: str) -> Judgment:
    rows = frame[frame["detector"] == label]
    mean = _one(rows, dataset=MEAN)
    if mean is None or not np.isfinite(mean["lost_low"]):
        reasons = [one for one in dict.fromkeys(rows["reason"]) if one]
        return Judgment(_AWAY, label, OPEN, f"{'; '.join(reasons) or 'not evaluated'}.")
    each = rows[(rows["dataset"] != MEAN) & rows["all_low"].notna()]
    falls = list(each.loc[each["all_low"] > MARGIN, "dataset"])
    holds = list(each.loc[each["all_high"] < MARGIN, "dataset"])
    where = f"falls on {_listed(falls)}, holds on {_listed(holds)}"
    without = f" ({mean['reason']})" if mean["reason"] else ""
    sentence = (
        f"AUROC {_span(mean['home'], mean['home_low'], mean['home_high'])} at home "
        f"({mean['trained_on']}), {_span(mean['value'], mean['low'], mean['high'])} on average "
        f"over {len(each)} away{without} (chance .50): "
        f"{_span(mean['lost'], mean['lost_low'], mean['lost_high'])} is lost ({_p(mean['p'])}); it "
        f"{where}."
    )
    fate = _side(mean["lost_low"], mean["lost_high"], MARGIN)
    verdict = {"above": SUPPORTED, "below": REFUTED, "across": OPEN}[fate]
    if (falls or fate == "above") and (holds or fate == "below"):
        verdict = MIXED
    if mean["home_low"] <= CHANCE:
        verdict = OPEN
        sentence += " At home it is not above chance: nothing is there to generalize."
    return Judgment(
        _AWAY,
        label,
        verdict,
        sentence,
        float(mean["lost"]),
        float(mean["lost_low"]),
        float(mean["lost_high"]),
        0.0,
    )


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "none"


# --- 2: synthesis-specific artifacts, poorly separable features ------------------------------

_SPECIFIC, _ALIKE, _TELLING = "specific to the method", "maps of variants", "discriminative"


def _artifacts(
    tables: Mapping[str, pd.DataFrame], detectors: list[str], layers: Mapping[str, str]
) -> Claim:
    found: list[Judgment] = []
    verdicts = {}
    alike = {
        str(name): _maps(tables["similarity"], str(name))
        for name in dict.fromkeys(tables["similarity"]["architecture"])
    }
    for label in detectors:
        own = [
            _specific(tables["layers"], label, layers.get(label, "")),
            _telling(tables, label, layers.get(label, "")),
        ]
        found += own
        verdicts[label] = _both(own, alike.get(label.rpartition("/")[0]))
    return Claim(
        key="artifacts",
        title="Detectors learn what is specific to a synthesis method; features separate poorly",
        paper="Detectors learn unwanted properties specific to the synthesis method and struggle "
        "to extract discriminative features.",
        ours="What tells fakes in the features of the last layer: the share of it that single "
        "methods do not share; linear probes on datasets away from home beside control tasks and "
        "the detector's own head; and SSIM of the heatmaps of a detector's variants.",
        rule=(
            f"Specific to the method: supported if more than half ({HALF}) of the squared "
            "difference between fakes and real images is specific to single methods (interval over "
            "people), not supported if less. 0: the same difference for all methods; 1: no two "
            "have anything in common.",
            "Discriminative: supported (features separate poorly) if linear probes of the layer, "
            "fitted and scored on the datasets away from home, stay on average below an AUROC of "
            f"{HALFWAY}, halfway from chance to perfect; not supported if they are above.",
            "Maps of variants: supported if Grad-CAM of variants, which were trained on other "
            "forgeries, is less alike on one image (SSIM) than that of trainings which differ by "
            "their seed alone; not supported if it is more alike. Without a second seed it cannot "
            "be said, whatever the SSIM: how much of it a seed explains is not known.",
            "The claim, of a detector: as the first two parts, and the third where it can be said, "
            "if they agree; else mixed. It cannot be said where one of the first two cannot.",
        ),
        judgments=(*found, *alike.values()),
        verdicts=verdicts,
        value=(_SPECIFIC, "Share that is specific to single methods"),
    )


def _both(parts: Sequence[Judgment], alike: Judgment | None) -> str:
    """Combine the two halves of the claim, and the maps where they say something."""
    if any(one.verdict == OPEN for one in parts):
        return OPEN
    return combined([one.verdict for one in [*parts, *([alike] if alike else [])]])


def _specific(frame: pd.DataFrame, label: str, layer: str) -> Judgment:
    row = _layer_row(frame[frame["detector"] == label], layer)
    if row is None or not np.isfinite(row["specific_low"]):
        why = "not computed in this run" if row is None else row["reason"]
        return Judgment(_SPECIFIC, label, OPEN, f"{why or 'not computed in this run'}.")
    span = _span(row["specific_share"], row["specific_low"], row["specific_high"])
    told = _span(row["method_accuracy"], row["method_low"], row["method_high"])
    sentence = (
        f"At {row['layer']}, {span} of the squared difference of fakes and real images is specific "
        f"to single methods (null: 0, the same for all); the method of a fake is told with "
        f"accuracy {told} (chance {row['method_chance']:.2f}, {_p(row['method_p'])})."
    )
    side = _side(row["specific_low"], row["specific_high"], HALF)
    verdict = {"above": SUPPORTED, "below": REFUTED, "across": OPEN}[side]
    return Judgment(
        _SPECIFIC,
        label,
        verdict,
        sentence,
        float(row["specific_share"]),
        float(row["specific_low"]),
        float(row["specific_high"]),
        0.0,
    )


def _layer_row(rows: pd.DataFrame, layer: str) -> pd.Series | None:
    """Return the row of a layer; of the last that was recorded where that one was not."""
    known = rows[rows["layer"].notna()]
    if not len(known):
        return rows.iloc[0] if len(rows) else None
    own = known[known["layer"] == layer]
    return own.iloc[0] if len(own) else known.iloc[-1]


def _telling(tables: Mapping[str, pd.DataFrame], label: str, layer: str) -> Judgment:
    frame = tables["separability"]
    rows = frame[frame["detector"] == label]
    mean = _layer_row(rows[rows["dataset"] == MEAN], layer)
    if mean is None or not np.isfinite(mean["probe_low"]):
        return Judgment(_TELLING, label, OPEN, f"{_why_no_probe(rows, mean)}.")
    away = rows[
        (rows["layer"] == mean["layer"]) & (rows["dataset"] != MEAN) & ~rows["seen"].eq(True)
    ]
    beyond = int((away["q"] <= ALPHA).sum())
    without = f" ({mean['reason']})" if mean["reason"] else ""
    sentence = (
        f"Away from home{without}, probes of {mean['layer']} have AUROC "
        f"{_span(mean['probe'], mean['probe_low'], mean['probe_high'])} on average (control tasks "
        f"{mean['control']:.2f}; beyond them, q ≤ .05, on {beyond} of {len(away)} datasets), the "
        f"detector's own head {mean['head']:.2f}."
    )
    side = _side(mean["probe_low"], mean["probe_high"], HALFWAY)
    verdict = {"above": REFUTED, "below": SUPPORTED, "across": OPEN}[side]
    return Judgment(
        _TELLING,
        label,
        verdict,
        sentence,
        float(mean["probe"]),
        float(mean["probe_low"]),
        float(mean["probe_high"]),
        float(mean["control"]),
    )


def _why_no_probe(rows: pd.DataFrame, mean: pd.Series | None) -> str:
    if mean is not None and mean["reason"]:
        return str(mean["reason"])
    reasons = [one for one in dict.fromkeys(rows["reason"]) if one]
    if reasons:
        return "; ".join(reasons).rstrip(".")
    if len(rows) and not rows["seen"].eq(True).any():
        return "what it was trained on is not known, or not measured"
    return "no dataset was probed that it was not trained on"


def _maps(frame: pd.DataFrame, name: str) -> Judgment:
    rows = frame[(frame["architecture"] == name) & (frame["mode"] == "corrected")]
    known = rows[rows["mean"].notna()]
    if not len(known):
        why = next((one for one in rows["reason"] if one), "not computed in this run")
        return Judgment(_ALIKE, name, OPEN, f"{why}.")
    row = known.iloc[-1]
    bins = ", ".join(
        f"{int(row[f'count_{name}'])} {text}"
        for name, text in (("<.7", "below .7"), (".7-.9", "from .7 to .9"), (">=.9", "from .9"))
    )
    over = _span(row["over_null"], row["over_null_low"], row["over_null_high"], "+.2f")
    sentence = (
        f"Grad-CAM of {row['variants']} on one image has SSIM "
        f"{_span(row['mean'], row['low'], row['high'])}, {over} over maps of different images "
        f"(null {row['null_mean']:.2f}, {_p(row['over_null_p'])}); of {int(row['n_samples'])} "
        f"fakes {bins}."
    )
    verdict, more = _against_seeds(row)
    return Judgment(
        _ALIKE,
        name,
        verdict,
        f"{sentence} {more}",
        float(row["mean"]),
        float(row["low"]),
        float(row["high"]),
        float(row["null_mean"]),
    )


def _against_seeds(row: pd.Series) -> tuple[str, str]:
    """Judge maps of variants by what two seeds have in common."""
    if not np.isfinite(row["over_retrained"]):
        return OPEN, "Whether a seed alone explains it is not known: one was trained."
    span = _span(
        row["over_retrained"], row["over_retrained_low"], row["over_retrained_high"], "+.2f"
    )
    said = f"{span} against trainings that differ by the seed ({_p(row['over_retrained_p'])})."
    if not np.isfinite(row["over_retrained_low"]):
        return OPEN, said
    side = _side(row["over_retrained_low"], row["over_retrained_high"], 0.0)
    return {"above": REFUTED, "below": SUPPORTED, "across": OPEN}[side], said


# --- 3: universal neurons --------------------------------------------------------------------

_TEST, _COUNT, _WITHOUT = "test", "count", "ablation"


def _neurons(
    tables: Mapping[str, pd.DataFrame], detectors: list[str], layers: Mapping[str, str]
) -> Claim:
    found: list[Judgment] = []
    verdicts: dict[str, str] = {}
    for label in detectors:
        rows = tables["universality"]
        rows = rows[rows["detector"] == label]
        test, without = _tested(rows, label), _without(tables["ablation"], label)
        found += [test, _counted(rows, label), without]
        verdicts[label] = _universal(test.verdict, without.verdict)
    tried = sum(one.part == _WITHOUT and one.verdict != OPEN for one in found)
    return Claim(
        key="neurons",
        title="Some neurons contribute universally",
        paper="Some neurons contribute universally to detection across seen and unseen datasets: a "
        "possible path to zero-shot generalization.",
        ours="A test that a unit helps to tell fakes in every dataset; the study's count beside "
        "nulls that cannot know; and what detection loses without the units found, on people who "
        "had no part in choosing them, beside matched random sets.",
        rule=(
            "Test: supported if at least one unit contributes in every dataset (partial "
            "conjunction over permutation tests, false discovery rate at the level stated).",
            "Ablation: supported if taking those units out costs more AUROC, on average over "
            "datasets, than matched random sets (interval above 0 and p ≤ .05), on the half of "
            "the people that did not choose them. A detector whose halves do not both have such a "
            "unit is not supported.",
            "The claim, of a detector: supported if both are; mixed if units pass the test and "
            "their ablation is not beyond random sets; not supported if no unit passes. Without a "
            "test, or without the ablation of what it found, it cannot be said.",
            "The study's count does not decide: units that stand in all lists are no evidence "
            "until they are more than in networks that cannot know. It is shown beside each null.",
            f"Each of {tried} ablations is tested at 5 %: {ALPHA * tried:.1f} would pass by chance "
            "if no set mattered.",
        ),
        judgments=tuple(found),
        verdicts=verdicts,
        value=(_WITHOUT, "AUROC lost beyond matched random sets"),
    )


def _universal(test: str, without: str) -> str:
    if test in (OPEN, REFUTED):
        return test
    return {SUPPORTED: SUPPORTED, REFUTED: MIXED}.get(without, OPEN)


def _tested(rows: pd.DataFrame, label: str) -> Judgment:
    if not len(rows) or not np.isfinite(rows["universal"].iloc[0]):
        why = rows["reason"].iloc[0] if len(rows) else ""
        return Judgment(_TEST, label, OPEN, f"{why or 'not computed in this run'}.")
    row = rows.iloc[0]
    n, units, percent = int(row["universal"]), int(row["n_units"]), 100 * row["alpha"]
    sentence = (
        f"{n} of {units} units of {row['layer']} contribute to detection in all "
        f"{int(row['n_tested'])} datasets (q ≤ {row['alpha']:g}: at most {percent:g} % of those "
        "found are expected by chance)."
    )
    return Judgment(_TEST, label, SUPPORTED if n else REFUTED, sentence, n, null=0.0)


def _counted(rows: pd.DataFrame, label: str) -> Judgment:
    known = rows[rows["null"].notna()] if len(rows) else rows
    if not len(known):
        why = rows["reason"].iloc[0] if len(rows) else ""
        return Judgment(_COUNT, label, OPEN, f"{why or 'not computed in this run'}.")
    row = known.iloc[0]
    beside = "; ".join(
        f"{str(one['null']).replace('_', ' ')} {one['expected']:.1f}, excess "
        f"{_span(one['excess'], one['excess_low'], one['excess_high'], '+.1f')} ({_p(one['p'])})"
        for _, one in known.iterrows()
    )
    sentence = (
        f"The study's count: {int(row['counted'])} of {int(row['n_units'])} units are in all "
        f"{int(row['n_datasets'])} lists. Expected of {beside}."
    )
    bounded = known[known["excess_low"].notna()].sort_values("excess_low")
    if not len(bounded):
        return Judgment(_COUNT, label, OPEN, sentence)
    # The null that leaves the least.
    least = bounded.iloc[0]
    return Judgment(
        _COUNT,
        label,
        SUPPORTED if least["excess_low"] > 0 else REFUTED,
        sentence,
        float(least["excess"]),
        float(least["excess_low"]),
        float(least["excess_high"]),
        0.0,
    )


def _without(frame: pd.DataFrame, label: str) -> Judgment:
    rows = frame[(frame["detector"] == label) & (frame["set"] == "universal")]
    row = _one(rows, dataset=MEAN, metric="auroc")
    if row is None:
        why = str(rows["reason"].iloc[0]) if len(rows) else "not computed in this run"
        verdict = REFUTED if BOTH_HALVES in why else OPEN
        return Judgment(_WITHOUT, label, verdict, f"{why.rstrip('.')}.")
    bounds = _span(row["excess"], row["excess_low"], row["excess_high"], "+.3f")
    sentence = (
        f"Without them ({row['n_units']:g} units, chosen on other people) AUROC drops by "
        f"{_span(row['drop'], row['drop_low'], row['drop_high'], '.3f')} on average, {bounds} "
        f"beyond {int(row['n_random'])} matched random sets (null 0, {_p(row['p'])})."
    )
    if not np.isfinite(row["excess_low"]):
        return Judgment(_WITHOUT, label, OPEN, f"{sentence} {row['reason']}.")
    beyond = row["excess_low"] > 0 and row["p"] <= ALPHA
    return Judgment(
        _WITHOUT,
        label,
        SUPPORTED if beyond else REFUTED,
        sentence,
        float(row["excess"]),
        float(row["excess_low"]),
        float(row["excess_high"]),
        0.0,
    )
