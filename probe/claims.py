"""Verdicts on the study's three claims, for each detector, by stated rules."""

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

#: Loss of AUROC away from home up to which a detector counts as generalizing.
MARGIN = 0.05

#: Thresholds: half of a share, and the AUROC halfway from chance to perfect.
HALF, HALFWAY = 0.5, 0.75

CHANCE, ALPHA = 0.5, 0.05


@dataclass(frozen=True)
class Judgment:
    """Verdict on one part of a claim for one detector.

    Attributes
    ----------
    part, of : str
        Part of the claim; detector, or architecture if its variants are compared.
    verdict : str
        One of `VERDICTS`.
    sentence : str
        The finding with its interval and null value, or the reason why there is none.
    value, low, high : float
        Value that is judged, and its confidence interval; NaN if there is none.
    null : float
        Value expected under the null hypothesis.
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
    """A claim of the study, and the verdict of a run.

    Attributes
    ----------
    key, title : str
        Short names, for anchors and headings.
    paper : str
        The claim as the study states it.
    ours : str
        What is measured here to judge it.
    rule : tuple of str
        Sentences that state how verdicts are reached.
    judgments : tuple of Judgment
        Judgments by part and detector.
    verdicts : mapping
        Detector to its verdict on the claim.
    value : tuple of (str, str)
        Part whose values are summarized over detectors, and the name of these values.

    Examples
    --------
    >>> import probe
    >>> claim = probe.judge_claims("runs/demo")[0]
    >>> claim
    <Claim 'Detectors do not generalize zero-shot': cannot be said>
    """

    key: str
    title: str
    paper: str
    ours: str
    rule: tuple[str, ...]
    judgments: tuple[Judgment, ...]
    verdicts: Mapping[str, str]
    value: tuple[str, str]

    def __repr__(self) -> str:
        """Return the title and the verdict."""
        return f"<Claim {self.title!r}: {self.verdict}>"

    @property
    def verdict(self) -> str:
        """Verdict over all detectors: that of the judged ones if they agree, else mixed."""
        return combined(list(self.verdicts.values()))

    def of(self, label: str) -> tuple[Judgment, ...]:
        """Return the judgments of one detector."""
        return tuple(one for one in self.judgments if one.of == label)

    def summary(self) -> str:
        """Return the verdict, the number of detectors by verdict, and the size of the effect."""
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
        """Return median and range over detectors; no pooled p, since detectors share images."""
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
        """Return one row per part and detector: verdict, value, interval, null and sentence."""
        rows = [{"claim": self.key, **vars(one)} for one in self.judgments]
        whole = [
            {"claim": self.key, "part": "claim", "of": label, "verdict": verdict, "sentence": ""}
            for label, verdict in self.verdicts.items()
        ]
        columns = ["claim", *Judgment.__dataclass_fields__]
        return pd.DataFrame(rows + whole, columns=columns)


def judge_claims(run: RunFolder | str | Path) -> tuple[Claim, ...]:
    """Judge the study's three claims from the tables of a run.

    Parameters
    ----------
    run : RunFolder or path
        Run to judge; it may be unfinished.

    Returns
    -------
    tuple of Claim
        Generalization, artifacts, neurons. `Claim.rule` states the rule of each.

    Raises
    ------
    StoreError
        If the folder is not a run, or a table is damaged.

    Examples
    --------
    >>> import probe
    >>> for claim in probe.judge_claims("runs/demo"):
    ...     print(claim.title, "–", claim.verdict)
    Detectors do not generalize zero-shot – cannot be said
    Detectors learn what is specific to a synthesis method; features separate poorly – supported
    Some neurons contribute universally – mixed
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(Path(run))
    return _judged(folder, joint_tables(folder))


