"""Printing what attribution methods there are, and what they gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.console import out, plain

if TYPE_CHECKING:
    from probe.attribution.several import Several

__all__ = ["print_maps", "print_methods"]


def print_methods(methods: Any, families: Any) -> None:
    """Print the registered methods by what they rest on, with options and sources."""
    table = Table(
        "method", "rests on", "sign", "sums to the target", "compares with", "options", "source"
    )
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
    out().print("Compared with: black, blur, mean, or pair (the real image of a fake).")


def print_maps(found: Several) -> None:
    """Print one line a detector and method: what was explained, where, and what the maps hold."""
    table = Table(
        "detector", "method", "layer", "images", "logit", "share towards the target", "gap"
    )
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
        f"Explained: {plain(', '.join(sorted(targets)))}. The gap is what maps miss of the sum "
        "that their method promises.",
        highlight=False,
    )
    for why in dict.fromkeys(found.refused.values()):
        out().print(plain(why), highlight=False)
