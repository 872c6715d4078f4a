"""Printing what was found about neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.console import out, plain
from probe.stats import benjamini_hochberg
from probe.tables import parsed

if TYPE_CHECKING:
    from probe.neurons import Ablation, Calibration, HeadTable, NeuronTable, Universality

__all__ = [
    "ablation",
    "ablation_sentence",
    "calibration",
    "count_sentence",
    "heads",
    "one_dataset",
    "test_sentence",
    "universality",
    "universality_sentence",
]


def universality(found: Universality) -> None:
    """Print the test, and the study's count beside its nulls."""
    data = found.data
    out().print(plain(test_sentence(found)), highlight=False)
    title = f"units of {data.attrs['layer']} in the top {data.attrs['top']:.0%} of c datasets"
    table = Table("c", "observed", "independent (95 %)", "untrained", "random heads", title=title)
    for c in data["count"].values:
        at = data.sel(count=c)
        chance = f"{float(at['independence']):.1f} ({float(at['independence_low']):.0f}–"
        chance += f"{float(at['independence_high']):.0f})"
        drawn = [_spread(at, name) for name in ("untrained", "random_head")]
        table.add_row(str(int(c)), str(int(at["observed"])), chance, *drawn)
    out().print(table)
    nulls = Table(
        "null", "expected", "excess (95 %)", "p", title="counted in all, beyond each null"
    )
    for row in found.nulls().to_dict("records"):
        bounds = _bounds(row["excess_low"], row["excess_high"], "+.1f")
        name = str(row["null"]).replace("_", " ")
        nulls.add_row(
            name,
            f"{row['expected']:.1f}",
            f"{row['excess']:+.1f}{bounds}",
            f"{row['excess_p']:.3f}",
        )
    out().print(nulls)
    out().print(plain(count_sentence(found)), highlight=False)


def one_dataset(table: NeuronTable, alpha: float = 0.05) -> None:
    """Print how many units contribute to detection in the only dataset of a table."""
    name, p = str(table.data["dataset"].values[0]), table.data["p"].values[0]
    if not np.isfinite(p).all():
        reasons = parsed(table.data.attrs.get("one_class", "{}"))
        why = "; ".join(reasons.values()) if isinstance(reasons, dict) else ""
        out().print(plain(f"No test: {why or 'p is not defined'}."), highlight=False)
        return
    count = int((benjamini_hochberg(p) <= alpha).sum())
    text = f"{count} of {len(p)} units contribute to detection in {name} (q ≤ {alpha}, BH)."
    out().print(plain(text), highlight=False)


def _spread(at: Any, name: str) -> str:
    """Show the draws of a null: all if they are few, else their range."""
    values = [int(v) for v in at[name].values] if name in at else []
    if len(values) > 4:
        return f"{np.mean(values):.1f} ({min(values)}–{max(values)})"
    return ", ".join(map(str, values)) or "–"


def _bounds(low: float, high: float, form: str) -> str:
    return f" ({low:{form}} to {high:{form}})" if np.isfinite(low) else ""


