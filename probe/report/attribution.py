"""Output for attribution: methods, maps, reliability checks, similarity, region attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.console import out, plain
from probe.tables import parsed

if TYPE_CHECKING:
    from probe.attribution.findings import MapSimilarity, RegionAttention
    from probe.attribution.several import Several
    from probe.attribution.trust import TrustReport

__all__ = [
    "attention",
    "attention_sentences",
    "print_maps",
    "print_methods",
    "print_trust",
    "similarity",
    "similarity_sentences",
    "trust_sentences",
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
            out().print(_table(part, f"{plain(str(data.attrs['detector']))}: {title}"))
    for sentence in trust_sentences(report, dataset):
        out().print(plain(sentence), highlight=False)


def trust_sentences(report: TrustReport, dataset: str = "all") -> list[str]:
    """Explain the marks, the sample sizes, and why values are missing."""
    data = report.data.sel(dataset=dataset)
    ci = round(100 * float(data.attrs["ci"]))
    found = int(data["n_samples"].max()), int(data["n_clusters"].max())
    return [
        f"Better (q ≤ .05) than a random map *, than image edges +, than the shifted map °; "
        f"{ci} % cluster bootstrap intervals in brackets; ↑ higher is better, ↓ lower is better.",
        f"{dataset}: up to {found[0]} images, {found[1]} clusters.",
        *_weights_sentence(data),
        *_reasons(data),
    ]


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
        if np.isfinite(row["value"].values).any() or not _is_reference(part, method):
            table.add_row(method, *(_cell(row.sel(check=name)) for name in part["check"].values))
        if np.isfinite(row["randomized"].values).any():
            cells = (_range(row.sel(check=name)) for name in part["check"].values)
            table.add_row("  random weights", *cells, style="dim")
    chance = part["chance"].where(np.isfinite(part["value"]))
    if np.isfinite(chance.values).any():
        table.add_row("chance", *(_chance(chance.sel(check=c)) for c in chance["check"]))
    return table


def _is_reference(part: Any, method: str) -> bool:
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


def _weights_sentence(data: Any) -> list[str]:
    if not np.isfinite(data["randomized"].values).any():
        return []
    return [
        f"random weights: the method applied to {data.attrs['n_random']} copies of the detector "
        "with reinitialized weights, mean (minimum to maximum); a value in that range is no "
        "evidence of what was learned."
    ]


def _range(at: Any) -> str:
    mean, low, high = (float(at[f"randomized{end}"]) for end in ("", "_low", "_high"))
    return f"{mean:.3f} ({low:.2f} to {high:.2f})" if np.isfinite(mean) else ""


def _chance(values: Any) -> str:
    finite = values.values[np.isfinite(values.values)]
    return f"{finite.mean():.3f}" if len(finite) else ""


def _reasons(data: Any) -> list[str]:
    """Return each reason once, with the methods and checks that it applies to."""
    held: dict[str, dict[str, list[str]]] = {}
    for method in map(str, data["method"].values):
        for check in map(str, data["check"].values):
            reason = str(data["reason"].sel({"method": method, "check": check}).values)
            # References never have values of checks that query the detector.
            if reason and not (_is_reference(data, method) and reason.startswith("a reference")):
                held.setdefault(reason, {}).setdefault(method, []).append(check)
    return [_sentence(reason, where, data) for reason, where in held.items()]


def _sentence(reason: str, where: dict[str, list[str]], data: Any) -> str:
    if reason.startswith("No interval"):
        return reason
    checks = list(dict.fromkeys(check for those in where.values() for check in those))
    every = data.sizes["check"]
    what = "all checks" if len(checks) == every else ", ".join(checks)
    return f"{', '.join(where)} ({what}): {reason.rstrip('.')}."


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
    for sentence in similarity_sentences(found):
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


def similarity_sentences(found: MapSimilarity) -> list[str]:
    """Describe the comparison, its result against the null and other seeds, and what is missing."""
    data = found.data
    whole = data.isel(dataset=-1)
    said = [f"Compared: {data.attrs['rule']}."]
    if np.isfinite(float(whole["over_null"])):
        how = _words(whole, "over_null")
        said.append(f"Maps of one image are {how} similar than maps of different images.")
    if np.isfinite(float(whole["over_retrained"])):
        how = _words(whole, "over_retrained")
        said.append(
            f"Maps of two variants are {how} similar than maps of two trainings that differ only "
            "in the seed."
        )
    for name in data["dataset"].values:
        reason = str(data["reason"].sel(dataset=name).values)
        said += [f"{name}: {reason}"] if reason else []
    return said


def _words(at: Any, column: str) -> str:
    value, p = float(at[column]), float(at[f"{column}_p"])
    known = f" (p = {p:.2g})" if np.isfinite(p) else ""
    return f"by {abs(value):.2f}{known} {'more' if value > 0 else 'less'}"


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
    for sentence in attention_sentences(found):
        out().print(plain(sentence), highlight=False)


def _mark(at: Any) -> str:
    value = float(at["concentration"])
    if not np.isfinite(value):
        return "–"
    marks = ("*", "q"), ("°", "change_q")
    return f"{round(value, 1) + 0.0:+.1f}" + "".join(m for m, q in marks if float(at[q]) <= ALPHA)


def attention_sentences(found: RegionAttention) -> list[str]:
    """Summarize each group: where its mass lies, how it changes, what is missing."""
    data = found.data
    part = str(data["part"].values[0])
    said = [_group_sentence(data.sel(group=group, part=part)) for group in data["group"].values]
    if data["n_faceless"].any():
        names = list(np.asarray(parsed(data.attrs["faceless"])).ravel())
        more = ", …; all are listed in attribute faceless" if len(names) > MOST_NAMES else ""
        said.append(
            f"No face was found in {len(names)} of {data.sizes['sample']} images, which are "
            f"excluded: {', '.join(map(str, names[:MOST_NAMES]))}{more}."
        )
    return said


def _group_sentence(at: Any) -> str:
    group, reason = str(at["group"].values), str(at["reason"].values)
    counts = f"{int(at['n_samples'])} images, {int(at['n_clusters'])} clusters"
    value = at["concentration"].values
    if not np.isfinite(value).any():
        return f"{group}: no result for {counts}. {reason}".strip()
    best = at.isel(region=int(np.nanargmax(value)))
    parts = [
        f"most on {best['region'].values}, {2 ** float(best['concentration']):.1f} times uniform "
        f"attention ({float(best['share']):.0%} of mass on {float(best['area']):.0%} of area)"
    ]
    parts += _changes(at, "change", "change_q", "changed from the paired reals on")
    parts += _changes(at, "change", "other_q", "changed differently from the other datasets on")
    return f"{group}: {'; '.join([*parts, counts])}. {reason}".strip()


def _changes(at: Any, name: str, q: str, words: str) -> list[str]:
    found = np.flatnonzero(at[q].values <= ALPHA)
    if not len(found):
        return []
    each = [
        f"{at['region'].values[k]} ({float(at[name].values[k]):+.1f}, "
        f"q = {float(at[q].values[k]):.2g})"
        for k in found
    ]
    return [f"{words} {', '.join(each)}"]
