"""Printing how far heatmaps can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.console import out, plain

if TYPE_CHECKING:
    from probe.attribution.trust import TrustReport

__all__ = ["print_trust", "trust_sentences"]

#: False discovery rate of a mark.
ALPHA = 0.05

#: What says that a map is better than a reference.
MARKS = {"random": "*", "edges": "+", "shifted": "°"}

#: Groups of checks by what they ask, in the order in which their tables are printed.
TITLES = {
    "mask": "does the map lie on the forged area?",
    "faithfulness": "does what it points at carry the decision? (area under P(fake))",
    "axioms": "does it add up, and stay under noise?",
    "randomization": "does it depend on the weights?",
}


def print_trust(report: TrustReport, dataset: str = "all") -> None:
    """Print methods × checks on one dataset, or on all images, a table for each kind of check.

    Parameters
    ----------
    report : TrustReport
        What was checked.
    dataset : str, default "all"
        A dataset of the report.

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
    """Say what the marks mean, what the values rest on, and why some are missing."""
    data = report.data.sel(dataset=dataset)
    ci = round(100 * float(data.attrs["ci"]))
    found = int(data["n_samples"].max()), int(data["n_clusters"].max())
    return [
        f"Better (q ≤ .05) than a map that knows nothing *, than edges of the image +, than itself "
        f"shifted °; {ci} % intervals over clusters in brackets; ↑ high is good, ↓ low is.",
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
        # A reference that has no value here is not asked.
        if np.isfinite(row["value"].values).any() or not _is_reference(part, method):
            table.add_row(method, *(_cell(row.sel(check=name)) for name in part["check"].values))
        if np.isfinite(row["randomized"].values).any():
            cells = (_range(row.sel(check=name)) for name in part["check"].values)
            table.add_row("  random weights", *cells, style="dim")
    chance = part["chance"].where(np.isfinite(part["value"]))
    if np.isfinite(chance.values).any():
        table.add_row("knows nothing", *(_chance(chance.sel(check=c)) for c in chance["check"]))
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
        f"random weights: the method on {data.attrs['n_random']} copies of the detector whose "
        "weights are drawn anew, mean (smallest to largest); a value in that range tells nothing "
        "of what was learned."
    ]


def _range(at: Any) -> str:
    mean, low, high = (float(at[f"randomized{end}"]) for end in ("", "_low", "_high"))
    return f"{mean:.3f} ({low:.2f} to {high:.2f})" if np.isfinite(mean) else ""


def _chance(values: Any) -> str:
    finite = values.values[np.isfinite(values.values)]
    return f"{finite.mean():.3f}" if len(finite) else ""


def _reasons(data: Any) -> list[str]:
    """Name each reason once, with the methods and checks that it holds for."""
    held: dict[str, dict[str, list[str]]] = {}
    for method in map(str, data["method"].values):
        for check in map(str, data["check"].values):
            reason = str(data["reason"].sel({"method": method, "check": check}).values)
            # That references have no value where the detector is asked is no news.
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