def test_sentence(found: Universality) -> str:
    """Say how many units contribute to detection in every dataset."""
    data, attrs = found.data, found.data.attrs
    tested = len(found.tested)
    if "q" not in data:
        reasons = parsed(attrs.get("one_class", "{}"))
        why = "; ".join(reasons.values()) if isinstance(reasons, dict) else ""
        return (
            f"No test: both fakes and reals were used of {tested} of {data.sizes['dataset']} "
            f"datasets, and two are needed{f' ({why})' if why else ''}."
        )
    name = {"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}[str(attrs["correction"])]
    each = ", ".join(
        f"{n} {int(k)}"
        for n, k in zip(data["dataset"].values, data["significant"].values.sum(axis=1), strict=True)
    )
    return (
        f"{len(found.universal)} of {data.sizes['unit']} units contribute to detection in all "
        f"{tested} datasets (partial conjunction, q ≤ {attrs['alpha']}, {name}). In each by "
        f"itself: {each}."
    )


def count_sentence(found: Universality) -> str:
    """Say how many units the study would count, and what the nulls leave of that."""
    data = found.data
    last = data.isel(count=-1)
    untrained = ", ".join(str(int(v)) for v in last["untrained"].values) or "not computed"
    return (
        f"The study's count: {int(last['observed'])} of {data.sizes['unit']} units are in all "
        f"{data.sizes['dataset']} lists; {float(last['independence']):.1f} are expected of "
        f"independent lists; untrained networks: {untrained}."
    )


def universality_sentence(found: Universality) -> str:
    """Say both."""
    return f"{test_sentence(found)} {count_sentence(found)}"


def ablation(found: Ablation) -> None:
    """Print what detection loses without each set, on average over datasets."""
    attrs = found.data.attrs
    title = f"AUROC without units of {attrs['layer']} (mean over datasets)"
    table = Table("set", "units", "drop (95 %)", "beyond random (95 %)", "p", title=title)
    frame = found.to_dataframe()
    for row in frame[(frame["dataset"] == "mean") & (frame["metric"] == "auroc")].to_dict(
        "records"
    ):
        table.add_row(
            plain(str(row["set"])),
            f"{row['n_units']:g}",
            f"{row['drop']:+.3f}{_bounds(row['drop_low'], row['drop_high'], '+.3f')}",
            f"{row['excess']:+.3f}{_bounds(row['excess_low'], row['excess_high'], '+.3f')}",
            f"{row['p']:.3f}",
        )
    out().print(table)
    out().print(
        f"Chosen on: {attrs['chosen_on']}. Beside {attrs['n_random']} random sets matched in "
        "|weight| × range; where the layer is small, few of them differ (see balance, n_distinct).",
        highlight=False,
    )
    if alone := attrs.get("one_half_only"):
        names = ", ".join(alone) if isinstance(alone, list) else str(alone)
        out().print(f"Found on one half only, and left in: {plain(names)}.", highlight=False)


def ablation_sentence(found: Ablation | None) -> str:
    """Say what taking out the units that were found does, beyond random sets."""
    if found is None:
        return "  Nothing was taken out (provenance.json says why)."
    data = found.data.sel(dataset="mean", metric="auroc")
    parts = []
    for name in [str(s) for s in data["set"].values if s in ("universal", "counted")]:
        one = data.sel(set=name)
        bounds = _bounds(float(one["excess_low"]), float(one["excess_high"]), "+.3f")
        parts.append(
            f"{name} {float(one['drop']):+.3f}, beyond matched random sets "
            f"{float(one['excess']):+.3f}{bounds}, p = {float(one['p']):.3f}"
        )
    return f"  Mean AUROC lost without them: {'; '.join(parts) or 'neither set in both halves'}."


def heads(found: HeadTable) -> None:
    """Print heads on the datasets held out."""
    title = f"AUROC on the dataset held out, heads on {found.attrs['layer']}"
    table = Table(
        "held out", "head", "AUROC (95 %)", "universal head's gain (95 %)", "units", title=title
    )
    for row in found.frame.to_dict("records"):
        name = f"{row['held_out']}{' (seen in training)' if row['seen'] else ''}"
        gain = "" if np.isnan(row["gain"]) else f"{row['gain']:+.3f}"
        table.add_row(
            plain(name),
            str(row["head"]),
            f"{row['auroc']:.3f}{_bounds(row['low'], row['high'], '.3f')}",
            f"{gain}{_bounds(row['gain_low'], row['gain_high'], '+.3f')}",
            str(row["n_units"]) if row["head"] == "universal" else "",
        )
    out().print(table)


def calibration(found: Calibration) -> None:
    """Print how rules fare on planted detectors."""
    for (units, effect), rows in found.to_dataframe().groupby(["units", "effect"], sort=False):
        table = Table(
            "rule",
            "power",
            "false rate",
            "lacking one dataset",
            "false discovery",
            "AUC",
            "ms",
            title=f"{units} units, effect {effect}, nominal 5 %",
        )
        for row in rows.to_dict("records"):
            table.add_row(
                plain(str(row["rule"])),
                f"{row['power']:.2f}",
                f"{row['false_rate']:.3f}",
                f"{row['false_near']:.3f}",
                f"{row['false_discovery']:.3f}",
                f"{row['auc']:.3f}",
                f"{1e3 * row['seconds']:.0f}",
            )
        out().print(table)
