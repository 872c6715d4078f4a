"""Printing what was found about features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.console import out, plain

if TYPE_CHECKING:
    from probe.embed import Embeddings
    from probe.separability import SeparabilityReport, Similarity

__all__ = ["embeddings", "separability", "similarity"]


def separability(found: SeparabilityReport) -> None:
    """Print real against fake, transfer, and what features tell instead."""
    data = found.data
    for layer in data["layer"].values:
        part = data.sel(layer=layer)
        table = Table(
            "dataset",
            "probe AUROC",
            "control",
            "detector's own",
            "probe − own",
            "Fisher",
            "d'",
            "silhouette",
            "k-NN purity",
            "MMD²",
            "p of probe",
            "people",
            title=f"{data.attrs['label']}, {layer}: real against fake",
        )
        for name in part["dataset"].values:
            one = part.sel(dataset=name)
            values = {str(m): one.sel(measure=m) for m in one["measure"].values}
            table.add_row(
                str(name),
                *(_value(values[m], "value") for m in ("probe_auroc", "control_auroc")),
                _ends(one["own"], one["own_low"], one["own_high"]),
                _ends(one["blind"], one["blind_low"], one["blind_high"], "+.2f"),
                *(
                    _number(float(values[m]["value"]))
                    for m in ("fisher", "dprime", "silhouette", "knn_purity", "mmd2")
                ),
                _number(float(values["probe_auroc"]["p"]), ".3f"),
                str(int(one["n_clusters"])),
            )
        out().print(table)
        _transfer(found, str(layer))
    for name in data["dataset"].values:
        one = data.sel(dataset=name)
        if str(one["reason"].item()):
            out().print(f"{plain(str(name))}: {plain(str(one['reason'].item()))}", highlight=False)
        if int(one["sampled"]) < int(one["n_samples"]):
            out().print(
                f"{plain(str(name))}: {int(one['sampled'])} of {int(one['n_samples'])} samples "
                "used, spread over people; more fit with a larger --memory.",
                highlight=False,
            )
    _layers(found)


def _transfer(found: SeparabilityReport, layer: str) -> None:
    """Print the transfer matrix of a layer."""
    part = found.data.sel(layer=layer)
    names = [str(name) for name in part["scored"].values]
    if len(names) < 2:
        return
    table = Table("fitted on", *names, title=f"{layer}: probe scored on other datasets (AUROC)")
    for name in names:
        row = part["transfer"].sel(dataset=name).values
        table.add_row(name, *(_number(float(value)) for value in row))
    table.add_row("[bold]the detector[/bold]", *(_number(float(v)) for v in part["own"].values))
    out().print(table)


def _layers(found: SeparabilityReport) -> None:
    """Print what layers tell beside the label."""
    table = Table(
        "layer",
        "method of a fake",
        "chance",
        "dataset of a real",
        "chance",
        "specific to methods",
        "cosine between methods",
        title="what else is told (balanced accuracy), and what methods share",
    )
    for row in found.layers().to_dict("records"):
        told = [
            value
            for q in ("method", "domain")
            for value in (
                _bounded(row[f"{q}_accuracy"], row[f"{q}_low"], row[f"{q}_high"]),
                _number(row[f"{q}_chance"]),
            )
        ]
        share = _bounded(row["specific_share"], row["specific_low"], row["specific_high"])
        table.add_row(str(row["layer"]), *told, share, _number(row["shared_cosine"]))
    out().print(table)


def similarity(found: Similarity) -> None:
    """Print debiased CKA of each pair of detectors."""
    table = Table("layer", "detector", "other", "CKA (95 %)", title="similarity of features")
    for row in found.to_dataframe().to_dict("records"):
        bounds = _bounded(row["cka"], row["cka_low"], row["cka_high"])
        table.add_row(str(row["layer"]), str(row["detector"]), str(row["other"]), bounds)
    out().print(table)


def embeddings(found: Embeddings) -> None:
    """Print how far each picture can be believed."""
    data = found.data
    table = Table(
        "layer",
        "picture",
        "trustworthiness",
        "neighbors kept",
        title=f"{int(data.attrs['n_fitted'])} of {data.sizes['sample']} samples fitted, the rest "
        "projected",
    )
    for layer in data["layer"].values:
        for method in data["method"].values:
            one = data.sel({"layer": layer, "method": method})
            table.add_row(
                str(layer),
                str(method),
                f"{float(one['trustworthiness']):.3f}",
                f"{float(one['preservation']):.0%}",
            )
    out().print(table)


def _value(one: Any, name: str) -> str:
    return _ends(one[name], one["low"], one["high"])


def _ends(value: Any, low: Any, high: Any, form: str = ".2f") -> str:
    return _bounded(float(value), float(low), float(high), form)


def _bounded(value: float, low: float, high: float, form: str = ".2f") -> str:
    if not np.isfinite(low):
        return _number(value, form)
    joint = " to " if "+" in form else "–"
    return f"{value:{form}} ({low:{form}}{joint}{high:{form}})"


def _number(value: float, form: str = ".2f") -> str:
    return f"{value:{form}}" if np.isfinite(value) else "–"
