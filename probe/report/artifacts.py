"""Printing how real and fake images differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.console import out, plain

if TYPE_CHECKING:
    from probe.artifacts import ArtifactReport

__all__ = ["artifacts", "artifacts_sentences"]

#: False discovery rate of a mark.
ALPHA = 0.05


def artifacts(found: ArtifactReport) -> None:
    """Print effects by measurement and dataset, what tells the methods, and what is missing."""
    data = found.data
    names = [str(name) for name in data["dataset"].values]
    table = Table("measurement", *names, title="effects: fake less real, in SDs of real images")
    for measurement in data["measurement"].values:
        part = data.sel(measurement=measurement)
        table.add_row(str(measurement), *(_cell(part.sel(dataset=name)) for name in names))
    out().print(table)
    out().print(
        "* q ≤ .05 without control, partialled and matched; ° not in all three (95 % intervals in "
        "brackets).",
        highlight=False,
    )
    for sentence in artifacts_sentences(found):
        out().print(plain(sentence), highlight=False)


def _cell(at: Any) -> str:
    effect = float(at["effect"].sel(control="none"))
    if not np.isfinite(effect):
        return "–"
    low, high = (float(at[name].sel(control="none")) for name in ("low", "high"))
    below = [float(q) <= ALPHA for q in at["q"].values]
    mark = "*" if all(below) else "°" if any(below) else ""
    bounds = rf" \[{low:.1f}, {high:.1f}]" if np.isfinite(low) else ""
    return f"{round(effect, 2) + 0.0:+.2f}{mark}{bounds}"


def artifacts_sentences(found: ArtifactReport) -> list[str]:
    """Say for each dataset what differs most, what the controls rest on, and what is missing."""
    return [
        *(_dataset_sentence(found.data.sel(dataset=name)) for name in found.data["dataset"].values),
        *(_tell_sentence(found.data.sel({"method": name})) for name in found.data["method"].values),
    ]


def _dataset_sentence(at: Any) -> str:
    name, reason = str(at["dataset"].values), str(at["reason"].values)
    used = dict(zip(map(str, at["control"].values), map(int, at["n_used"].values), strict=True))
    parts = [f"{int(at['n_samples'])} images, {int(at['n_clusters'])} clusters"]
    parts.append(f"{used['matched']} matched")
    parts.append(f"inside is: {at['region'].values}")
    uneven = [
        f"{covariate} {value:.2f}"
        for covariate, value in zip(at["covariate"].values, at["imbalance"].values, strict=True)
        if np.isfinite(value) and abs(value - 0.5) >= 0.05
    ]
    if uneven:
        parts.append(f"labels are told (AUROC) by {', '.join(uneven)}")
    first = _first(at)
    return f"{name}: {first}{'; '.join(parts)}. {reason}".strip()


def _first(at: Any) -> str:
    if not (at["rank"] == 1).any():
        return ""
    best = at.isel(measurement=int(np.argmax(at["rank"].values == 1)))
    effects = ", ".join(
        f"{control} {float(value):+.2f} (q = {float(q):.2g})"
        for control, value, q in zip(
            best["control"].values, best["effect"].values, best["q"].values, strict=True
        )
    )
    return f"{best['measurement'].values} first, {effects}; "


def _tell_sentence(at: Any) -> str:
    name, tells = str(at["method"].values), at["tells"].values
    if not np.isfinite(tells).any():
        return f"{name}: there is no other method to tell it from."
    best = at.isel(measurement=int(np.nanargmax(np.abs(tells - 0.5))))
    low, high = float(best["tells_low"]), float(best["tells_high"])
    bounds = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    way = "above" if float(best["tells"]) > 0.5 else "below"
    return (
        f"{name} is told best by {best['measurement'].values}, {way} all other methods with AUROC "
        f"{float(best['tells']):.2f}{bounds}."
    )
