"""Printing what units respond to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from probe.report.console import out, plain

if TYPE_CHECKING:
    from probe.responses import ResponseReport

__all__ = ["responses", "responses_sentence"]

#: Units that are listed at most; all are in what is exported.
MOST = 24


def responses(found: ResponseReport) -> None:
    """Print the answers of the units, and the logit at the highest dose."""
    attrs, frame = found.data.attrs, found.answers()
    size = frame["answer_effect"].abs().fillna(0.0)
    # Universal units first, then by how strongly they respond.
    order = np.lexsort((-size, ~frame["universal"]))[:MOST]
    table = Table("unit", "responds to", "by", "effect", "q", title=f"units of {attrs['layer']}")
    for row in frame.iloc[order].to_dict("records"):
        clear = bool(row["answer_kind"])
        table.add_row(
            f"{row['unit']}{' (universal)' if row['universal'] else ''}",
            plain(str(row["answer"])),
            str(row["answer_kind"]),
            f"{row['answer_effect']:+.2f}" if clear else "",
            f"{row['answer_q']:.4f}" if clear else "",
        )
    out().print(table)
    if found.has_doses:
        _logits(found)
    out().print(plain(responses_sentence(found)), highlight=False)
    for key in ("reason", "dose_reason"):
        for name, text in _reasons(found, key):
            out().print(f"{plain(name)}: {plain(text)}.", highlight=False)


def _logits(found: ResponseReport) -> None:
    data = found.data.isel(dose=-1)
    names = [str(name) for name in data["dataset"].values]
    dose = float(data["dose"])
    table = Table("artifact", *names, title=f"mean change of the fake logit at dose {dose:g}")
    for artifact in data["artifact"].values:
        cells = [_cell(data.sel(artifact=artifact, dataset=name)) for name in names]
        table.add_row(str(artifact), *cells)
    out().print(table)


def _cell(one: object) -> str:
    mean, low, high = (float(one[f"logit_{key}"]) for key in ("response", "low", "high"))  # type: ignore[index]
    if np.isnan(mean):
        return ""
    return f"{mean:+.2f}" + ("" if np.isnan(low) else f"\n{low:+.2f} to {high:+.2f}")


def _reasons(found: ResponseReport, key: str) -> list[tuple[str, str]]:
    if key not in found.data:
        return []
    pairs = zip(found.data["dataset"].values, found.data[key].values, strict=True)
    return [(str(name), str(text)) for name, text in pairs if text]


def responses_sentence(found: ResponseReport) -> str:
    """Say how many units respond to what."""
    frame, parts = found.answers(), []
    for kind, text in (
        ("dose", "respond to an artifact turned up"),
        ("correlation", "go with a measurement"),
    ):
        names = frame.loc[frame["answer_kind"] == kind, "answer"].value_counts()
        if len(names):
            some = ", ".join(f"{name} {count}" for name, count in names.items())
            parts.append(f"{int(names.sum())} {text} ({some})")
    rest = int((frame["answer_kind"] == "").sum())
    if rest:
        parts.append(f"for {rest} nothing was found")
    return (
        f"Of {len(frame)} units of {found.data.attrs['layer']}, {'; '.join(parts)} "
        f"(q ≤ {found.data.attrs['alpha']:g})."
    )
