"""Output for findings: neurons, features, artifacts, unit responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.output import out, plain
from probe.stats import benjamini_hochberg
from probe.tables import parsed

if TYPE_CHECKING:
    from probe.artifacts import ArtifactReport, ResponseReport
    from probe.neurons import Ablation, Calibration, HeadTable, NeuronTable, Universality
    from probe.reproduction.table import Reproduction
    from probe.separability import Embeddings, SeparabilityReport, Similarity

__all__ = [
    "ablation",
    "ablation_sentence",
    "artifacts",
    "calibration",
    "embeddings",
    "heads",
    "one_dataset",
    "reproduction",
    "responses",
    "separability",
    "similarity",
    "universality",
]


def universality(found: Universality) -> None:
    """Print the universality test, and the study's count beside its null distributions."""
    data = found.data
    out().print(plain(found.test_sentence()), highlight=False)
    title = f"units of {data.attrs['layer']} in the top {data.attrs['top']:.0%} of c datasets"
    table = Table("c", "observed", "independent (95%)", "untrained", "random heads", title=title)
    for c in data["count"].values:
        at = data.sel(count=c)
        chance = f"{float(at['independence']):.1f} ({float(at['independence_low']):.0f}–"
        chance += f"{float(at['independence_high']):.0f})"
        drawn = [_spread(at, name) for name in ("untrained", "random_head")]
        table.add_row(str(int(c)), str(int(at["observed"])), chance, *drawn)
    out().print(table)
    nulls = Table(
        "null", "expected", "excess (95%)", "p", title="units in all top lists, beyond each null"
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
    out().print(plain(found.count_sentence()), highlight=False)


def one_dataset(table: NeuronTable, alpha: float = 0.05) -> None:
    """Print the number of units that contribute to detection in a table of one dataset."""
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
    """Format the draws of a null: all up to four, else mean and range."""
    values = [int(v) for v in at[name].values] if name in at else []
    if len(values) > 4:
        return f"{np.mean(values):.1f} ({min(values)}–{max(values)})"
    return ", ".join(map(str, values)) or "–"


def _bounds(low: float, high: float, form: str) -> str:
    return f" ({low:{form}} to {high:{form}})" if np.isfinite(low) else ""


def ablation(found: Ablation) -> None:
    """Print the mean AUROC drop over datasets when each set of units is ablated."""
    attrs = found.data.attrs
    title = f"AUROC without units of {attrs['layer']} (mean over datasets)"
    table = Table("set", "units", "drop (95%)", "beyond random (95%)", "p", title=title)
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
        f"Units selected on: {attrs['chosen_on']}. Compared with {attrs['n_random']} random sets "
        "matched in |weight| × range; in a small layer, few of them differ (see balance, "
        "n_distinct).",
        highlight=False,
    )
    if alone := attrs.get("one_half_only"):
        names = ", ".join(alone) if isinstance(alone, list) else str(alone)
        out().print(f"Found in one half only, and not ablated: {plain(names)}.", highlight=False)


def ablation_sentence(found: Ablation | None) -> str:
    """Summarize the effect of ablating the units found, beyond matched random sets."""
    if found is None:
        return "  No units were ablated (provenance.json gives the reason)."
    return f"  {found.summary()}"