def write_claims(run: RunFolder, tables: Mapping[str, pd.DataFrame]) -> tuple[Claim, ...]:
    """Judge the claims from the joint tables of a run and write ``tables/joint/claims.csv``."""
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
    """Judge the claims from joint tables.

    Parameters
    ----------
    tables : mapping
        Name to joint table, as returned by `probe.joint.joint_tables`.
    detectors : sequence of str
        Labels of the detectors to judge, in output order.
    layers : mapping
        Detector to the layer whose units and features are judged.
    """
    made: tuple[Callable[..., Claim], ...] = (_generalization, _artifacts, _neurons)
    return tuple(make(tables, list(detectors), layers) for make in made)


def combined(verdicts: Sequence[str]) -> str:
    """Combine verdicts: the common one of those that can be judged, else mixed."""
    known = {one for one in verdicts if one != OPEN}
    if not known:
        return OPEN
    return known.pop() if len(known) == 1 else MIXED


def _named(verdicts: Mapping[str, str], word: str, total: int) -> str:
    """List the detectors of a verdict if they are few and not all."""
    those = [label for label, one in verdicts.items() if one == word]
    return f" ({', '.join(those)})" if len(those) <= min(3, total - 1) else ""


def _span(value: float, low: float, high: float, form: str = ".2f") -> str:
    bounds = f" [{low:{form}}, {high:{form}}]" if np.isfinite(low) else ""
    return f"{value + 0.0:{form}}{bounds}".replace("-", "−")


def _p(value: float) -> str:
    return f"p = {value:.2g}" if np.isfinite(value) else "no p"


def _one(frame: pd.DataFrame, **equal: object) -> pd.Series | None:
    """Return the first row with these column values; None if there is none."""
    for column, wanted in equal.items():
        frame = frame[frame[column] == wanted]
    return frame.iloc[0] if len(frame) else None


def _side(low: float, high: float, at: float) -> str:
    """Return on which side of a threshold an interval lies."""
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
        ours="Frame AUROC on the test identities of the datasets that a detector was trained on "
        "(home) and of all other datasets (away).",
        rule=(
            f"A detector fails on a dataset if it loses more than {MARGIN:.2f} of its AUROC at "
            "home, and holds on it if it loses less, by simultaneous intervals over all its "
            "datasets (identities resampled jointly, Bonferroni).",
            "Supported: on average over the datasets away from home it loses more than "
            f"{MARGIN:.2f} (95% interval), and holds on none. Not supported: it loses less on "
            "average, and fails on none. Mixed: it fails on some and holds on others.",
            "It cannot be said if the interval of the average spans the margin, if there are too "
            "few identities for an interval, or if the detector is not above chance (AUROC .5) at "
            "home: there is nothing to generalize.",
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
    where = f"fails on {_listed(falls)}, holds on {_listed(holds)}"
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
        sentence += " At home it is not above chance: there is nothing to generalize."
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
        ours="Features of the last layer: the share of the difference between fakes and reals "
        "that is specific to single methods; linear probes on datasets away from home, beside "
        "control tasks and the detector's own head; and SSIM of the heatmaps of a detector's "
        "variants.",
        rule=(
            f"Specific to the method: supported if more than half ({HALF}) of the squared "
            "difference between fakes and real images is specific to single methods (interval "
            "over identities), not supported if less. 0: the same difference for all methods; 1: "
            "no two methods have anything in common.",
            "Discriminative: supported (features separate poorly) if linear probes of the layer, "
            "fitted and scored on the datasets away from home, stay on average below an AUROC of "
            f"{HALFWAY}, halfway from chance to perfect; not supported if they are above.",
            "Maps of variants: supported if Grad-CAM of variants, which were trained on different "
            "forgeries, is less similar on the same image (SSIM) than Grad-CAM of trainings that "
            "differ only in the seed; not supported if it is more similar. Without a second seed "
            "it cannot be said, whatever the SSIM: the share that a seed explains is unknown.",
            "The claim, for a detector: the verdict of the first two parts, and of the third if "
            "it can be said, if they agree; else mixed. It cannot be said if one of the first two "
            "cannot.",
        ),
        judgments=(*found, *alike.values()),
        verdicts=verdicts,
        value=(_SPECIFIC, "Share that is specific to single methods"),
    )


