"""Printing how alike maps of variants are, and where in the face they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.console import out, plain
from probe.tables import parsed

if TYPE_CHECKING:
    from probe.attribution.findings import MapSimilarity, RegionAttention

__all__ = ["attention", "attention_sentences", "similarity", "similarity_sentences"]

#: False discovery rate of a mark.
ALPHA = 0.05
#: Images without a face that are named.
MOST_NAMES = 5


def similarity(found: MapSimilarity) -> None:
    """Print how alike maps are, dataset by dataset, beside what that is compared with."""
    data, ci = found.data, float(found.data.attrs["ci"])
    trained = bool(np.isfinite(data["retrained_mean"]).any())
    columns = ["mean", "null_mean", "over_null"]
    columns += ["retrained_mean", "over_retrained"] if trained else []
    names = {
        "mean": "SSIM",
        "null_mean": "other image",
        "over_null": "over that",
        "retrained_mean": "other seeds",
        "over_retrained": "over those",
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
    out().print(plain(f"{ci:.0%} intervals over clusters in [brackets]."), highlight=False)
    for sentence in similarity_sentences(found):
        out().print(plain(sentence), highlight=False)


def _listed(data: Any) -> str:
    pairs = [str(pair).split("|") for pair in data["pair"].values]
    return ", ".join(dict.fromkeys(name for pair in pairs for name in pair))


#: Columns whose bounds are not called after themselves.
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
    """Say what was compared, whether it beats what it is held against, and what is missing."""
    data = found.data
    whole = data.isel(dataset=-1)
    said = [f"Compared: {data.attrs['rule']}."]
    if np.isfinite(float(whole["over_null"])):
        how = _words(whole, "over_null")
        said.append(f"Maps of one image are {how} alike than maps of different images.")
    if np.isfinite(float(whole["over_retrained"])):
        how = _words(whole, "over_retrained")
        said.append(
            f"Maps of two variants are {how} alike than maps of two trainings that differ by the "
            "seed."
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
    """Print concentration by region and group, for each part, and what that says."""
    data = found.data
    regions = [str(name) for name in data["region"].values]
    for part in map(str, data["part"].values):
        mass = "mass" if part == "magnitude" else f"{part} mass"
        table = Table(
            "images",
            *regions,
            "n",
            title=f"log2 of share of {mass} over share of area: 0 is as even attention",
        )
        for group in data["group"].values:
            at = data.sel(group=group, part=part)
            cells = [_mark(at.sel(region=region)) for region in regions]
            table.add_row(plain(str(group)), *cells, str(int(at["n_used"])))
        out().print(table)
    out().print(
        "* differs from the other datasets' of its label, q ≤ .05; ° changes from the paired real "
        "image to the fake, q ≤ .05.",
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
    """Say for each group where its mass lies, what changes from real to fake, what is missing."""
    data = found.data
    part = str(data["part"].values[0])
    said = [_group_sentence(data.sel(group=group, part=part)) for group in data["group"].values]
    if data["n_faceless"].any():
        names = list(np.asarray(parsed(data.attrs["faceless"])).ravel())
        more = ", …; all stand in attribute faceless" if len(names) > MOST_NAMES else ""
        said.append(
            f"No face was found in {len(names)} of {data.sizes['sample']} images, which are left "
            f"out: {', '.join(map(str, names[:MOST_NAMES]))}{more}."
        )
    return said


def _group_sentence(at: Any) -> str:
    group, reason = str(at["group"].values), str(at["reason"].values)
    counts = f"{int(at['n_samples'])} images, {int(at['n_clusters'])} clusters"
    value = at["concentration"].values
    if not np.isfinite(value).any():
        return f"{group}: nothing to say of {counts}. {reason}".strip()
    best = at.isel(region=int(np.nanargmax(value)))
    parts = [
        f"most on {best['region'].values}, {2 ** float(best['concentration']):.1f} times as even "
        f"attention ({float(best['share']):.0%} of mass on {float(best['area']):.0%} of area)"
    ]
    parts += _changes(at, "change", "change_q", "changed from the paired reals on")
    parts += _changes(at, "change", "other_q", "changed unlike the other datasets on")
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