def heads(found: HeadTable) -> None:
    """Print the AUROC of refitted heads on the held-out datasets."""
    title = f"AUROC on the held-out dataset, heads on {found.data.attrs['layer']}"
    table = Table(
        "held out", "head", "AUROC (95%)", "gain of universal head (95%)", "units", title=title
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
    """Print power and error rates of universality rules on planted detectors."""
    for (units, effect), rows in found.to_dataframe().groupby(["units", "effect"], sort=False):
        table = Table(
            "rule",
            "power",
            "false positive rate",
            "… in all but one dataset",
            "false discovery rate",
            "AUC",
            "ms",
            title=f"{units} units, effect {effect}, nominal 5%",
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


def separability(found: SeparabilityReport) -> None:
    """Print the separability of real and fake, its transfer, and what else features encode."""
    data = found.data
    for layer in data["layer"].values:
        part = data.sel(layer=layer)
        table = Table(
            "dataset",
            "probe AUROC",
            "control",
            "detector head",
            "probe − head",
            "Fisher",
            "d'",
            "silhouette",
            "k-NN purity",
            "MMD²",
            "p of probe",
            "clusters",
            title=f"{found.detector}, {layer}: real against fake",
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
                "used, spread over identities; a larger --memory allows more.",
                highlight=False,
            )
    _layers(found)


def _transfer(found: SeparabilityReport, layer: str) -> None:
    """Print the transfer matrix of a layer's probes."""
    part = found.data.sel(layer=layer)
    names = [str(name) for name in part["scored"].values]
    if len(names) < 2:
        return
    table = Table("fitted on", *names, title=f"{layer}: probe scored on other datasets (AUROC)")
    for name in names:
        row = part["transfer"].sel(dataset=name).values
        table.add_row(name, *(_number(float(value)) for value in row))
    table.add_row("[bold]detector head[/bold]", *(_number(float(v)) for v in part["own"].values))
    out().print(table)


def _layers(found: SeparabilityReport) -> None:
    """Print what layers encode besides the label: forgery methods and datasets."""
    table = Table(
        "layer",
        "method of a fake",
        "chance",
        "dataset of a real",
        "chance",
        "method-specific share",
        "cosine between methods",
        title="probes of method and dataset (balanced accuracy), and overlap of methods",
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
    """Print the debiased CKA of each pair of detectors."""
    table = Table("layer", "detector", "other", "CKA (95%)", title="similarity of features")
    for row in found.to_dataframe().to_dict("records"):
        bounds = _bounded(row["cka"], row["cka_low"], row["cka_high"])
        table.add_row(str(row["layer"]), str(row["detector"]), str(row["other"]), bounds)
    out().print(table)


def embeddings(found: Embeddings) -> None:
    """Print the trustworthiness and neighborhood preservation of each embedding."""
    data = found.data
    table = Table(
        "layer",
        "embedding",
        "trustworthiness",
        "neighbors preserved",
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


#: False discovery rate at which a mark is set.
ALPHA = 0.05


def artifacts(found: ArtifactReport) -> None:
    """Print effects by measurement and dataset, the best separators of methods, and gaps."""
    data = found.data
    names = [str(name) for name in data["dataset"].values]
    table = Table("measurement", *names, title="effects: fake minus real, in SDs of real images")
    for measurement in data["measurement"].values:
        part = data.sel(measurement=measurement)
        table.add_row(str(measurement), *(_effect_cell(part.sel(dataset=name)) for name in names))
    out().print(table)
    out().print(
        "* q ≤ .05 uncontrolled, partialled and matched; ° in some of the three (95% intervals in "
        "brackets).",
        highlight=False,
    )
    for sentence in found.summary().split("\n"):
        out().print(plain(sentence), highlight=False)


def _effect_cell(at: Any) -> str:
    effect = float(at["effect"].sel(control="none"))
    if not np.isfinite(effect):
        return "–"
    low, high = (float(at[name].sel(control="none")) for name in ("low", "high"))
    below = [float(q) <= ALPHA for q in at["q"].values]
    mark = "*" if all(below) else "°" if any(below) else ""
    bounds = rf" \[{low:.1f}, {high:.1f}]" if np.isfinite(low) else ""
    return f"{round(effect, 2) + 0.0:+.2f}{mark}{bounds}"


#: Maximum number of printed units; exports hold all.
MOST = 24


def responses(found: ResponseReport) -> None:
    """Print what units respond to, and the change of the logit at the highest dose."""
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
    out().print(plain(found.summary()), highlight=False)
    for key in ("reason", "dose_reason"):
        for name, text in _reasons(found, key):
            out().print(f"{plain(name)}: {plain(text)}.", highlight=False)


def _logits(found: ResponseReport) -> None:
    data = found.data.isel(dose=-1)
    names = [str(name) for name in data["dataset"].values]
    dose = float(data["dose"])
    table = Table("artifact", *names, title=f"mean change of the fake logit at dose {dose:g}")
    for artifact in data["artifact"].values:
        cells = [_dose_cell(data.sel(artifact=artifact, dataset=name)) for name in names]
        table.add_row(str(artifact), *cells)
    out().print(table)


def _dose_cell(one: object) -> str:
    mean, low, high = (float(one[f"logit_{key}"]) for key in ("response", "low", "high"))  # type: ignore[index]
    if np.isnan(mean):
        return ""
    return f"{mean:+.2f}" + ("" if np.isnan(low) else f"\n{low:+.2f} to {high:+.2f}")


def _reasons(found: ResponseReport, key: str) -> list[tuple[str, str]]:
    if key not in found.data:
        return []
    pairs = zip(found.data["dataset"].values, found.data[key].values, strict=True)
    return [(str(name), str(text)) for name, text in pairs if text]


#: Settings that a reproduction prints, at most; the table holds all.
SETTINGS = 40


def reproduction(found: Reproduction) -> None:
    """Print the settings that were tried to reach published figures, and the verdict."""
    frame = found.to_dataframe()
    # Pairs that were only predicted are counted, not listed.
    told = frame[(frame["changes"] < 2) | frame["holds"]]
    names = list(dict.fromkeys(told["setting"]))[:SETTINGS]
    figures = list(dict.fromkeys(frame["figure"]))
    table = Table("setting", *map(plain, figures), "p", title="settings (published below)")
    for name in names:
        rows = told[told["setting"] == name]
        cells = [_setting_cell(row) for row in rows.to_dict("records")]
        mark = " *" if rows["holds"].iloc[0] else ""
        table.add_row(plain(name) + mark, *cells, _number(float(rows["p"].iloc[0]), ".3f"))
    first = frame[frame["setting"] == frame["setting"].iloc[0]]
    table.add_section()
    table.add_row("published", *(_number(value, ".4g") for value in first["published"]), "")
    out().print(table)
    more = frame["setting"].nunique() - len(names)
    if more:
        out().print(f"{more} more settings are in the table (--out).", highlight=False)
    for line in found.summary().split("\n"):
        out().print(plain(line), highlight=False)


def _setting_cell(row: Any) -> str:
    text = _bounded(row["value"], row["low"], row["high"], ".3f")
    return text if row["confirmed"] else f"~{text}"
