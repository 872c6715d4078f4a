"""Output for attribution: methods, maps, reliability checks, similarity, region attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.output import out, plain

if TYPE_CHECKING:
    from probe.attribution.findings import MapSimilarity, RegionAttention
    from probe.attribution.several import Several
    from probe.attribution.trust import TrustReport

__all__ = [
    "attention",
    "print_maps",
    "print_methods",
    "print_trust",
    "similarity",
]


def print_methods(methods: Any, families: Any) -> None:
    """Print the registered methods by family, with options and references."""
    table = Table("method", "family", "sign", "complete", "baseline", "options", "reference")
    for family, module in families.items():
        for name in methods:
            method = methods[name]
            if method.explain.__module__ != module.__name__:
                continue
            options = ", ".join(f"{key}={value}" for key, value in method.options.items())
            table.add_row(
                name,
                family,
                "±" if method.signed else "magnitude",
                "yes" if method.complete else "",
                method.baseline or "",
                options,
                plain(method.paper),
            )
    out().print(table)
    out().print(
        "Complete: attributions sum to the target. Baselines: black, blur, mean, or pair (the real "
        "image of a fake)."
    )


def print_maps(found: Several) -> None:
    """Print one row per detector and method: layer, mean target, positive share, completeness."""
    table = Table("detector", "method", "layer", "images", "target", "positive share", "gap")
    targets = set()
    for (label, name), maps in found.maps.items():
        attrs, frame = maps.data.attrs, maps.to_dataframe()
        targets.add(str(attrs["target"]))
        mass = float(frame["positive"].sum() - frame["negative"].sum())
        share = float(frame["positive"].sum()) / mass if mass > 0 else float("nan")
        gap = float(attrs["relative_gap"])
        table.add_row(
            label,
            name,
            plain(str(attrs["layer"])),
            str(len(maps)),
            f"{frame['value'].mean():+.2f}",
            f"{share:.2f}" if maps.signed else "magnitude",
            f"{gap:.1%}" if np.isfinite(gap) else "",
        )
    out().print(table)
    out().print(
        f"Target: {plain(', '.join(sorted(targets)))}. Gap: relative completeness error, for "
        "methods whose attributions should sum to the target.",
        highlight=False,
    )
    for why in dict.fromkeys(found.refused.values()):
        out().print(plain(why), highlight=False)


#: False discovery rate at which a mark is set.
ALPHA = 0.05

#: Marks of maps that score better than a reference.
MARKS = {"random": "*", "edges": "+", "shifted": "°"}

#: Groups of checks and the question that each answers, in the order of the printed tables.
TITLES = {
    "mask": "localization: does the map lie on the forged area?",
    "faithfulness": "faithfulness: do the marked pixels drive the score? (area under P(fake))",
    "axioms": "axioms: is the map complete, and stable under noise?",
    "randomization": "randomization: does the map depend on the weights?",
}


def print_trust(report: TrustReport, dataset: str = "all") -> None:
    """Print one table of methods × checks per group of checks, for one dataset or all images.

    Parameters
    ----------
    report : TrustReport
        Results of the checks.
    dataset : str, default "all"
        Dataset of the report; "all" for all images together.

    Raises
    ------
    UnknownNameError
        If the report has no such dataset.
    """
    from probe.errors import UnknownNameError

    names = [str(name) for name in report.data["dataset"].values]
    if dataset not in names:
        raise UnknownNameError("dataset", dataset, names, where="the report")
    data = report.data.sel(dataset=dataset)
    for group, title in TITLES.items():
        part = data.isel(check=[str(one) == group for one in data["group"].values])
        if part.sizes["check"]:
            out().print(_table(part, f"{plain(report.detector)}: {title}"))
    for sentence in report.summary(dataset).split("\n"):
        out().print(plain(sentence), highlight=False)


def _table(part: Any, title: str) -> Table:
    arrows = {"higher": "↑", "lower": "↓"}
    heads = [
        f"{check} {arrows[str(better)]}"
        for check, better in zip(part["check"].values, part["better"].values, strict=True)
    ]
    table = Table("method", *heads, title=title)
    for method in map(str, part["method"].values):
        row = part.sel({"method": method})
        # References without a value here were not checked.
        if np.isfinite(row["value"].values).any() or not is_reference(part, method):
            table.add_row(method, *(_cell(row.sel(check=name)) for name in part["check"].values))
        if np.isfinite(row["randomized"].values).any():
            cells = (_range(row.sel(check=name)) for name in part["check"].values)
            table.add_row("  random weights", *cells, style="dim")
    chance = part["chance"].where(np.isfinite(part["value"]))
    if np.isfinite(chance.values).any():
        table.add_row("chance", *(_chance(chance.sel(check=c)) for c in chance["check"]))
    return table


def is_reference(part: Any, method: str) -> bool:
    return method in map(str, part["reference"].values)


def _cell(at: Any) -> str:
    value, low, high = (float(at[name]) for name in ("value", "low", "high"))
    if not np.isfinite(value):
        return "–"
    below = {
        str(name): float(q) <= ALPHA
        for name, q in zip(at["reference"].values, at["q"].values, strict=True)
    }
    mark = "".join(sign for name, sign in MARKS.items() if below.get(name))
    bounds = rf" \[{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    return f"{round(value, 3) + 0.0:.3f}{mark}{bounds}"


def _range(at: Any) -> str:
    mean, low, high = (float(at[f"randomized{end}"]) for end in ("", "_low", "_high"))
    return f"{mean:.3f} ({low:.2f} to {high:.2f})" if np.isfinite(mean) else ""


def _chance(values: Any) -> str:
    finite = values.values[np.isfinite(values.values)]
    return f"{finite.mean():.3f}" if len(finite) else ""


#: Maximum number of images without a face that are listed.
MOST_NAMES = 5


def similarity(found: MapSimilarity) -> None:
    """Print the similarity of maps by dataset, beside its null and reference values."""
    data, ci = found.data, float(found.data.attrs["ci"])
    trained = bool(np.isfinite(data["retrained_mean"]).any())
    columns = ["mean", "null_mean", "over_null"]
    columns += ["retrained_mean", "over_retrained"] if trained else []
    names = {
        "mean": "SSIM",
        "null_mean": "other images",
        "over_null": "excess over that",
        "retrained_mean": "other seeds",
        "over_retrained": "excess over those",
    }
    bins = [str(name) for name in data["bin"].values]
    table = Table(
        "dataset",
        *(names[c] for c in columns),
        *bins,
        "n (clusters)",
        title=plain(f"similarity of maps of {_listed(data)} ({data.attrs['mode']})"),
    )
    for name in data["dataset"].values:
        at = data.sel(dataset=name)
        cells = [_bounded(at, column) for column in columns]
        counts = [str(int(n)) for n in at["count"].values]
        n = f"{int(at['n_samples'])} ({int(at['n_clusters'])})"
        table.add_row(plain(str(name)), *cells, *counts, n)
    out().print(table)
    out().print(plain(f"{ci:.0%} cluster bootstrap intervals in [brackets]."), highlight=False)
    for sentence in found.summary().split("\n"):
        out().print(plain(sentence), highlight=False)


def _listed(data: Any) -> str:
    pairs = [str(pair).split("|") for pair in data["pair"].values]
    return ", ".join(dict.fromkeys(name for pair in pairs for name in pair))


#: Prefix of the bounds of columns whose bounds are not named after the column.
PREFIXES = {"mean": "", "null_mean": "null_", "retrained_mean": "retrained_"}


def _bounded(at: Any, column: str) -> str:
    value = float(at[column])
    if not np.isfinite(value):
        return "–"
    prefix = PREFIXES.get(column, f"{column}_")
    low, high = float(at[f"{prefix}low"]), float(at[f"{prefix}high"])
    sign = "+" if column in ("over_null", "over_retrained") else ""
    bounds = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    return plain(f"{value + 0.0:{sign}.2f}{bounds}")


def attention(found: RegionAttention) -> None:
    """Print the concentration of maps by region and group, for each part, with a summary."""
    data = found.data
    regions = [str(name) for name in data["region"].values]
    for part in map(str, data["part"].values):
        mass = "mass" if part == "magnitude" else f"{part} mass"
        table = Table(
            "images",
            *regions,
            "n",
            title=f"log2(share of {mass} / share of area): 0 is uniform attention",
        )
        for group in data["group"].values:
            at = data.sel(group=group, part=part)
            cells = [_mark(at.sel(region=region)) for region in regions]
            table.add_row(plain(str(group)), *cells, str(int(at["n_used"])))
        out().print(table)
    out().print(
        "* differs from the other datasets of the same label, q ≤ .05; ° changes from the paired "
        "real image to the fake, q ≤ .05.",
        highlight=False,
    )
    for sentence in found.summary().split("\n"):
        out().print(plain(sentence), highlight=False)


def _mark(at: Any) -> str:
    value = float(at["concentration"])
    if not np.isfinite(value):
        return "–"
    marks = ("*", "q"), ("°", "change_q")
    return f"{round(value, 1) + 0.0:+.1f}" + "".join(m for m, q in marks if float(at[q]) <= ALPHA)