def _both(parts: Sequence[Judgment], alike: Judgment | None) -> str:
    """Combine the two halves of the claim, and the maps if they can be judged."""
    if any(one.verdict == OPEN for one in parts):
        return OPEN
    return combined([one.verdict for one in [*parts, *([alike] if alike else [])]])


def _specific(frame: pd.DataFrame, label: str, layer: str) -> Judgment:
    row = _layer_row(frame[frame["detector"] == label], layer)
    if row is None or not np.isfinite(row["specific_low"]):
        why = "not computed in this run" if row is None else row["reason"]
        return Judgment(_SPECIFIC, label, OPEN, f"{why or 'not computed in this run'}.")
    if not np.isfinite(row["specific_share"]):
        return Judgment(
            _SPECIFIC,
            label,
            OPEN,
            f"At {row['layer']}, fakes and real images do not differ, so no share of a difference "
            "is specific to single methods.",
        )
    span = _span(row["specific_share"], row["specific_low"], row["specific_high"])
    told = _span(row["method_accuracy"], row["method_low"], row["method_high"])
    sentence = (
        f"At {row['layer']}, {span} of the squared difference of fakes and real images is specific "
        f"to single methods (null: 0, the same for all); the method of a fake is classified with "
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
    """Return the row of a layer, or of the last recorded layer if that one was not recorded."""
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
        return "its training data are unknown, or not measured"
    return "no dataset outside its training data was probed"


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
    """Judge maps of variants against maps of trainings with different seeds."""
    if not np.isfinite(row["over_retrained"]):
        return OPEN, "The share that a seed alone explains is unknown: one was trained."
    span = _span(
        row["over_retrained"], row["over_retrained_low"], row["over_retrained_high"], "+.2f"
    )
    said = (
        f"{span} relative to trainings that differ only in the seed "
        f"({_p(row['over_retrained_p'])})."
    )
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
        ours="A test that a unit contributes to detection in every dataset; the study's count "
        "beside null distributions; and the AUROC drop when the units found are ablated, on "
        "identities not used to select them, beside matched random sets.",
        rule=(
            "Test: supported if at least one unit contributes in every dataset (partial "
            "conjunction over permutation tests, at the stated false discovery rate).",
            "Ablation: supported if ablating those units costs more AUROC, on average over "
            "datasets, than ablating matched random sets (interval above 0 and p ≤ .05), on the "
            "half of the identities not used to select them. Not supported if no unit is found in "
            "both halves.",
            "The claim, for a detector: supported if both are; mixed if units pass the test and "
            "their ablation is not beyond random sets; not supported if no unit passes. Without a "
            "test, or without the ablation of the units found, it cannot be said.",
            "The study's count does not decide: units in all top lists are no evidence unless "
            "they are more than in networks without training. It is shown beside each null.",
            f"Each of {tried} ablations is tested at 5%: {ALPHA * tried:.1f} would pass by chance "
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
        f"{int(row['n_tested'])} datasets (q ≤ {row['alpha']:g}: at most {percent:g}% of the "
        "units found are expected to be false discoveries)."
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
        f"{int(row['n_datasets'])} top lists. Expected under the nulls: {beside}."
    )
    bounded = known[known["excess_low"].notna()].sort_values("excess_low")
    if not len(bounded):
        return Judgment(_COUNT, label, OPEN, sentence)
    # The strictest null decides.
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
        f"When they are ablated ({row['n_units']:g} units, selected on other identities), AUROC "
        f"drops by {_span(row['drop'], row['drop_low'], row['drop_high'], '.3f')} on average, "
        f"{bounds} beyond {int(row['n_random'])} matched random sets (null 0, {_p(row['p'])})."
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
